//! What `--check` finds, line by line, and that it can tell what is in a file to nobody who should not know.

use isakmpd_conf::check::{Code, Severity, check};
use isakmpd_conf::host::{Host, Interface};
use proptest::collection::vec;
use proptest::prelude::*;

#[track_caller]
fn finds(file: &str, expected: &[(Code, u32)]) {
    let report = check(file.as_bytes(), &Host::default());
    let found: Vec<_> = report
        .findings
        .iter()
        .map(|one| (one.code, one.line.unwrap_or(0)))
        .collect();
    assert_eq!(found, expected, "{}", report.text("file"));
}

/// Zones that are no interface of this host are named, wherever an address may stand.
#[test]
fn zones_of_unknown_interfaces() {
    let file = "[General]\nListen-on= fe80::1%em0, fe80::1%em9,em0\n[Phase 1]\nfe80::2%em0= peer\nfe80::2%em8= peer\n\
        fe80::3%7= peer\n2001:db8::1%em0= peer\n[peer]\nPhase= 1\nAddress= fe80::2%em7\nLocal-address= fe80::1%em6\n\
        Authentication= x\n";
    let link = Interface {
        name: "em0".into(),
        address: "fe80::1".parse().unwrap(),
        netmask: None,
        zone: 7,
    };
    let mut host = Host::default();
    host.interfaces.addresses.push(link);
    let report = check(file.as_bytes(), &host).text("conf");
    let none = "has a link-local address [unknown-interface]";
    for expected in [
        format!("conf:2: warning: [General]:Listen-on: fe80::1%em9: no interface em9 {none}"),
        format!("conf:5: warning: [Phase 1]: fe80::2%em8: no interface em8 {none}"),
        "conf:6: warning: [Phase 1]:fe80::3%7 is never matched: the address is written fe80::3%em0 [never-used]".to_owned(),
        "conf:7: warning: [Phase 1]: 2001:db8::1%em0: only link-local IPv6 addresses have a zone [unknown-interface]".to_owned(),
        format!("conf:10: warning: [peer]:Address: fe80::2%em7: no interface em7 {none}"),
        format!("conf:11: warning: [peer]:Local-address: fe80::1%em6: no interface em6 {none}"),
    ] {
        assert!(report.lines().any(|line| line == expected), "{expected}\n{report}");
    }
    assert_eq!(report.matches("[unknown-interface]").count(), 5, "{report}");
}

/// A file with nothing to find in it but what `more` brings.
fn sound(more: &str) -> String {
    format!(
        "[Phase 1]\n10.0.0.2=peer\n[Phase 2]\nConnections=c\n[peer]\nPhase=1\nAddress=10.0.0.2\nConfiguration=mm\n\
         [c]\nPhase=2\nISAKMP-peer=peer\nConfiguration=qm\nLocal-ID=l\nRemote-ID=r\n[l]\nID-type=IPV4_ADDR\nAddress=10.0.0.1\n\
         [r]\nID-type=IPV4_ADDR\nAddress=10.0.0.2\n[mm]\nEXCHANGE_TYPE=ID_PROT\nTransforms=AES-SHA2-256-GRP14-RSA_SIG\n\
         [qm]\nEXCHANGE_TYPE=QUICK_MODE\nSuites=QM-ESP-AES-SHA2-256-PFS-GRP14-SUITE,QM-ESP-AES-SHA2-256-SUITE2\n\
         [QM-ESP-AES-SHA2-256-SUITE2]\nProtocols=QM-ESP-AESGCM-128-PFS-GRP14\n{more}"
    )
}

/// Where `more` begins in it.
const MORE: u32 = 29;

#[test]
fn nothing_in_a_sound_file_but_who_refuses_it() {
    finds(&sound(""), &[(Code::PeerRefuses, 26)]);
    finds("", &[]);
}

/// What stands behind the = of an indented line is no section that anybody asks for.
#[test]
fn an_indented_line_is_one_finding() {
    let file = sound("").replace(
        "10.0.0.2=peer\n[Phase 2]",
        "10.0.0.2=peer\n\tx= y\n[Phase 2]",
    );
    finds(&file, &[(Code::Indented, 3), (Code::PeerRefuses, 27)]);
}

