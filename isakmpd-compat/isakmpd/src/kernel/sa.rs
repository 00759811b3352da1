//! IPsec SAs in the kernel's words: protocols, algorithms, limits (isakmpd 6.2, isakmpd-xfrm 9).

use std::net::SocketAddr;

use ike::kernel::SaParameters;
use isakmp_proto::number::{EspTransform, IpcompTransform, IpsecAuth, Protocol};
use kx_secret::SecretBytes;
use kx_sys::xfrm::{Algorithm, Lifetime, MOST_WINDOW, Mode, Sa};

/// Check value of AES-GCM and of GMAC, bits.
const AEAD_CHECK: u32 = 128;

/// The number in the IP header; 0 for what is none.
pub(super) fn ip_protocol(protocol: u8) -> u8 {
    match Protocol(protocol) {
        Protocol::ESP => 50,
        Protocol::AH => 51,
        Protocol::IPCOMP => 108,
        _ => 0,
    }
}

/// The number in ISAKMP of a protocol of the IP header.
pub(super) fn isakmp_protocol(number: u8) -> Option<u8> {
    let all = [Protocol::ESP, Protocol::AH, Protocol::IPCOMP];
    all.iter()
        .map(|protocol| protocol.0)
        .find(|protocol| ip_protocol(*protocol) == number)
}

/// The name that logs have for a protocol.
pub(super) fn protocol_name(protocol: u8) -> &'static str {
    match Protocol(protocol) {
        Protocol::ESP => "ESP",
        Protocol::AH => "AH",
        Protocol::IPCOMP => "IPCOMP",
        _ => "unknown protocol",
    }
}

/// The same with other keys of the same length: what changes an SA that is there has to name some, and the kernel keeps
/// those that it has.
pub(super) fn without_keys(one: &SaParameters) -> SaParameters {
    let other = |key: &SecretBytes| {
        // No two blocks of it are the same, which 3DES would not take everywhere.
        let octets = (0..key.as_slice().len()).map(|at| u8::try_from(at % 256).unwrap_or(0));
        SecretBytes::from(octets.collect::<Vec<u8>>())
    };
    SaParameters {
        encryption_key: other(&one.encryption_key),
        authentication_key: other(&one.authentication_key),
        ..*one
    }
}

pub(super) fn mode(one: &SaParameters) -> Mode {
    match one.tunnel {
        true => Mode::Tunnel,
        false => Mode::Transport,
    }
}

/// One SA from `source` to `destination`. `incoming`: it is our way in. Without selector and mark.
///
/// # Errors
/// The kernel has no name for an algorithm.
pub(super) fn sa(
    one: &SaParameters,
    source: SocketAddr,
    destination: SocketAddr,
    reqid: u32,
    incoming: bool,
) -> Result<Sa<'_>, String> {
    Ok(Sa {
        source: source.ip(),
        destination: destination.ip(),
        spi: one.spi,
        protocol: ip_protocol(one.protocol),
        mode: mode(one),
        reqid,
        // Only who receives looks for replays; and with a window Linux drops whatever comes compressed, which has no
        // numbers (XfrmInStateSeqError; seen).
        replay_window: match incoming && Protocol(one.protocol) != Protocol::IPCOMP {
            true => one.replay_window.min(MOST_WINDOW),
            false => 0,
        },
        algorithms: algorithms(one)?,
        encapsulation: one
            .udp_encapsulation
            .then(|| (source.port(), destination.port())),
        lifetime: lifetime(one.seconds, one.kilobytes),
        selector: None,
        sequence: 0,
    })
}

