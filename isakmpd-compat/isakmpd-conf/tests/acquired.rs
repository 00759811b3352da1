//! Connections that are written for packets, and taken away again (isakmpd.md 6.1).

use ike::config::{Configuration, IdMatch};
use isakmp_proto::identity::Identity;
use isakmpd_conf::acquire::{Acquire, Flow};
use isakmpd_conf::host::Host;
use isakmpd_conf::{Command, Running, Store};

fn flow(network: &str, prefix: u8, port: u16) -> Flow {
    Flow {
        network: network.parse().unwrap(),
        prefix,
        port,
    }
}

fn packet() -> Acquire {
    Acquire {
        sequence: 7,
        destination: "192.0.2.2".parse().unwrap(),
        source: Some("192.0.2.1".parse().unwrap()),
        local: flow("10.1.0.0", 16, 0),
        remote: flow("10.2.0.5", 32, 443),
        protocol: 6,
        local_identity: Some(Identity::Fqdn(b"east.example".to_vec())),
        remote_identity: None,
    }
}

fn running(file: &str) -> Running {
    Running::new(Store::parse(file.as_bytes()).0, Host::default())
}

fn dump(running: &Running) -> Vec<String> {
    let mut lines: Vec<String> = running
        .store()
        .dump()
        .iter()
        .map(|line| line.to_string())
        .collect();
    lines.sort();
    lines
}

#[test]
fn the_sections_of_a_packet() {
    let running = running("[General]\nDefault-phase-2-suites=QM-ESP-AES-SHA-SUITE\n");
    assert_eq!(running.acquire(&packet()), "Connection-0");
    let store = running.store();
    for (section, tag, value) in [
        ("Connection-0", "Phase", "2"),
        ("Connection-0", "Flags", "__ondemand"),
        ("Connection-0", "Refcount", "2"),
        ("Connection-0", "Acquire-ID", "7"),
        (
            "Connection-0",
            "ISAKMP-peer",
            "peer-192.0.2.2-local-192.0.2.1",
        ),
        ("Connection-0", "Local-ID", "from-10.1.0.0/16=6"),
        ("Connection-0", "Remote-ID", "to-10.2.0.5=6:443"),
        (
            "Connection-0",
            "Configuration",
            "phase2-from-10.1.0.0/16=6-to-10.2.0.5=6:443",
        ),
        (
            "phase2-from-10.1.0.0/16=6-to-10.2.0.5=6:443",
            "Suites",
            "QM-ESP-AES-SHA-SUITE",
        ),
        ("from-10.1.0.0/16=6", "Netmask", "255.255.0.0"),
        ("to-10.2.0.5=6:443", "Port", "443"),
        (
            "peer-192.0.2.2-local-192.0.2.1",
            "Local-address",
            "192.0.2.1",
        ),
        ("peer-192.0.2.2-local-192.0.2.1", "ID", "id-east.example"),
        (
            "peer-192.0.2.2-local-192.0.2.1",
            "Configuration",
            "phase1-peer-192.0.2.2-local-192.0.2.1",
        ),
        (
            "phase1-peer-192.0.2.2-local-192.0.2.1",
            "Transforms",
            "3DES-SHA-RSA_SIG",
        ),
    ] {
        assert_eq!(
            store.get(section, tag).as_deref(),
            Some(value),
            "[{section}]:{tag}"
        );
    }
    drop(store);
    let connection = running.connection("Connection-0").unwrap();
    assert!(connection.on_demand);
    assert_eq!(
        running
            .quick_mode(&connection.configuration)
            .unwrap()
            .suites
            .len(),
        1
    );
    let peer = running.peer(&connection.peer).unwrap();
    assert_eq!(peer.id, Some(Identity::Fqdn(b"east.example".to_vec())));
    assert_eq!(
        running.phase1(&peer.configuration).unwrap().exchange_type,
        2
    );
}

