//! Numbers of IKE's own negotiation (RFC 2409 appendix A; isakmpd-wire 1.3).

use super::numbers;

numbers! {
    /// Attributes of a phase 1 transform.
    IkeAttribute: u16 {
        ENCRYPTION_ALGORITHM = 1;
        HASH_ALGORITHM = 2;
        AUTHENTICATION_METHOD = 3;
        GROUP_DESCRIPTION = 4;
        GROUP_TYPE = 5;
        GROUP_PRIME = 6;
        GROUP_GENERATOR_1 = 7;
        GROUP_GENERATOR_2 = 8;
        GROUP_CURVE_A = 9;
        GROUP_CURVE_B = 10;
        LIFE_TYPE = 11;
        LIFE_DURATION = 12;
        PRF = 13;
        /// Bits.
        KEY_LENGTH = 14;
        FIELD_SIZE = 15;
        GROUP_ORDER = 16;
        BLOCK_SIZE = 17;
    }
}

numbers! {
    /// Ciphers of phase 1.
    IkeEncryption: u16 {
        DES_CBC = 1;
        IDEA_CBC = 2;
        BLOWFISH_CBC = 3;
        RC5_R16_B64_CBC = 4;
        DES3_CBC = 5, "3DES_CBC";
        CAST_CBC = 6;
        AES_CBC = 7;
    }
}

numbers! {
    /// Hashes of phase 1.
    IkeHash: u16 {
        MD5 = 1;
        SHA = 2;
        TIGER = 3;
        SHA2_256 = 4;
        SHA2_384 = 5;
        SHA2_512 = 6;
    }
}

numbers! {
    /// How phase 1 is authenticated.
    IkeAuth: u16 {
        PRE_SHARED = 1;
        DSS = 2;
        RSA_SIG = 3;
        RSA_ENC = 4;
        RSA_ENC_REV = 5;
        EL_GAMAL_ENC = 6;
        EL_GAMAL_ENC_REV = 7;
        ECDSA_SIG = 8;
    }
}

numbers! {
    /// Diffie-Hellman groups.
    GroupDescription: u16 {
        MODP_768 = 1;
        MODP_1024 = 2;
        EC2N_155 = 3;
        EC2N_185 = 4;
        MODP_1536 = 5;
        EC2N_163_SECT = 6, "EC2N_163sect";
        EC2N_163_K = 7, "EC2N_163K";
        EC2N_283_SECT = 8, "EC2N_283sect";
        EC2N_283_K = 9, "EC2N_283K";
        EC2N_409_SECT = 10, "EC2N_409sect";
        EC2N_409_K = 11, "EC2N_409K";
        EC2N_571_SECT = 12, "EC2N_571sect";
        EC2N_571_K = 13, "EC2N_571K";
        MODP_2048 = 14;
        MODP_3072 = 15;
        MODP_4096 = 16;
        MODP_6144 = 17;
        MODP_8192 = 18;
        ECP_256 = 19;
        ECP_384 = 20;
        ECP_521 = 21;
        ECP_192 = 25;
        ECP_224 = 26;
        /// brainpoolP224r1.
        BP_224 = 27;
        /// brainpoolP256r1.
        BP_256 = 28;
        /// brainpoolP384r1.
        BP_384 = 29;
        /// brainpoolP512r1.
        BP_512 = 30;
    }
}

numbers! {
    /// What kind of mathematics a group is.
    GroupType: u16 {
        MODP = 1;
        ECP = 2;
        EC2N = 3;
    }
}
