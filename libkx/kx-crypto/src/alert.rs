//! The names of TLS alerts.

use std::borrow::Cow;

/// What the original calls an alert (RFC 8446 section 6, and the older ones of RFC 5246); `alert(N)`
/// for a number that it has no name for. In its log and messages `tls: ` stands in front.
#[must_use]
pub fn text(alert: u8) -> Cow<'static, str> {
    Cow::Borrowed(match alert {
        0 => "close notify",
        10 => "unexpected message",
        20 => "bad record MAC",
        21 => "decryption failed",
        22 => "record overflow",
        30 => "decompression failure",
        40 => "handshake failure",
        42 => "bad certificate",
        43 => "unsupported certificate",
        44 => "revoked certificate",
        45 => "expired certificate",
        46 => "unknown certificate",
        47 => "illegal parameter",
        48 => "unknown certificate authority",
        49 => "access denied",
        50 => "error decoding message",
        51 => "error decrypting message",
        60 => "export restriction",
        70 => "protocol version not supported",
        71 => "insufficient security level",
        80 => "internal error",
        86 => "inappropriate fallback",
        90 => "user canceled",
        100 => "no renegotiation",
        109 => "missing extension",
        110 => "unsupported extension",
        111 => "certificate unobtainable",
        112 => "unrecognized name",
        113 => "bad certificate status response",
        114 => "bad certificate hash value",
        115 => "unknown PSK identity",
        116 => "certificate required",
        120 => "no application protocol",
        121 => "encrypted client hello required",
        other => return Cow::Owned(format!("alert({other})")),
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn alerts_have_the_original_names() {
        assert_eq!(super::text(42), "bad certificate");
        assert_eq!(super::text(116), "certificate required");
        assert_eq!(super::text(200), "alert(200)");
    }
}
