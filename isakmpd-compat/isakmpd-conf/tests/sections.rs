//! Sections as the engine gets them, and the words when they cannot be used (isakmpd-config 2, 3 and 5).

use std::net::IpAddr;
use std::time::Duration;

use ike::config::{Amount, Configuration, IdMatch, Lives, Value};
use ike::event::Address;
use ike::sa::Selector;
use isakmp_proto::identity::Identity;
use isakmpd_conf::host::{Host, Interface, Interfaces, Names};
use isakmpd_conf::{Command, Running, Store};

fn running(file: &str) -> Running {
    let interface = |name: &str, address: &str, netmask: &str| Interface {
        name: name.to_owned(),
        address: address.parse().unwrap(),
        netmask: netmask.parse().ok(),
        zone: if address.starts_with("fe80:") { 7 } else { 0 },
    };
    let host = Host {
        names: Names::parse(b"tcp 6 TCP\n", b"https 443/tcp\nisakmp 500/udp\n"),
        interfaces: Interfaces {
            addresses: vec![
                interface("em0", "192.0.2.1", "255.255.255.0"),
                interface("em0", "2001:db8::1", "ffff::"),
                interface("em1", "fe80::1", "ffff:ffff:ffff:ffff::"),
            ],
            default_ipv4: Some("em0".to_owned()),
            default_ipv6: None,
        },
        port: 0,
    };
    Running::new(Store::parse(file.as_bytes()).0, host)
}