#[test]
fn what_the_original_keeps_to_itself() {
    let refused = (Code::PeerRefuses, 26);
    for (more, code, line) in [
        ("[peer]\n Flags=ikecfg\n", Code::Indented, 1),
        ("[peer]\nPort=500 # the usual\n", Code::HashInValue, 1),
        ("[peer]\nPort=500\t; the usual\n", Code::HashInValue, 1),
        ("[peer]\nphase=2\n", Code::Duplicate, 1),
        ("[General] Retransmits=3\n", Code::AfterSection, 0),
        ("garbage\n", Code::Syntax, 0),
        ("[X\n", Code::Syntax, 0),
        ("#", Code::Unterminated, 0),
        ("[General]\nRetransmit=3\n", Code::UnknownTag, 1),
        ("[Phase 1]\nhost.example=peer\n", Code::UnknownTag, 1),
        ("[Phase 1]\n2001:db8:0::1=peer\n", Code::NeverUsed, 1),
        ("[c]\nNext-hop=10.0.0.254\n", Code::IgnoredTag, 1),
        ("[extra]\nA=B\n", Code::UnusedSection, 0),
        ("[peer]\nFlags=Active-only\n", Code::UnknownFlag, 1),
        ("[c]\nFlags=Active-only,,\n", Code::EmptyElement, 1),
        ("[c]\nFlags=Active-only,active-ONLY\n", Code::NeverUsed, 1),
        ("[l]\nPort=80\n", Code::NeverUsed, 1),
        ("[l]\nNetmask=255.0.0.0\n", Code::NeverUsed, 1),
        (
            "[General]\nDefault-phase-1-lifetime=60,10\n",
            Code::InvalidNumber,
            1,
        ),
        (
            "[General]\nDefault-phase-2-lifetime=5,60:100\n",
            Code::InvalidNumber,
            1,
        ),
        ("[General]\nRetransmits=three\n", Code::InvalidNumber, 1),
        (
            "[X509-certificates]\nCA-directory=/etc/isakmpd/ca\n",
            Code::NoSlash,
            1,
        ),
        (
            "[General]\nDefault-phase-2-suites=nothing\n",
            Code::MissingSection,
            1,
        ),
        ("[peer]\nAuthentication=key\n", Code::NeverUsed, 1),
        ("[l]\nProtocol=nix\n", Code::Unusable, 0),
    ] {
        // An unusable section is named where it is used, here in line 9.
        let line = if code == Code::Unusable {
            9
        } else {
            MORE + line
        };
        let mut expected = vec![refused, (code, line)];
        expected.sort_by_key(|(_, line)| *line);
        finds(&sound(more), &expected);
    }
    finds(
        &format!("T=v\n{}", sound("")),
        &[(Code::NoSection, 1), (Code::PeerRefuses, 27)],
    );
    finds(
        &sound("[ l ]\nA=B\n"),
        &[
            refused,
            (Code::BlankInSection, MORE),
            (Code::UnusedSection, MORE),
        ],
    );
    finds(
        &sound("[d]\nPhase=2\nISAKMP-peer=peer\nConfiguration=qm\n"),
        &[refused, (Code::UnlistedConnection, MORE)],
    );
}

#[test]
fn what_does_not_go_together() {
    let one = |transforms: &str, mode: &str, key: &str| {
        format!(
            "[Phase 1]\nDefault=p\n[p]\nPhase=1\nConfiguration=m\n{key}\n[m]\nEXCHANGE_TYPE={mode}\nTransforms={transforms}\n"
        )
    };
    finds(
        &one("AES-SHA2-256-GRP14", "ID_PROT", ""),
        &[(Code::NoKey, 3)],
    );
    finds(
        &one("AES-SHA2-256-GRP14", "ID_PROT", "Authentication=k"),
        &[],
    );
    finds(&one("AES-SHA2-256-GRP14-RSA_SIG", "AGGRESSIVE", ""), &[]);
    finds(
        &one("AES-SHA2-256-GRP14", "AGGRESSIVE", ""),
        &[(Code::AggressivePreShared, 9)],
    );
    finds(
        &one(
            "AES-SHA2-256-GRP14-RSA_SIG,AES-SHA2-256-GRP15-RSA_SIG",
            "AGGRESSIVE",
            "",
        ),
        &[(Code::DifferingGroups, 9)],
    );
    finds(
        &one("AES-SHA2-256-GRP14-DSS", "ID_PROT", ""),
        &[(Code::Unsupported, 9)],
    );
    finds(
        &one(
            "AES-MD5-GRP14-RSA_SIG,AES-SHA2-256-GRP14-RSA_SIG",
            "ID_PROT",
            "",
        ),
        &[(Code::Weak, 9)],
    );
    finds(
        &one("3DES-SHA-GRP14-RSA_SIG", "ID_PROT", ""),
        &[(Code::Weak, 9), (Code::PeerRefuses, 9)],
    );
    finds(
        &one("AES-SHA-GRP2-RSA_SIG", "ID_PROT", ""),
        &[
            (Code::Weak, 9),
            (Code::PeerRefuses, 9),
            (Code::PeerRefuses, 9),
        ],
    );
    finds(
        &one("DES-SHA,AES-SHA2-256-GRP14-RSA_SIG", "ID_PROT", ""),
        &[(Code::MissingSection, 9)],
    );
    finds(
        &one(
            "mine",
            "ID_PROT",
            "[mine]\nENCRYPTION_ALGORITHM=AES_CBX\nGROUP_DESCRIPTION=MODP_2048",
        ),
        &[
            (Code::Unusable, 6),
            (Code::Unusable, 6),
            (Code::UnknownName, 7),
            (Code::PeerRefuses, 11),
        ],
    );
    let two = |suites: &str| {
        sound("").replace(
            "QM-ESP-AES-SHA2-256-PFS-GRP14-SUITE,QM-ESP-AES-SHA2-256-SUITE2",
            suites,
        )
    };
    let unused = (Code::UnusedSection, 27);
    finds(
        &two("QM-ESP-AES-SHA2-256-PFS-GRP14-SUITE,QM-ESP-AES-SHA2-256-SUITE"),
        &[(Code::DifferingGroups, 26), unused],
    );
    finds(
        &two("QM-ESP-NULL-SUITE"),
        &[(Code::Weak, 26), (Code::PeerRefuses, 26), unused],
    );
    finds(
        &two("QM-AH-SHA-PFS-GRP14-SUITE"),
        &[(Code::PeerRefuses, 26), unused],
    );
}

