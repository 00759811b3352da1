//! The star rule of kxc (kxd spec 8): old certificates are for `*`, which stands for every server.

use crate::certificate::Certificate;

/// Whether this certificate of `-server_cert` turns the check of server names off: a star anywhere
/// in its common name, or an alternative DNS name that is a star and nothing else.
#[must_use]
pub fn has_star(certificate: &Certificate) -> bool {
    certificate.common_name().contains(&b'*')
        || certificate.dns_names().iter().any(|name| name == "*")
}