fn ip(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

fn amount(offer: u32, min: u32, max: u32) -> Option<Amount> {
    Some(Amount::Number {
        offer,
        accept: min..=max,
    })
}

#[test]
fn general() {
    let general = running("").general();
    assert_eq!(general.retransmits, 3);
    assert_eq!(general.exchange_max_time, Duration::from_secs(120));
    assert_eq!(general.check_interval, Duration::from_secs(60));
    assert_eq!(general.dpd_check_interval, None);
    assert_eq!(general.nat_t_keepalive, Duration::from_secs(20));
    assert!(general.delete_sas && !general.shared_sadb && !general.renegotiate_on_hup);
    let general = running(
        "[General]\nRetransmits=1x\nExchange-max-time=7\nCheck-interval=0\nDPD-check-interval=9\nNAT-T-Keepalive=-1\n\
         Delete-SAs=nope\nShared-SADB=no\nRenegotiate-on-HUP=\n",
    )
    .general();
    assert_eq!(general.retransmits, 1);
    assert_eq!(general.exchange_max_time, Duration::from_secs(7));
    // Not a busy loop.
    assert_eq!(general.check_interval, Duration::from_secs(1));
    assert_eq!(general.dpd_check_interval, Some(Duration::from_secs(9)));
    assert_eq!(general.nat_t_keepalive, Duration::from_secs(20));
    assert!(!general.delete_sas && general.shared_sadb && general.renegotiate_on_hup);
}

#[test]
fn the_peer_of_an_address() {
    let running = running("[Phase 1]\n192.0.2.9= one\n2001:db8::9= two\nDefault= other\n");
    let find = |address: &str| running.peer_for_address(ip(address));
    assert_eq!(find("192.0.2.9"), Some(("one".to_owned(), true)));
    assert_eq!(find("2001:DB8:0::9"), Some(("two".to_owned(), true)));
    assert_eq!(find("192.0.2.8"), Some(("other".to_owned(), false)));
    let running = Running::default();
    assert_eq!(
        running.peer_for_address(ip("::1")),
        Some(("Default-phase-1".to_owned(), false))
    );
    let _ = running.apply(Command::parse(b"C rm [Phase 1]:Default").unwrap());
    assert_eq!(running.peer_for_address(ip("::1")), None);
}

/// A link-local address is a peer's only on its link, unless it is listed for all of them.
#[test]
fn the_peer_of_a_link_local_address() {
    let running = running(
        "[Phase 1]\nfe80::2%em1= one\nfe80::2%8= two\nfe80::3= three\n[one]\nPhase=1\nAddress=fe80::2%em1\n\
         Local-address=fe80::1%7\n[two]\nPhase=1\nAddress=fe80::2%em2\n",
    );
    let on = |zone, address: &str| Address {
        zone,
        ..ip(address)
    };
    let find = |zone, address: &str| running.peer_for_address(on(zone, address)).unwrap().0;
    assert_eq!(find(7, "fe80::2"), "one");
    // Nobody knows the name.
    assert_eq!(find(8, "fe80::2"), "two");
    assert_eq!(find(9, "fe80::2"), "Default-phase-1");
    assert_eq!(find(9, "fe80::3"), "three");
    assert_eq!(find(0, "fe80::3"), "three");
    let one = running.peer("one").unwrap();
    assert_eq!(one.address, Some(on(7, "fe80::2")));
    assert_eq!(one.local_address, Some(on(7, "fe80::1")));
    let error = running.peer("two").err().unwrap();
    assert_eq!(
        error.to_string(),
        "udp_create: address \"fe80::2%em2\" not understood"
    );
}

#[test]
fn a_peer_with_everything() {
    let running = running(
        "[p]\nPhase=1\nTransport=UDP\nAddress=192.0.2.2\nPort=isakmp\nLocal-address=em0\nConfiguration=c\nAuthentication=0xabc\n\
         ID=me\nRemote-ID=you\nFlags=IKECFG, strange\n[me]\nID-type=IPV6_ADDR\nAddress=em0\n[you]\nID-type=user_fqdn\nName=a@b\n",
    );
    let peer = running.peer("p").unwrap();
    assert_eq!(peer.address, Some(ip("192.0.2.2")));
    assert_eq!(peer.port, 500);
    assert_eq!(peer.local_address, Some(ip("192.0.2.1")));
    assert_eq!(peer.configuration, "c");
    assert_eq!(
        peer.authentication.as_ref().unwrap().as_slice(),
        [0x0a, 0xbc]
    );
    assert_eq!(
        peer.id,
        Some(Identity::Address("2001:db8::1".parse().unwrap()))
    );
    assert_eq!(peer.remote_id, Some(Identity::UserFqdn(b"a@b".to_vec())));
    assert!(peer.ikecfg);
    assert_eq!(
        running.take_warnings(),
        ["sa_flag: attribute \"strange\" unknown"]
    );
    assert!(running.take_warnings().is_empty());
}

#[test]
fn the_default_peer() {
    let running = running(
        "[General]\nDefault-phase-1-ID=me\n[me]\nID-type=FQDN\nName=h\u{e5}\n[p]\nPhase=1\n",
    );
    for name in ["Default-phase-1", "p"] {
        let peer = running.peer(name).unwrap();
        assert_eq!(peer.configuration, "Default-phase-1-configuration");
        assert_eq!(peer.id, Some(Identity::Fqdn("h\u{e5}".as_bytes().to_vec())));
        assert!(
            peer.address.is_none() && peer.authentication.is_none() && peer.remote_id.is_none()
        );
    }
    let phase1 = running.phase1("Default-phase-1-configuration").unwrap();
    assert_eq!(
        (phase1.doi, phase1.exchange_type, phase1.transforms.len()),
        (1, 2, 1)
    );
}

#[test]
fn octets_of_names_and_keys_are_those_of_the_file() {
    let (store, _) = Store::parse(
        b"[p]\nPhase=1\nAuthentication=k\xe5y # x\nID=i\n[i]\nID-type=KEY_ID\nName=\xff\xfe\n",
    );
    let running = Running::new(store, Host::default());
    let peer = running.peer("p").unwrap();
    assert_eq!(
        peer.authentication.as_ref().unwrap().as_slice(),
        b"k\xe5y # x"
    );
    assert_eq!(peer.id, Some(Identity::KeyId(vec![0xff, 0xfe])));
    assert_eq!(
        running.authentication_of("p").unwrap().as_slice(),
        b"k\xe5y # x"
    );
    assert!(running.authentication_of("i").is_none());
}

#[track_caller]
fn peer_fails(file: &str, text: &str) {
    let failure = running(&format!("[p]\nPhase=1\n{file}\n")).peer("p").err();
    assert_eq!(
        failure.map(|failure| failure.to_string()).as_deref(),
        Some(text)
    );
}

#[test]
fn peers_that_cannot_be_used() {
    let failure = running("").peer("p").err().unwrap();
    assert_eq!(
        failure.to_string(),
        "exchange_establish: peer \"p\" does not have a correct phase (0)"
    );
    peer_fails(
        "Transport=tcp",
        "exchange_establish: transport \"tcp\" for peer \"p\" could not be created",
    );
    peer_fails(
        "Address=host.example",
        "udp_create: address \"host.example\" not understood",
    );
    peer_fails(
        "Local-address=em7",
        "udp_create: address \"em7\" not understood",
    );
    peer_fails("ID=i", "ipsec_id_size: section i has no \"ID-type\" tag");
    peer_fails(
        "ID=i\n[i]\nID-type=X",
        "ipsec_id_size: unrecognized/unsupported ID-type 0 (X)",
    );
    peer_fails(
        "ID=i\n[i]\nID-type=IPV4_RANGE",
        "ipsec_id_size: unrecognized/unsupported ID-type 7 (IPV4_RANGE)",
    );
    peer_fails(
        "ID=i\n[i]\nID-type=FQDN",
        "ipsec_id_size: section i has no \"Name\" tag",
    );
    peer_fails(
        "ID=i\n[i]\nID-type=IPV4_ADDR",
        "ike_phase_1_send_ID: section i has no \"Address\" tag",
    );
    peer_fails(
        "ID=i\n[i]\nID-type=IPV4_ADDR_SUBNET\nNetwork=10.0.0.0",
        "ike_phase_1_send_ID: section i has no \"Netmask\" tag",
    );
    peer_fails(
        "ID=i\n[i]\nID-type=DER_ASN1_DN\nName=x",
        "ike_phase_1_send_ID: unsupported ID type 9",
    );
    peer_fails(
        "Remote-ID=i\n[i]\nID-type=IPV4_ADDR",
        "ike_phase_1_recv_ID: failed to get Address in Remote-ID section [i]",
    );
    peer_fails(
        "Remote-ID=i\n[i]\nID-type=IPV4_ADDR\nAddress=::1",
        "ike_phase_1_recv_ID: address ::1 not of expected family",
    );
    peer_fails(
        "Remote-ID=i\n[i]\nID-type=IPV4_ADDR\nAddress=x",
        "ike_phase_1_recv_ID: failed to parse address x",
    );
    peer_fails(
        "Remote-ID=i\n[i]\nID-type=IPV4_ADDR_SUBNET",
        "ike_phase_1_recv_ID: unsupported ID type 4",
    );
    // The key itself is not in the text.
    peer_fails(
        "Authentication=0xsecret",
        "ike_auth_get_key: invalid hex key in [p]",
    );
}

#[test]
fn phase_1_transforms() {
    let running = running(
        "[c]\nEXCHANGE_TYPE=aggressive\nDOI=isakmp\nTransforms=AES-SHA2-256-GRP14 , t,u\n\
         [t]\nENCRYPTION_ALGORITHM=ANY\nHASH_ALGORITHM=any\nAUTHENTICATION_METHOD=rsa_sig\nKEY_LENGTH=128,256\nLife=ANY\nPRF=x\n\
         [u]\nGROUP_TYPE=ECP\nFIELD_SIZE=10\nLife=a,b,c,d,e\n[e]\nLIFE_TYPE=ANY\n\
         [a]\nLIFE_TYPE=SECONDS\nLIFE_DURATION=ANY\n[b]\nLIFE_DURATION=1\n[c1]\n[d]\nLIFE_TYPE=kilobytes\n",
    );
    let phase1 = running.phase1("c").unwrap();
    assert_eq!((phase1.doi, phase1.exchange_type), (0, 4));
    let [generated, t, u] = phase1.transforms.as_slice() else {
        panic!()
    };
    assert_eq!(
        (
            generated.encryption,
            generated.hash,
            generated.authentication,
            generated.group
        ),
        (
            Some(Value::Is(7)),
            Some(Value::Is(4)),
            Some(Value::Is(1)),
            Some(Value::Is(14))
        )
    );
    assert_eq!(generated.key_length, amount(128, 128, 256));
    let Lives::These(lives) = &generated.lives else {
        panic!()
    };
    assert_eq!(
        lives
            .first()
            .map(|life| (life.life_type, Some(life.duration.clone()))),
        Some((Value::Is(1), amount(3600, 60, 86400)))
    );
    // ANY is in upper case, and a name in no table is number 0.
    assert_eq!(
        (t.encryption, t.hash, t.authentication, t.group),
        (
            Some(Value::Any),
            Some(Value::Is(0)),
            Some(Value::Is(3)),
            None
        )
    );
    assert_eq!(t.prf, Some(Value::Is(0)));
    assert_eq!(t.lives, Lives::Any);
    // It can be offered, and nothing matches it.
    let Some(Amount::Number { offer: 128, accept }) = &t.key_length else {
        panic!("{:?}", t.key_length)
    };
    assert!(accept.is_empty());
    assert_eq!(
        (u.group_type, u.field_size.clone()),
        (Some(Value::Is(2)), amount(10, 10, 10))
    );
    let Lives::These(lives) = &u.lives else {
        panic!()
    };
    let lives: Vec<_> = lives
        .iter()
        .map(|life| (life.life_type, life.duration.clone()))
        .collect();
    assert_eq!(
        lives,
        [(Value::Is(1), Amount::Any), (Value::Is(2), Amount::Invalid)]
    );
    assert_eq!(
        running.take_warnings(),
        [
            "conf_match_num: section t tag KEY_LENGTH: invalid number spec 128,256",
            "attribute_unacceptable: section [b] has no LIFE_TYPE",
            "attribute_unacceptable: section [c] has no LIFE_TYPE",
            "attribute_unacceptable: section [d] has no LIFE_DURATION",
        ]
    );
}

#[test]
fn phase_1_configurations_that_cannot_be_used() {
    for (file, text) in [
        (
            "",
            "exchange_establish_p1: no \"EXCHANGE_TYPE\" tag in [c] section",
        ),
        (
            "EXCHANGE_TYPE=MAIN",
            "exchange_establish_p1: unknown exchange type MAIN",
        ),
        (
            "EXCHANGE_TYPE=BASE",
            "exchange_establish_p1: unknown exchange type BASE",
        ),
        (
            "DOI=GDOI",
            "exchange_establish_p1: DOI \"GDOI\" unsupported",
        ),
        (
            "EXCHANGE_TYPE=ID_PROT",
            "ike_phase_1_initiator_send_SA: no \"Transforms\" tag in [c] section",
        ),
    ] {
        let failure = running(&format!("[c]\nx=y\n{file}\n"))
            .phase1("c")
            .err()
            .unwrap();
        assert_eq!(failure.to_string(), text);
    }
}

#[test]
fn suites() {
    let running = running(
        "[q]\nExchange_type=Quick_mode\nSuites=QM-ESP-AESGCM-256-PFS-GRP20-SUITE,s\n[s]\nProtocols=QM-AH-SHA,p\n\
         [p]\nPROTOCOL_ID=IPCOMP\nReplayWindow=64\nTransforms=t\n[t]\nTRANSFORM_ID=DEFLATE\nCOMPRESS_DICTIONARY_SIZE=5\nECN_TUNNEL=1\nENCAPSULATION_MODE=TRANSPORT\n",
    );
    let quick_mode = running.quick_mode("q").unwrap();
    let [gcm, bundle] = quick_mode.suites.as_slice() else {
        panic!()
    };
    let protocol = gcm.protocols.first().unwrap();
    assert_eq!((protocol.protocol, protocol.replay_window), (3, 16));
    let transform = protocol.transforms.first().unwrap();
    assert_eq!(
        (
            transform.id,
            transform.encapsulation,
            transform.authentication,
            transform.group
        ),
        (20, Some(Value::Is(1)), None, Some(Value::Is(20)))
    );
    assert_eq!(transform.key_length, amount(256, 256, 256));
    let [ah, ipcomp] = bundle.protocols.as_slice() else {
        panic!()
    };
    assert_eq!(
        (
            ah.protocol,
            ah.transforms
                .first()
                .map(|transform| (transform.id, transform.authentication))
        ),
        (2, Some((3, Some(Value::Is(2)))))
    );
    assert_eq!((ipcomp.protocol, ipcomp.replay_window), (4, 64));
    let transform = ipcomp.transforms.first().unwrap();
    assert_eq!(
        (transform.id, transform.ecn_tunnel, transform.encapsulation),
        (2, Some(Value::Is(1)), Some(Value::Is(2)))
    );
    assert_eq!(transform.compress_dictionary_size, amount(5, 5, 5));
}

#[test]
fn suites_that_cannot_be_used() {
    for (file, text) in [
        (
            "",
            "exchange_establish_p2: no \"EXCHANGE_TYPE\" tag in [q] section",
        ),
        (
            "EXCHANGE_TYPE=ID_PROT",
            "exchange_establish_p2: unknown exchange type ID_PROT",
        ),
        (
            "EXCHANGE_TYPE=QUICK_MODE",
            "initiator_send_HASH_SA_NONCE: no \"Suites\" tag in [q] section",
        ),
        (
            "EXCHANGE_TYPE=QUICK_MODE\nSuites=QM-ESP-DES-SHA-SUITE",
            "suite QM-ESP-DES-SHA-SUITE: single DES is refused, see DES-compat in isakmpd.conf(5)",
        ),
        (
            "EXCHANGE_TYPE=QUICK_MODE\nSuites=s",
            "initiator_send_HASH_SA_NONCE: no \"Protocols\" tag in [s] section",
        ),
        (
            "EXCHANGE_TYPE=QUICK_MODE\nSuites=s\n[s]\nProtocols=p",
            "initiator_send_HASH_SA_NONCE: no \"PROTOCOL_ID\" tag in [p] section",
        ),
        (
            "EXCHANGE_TYPE=QUICK_MODE\nSuites=s\n[s]\nProtocols=p\n[p]\nPROTOCOL_ID=ISAKMP",
            "initiator_send_HASH_SA_NONCE: invalid PROTCOL_ID: ISAKMP",
        ),
        (
            "EXCHANGE_TYPE=QUICK_MODE\nSuites=s\n[s]\nProtocols=p\n[p]\nPROTOCOL_ID=IPSEC_AH\nTransforms=t\n[t]\nTRANSFORM_ID=AES",
            "initiator_send_HASH_SA_NONCE: section [t] has unsupported attribute(s): TRANSFORM_ID AES",
        ),
        (
            "EXCHANGE_TYPE=QUICK_MODE\nSuites=QM-AH-SHA-SUITE\n[QM-AH-SHA-XF]\nGROUP_DESCRIPTION=GRP14",
            "initiator_send_HASH_SA_NONCE: section [QM-AH-SHA-XF] has unsupported attribute(s): GROUP_DESCRIPTION GRP14",
        ),
    ] {
        let failure = running(&format!("[q]\nx=y\n{file}\n"))
            .quick_mode("q")
            .err()
            .unwrap();
        assert_eq!(failure.to_string(), text);
    }
}

const CONNECTIONS: &str = "[Phase 2]\nConnections= a,b\nPassive-connections=A,c,d,e\n[peer]\nPhase=1\n\
    [a]\nPhase=2\nISAKMP-peer=peer\nConfiguration=q\nLocal-ID=net-1\nRemote-ID=net-2\nNAT-ID=net-3\nPF-Tag=t\n\
    [b]\nPhase=2\nISAKMP-peer=peer\nConfiguration=q\nLocal-ID=net-2\nRemote-ID=host\nFlags=active-ONLY,Loose-IDs,__ondemand\n\
    [c]\nLocal-ID=host\nRemote-ID=net-1\n[d]\nLocal-ID=net-3\n[e]\nRemote-ID=net-3\n\
    [net-1]\nID-type=IPV4_ADDR_SUBNET\nNetwork=10.1.0.0\nNetmask=255.255.0.0\nProtocol=tcp\nPort=https\n\
    [net-2]\nID-type=IPV6_ADDR_SUBNET\nNetwork=2001:db8::\nNetmask=ffff:ffff::\n\
    [net-3]\nID-type=IPV4_ADDR_SUBNET\nNetwork=em0\nNetmask=em0\nPort=3\n\
    [host]\nID-type=IPV4_ADDR\nAddress=10.0.0.1\nProtocol=47\n";

fn subnet(network: &str, netmask: &str) -> Identity {
    Identity::Ipv4Subnet(network.parse().unwrap(), netmask.parse().unwrap())
}

#[test]
fn connections() {
    let running = running(CONNECTIONS);
    assert_eq!(running.connections(), ["a", "b"]);
    assert_eq!(running.passive_connections(), ["a", "c", "d"]);
    assert_eq!(
        running.take_warnings(),
        [
            "connection_record_passive: \"Local-ID\" is missing from section [e]",
            "connection_init: could not record passive connection \"e\"",
        ]
    );
    let a = running.connection("a").unwrap();
    assert_eq!((a.peer.as_str(), a.configuration.as_str()), ("peer", "q"));
    let net_1 = subnet("10.1.0.0", "255.255.0.0");
    assert_eq!(
        a.local_id,
        Some(Selector {
            identity: net_1,
            protocol: 6,
            port: 443
        })
    );
    // A port without a protocol is not looked at.
    assert_eq!(
        a.nat_id,
        Some(Selector::from(subnet("192.0.2.1", "255.255.255.0")))
    );
    assert_eq!(a.pf_tag.as_deref(), Some("t"));
    assert!(!a.active_only && !a.on_demand && !a.loose_ids);
    let b = running.connection("b").unwrap();
    assert!(b.active_only && b.on_demand && b.loose_ids);
    assert_eq!(b.remote_id.as_ref().map(|id| id.protocol), Some(47));
    let failures = [
        (
            "c",
            "exchange_establish: peer \"c\" does not have a correct phase (0)",
        ),
        (
            "peer",
            "exchange_establish: peer \"peer\" does not have a correct phase (1)",
        ),
    ];
    for (name, text) in failures {
        assert_eq!(running.connection(name).err().unwrap().to_string(), text);
    }
}

#[test]
fn connections_that_cannot_be_used() {
    for (file, text) in [
        ("", "exchange_establish: No ISAKMP-peer given for \"c\""),
        (
            "ISAKMP-peer=p",
            "exchange_establish: [c]:ISAKMP-peer's (p) phase is not 1",
        ),
        (
            "ISAKMP-peer=Default-phase-1",
            "exchange_establish_p2: no configuration for peer \"c\"",
        ),
        (
            "Local-ID=i",
            "ipsec_get_id: section i has no \"ID-type\" tag",
        ),
        (
            "Local-ID=i\n[i]\nID-type=FQDN",
            "ipsec_get_id: unknown ID type \"FQDN\" in section i",
        ),
        (
            "Local-ID=i\n[i]\nID-type=IPV4_ADDR",
            "ipsec_get_id: section i has no \"Address\" tag",
        ),
        (
            "Local-ID=i\n[i]\nID-type=IPV4_ADDR\nAddress=::1",
            "ipsec_get_id: invalid address ::1 in section i",
        ),
        (
            "Local-ID=i\n[i]\nID-type=IPV4_ADDR_SUBNET\nNetwork=10.0.0.0",
            "ipsec_get_id: section i has no \"Netmask\" tag",
        ),
        (
            "Local-ID=i\n[i]\nID-type=IPV4_ADDR_SUBNET\nNetwork=10.0.0.0\nNetmask=16x",
            "ipsec_get_id: invalid section i network 16x",
        ),
        (
            "Local-ID=i\n[i]\nID-type=IPV4_ADDR\nAddress=1.1.1.1\nProtocol=nix",
            "ipsec_get_proto_port: protocol \"nix\" unknown",
        ),
        (
            "Remote-ID=i\n[i]\nID-type=IPV4_ADDR\nAddress=1.1.1.1\nProtocol=17\nPort=https",
            "ipsec_get_proto_port: port \"https\" unknown",
        ),
    ] {
        let complete = if file.contains("-ID") {
            "ISAKMP-peer=Default-phase-1\nConfiguration=q\n"
        } else {
            ""
        };
        let failure = running(&format!("[c]\nPhase=2\n{complete}{file}\n"))
            .connection("c")
            .err()
            .unwrap();
        assert_eq!(failure.to_string(), text);
    }
}

#[track_caller]
fn found(running: &Running, initiator: &Identity, responder: &Identity) -> String {
    match running.connection_for_ids(initiator, responder, None) {
        IdMatch::Both(connection) => format!("both {}", connection.name),
        IdMatch::LocalOnly(connection) => format!("local {}", connection.name),
        IdMatch::None => "none".to_owned(),
    }
}

#[test]
fn the_connection_of_two_identities() {
    let running = running(CONNECTIONS);
    let net_1 = subnet("10.1.0.0", "255.255.0.0");
    let net_2 = Identity::Ipv6Subnet(
        "2001:db8::".parse().unwrap(),
        "ffff:ffff::".parse().unwrap(),
    );
    let net_3 = subnet("192.0.2.1", "255.255.255.0");
    let host = Identity::Address("10.0.0.1".parse().unwrap());
    let other = Identity::Address("10.0.0.2".parse().unwrap());
    // In either order.
    assert_eq!(found(&running, &net_1, &net_2), "both a");
    assert_eq!(found(&running, &net_2, &net_1), "both a");
    assert_eq!(found(&running, &net_1, &host), "both c");
    // b is Active-only.
    assert_eq!(found(&running, &net_2, &host), "local c");
    assert_eq!(found(&running, &other, &net_1), "local a");
    // Of two local ones the first in the lists.
    assert_eq!(found(&running, &host, &other), "local c");
    // Without a Remote-ID nothing matches d, as in the original.
    assert_eq!(found(&running, &net_3, &other), "none");
    assert_eq!(found(&running, &other, &other), "none");
    // The type counts: the same octets as a range are something else.
    let range = Identity::Ipv4Range("10.1.0.0".parse().unwrap(), "255.255.0.0".parse().unwrap());
    assert_eq!(found(&running, &range, &net_2), "none");
}

#[test]
fn of_two_connections_with_the_same_identities_the_peers_own_comes_first() {
    let running = running(
        "[Phase 2]\nPassive-connections=a,b\n[a]\nISAKMP-peer=one\nLocal-ID=l\nRemote-ID=r\n\
         [b]\nISAKMP-peer=two\nLocal-ID=l\nRemote-ID=r\n[l]\nID-type=IPV4_ADDR\nAddress=10.0.0.1\n\
         [r]\nID-type=IPV4_ADDR\nAddress=10.0.0.2\n",
    );
    let [local, remote] = ["10.0.0.1", "10.0.0.2"].map(|a| Identity::Address(a.parse().unwrap()));
    for (peer, name) in [
        (None, "a"),
        (Some("one"), "a"),
        (Some("TWO"), "b"),
        (Some("three"), "a"),
    ] {
        match running.connection_for_ids(&remote, &local, peer) {
            IdMatch::Both(connection) => assert_eq!(connection.name, name, "{peer:?}"),
            other => panic!("{peer:?}: {other:?}"),
        }
    }
}

#[test]
fn changes_count_from_the_next_look_on() {
    let running = running(CONNECTIONS);
    assert_eq!(
        running.peer("peer").unwrap().configuration,
        "Default-phase-1-configuration"
    );
    let held = running.peer("peer").unwrap();
    assert!(std::rc::Rc::ptr_eq(&held, &running.peer("peer").unwrap()));
    assert!(
        running
            .apply(Command::parse(b"C set [peer]:Configuration=c").unwrap())
            .problems
            .is_empty()
    );
    assert_eq!(running.peer("peer").unwrap().configuration, "c");
    assert_eq!(held.configuration, "Default-phase-1-configuration");
    assert!(
        running
            .reload(Some(b"[Phase 2]\nConnections=x\n"))
            .is_empty()
    );
    assert!(running.peer("peer").is_err());
    assert_eq!(running.connections(), ["x"]);
    assert!(running.passive_connections().is_empty());
}

#[test]
fn mode_config() {
    let running = running(
        "[ipv4/192.0.2.7]\nMode=SET\nAddress=10.0.0.7\nNetmask=255.0.0.0\nNameserver=2001:db8::53\nLifetime=60\nPrefix=64\n\
         [ufqdn/a@b]\nMode=REQUEST\nAttributes=Address, Nameserver\nPrefix=129\n",
    );
    let set = running
        .mode_config(&Identity::Address("192.0.2.7".parse().unwrap()))
        .unwrap();
    assert!(!set.request);
    assert_eq!(
        (set.address, set.nameserver),
        ("10.0.0.7".parse().ok(), "2001:db8::53".parse().ok())
    );
    assert_eq!(
        (set.lifetime, set.prefix, set.wins_server),
        (Some(60), Some(64), None)
    );
    let request = running
        .mode_config(&Identity::UserFqdn(b"a@b".to_vec()))
        .unwrap();
    assert!(request.request && request.prefix.is_none());
    assert_eq!(request.attributes, ["Address", "Nameserver"]);
    assert!(
        running
            .mode_config(&Identity::Fqdn(b"a@b".to_vec()))
            .is_none()
    );
    assert!(
        running
            .mode_config(&Identity::KeyId(b"a@b".to_vec()))
            .is_none()
    );
}

#[test]
fn ten_thousand_peers() {
    let mut file = String::from("[Phase 1]\n");
    let mut names = Vec::new();
    for number in 0..10_000_u32 {
        file.push_str(&format!(
            "{}=peer-{number}\n",
            std::net::Ipv4Addr::from(number + 1)
        ));
        names.push(format!("c{number}"));
    }
    file.push_str(&format!(
        "[Phase 2]\nPassive-connections={}\n[l]\nID-type=IPV4_ADDR\nAddress=10.0.0.1\n",
        names.join(",")
    ));
    for number in 0..10_000_u32 {
        let address = std::net::Ipv4Addr::from(number + 1);
        file.push_str(&format!(
            "[peer-{number}]\nPhase=1\nAddress={address}\nAuthentication=k{number}\n"
        ));
        file.push_str(&format!("[c{number}]\nPhase=2\nISAKMP-peer=peer-{number}\nConfiguration=q\nLocal-ID=l\nRemote-ID=r{number}\n"));
        file.push_str(&format!(
            "[r{number}]\nID-type=IPV4_ADDR\nAddress={address}\n"
        ));
    }
    let running = running(&file);
    let local = Identity::Address("10.0.0.1".parse().unwrap());
    for number in 0..10_000_u32 {
        let address = IpAddr::from(std::net::Ipv4Addr::from(number + 1));
        let (name, listed) = running.peer_for_address(address.into()).unwrap();
        assert!(listed);
        let peer = running.peer(&name).unwrap();
        assert_eq!(peer.address, Some(address.into()));
        assert_eq!(
            found(&running, &Identity::Address(address), &local),
            format!("both c{number}")
        );
    }
}