#[test]
fn the_words_of_a_finding() {
    let report = check(
        b"[Phase 2]\nConnections=c\n[c]\nPhase=2\n",
        &Host::default(),
    );
    assert_eq!(report.severity(), Some(Severity::Error));
    let text = report.text("isakmpd.conf");
    assert_eq!(
        text.lines().next(),
        Some(
            "isakmpd.conf:3: error: exchange_establish: No ISAKMP-peer given for \"c\" [unusable]"
        )
    );
    assert!(
        text.contains("connection c (line 3):\n  cannot be negotiated\n"),
        "{text}"
    );
    assert_eq!(check(b"", &Host::default()).severity(), None);
}

#[test]
fn no_key_is_in_the_report() {
    for key in [
        "verysecret",
        "verysecret # with a mark",
        "0xverysecret",
        "verysecret,, verysecret",
    ] {
        let file = format!(
            "[Phase 1]\nDefault=p\n[p]\nPhase=1\nAuthentication={key}\nAuthentication={key}2\nPKAuthentication={key}\n Authentication={key}\n"
        );
        let text = check(file.as_bytes(), &Host::default()).text("file");
        assert!(
            text.contains("duplicate") && !text.contains("verysecret"),
            "{text}"
        );
    }
}

/// Names that refer to each other in every way, in circles too.
fn line() -> impl Strategy<Value = String> {
    let name = || {
        prop_oneof![
            Just("a"),
            Just("b"),
            Just("c"),
            Just("General"),
            Just("Phase 1"),
            Just("Phase 2"),
            Just("QM-ESP-AES-SHA-SUITE"),
            Just("AES-SHA")
        ]
    };
    let tag = prop_oneof![
        Just("Phase"),
        Just("Configuration"),
        Just("Transforms"),
        Just("Suites"),
        Just("Protocols"),
        Just("Life"),
        Just("Local-ID"),
        Just("Remote-ID"),
        Just("ISAKMP-peer"),
        Just("Connections"),
        Just("Default"),
        Just("EXCHANGE_TYPE"),
        Just("PROTOCOL_ID"),
        Just("ID-type"),
        Just("Flags"),
    ];
    let value = prop_oneof![
        name().prop_map(str::to_owned),
        "[12]",
        "ID_PROT|AGGRESSIVE|QUICK_MODE|IPSEC_ESP|ANY|IPV4_ADDR",
        "[a-c,]{1,6}",
        "\\PC{0,8}"
    ];
    prop_oneof![
        name().prop_map(|name| format!("[{name}]\n")),
        (tag, value).prop_map(|(tag, value)| format!("{tag}={value}\n")),
    ]
}

proptest! {
    #[test]
    fn any_file_is_looked_at(lines in vec(line(), 0..60), octets in vec(any::<u8>(), 0..600)) {
        for file in [lines.concat().into_bytes(), octets] {
            let report = check(&file, &Host::default());
            let text = report.text("file");
            prop_assert!(text.lines().count() >= report.findings.len());
            prop_assert!(report.findings.is_sorted_by_key(|finding| finding.line.unwrap_or(u32::MAX)));
        }
    }
}
