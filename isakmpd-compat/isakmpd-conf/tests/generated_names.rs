//! Every generated section (isakmpd-config 4): the names written out by the rule, the values by table.

use isakmpd_conf::Store;

const GROUPS: [(&str, &str); 18] = [
    ("", "MODP_1024"),
    ("-GRP1", "MODP_768"),
    ("-GRP2", "MODP_1024"),
    ("-GRP5", "MODP_1536"),
    ("-GRP14", "MODP_2048"),
    ("-GRP15", "MODP_3072"),
    ("-GRP16", "MODP_4096"),
    ("-GRP17", "MODP_6144"),
    ("-GRP18", "MODP_8192"),
    ("-GRP19", "ECP_256"),
    ("-GRP20", "ECP_384"),
    ("-GRP21", "ECP_521"),
    ("-GRP25", "ECP_192"),
    ("-GRP26", "ECP_224"),
    ("-GRP27", "BP_224"),
    ("-GRP28", "BP_256"),
    ("-GRP29", "BP_384"),
    ("-GRP30", "BP_512"),
];

fn get(store: &Store, section: &str, tag: &str) -> Option<String> {
    store.get(section, tag).map(|value| value.into_owned())
}

fn some(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

#[test]
fn all_main_mode_names() {
    let ciphers = [
        ("BLF", "BLOWFISH_CBC", "128,96:192"),
        ("3DES", "3DES_CBC", ""),
        ("CAST", "CAST_CBC", ""),
        ("AES", "AES_CBC", "128,128:256"),
        ("AES-128", "AES_CBC", "128,128:128"),
        ("AES-192", "AES_CBC", "192,192:192"),
        ("AES-256", "AES_CBC", "256,256:256"),
    ];
    let hashes = [
        ("MD5", "MD5"),
        ("SHA", "SHA"),
        ("SHA2-256", "SHA2_256"),
        ("SHA2-384", "SHA2_384"),
        ("SHA2-512", "SHA2_512"),
    ];
    let methods = [("", "PRE_SHARED"), ("-DSS", "DSS"), ("-RSA_SIG", "RSA_SIG")];
    let store = Store::new();
    let mut count = 0;
    for (cipher, encryption, key_length) in ciphers {
        for (hash, algorithm) in hashes {
            for (group, description) in GROUPS {
                for (suffix, method) in methods {
                    let name = format!("{cipher}-{hash}{group}{suffix}");
                    assert_eq!(
                        get(&store, &name, "ENCRYPTION_ALGORITHM"),
                        some(encryption),
                        "{name}"
                    );
                    assert_eq!(get(&store, &name, "KEY_LENGTH"), some(key_length), "{name}");
                    assert_eq!(
                        get(&store, &name, "HASH_ALGORITHM"),
                        some(algorithm),
                        "{name}"
                    );
                    assert_eq!(
                        get(&store, &name, "AUTHENTICATION_METHOD"),
                        some(method),
                        "{name}"
                    );
                    assert_eq!(
                        get(&store, &name, "GROUP_DESCRIPTION"),
                        some(description),
                        "{name}"
                    );
                    assert_eq!(get(&store, &name, "Life"), some("LIFE_MAIN_MODE"), "{name}");
                    assert_eq!(
                        store.tags(&name).len(),
                        if key_length.is_empty() { 5 } else { 6 },
                        "{name}"
                    );
                    assert!(store.has_section(&name.to_ascii_lowercase()));
                    count += 1;
                }
            }
        }
    }
    assert_eq!(count, 1890);
}

#[test]
fn all_quick_mode_names() {
    let ciphers = [
        ("3DES", "3DES", ""),
        ("CAST", "CAST", ""),
        ("BLF", "BLOWFISH", "128,96:192"),
        ("AES", "AES", "128,128:256"),
        ("AES-128", "AES", "128,128:128"),
        ("AES-192", "AES", "192,192:192"),
        ("AES-256", "AES", "256,256:256"),
        ("AESCTR", "AES_CTR", ""),
        ("AESCTR-128", "AES_CTR", "128,128:128"),
        ("AESCTR-192", "AES_CTR", "192,192:192"),
        ("AESCTR-256", "AES_CTR", "256,256:256"),
        ("AESGCM-128", "AES_GCM_16", "128,128:128"),
        ("AESGCM-192", "AES_GCM_16", "192,192:192"),
        ("AESGCM-256", "AES_GCM_16", "256,256:256"),
        ("AESGMAC-128", "AES_GMAC", "128,128:128"),
        ("AESGMAC-192", "AES_GMAC", "192,192:192"),
        ("AESGMAC-256", "AES_GMAC", "256,256:256"),
        ("NULL", "NULL", ""),
        ("", "", ""),
    ];
    let hashes = [
        ("", "", ""),
        ("-MD5", "HMAC_MD5", "MD5"),
        ("-SHA", "HMAC_SHA", "SHA"),
        ("-RIPEMD", "HMAC_RIPEMD", "RIPEMD"),
        ("-SHA2-256", "HMAC_SHA2_256", "SHA2_256"),
        ("-SHA2-384", "HMAC_SHA2_384", "SHA2_384"),
        ("-SHA2-512", "HMAC_SHA2_512", "SHA2_512"),
    ];
    let store = Store::new();
    let (compatible, problems) = Store::parse(b"[General]\nGCM-PFS-compat=\n");
    assert!(problems.is_empty());
    let mut groups = vec![("", "")];
    groups.extend(GROUPS);
    let mut count = 0;
    for protocol in ["ESP", "AH"] {
        for (mode, encapsulation) in [("", "TUNNEL"), ("-TRP", "TRANSPORT")] {
            for (cipher, transform, key_length) in ciphers {
                for (hash, authentication, ah_transform) in hashes {
                    for (index, (group, description)) in groups.iter().enumerate() {
                        let cipher = if cipher.is_empty() {
                            String::new()
                        } else {
                            format!("-{cipher}")
                        };
                        let pfs = if index == 0 { "" } else { "-PFS" };
                        let name = format!("QM-{protocol}{mode}{cipher}{hash}{pfs}{group}");
                        let (suite, xf) = (format!("{name}-SUITE"), format!("{name}-XF"));
                        let is_there = if protocol == "AH" {
                            cipher.is_empty() && !hash.is_empty()
                        } else {
                            !cipher.is_empty() && (hash.is_empty() || !cipher.contains("-AESG"))
                        };
                        for name in [&name, &suite, &xf] {
                            assert_eq!(store.has_section(name), is_there, "{name}");
                            assert_eq!(
                                store.has_section(&name.to_ascii_lowercase()),
                                is_there,
                                "{name}"
                            );
                        }
                        if !is_there {
                            continue;
                        }
                        count += 1;
                        assert_eq!(get(&store, &suite, "Protocols"), some(&name));
                        assert_eq!(
                            get(&store, &name, "PROTOCOL_ID"),
                            some(&format!("IPSEC_{protocol}"))
                        );
                        assert_eq!(get(&store, &name, "Transforms"), some(&xf));
                        let id = if protocol == "AH" {
                            ah_transform
                        } else {
                            transform
                        };
                        assert_eq!(get(&store, &xf, "TRANSFORM_ID"), some(id));
                        assert_eq!(get(&store, &xf, "KEY_LENGTH"), some(key_length), "{name}");
                        assert_eq!(get(&store, &xf, "ENCAPSULATION_MODE"), some(encapsulation));
                        assert_eq!(
                            get(&store, &xf, "AUTHENTICATION_ALGORITHM"),
                            some(authentication)
                        );
                        // Also without a hash: that is what the name says.
                        assert_eq!(
                            get(&store, &xf, "GROUP_DESCRIPTION"),
                            some(description),
                            "{name}"
                        );
                        let original = if hash.is_empty() { "" } else { description };
                        assert_eq!(
                            get(&compatible, &xf, "GROUP_DESCRIPTION"),
                            some(original),
                            "{name}"
                        );
                        assert_eq!(get(&store, &xf, "Life"), some("LIFE_QUICK_MODE"));
                    }
                }
            }
        }
    }
    assert_eq!(count, 3420 + 228);
}

#[test]
fn what_only_looks_like_a_name() {
    let store = Store::new();
    for name in [
        "",
        "-",
        "AES",
        "AES-",
        "AES-SHA-",
        "AES-SHA--GRP14",
        "AES-SHA-GRP3",
        "AES-SHA-GRP",
        "AES-SHA-RSA_SIG-GRP14",
        "AES-RIPEMD",
        "AES-128-GRP14",
        "AESX-SHA",
        "AES-SHAX",
        "SHA-AES",
        "QM",
        "QM-",
        "QM-ESP",
        "QM-ESP-SUITE",
        "QM-ESP-AES-SHA-",
        "QM-ESP-AES-SHA--SUITE",
        "QM-ESP-AES-SHA-GRP14-SUITE",
        "QM-ESP-AES-SHA-PFS-GRP3-SUITE",
        "QM-ESP-AES-SHA-SUITE-XF",
        "QM-ESP-AES-SHA-PFS-TRP-SUITE",
        "QM-AH-SUITE",
        "QM-AH-AES-SHA-SUITE",
        "QM-ESP-AESGCM-SUITE",
        "QM-ESP-AESGCM-128-SHA-SUITE",
        "QM-ESP-SHA-SUITE",
        "QM-IPCOMP-SUITE",
        "-SUITE",
        "-XF",
        "é-SHA",
        "AES-é",
        "QM-ESP-é-SUITE",
    ] {
        assert!(!store.has_section(name), "{name}");
        assert!(store.tags(name).is_empty(), "{name}");
    }
}

#[test]
fn single_des_of_2004_is_recognised_and_refused() {
    let (compatible, _) = Store::parse(b"[General]\nDES-compat=\tyes\n");
    let names = [
        "DES-MD5",
        "DES-SHA-GRP14-RSA_SIG",
        "QM-ESP-DES-MD5-PFS-SUITE",
        "qm-esp-trp-des-sha-xf",
    ];
    for name in names {
        assert!(isakmpd_conf::defaults::is_refused(name), "{name}");
        assert!(!Store::new().has_section(name), "{name}");
        assert!(compatible.has_section(name), "{name}");
    }
    assert_eq!(
        get(&compatible, "DES-SHA", "ENCRYPTION_ALGORITHM"),
        some("DES_CBC")
    );
    assert_eq!(
        get(&compatible, "QM-ESP-DES-SHA-XF", "TRANSFORM_ID"),
        some("DES")
    );
    assert_eq!(get(&compatible, "QM-ESP-DES-SHA-XF", "KEY_LENGTH"), None);
    assert!(!isakmpd_conf::defaults::is_refused("3DES-SHA"));
}

#[test]
fn fixed_defaults() {
    let store = Store::new();
    for (section, tag, value) in [
        ("General", "Retransmits", "3"),
        ("General", "Exchange-max-time", "120"),
        ("General", "Use-Keynote", "yes"),
        ("General", "Policy-file", "/etc/isakmpd/isakmpd.policy"),
        ("General", "Pubkey-directory", "/etc/isakmpd/pubkeys/"),
        ("General", "Delete-SAs", "yes"),
        ("X509-certificates", "CA-directory", "/etc/isakmpd/ca/"),
        ("X509-certificates", "Cert-directory", "/etc/isakmpd/certs/"),
        ("X509-certificates", "CRL-directory", "/etc/isakmpd/crls/"),
        (
            "X509-certificates",
            "Private-key",
            "/etc/isakmpd/private/local.key",
        ),
        (
            "X509-certificates",
            "Private-key-directory",
            "/etc/isakmpd/private/",
        ),
        ("KeyNote", "Credential-directory", "/etc/isakmpd/keynote/"),
        ("LIFE_MAIN_MODE", "LIFE_TYPE", "SECONDS"),
        ("LIFE_MAIN_MODE", "LIFE_DURATION", "3600,60:86400"),
        ("LIFE_QUICK_MODE", "LIFE_TYPE", "SECONDS"),
        ("LIFE_QUICK_MODE", "LIFE_DURATION", "1200,60:86400"),
        ("Default-phase-1-configuration", "EXCHANGE_TYPE", "ID_PROT"),
        (
            "Default-phase-1-configuration",
            "Transforms",
            "3DES-SHA-RSA_SIG",
        ),
        ("Phase 1", "Default", "Default-phase-1"),
        ("Default-phase-1", "Phase", "1"),
        (
            "Default-phase-1",
            "Configuration",
            "Default-phase-1-configuration",
        ),
    ] {
        assert_eq!(get(&store, section, tag), some(value), "[{section}]:{tag}");
        assert_eq!(
            get(
                &store,
                &section.to_ascii_uppercase(),
                &tag.to_ascii_uppercase()
            ),
            some(value)
        );
    }
    // What the code has a default of its own for is not in the table.
    for tag in [
        "Check-interval",
        "NAT-T-Keepalive",
        "DPD-check-interval",
        "Default-phase-2-suites",
        "Listen-on",
    ] {
        assert_eq!(get(&store, "General", tag), None);
    }
    assert_eq!(get(&store, "Default-phase-1", "ID"), None);
    assert_eq!(store.tags("Default-phase-1"), ["Phase", "Configuration"]);
}

#[test]
fn three_tags_feed_the_defaults() {
    let file = b"[General]\nDefault-phase-1-lifetime= 100,50:200\nDefault-phase-2-lifetime=\t30\ndefault-phase-1-id= my-id\n\
        [LIFE_QUICK_MODE]\nLIFE_TYPE= KILOBYTES\n";
    let (store, problems) = Store::parse(file);
    assert!(problems.is_empty());
    assert_eq!(
        get(&store, "LIFE_MAIN_MODE", "LIFE_DURATION"),
        some("100,50:200")
    );
    assert_eq!(get(&store, "LIFE_QUICK_MODE", "LIFE_DURATION"), some("30"));
    // Tags are set over one by one, the others stay.
    assert_eq!(
        get(&store, "LIFE_QUICK_MODE", "LIFE_TYPE"),
        some("KILOBYTES")
    );
    assert_eq!(get(&store, "Default-phase-1", "ID"), some("my-id"));
    assert_eq!(
        store.tags("Default-phase-1"),
        ["Phase", "Configuration", "ID"]
    );
}