/// The soft end is at nine tenths (isakmpd 6.1).
fn lifetime(seconds: Option<u32>, kilobytes: Option<u32>) -> Lifetime {
    let hard_seconds = seconds.filter(|seconds| *seconds != 0).map(u64::from);
    let hard_octets = kilobytes
        .filter(|kilobytes| *kilobytes != 0)
        .map(|kilobytes| u64::from(kilobytes).saturating_mul(1024));
    let soft = |hard: u64| hard.saturating_mul(9) / 10;
    Lifetime {
        soft_octets: hard_octets.map(soft),
        hard_octets,
        // 0 would be no limit.
        soft_seconds: hard_seconds.map(|hard| soft(hard).max(1)),
        hard_seconds,
    }
}

fn algorithms(one: &SaParameters) -> Result<Vec<Algorithm<'_>>, String> {
    let unknown = |what: &str, number: u16| {
        let name = protocol_name(one.protocol);
        Err(format!(
            "{name} SPI {:08x}: no {what} {number} in this kernel",
            one.spi
        ))
    };
    let mut all = Vec::new();
    match Protocol(one.protocol) {
        Protocol::IPCOMP => match IpcompTransform(one.transform) {
            IpcompTransform::DEFLATE => all.push(Algorithm::Compression("deflate")),
            IpcompTransform::LZS => all.push(Algorithm::Compression("lzs")),
            IpcompTransform(number) => return unknown("compression", number.into()),
        },
        Protocol::AH | Protocol::ESP => {
            let key = one.authentication_key.as_slice();
            match authentication(one.authentication) {
                Some((name, bits)) => all.push(Algorithm::Authentication(name, key, bits)),
                None if one.authentication == 0 && Protocol(one.protocol) == Protocol::ESP => {}
                None => return unknown("authentication algorithm", one.authentication),
            }
            if Protocol(one.protocol) == Protocol::ESP {
                let key = one.encryption_key.as_slice();
                all.push(match EspTransform(one.transform) {
                    EspTransform::DES3 => Algorithm::Cipher("cbc(des3_ede)", key),
                    EspTransform::CAST => Algorithm::Cipher("cbc(cast5)", key),
                    EspTransform::BLOWFISH => Algorithm::Cipher("cbc(blowfish)", key),
                    EspTransform::AES => Algorithm::Cipher("cbc(aes)", key),
                    EspTransform::AES_CTR => Algorithm::Cipher("rfc3686(ctr(aes))", key),
                    EspTransform::NULL => Algorithm::Cipher("ecb(cipher_null)", key),
                    EspTransform::AES_GCM_16 => {
                        Algorithm::Aead("rfc4106(gcm(aes))", key, AEAD_CHECK)
                    }
                    EspTransform::AES_GMAC => Algorithm::Aead("rfc4543(gcm(aes))", key, AEAD_CHECK),
                    EspTransform(number) => return unknown("cipher", number.into()),
                });
            }
        }
        Protocol(number) => return unknown("protocol", number.into()),
    }
    Ok(all)
}

