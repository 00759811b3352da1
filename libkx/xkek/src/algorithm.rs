//! The algorithms of SIGN, DECIPHER and the lists of keys (xkek spec 5).

macro_rules! algorithms {
    ($($code:literal $constant:ident $name:literal,)*) => {
        $(#[doc = $name] pub const $constant: u8 = $code;)*

        /// The name of an algorithm, or nothing for one that is not known.
        #[must_use]
        pub fn name(code: u8) -> Option<&'static str> {
            match code {
                $($code => Some($name),)*
                _ => None,
            }
        }

        /// The algorithm of that name, upper or lower case.
        #[must_use]
        pub fn from_name(name: &str) -> Option<u8> {
            [$(($code, $name)),*]
                .into_iter()
                .find(|(_, known)| known.eq_ignore_ascii_case(name))
                .map(|(code, _)| code)
        }
    };
}

algorithms! {
    0x10 CBC_ENCRYPT "CBC_ENC",
    0x11 CBC_DECRYPT "CBC_DEC",
    0x18 CMAC "CMAC",
    0x20 RSA "RSA",
    0x21 RSA_DECRYPT "RSA_DEC_RAW",
    0x22 RSA_DECRYPT_V15 "RSA_DEC_V15",
    0x23 RSA_DECRYPT_OAEP "RSA_DEC_OAEP",
    0x30 RSA_V15 "RSA_V15",
    0x31 RSA_V15_SHA1 "RSA_V15_SHA1",
    0x32 RSA_V15_SHA224 "RSA_V15_SHA224",
    0x33 RSA_V15_SHA256 "RSA_V15_SHA256",
    0x34 RSA_V15_SHA384 "RSA_V15_SHA384",
    0x35 RSA_V15_SHA512 "RSA_V15_SHA512",
    0x40 RSA_PSS "RSA_PSS",
    0x41 RSA_PSS_SHA1 "RSA_PSS_SHA1",
    0x42 RSA_PSS_SHA224 "RSA_PSS_SHA224",
    0x43 RSA_PSS_SHA256 "RSA_PSS_SHA256",
    0x44 RSA_PSS_SHA384 "RSA_PSS_SHA384",
    0x45 RSA_PSS_SHA512 "RSA_PSS_SHA512",
    0x70 ECDSA "ECDSA",
    0x71 ECDSA_SHA1 "ECDSA_SHA1",
    0x72 ECDSA_SHA224 "ECDSA_SHA224",
    0x73 ECDSA_SHA256 "ECDSA_SHA256",
    0x74 ECDSA_SHA384 "ECDSA_SHA384",
    0x75 ECDSA_SHA512 "ECDSA_SHA512",
    0x80 ECDH "ECDH",
    0x83 ECDH_AUTPUK "ECDH_AUTPUK",
    0x84 ECDH_XKEK "ECDH_XKEK",
    0x92 WRAP "WRAP",
    0x93 UNWRAP "UNWRAP",
    0x94 REPLACE "REPLACE",
    0x98 EC_DERIVE "EC_DERIVE",
    0x99 DERIVE_SP80056C "DERIVE_SP80056C",
}

/// What the vendor's own programs allow an AES key.
pub const AES_DEFAULT: &[u8] = &[CBC_ENCRYPT, CBC_DECRYPT, CMAC, DERIVE_SP80056C];

/// Whether a key with that list may be used so: an empty list allows all.
#[must_use]
pub fn allowed(list: &[u8], code: u8) -> bool {
    list.is_empty() || list.contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_codes() {
        for code in 0..=u8::MAX {
            if let Some(name) = name(code) {
                assert_eq!(from_name(&name.to_lowercase()), Some(code));
            }
        }
        assert_eq!(name(0x84), Some("ECDH_XKEK"));
        assert_eq!((name(0xff), from_name("ROT13")), (None, None));
        assert!(allowed(&[], WRAP) && allowed(&[WRAP], WRAP) && !allowed(&[ECDSA], WRAP));
    }
}
