//! The server's certificate and private key.

use chrono::TimeDelta;
use kx_cert::anchors::entries;
use kx_cert::pair::{self, PairError};
use kx_cert::{Certificate, verify};

use super::CheckConfig;
use super::files;
use super::report::Report;

/// A certificate file is not longer than this.
const LIMIT: usize = 1 << 20;

/// A certificate that ends within this time is worth a warning.
const SOON: TimeDelta = TimeDelta::days(30);

pub(super) fn check(report: &mut Report, config: &CheckConfig) {
    let (cert_path, key_path) = (config.cert.as_path(), config.key.as_path());
    let cert = files::read(cert_path, LIMIT)
        .map_err(|e| {
            let advice = "make one with create-kxd-config or name it with --cert";
            report.error(cert_path, files::text(&e), advice);
        })
        .ok();
    let key = files::read(key_path, LIMIT)
        .map_err(|e| {
            let advice = "make one with create-kxd-config or name it with --key";
            report.error(key_path, files::text(&e), advice);
        })
        .ok();
    if let Ok(metadata) = key_path.metadata() {
        files::check_secret(report, key_path, &metadata);
    }
    let Some(cert) = cert else { return };
    for (i, entry) in entries(&cert).into_iter().enumerate() {
        let place = (cert_path, entry.line);
        match entry.verdict {
            Ok(certificate) => check_certificate(report, place, &certificate, i == 0, config),
            Err(problem) => report.warning(place, problem, "remove the block or repair it"),
        }
    }
    let Some(key) = key else { return };
    if let Err(e) = pair::load(&cert, &key) {
        let (path, advice) = match &e {
            PairError::Switched | PairError::CertificateForKey => {
                (cert_path, "exchange --cert and --key")
            }
            PairError::NoCertificatePem | PairError::NoCertificate(_) => {
                (cert_path, "put the server's certificate in PEM there")
            }
            PairError::Certificate(_) | PairError::UnknownPublicKey => {
                (cert_path, "have the certificate made anew")
            }
            PairError::TypeMismatch | PairError::Mismatch => {
                (key_path, "use the key that the certificate was made for")
            }
            _ => (
                key_path,
                "use an unencrypted RSA, ECDSA or Ed25519 key in PEM",
            ),
        };
        report.error(path, e, advice);
    }
}

fn check_certificate(
    report: &mut Report,
    place: (&std::path::Path, usize),
    certificate: &Certificate,
    own: bool,
    config: &CheckConfig,
) {
    check_validity(report, place, certificate, config);
    if own && !certificate.has_alternative_names() {
        report.warning(
            place,
            "certificate names no host (no subject alternative name), so kxc cannot check it by name",
            "make it with kxgencert --host",
        );
    }
    if own && !verify::serves(certificate) {
        report.error(
            place,
            "extended key usage lacks serverAuth, so kxc refuses the server",
            "make the certificate without extended key usage or with serverAuth",
        );
    }
}

/// Reports a certificate that is not valid, or soon will not be.
pub(super) fn check_validity(
    report: &mut Report,
    place: (&std::path::Path, usize),
    certificate: &Certificate,
    config: &CheckConfig,
) {
    let date = |t: chrono::DateTime<chrono::FixedOffset>| t.format("%Y-%m-%d %H:%M:%S UTC");
    let (from, to) = (certificate.not_before(), certificate.not_after());
    if certificate.is_expired(&config.now) {
        report.error(
            place,
            format_args!("certificate expired on {}", date(to)),
            "replace it",
        );
    } else if config.now < from {
        let problem = format!("certificate is not valid before {}", date(from));
        report.error(place, problem, "wait, or set the clock");
    } else if to.signed_duration_since(config.now) < SOON {
        let problem = format!("certificate expires on {}", date(to));
        report.warning(place, problem, "replace it in time");
    }
}
