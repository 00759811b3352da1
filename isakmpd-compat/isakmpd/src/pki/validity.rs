//! The library's words for what is wrong with a CRL.

/// X509_verify_cert_error_string(3) for the errors that revocation can end in.
pub(super) fn verify_text(number: i32) -> &'static str {
    match number {
        3 => "unable to get certificate CRL",
        8 => "CRL signature failure",
        11 => "CRL is not yet valid",
        12 => "CRL has expired",
        23 => "certificate revoked",
        35 => "key usage does not include CRL signing",
        36 => "unhandled critical CRL extension",
        _ => "unspecified certificate verification error",
    }
}
