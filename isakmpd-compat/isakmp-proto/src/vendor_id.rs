//! Vendor IDs: what a peer is and can (isakmpd-wire 2.1).

/// MD5("OpenBSD-6.3"), what the reference calls itself.
pub const OPENBSD: [u8; 16] = 0x9826_c552_791a_a180_0ca6_ff33_aaf1_e83b_u128.to_be_bytes();

/// MD5("draft-ietf-ipsec-nat-t-ike-02\n").
pub const NAT_T_DRAFT_02: [u8; 16] = 0x90cb_8091_3ebb_696e_0863_81b5_ec42_7b1f_u128.to_be_bytes();

/// MD5("draft-ietf-ipsec-nat-t-ike-03").
pub const NAT_T_DRAFT_03: [u8; 16] = 0x7d94_19a6_5310_ca6f_2c17_9d92_1552_9d56_u128.to_be_bytes();

/// MD5("RFC 3947").
pub const NAT_T_RFC: [u8; 16] = 0x4a13_1c81_0703_5845_5c57_28f2_0e95_452f_u128.to_be_bytes();

/// Dead peer detection (RFC 3706), version 1.0.
pub const DPD: [u8; 16] = 0xafca_d713_68a1_f1c9_6b86_96fc_7757_0100_u128.to_be_bytes();

/// What a vendor ID stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VendorId {
    /// An isakmpd of this OpenBSD release: its HMACs have 64-octet blocks whatever the hash (isakmpd-wire 3).
    OpenBsd(&'static str),
    /// NAT traversal as in a draft: private payload numbers and encapsulation modes.
    NatTraversalDraft,
    /// NAT traversal as in RFC 3947.
    NatTraversal,
    /// Answers R-U-THERE.
    DeadPeerDetection,
}

/// What these octets stand for; `None` for IDs that say nothing here.
#[must_use]
pub fn recognize(octets: &[u8]) -> Option<VendorId> {
    let id = <[u8; 16]>::try_from(octets).ok()?;
    match id {
        NAT_T_DRAFT_02 | NAT_T_DRAFT_03 => Some(VendorId::NatTraversalDraft),
        NAT_T_RFC => Some(VendorId::NatTraversal),
        DPD => Some(VendorId::DeadPeerDetection),
        _ => OPENBSD_RELEASES
            .iter()
            .find(|(_, digest)| *digest == u128::from_be_bytes(id))
            .map(|(release, _)| VendorId::OpenBsd(release)),
    }
}

/// The vendor IDs of our first message, in the order of the original's.
#[must_use]
pub fn own(nat_traversal: bool) -> Vec<[u8; 16]> {
    let nat: &[[u8; 16]] = if nat_traversal {
        &[NAT_T_DRAFT_02, NAT_T_DRAFT_03, NAT_T_RFC]
    } else {
        &[]
    };
    std::iter::once(OPENBSD)
        .chain(nat.iter().copied())
        .chain([DPD])
        .collect()
}