#[test]
fn nothing_stays_behind() {
    let running = running("[General]\nRetransmits=9\n[Connection-1]\nPhase=2\n");
    let before = dump(&running);
    let mut other = packet();
    other.remote = flow("2001:db8::", 32, 0);
    other.protocol = 0;
    let names: Vec<String> = [packet(), other, packet()]
        .iter()
        .map(|packet| running.acquire(packet))
        .collect();
    // The user's connection of that name is not touched.
    assert_eq!(names, ["Connection-0", "Connection-2", "Connection-3"]);
    assert_eq!(
        running
            .store()
            .get("from-10.1.0.0/16=6", "Refcount")
            .as_deref(),
        Some("2")
    );
    assert_eq!(
        running
            .store()
            .get("to-2001:db8::/32", "Netmask")
            .as_deref(),
        Some("ffff:ffff::")
    );
    // What every change of the user does to what is kept, does nothing to these.
    let _ = running.apply(Command::parse(b"C set [General]:Other=1").unwrap());
    let _ = running.apply(Command::parse(b"C rm [General]:Other").unwrap());
    assert_eq!(running.passive_connections(), names);
    running.release("Connection-0");
    assert_eq!(
        running.passive_connections(),
        ["Connection-2", "Connection-3"]
    );
    assert!(running.peer("peer-192.0.2.2-local-192.0.2.1").is_ok());
    running.release("Connection-0");
    running.release("Connection-1");
    running.release("Connection-3");
    running.release("Connection-2");
    assert!(running.passive_connections().is_empty());
    assert!(running.peer("peer-192.0.2.2-local-192.0.2.1").is_err());
    assert_eq!(dump(&running), before);
}

#[test]
fn what_the_user_wrote_first_is_taken_and_stays() {
    let file = "[peer-192.0.2.2-local-192.0.2.1]\nPhase=1\nAddress=192.0.2.2\nConfiguration=mine\nAuthentication=key\n\
        [mine]\nEXCHANGE_TYPE=AGGRESSIVE\nTransforms=AES-SHA2-256-GRP14\n[to-10.2.0.5=6:443]\nID-type=IPV4_ADDR\nAddress=10.2.0.6\n";
    let running = running(file);
    let before = dump(&running);
    let name = running.acquire(&packet());
    let connection = running.connection(&name).unwrap();
    let peer = running.peer(&connection.peer).unwrap();
    assert_eq!(
        running.phase1(&peer.configuration).unwrap().exchange_type,
        4
    );
    assert!(peer.authentication.is_some() && peer.id.is_none());
    assert_eq!(
        connection.remote_id.as_ref().unwrap().identity,
        Identity::Address("10.2.0.6".parse().unwrap())
    );
    running.release(&name);
    assert_eq!(dump(&running), before);
}

#[test]
fn peers_may_ask_for_it() {
    let running = running(
        "[Phase 2]\nPassive-connections=mine\n[mine]\nLocal-ID=l\nRemote-ID=r\n[l]\nID-type=IPV4_ADDR\nAddress=10.0.0.1\n\
        [r]\nID-type=IPV4_ADDR\nAddress=10.2.0.5\n",
    );
    let local = Identity::Ipv4Subnet("10.1.0.0".parse().unwrap(), "255.255.0.0".parse().unwrap());
    let remote = Identity::Address("10.2.0.5".parse().unwrap());
    let found = || match running.connection_for_ids(&remote, &local, None) {
        IdMatch::Both(connection) => connection.name.clone(),
        IdMatch::LocalOnly(_) => "local only".to_owned(),
        IdMatch::None => "none".to_owned(),
    };
    assert_eq!(found(), "none");
    let (one, other) = (running.acquire(&packet()), running.acquire(&packet()));
    assert_eq!(found(), one);
    running.release(&one);
    assert_eq!(found(), other);
    running.release(&other);
    assert_eq!(found(), "none");
    assert_eq!(running.passive_connections(), ["mine"]);
    // A file read again has nothing of it.
    let _ = running.acquire(&packet());
    assert!(running.reload(None).is_empty());
    assert!(running.passive_connections().is_empty());
}
