//! Debian's strongSwan as the peer, in both roles, phase 2 too: its ESP is in user space, which takes `encap = yes`
//! and an address inside its selector. `KX_ISAKMPD=original` shows what the original does with it.

use interop_tests::isakmpd::configuration::Tunnel;
use interop_tests::isakmpd::with_strongswan::{Peer, both_roles, ready};

macro_rules! suites {
    ($($test:ident: $transform:literal $proposals:literal, $suite:literal $esp:literal;)*) => {$(
        #[test]
        fn $test() {
            let Some(subject) = ready(stringify!($test)) else { return };
            let tunnel = Tunnel::left().with($transform, $suite);
            both_roles(subject, &tunnel, &Peer::psk($proposals, $esp));
        }
    )*};
}

suites! {
    aes_sha256_group_14: "AES-SHA2-256-GRP14" "aes128-sha256-modp2048", "QM-ESP-AES-SHA2-256-SUITE" "aes128-sha256";
    aes_sha1_group_14_pfs: "AES-SHA-GRP14" "aes128-sha1-modp2048", "QM-ESP-AES-SHA-PFS-GRP14-SUITE" "aes128-sha1-modp2048";
    aes256_group_16: "AES-256-SHA2-256-GRP16" "aes256-sha256-modp4096", "QM-ESP-AES-256-SHA2-512-SUITE" "aes256-sha512";
    ecp256_pfs: "AES-SHA2-256-GRP19" "aes128-sha256-ecp256", "QM-ESP-AES-SHA2-256-PFS-GRP19-SUITE" "aes128-sha256-ecp256";
    ecp384_gcm: "AES-256-SHA2-256-GRP20" "aes256-sha256-ecp384", "QM-ESP-AESGCM-256-SUITE" "aes256gcm16";
    brainpool_256: "AES-SHA2-256-GRP28" "aes128-sha256-ecp256bp", "QM-ESP-AES-SHA2-256-SUITE" "aes128-sha256";
    triple_des_group_2: "3DES-SHA" "3des-sha1-modp1024", "QM-ESP-3DES-SHA-PFS-SUITE" "3des-sha1-modp1024";
    triple_des_md5: "3DES-MD5" "3des-md5-modp1024", "QM-ESP-3DES-MD5-SUITE" "3des-md5";
}