/// MD5("OpenBSD-" release) of every release since isakmpd announced itself, read as one number.
const OPENBSD_RELEASES: &[(&str, u128)] = &[
    ("3.5", 0x37fc_afa2_a07d_766d_597b_edef_5492_85f7),
    ("3.6", 0x74d2_2193_9347_7e41_1af8_392f_e2fd_8bde),
    ("3.7", 0x612a_4dbe_7534_419a_3e9e_b4ca_c7c7_a536),
    ("3.8", 0x243e_a9b6_b50f_b587_c89b_8912_a783_421f),
    ("3.9", 0xcd3c_1946_7b86_e720_5210_fd83_207c_37d7),
    ("4.0", 0x6c0d_cd48_1dea_e8ae_0b0a_6838_4b30_72f9),
    ("4.1", 0x7072_7ed9_76d3_12a8_9d12_c4a7_63be_45ec),
    ("4.2", 0xa149_ee4f_9887_90a8_c41d_c384_a317_8eb9),
    ("4.3", 0xfb52_13eb_4ed4_cbee_d8b4_f8f0_7679_4045),
    ("4.4", 0x1c97_2d93_dc1a_5460_19cc_2876_f123_4cb6),
    ("4.5", 0xc030_5cda_551d_c624_64b8_7c18_35b7_f155),
    ("4.6", 0xcf43_7106_7132_a9de_8c2b_d643_37c4_2d55),
    ("4.7", 0x8f05_a92b_3d65_60ac_6a04_fdc2_25bc_79b4),
    ("4.8", 0x2989_82db_0a18_5731_d981_f204_3701_ee70),
    ("4.9", 0x0f1a_3810_7f5c_ad20_775f_b72a_1ba6_18fd),
    ("5.0", 0x4f03_8428_6506_edf7_3d49_5ff7_39d3_cc85),
    ("5.1", 0xe763_c2f1_dc1d_0708_c70f_f9db_6ee6_81d3),
    ("5.2", 0xb8f2_6eaa_4cbf_1b9a_150a_3f12_dd64_d183),
    ("5.3", 0x55cc_a345_1034_6604_a166_c5c4_f78d_5340),
    ("5.4", 0x5770_a1fd_b59c_3010_77b3_7783_1aea_30ad),
    ("5.5", 0xde10_e208_e4d1_58e3_f5ca_2b10_7400_eb74),
    ("5.6", 0x0dad_87a0_6ce3_014a_b983_4e13_f75a_2ecd),
    ("5.7", 0x17b5_7a97_3290_fbd7_634d_037c_0523_03ed),
    ("5.8", 0xf812_0394_a7d8_cb90_f14d_5acc_6785_92cd),
    ("5.9", 0x3f2c_9c7b_46a1_33b4_a361_6377_aaa0_98c6),
    ("6.0", 0xa4de_b087_e36d_5379_aa75_8445_729b_e06c),
    ("6.1", 0xcf71_cb15_9cdc_96cd_b685_8609_fd6d_1aff),
    ("6.2", 0x6878_d57b_3edc_95a7_54e3_462c_7dea_ede0),
    ("6.3", 0x9826_c552_791a_a180_0ca6_ff33_aaf1_e83b),
    ("6.4", 0xa3b9_4fa2_20ac_1006_a57e_653c_3988_22b6),
    ("6.5", 0x2824_7719_e4b8_bf58_b31f_b60c_cb60_641f),
    ("6.6", 0xd766_3df5_8c19_6c2b_4c9a_198b_e092_c150),
    ("6.7", 0xb7eb_ea53_820c_cee4_e0c4_7eaa_4c63_fa19),
    ("6.8", 0xf055_3460_3b09_e7d4_065c_aaca_5d26_639e),
    ("6.9", 0xaafd_4544_d50f_57eb_e1d8_73bf_04fb_03b7),
    ("7.0", 0x140e_c8f5_4762_e3b5_c30a_b586_06be_396d),
    ("7.1", 0x951e_4fd9_a07b_6fbf_a9d9_aa05_7152_8974),
    ("7.2", 0x869c_b3bd_8f4f_fac3_0321_32c7_b2b5_a7c7),
    ("7.3", 0xdda1_5059_44bc_e051_6821_8197_ce95_f7f3),
    ("7.4", 0x70bd_c010_7264_4757_cfee_cc3d_f062_3111),
    ("7.5", 0xc075_716a_11ff_7e24_68a4_c2b5_d8d9_a19c),
    ("7.6", 0x0411_a51e_8113_9bd0_f7f8_e621_338a_18ab),
    ("7.7", 0x40f2_5695_01d7_1e57_868b_fcf5_edbc_04e7),
    ("7.8", 0x90d1_d62f_c1a1_f904_31dd_7bbc_13d9_dafc),
    ("7.9", 0x09a4_2e36_ea08_710f_738b_431d_1123_5b92),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_release_is_recognized() {
        assert_eq!(recognize(&OPENBSD), Some(VendorId::OpenBsd("6.3")));
        assert_eq!(OPENBSD_RELEASES.len(), 45);
        for (release, digest) in OPENBSD_RELEASES {
            assert_eq!(
                recognize(&digest.to_be_bytes()),
                Some(VendorId::OpenBsd(release))
            );
        }
        assert_eq!(
            recognize(&NAT_T_DRAFT_02),
            Some(VendorId::NatTraversalDraft)
        );
        assert_eq!(recognize(&NAT_T_RFC), Some(VendorId::NatTraversal));
        assert_eq!(recognize(&DPD), Some(VendorId::DeadPeerDetection));
        assert_eq!(recognize(&DPD[..15]), None);
        assert_eq!(recognize(&[0; 16]), None);
    }

    #[test]
    fn ours_without_nat_traversal() {
        assert_eq!(own(false), [OPENBSD, DPD]);
        assert_eq!(own(true).len(), 5);
    }
}
