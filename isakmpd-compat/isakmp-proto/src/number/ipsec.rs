//! Numbers of the IPsec DOI (RFC 2407; isakmpd-wire 1.4, 1.5).

use super::{ike::IkeAttribute, numbers};

numbers! {
    /// Attributes of a phase 2 transform.
    IpsecAttribute: u16 {
        SA_LIFE_TYPE = 1;
        SA_LIFE_DURATION = 2;
        GROUP_DESCRIPTION = 3;
        ENCAPSULATION_MODE = 4;
        AUTHENTICATION_ALGORITHM = 5;
        /// Bits.
        KEY_LENGTH = 6;
        KEY_ROUNDS = 7;
        COMPRESS_DICTIONARY_SIZE = 8;
        COMPRESS_PRIVATE_ALGORITHM = 9;
        ECN_TUNNEL = 10;
    }
}

/// Which attribute table a transform's attributes are read with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttributeClass {
    /// Phase 1: [`IkeAttribute`].
    Ike,
    /// Phase 2: [`IpsecAttribute`].
    Ipsec,
}

impl AttributeClass {
    /// Whether the original takes an attribute of this type in such a transform (isakmpd-wire 5 step 11):
    /// 1 to 16 in phase 1 (17, the block size, not), 1 to 10 in phase 2.
    #[must_use]
    pub fn accepts(self, attribute: u16) -> bool {
        match self {
            Self::Ike => (IkeAttribute::ENCRYPTION_ALGORITHM.0..=IkeAttribute::GROUP_ORDER.0)
                .contains(&attribute),
            Self::Ipsec => {
                (IpsecAttribute::SA_LIFE_TYPE.0..=IpsecAttribute::ECN_TUNNEL.0).contains(&attribute)
            }
        }
    }
}

numbers! {
    /// What a life duration counts, in phase 1 and phase 2 alike.
    LifeType: u16 {
        SECONDS = 1;
        /// Of 1024 octets.
        KILOBYTES = 2;
    }
}

numbers! {
    /// Encapsulation modes.
    Encapsulation: u16 {
        TUNNEL = 1;
        TRANSPORT = 2;
        UDP_ENCAP_TUNNEL = 3;
        UDP_ENCAP_TRANSPORT = 4;
        UDP_ENCAP_TUNNEL_DRAFT = 61443;
        UDP_ENCAP_TRANSPORT_DRAFT = 61444;
    }
}

numbers! {
    /// Authentication algorithms of ESP and AH.
    IpsecAuth: u16 {
        HMAC_MD5 = 1;
        HMAC_SHA = 2;
        DES_MAC = 3;
        KPDK = 4;
        HMAC_SHA2_256 = 5;
        HMAC_SHA2_384 = 6;
        HMAC_SHA2_512 = 7;
        HMAC_RIPEMD = 8;
    }
}

numbers! {
    /// Identification types.
    IdType: u8 {
        IPV4_ADDR = 1;
        FQDN = 2;
        USER_FQDN = 3;
        IPV4_ADDR_SUBNET = 4;
        IPV6_ADDR = 5;
        IPV6_ADDR_SUBNET = 6;
        IPV4_RANGE = 7;
        IPV6_RANGE = 8;
        DER_ASN1_DN = 9;
        DER_ASN1_GN = 10;
        KEY_ID = 11;
    }
}

numbers! {
    /// AH transforms.
    AhTransform: u8 {
        MD5 = 2;
        SHA = 3;
        DES = 4;
        SHA2_256 = 5;
        SHA2_384 = 6;
        SHA2_512 = 7;
        RIPEMD = 8;
    }
}

numbers! {
    /// ESP transforms.
    EspTransform: u8 {
        DES_IV64 = 1;
        DES = 2;
        DES3 = 3, "3DES";
        RC5 = 4;
        IDEA = 5;
        CAST = 6;
        BLOWFISH = 7;
        IDEA3 = 8, "3IDEA";
        DES_IV32 = 9;
        RC4 = 10;
        NULL = 11;
        AES = 12;
        AES_CTR = 13;
        AES_GCM_16 = 20;
        AES_GMAC = 23;
        AES_MARS = 249;
        AES_RC6 = 250;
        AES_RIJNDAEL = 251;
        AES_SERPENT = 252;
        AES_TWOFISH = 253;
    }
}

numbers! {
    /// IPCOMP transforms.
    IpcompTransform: u8 {
        OUI = 1;
        DEFLATE = 2;
        LZS = 3;
        V42BIS = 4;
    }
}