/// Name, and bits of the check value (RFC 4868 for SHA-2, where the kernel by itself would take 96).
fn authentication(number: u16) -> Option<(&'static str, u32)> {
    Some(match IpsecAuth(number) {
        IpsecAuth::HMAC_MD5 => ("hmac(md5)", 96),
        IpsecAuth::HMAC_SHA => ("hmac(sha1)", 96),
        IpsecAuth::HMAC_RIPEMD => ("hmac(rmd160)", 96),
        IpsecAuth::HMAC_SHA2_256 => ("hmac(sha256)", 128),
        IpsecAuth::HMAC_SHA2_384 => ("hmac(sha384)", 192),
        IpsecAuth::HMAC_SHA2_512 => ("hmac(sha512)", 256),
        _ => return None,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn parameters(protocol: u8, spi: u32) -> SaParameters {
        SaParameters {
            protocol,
            spi,
            transform: 12,
            authentication: 5,
            encryption_key: SecretBytes::from(vec![1; 16]),
            authentication_key: SecretBytes::from(vec![2; 32]),
            tunnel: true,
            udp_encapsulation: false,
            replay_window: 16,
            seconds: Some(1200),
            kilobytes: None,
        }
    }

    fn described(one: &SaParameters) -> Result<String, String> {
        let all = algorithms(one)?.into_iter().map(|one| match one {
            Algorithm::Cipher(name, key) => format!("{name}/{}", key.len()),
            Algorithm::Authentication(name, key, bits) => format!("{name}/{}/{bits}", key.len()),
            Algorithm::Aead(name, key, bits) => format!("{name}/{}/{bits}", key.len()),
            Algorithm::Compression(name) => name.to_owned(),
        });
        Ok(all.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn algorithms_have_the_kernels_names() {
        for (protocol, transform, authentication, expected) in [
            (3, 12, 5, "hmac(sha256)/32/128 cbc(aes)/16"),
            (3, 3, 2, "hmac(sha1)/32/96 cbc(des3_ede)/16"),
            (3, 6, 1, "hmac(md5)/32/96 cbc(cast5)/16"),
            (3, 7, 8, "hmac(rmd160)/32/96 cbc(blowfish)/16"),
            (3, 13, 6, "hmac(sha384)/32/192 rfc3686(ctr(aes))/16"),
            (3, 20, 0, "rfc4106(gcm(aes))/16/128"),
            (3, 23, 0, "rfc4543(gcm(aes))/16/128"),
            (3, 11, 7, "hmac(sha512)/32/256 ecb(cipher_null)/16"),
            (2, 3, 2, "hmac(sha1)/32/96"),
            (4, 2, 0, "deflate"),
        ] {
            let one = SaParameters {
                transform,
                authentication,
                ..parameters(protocol, 1)
            };
            assert_eq!(described(&one).as_deref(), Ok(expected));
        }
        for (protocol, transform, authentication) in
            [(3, 99, 5), (3, 12, 99), (2, 3, 0), (4, 1, 0), (9, 1, 1)]
        {
            let one = SaParameters {
                transform,
                authentication,
                ..parameters(protocol, 0xabcd)
            };
            let error = described(&one).expect_err("no such thing");
            assert!(error.contains("SPI 0000abcd: no "), "{error}");
        }
    }

    #[test]
    fn an_sa_has_its_ends_limits_and_window() {
        let ends: [SocketAddr; 2] = [([192, 0, 2, 1], 4500).into(), ([192, 0, 2, 2], 1027).into()];
        let one = SaParameters {
            udp_encapsulation: true,
            replay_window: 64,
            kilobytes: Some(10),
            ..parameters(3, 7)
        };
        let way_in = sa(&one, ends[1], ends[0], 5, true).expect("an SA");
        assert_eq!(way_in.encapsulation, Some((1027, 4500)));
        assert_eq!((way_in.replay_window, way_in.reqid), (64, 5));
        let expected = Lifetime {
            soft_octets: Some(9216),
            hard_octets: Some(10_240),
            soft_seconds: Some(1080),
            hard_seconds: Some(1200),
        };
        assert_eq!(way_in.lifetime, expected);
        let way_out = sa(&one, ends[0], ends[1], 5, false).expect("an SA");
        assert_eq!(way_out.encapsulation, Some((4500, 1027)));
        assert_eq!(way_out.replay_window, 0);
        let compressed = SaParameters {
            transform: 2,
            ..parameters(4, 0x1234)
        };
        let way_in = sa(&compressed, ends[1], ends[0], 5, true).expect("an SA");
        assert_eq!(way_in.replay_window, 0);
        assert_eq!(lifetime(None, Some(0)), Lifetime::default());
        assert_eq!(lifetime(Some(1), None).soft_seconds, Some(1));
    }

    #[test]
    fn protocols_go_both_ways() {
        for (isakmp, ip) in [(2, 51), (3, 50), (4, 108)] {
            assert_eq!(ip_protocol(isakmp), ip);
            assert_eq!(isakmp_protocol(ip), Some(isakmp));
        }
        assert_eq!(isakmp_protocol(4), None);
    }
}
