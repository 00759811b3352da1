use super::*;

#[test]
fn ports_are_read_as_the_original_reads_them() {
    let names = Names::parse(b"", b"isakmp 500/udp\nisakmp 501/tcp\n");
    let read = |text: &str| port(OsStr::new(text), &names).map_err(|error| error.to_string());
    assert_eq!(read("500"), Ok(500));
    assert_eq!(read("isakmp"), Ok(500));
    assert_eq!(read("0x10"), Ok(16));
    assert_eq!(read("010x"), Ok(8));
    let range = |number: i64| Err(format!("text2port: port {number} out of range"));
    assert_eq!(read("70000"), range(70000));
    assert_eq!(read("0"), range(0));
    assert_eq!(read("-5"), range(-5));
    assert_eq!(
        read("nosuch"),
        Err("text2port: service \"nosuch\" unknown".to_owned())
    );
}

#[test]
fn what_stands_in_front_of_a_message_is_looked_at() {
    let log = Log::memory();
    assert_eq!(
        strip_marker(b"\0\0\0\0message", &log),
        Some(&b"message"[..])
    );
    for nothing in [
        &b"\xff"[..],
        b"\0\0\0\0\xff",
        b"\0\0\0",
        b"\0\0\0\x01esp",
        b"",
    ] {
        assert_eq!(strip_marker(nothing, &log), None, "{nothing:?}");
    }
}

/// Files whose sockets are at this host, whatever the ports.
struct Any;

impl Files for Any {
    fn open(&self, _: &std::path::Path, _: crate::files::Access) -> io::Result<std::fs::File> {
        Err(ErrorKind::Unsupported.into())
    }

    fn read_directory(&self, _: &std::path::Path) -> io::Result<Vec<crate::files::Entry>> {
        Err(ErrorKind::Unsupported.into())
    }

    fn bind(&self, address: SocketAddr, exclusive: bool) -> io::Result<Udp> {
        let receive_buffer = 1 << 16;
        Udp::bind(
            address,
            kx_sys::udp::Binding {
                exclusive,
                receive_buffer,
            },
        )
    }

    fn default_interfaces(&self) -> [Option<String>; 2] {
        [None, None]
    }
}

fn loopback(last: u8, up: bool) -> InterfaceAddress {
    InterfaceAddress {
        interface: "lo".to_owned(),
        address: ([127, 0, 0, last], 0).into(),
        netmask: None,
        up,
    }
}

/// Two ports that are free at the moment.
fn listening() -> Listening {
    let one = std::net::UdpSocket::bind("0.0.0.0:0").expect("bound");
    let two = std::net::UdpSocket::bind("0.0.0.0:0").expect("bound");
    let port = |socket: &std::net::UdpSocket| socket.local_addr().expect("address").port();
    Listening {
        ipv4: true,
        ipv6: false,
        port: port(&one),
        nat_t_port: Some(port(&two)),
    }
}

#[test]
fn a_message_to_a_new_address_is_not_lost_and_is_answered_from_it() {
    let log = Log::memory();
    let around = Surroundings {
        files: &Any,
        log: &log,
    };
    let listening = listening();
    let (port, nat_t_port) = (listening.port, listening.nat_t_port.expect("a port"));
    let mut sockets = Sockets::new(listening).expect("a list");
    let first = [loopback(1, true), loopback(7, false)];
    sockets.scan(&first, None, true, &around).expect("opened");
    assert_eq!(sockets.local_addresses(), [([127, 0, 0, 1], port).into()]);
    // One pair at the address, one at all of them.
    assert_eq!(sockets.ends.len(), 4);
    let peer = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
    peer.set_read_timeout(Some(std::time::Duration::from_secs(20)))
        .expect("patience");
    peer.send_to(b"\0\0\0\0hello", ("127.0.0.9", nat_t_port))
        .expect("sent");
    let mut got = Vec::new();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while got.is_empty() && std::time::Instant::now() < end {
        for place in 0..4 {
            let unknown = sockets.receive(place, &log, |path, octets| {
                got.push((path, octets.to_vec()));
            });
            assert_eq!(unknown.expect("received"), !got.is_empty());
            if !got.is_empty() {
                break;
            }
        }
    }
    let (path, octets) = got.pop().expect("a message");
    assert_eq!(octets, b"hello");
    assert!(path.encapsulated);
    assert_eq!(path.local, ([127, 0, 0, 9], nat_t_port).into());
    let mut buffer = [0; 32];
    for known in [false, true] {
        if known {
            let both = [loopback(1, true), loopback(9, true)];
            sockets.scan(&both, None, false, &around).expect("opened");
            assert_eq!(sockets.ends.len(), 6);
        }
        let transmit = Transmit {
            path,
            keepalive: known,
        };
        sockets.send(&transmit, b"x", &log);
        let (length, from) = peer.recv_from(&mut buffer).expect("answered");
        assert_eq!(from, path.local);
        let expected: &[u8] = if known { b"x" } else { b"\0\0\0\0x" };
        assert_eq!(&buffer[..length], expected);
    }
    // Gone again.
    sockets
        .scan(&[loopback(9, true)], None, false, &around)
        .expect("scanned");
    assert_eq!(sockets.local_addresses(), [([127, 0, 0, 9], port).into()]);
    // Listed ones only, and none for all.
    let listed = [Address::from(IpAddr::from([127, 0, 0, 1]))];
    let both = [loopback(1, true), loopback(9, true)];
    sockets
        .scan(&both, Some(&listed), false, &around)
        .expect("scanned");
    assert_eq!(sockets.local_addresses(), [([127, 0, 0, 1], port).into()]);
    assert_eq!(sockets.ends.len(), 2);
}

#[test]
fn a_port_that_another_has_is_fatal_at_first() {
    let log = Log::memory();
    let around = Surroundings {
        files: &Any,
        log: &log,
    };
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
    let mut listening = listening();
    listening.port = taken.local_addr().expect("address").port();
    let mut sockets = Sockets::new(listening).expect("a list");
    let error = sockets.scan(&[loopback(1, true)], None, true, &around);
    assert_eq!(
        error.expect_err("taken").to_string(),
        "virtual_init: could not bind the ISAKMP port(s) on all interfaces"
    );
    let texts = log.texts();
    assert!(
        texts[0].starts_with("Default udp_make: bind (2, 127.0.0.1:"),
        "{texts:?}"
    );
    assert_eq!(
        texts[1],
        "Default virtual_bind_if: failed to create a socket on 127.0.0.1"
    );
}

#[test]
fn what_is_ready_is_found_after_others_have_gone() {
    let log = Log::memory();
    let around = Surroundings {
        files: &Any,
        log: &log,
    };
    let listening = listening();
    let port = listening.port;
    let mut sockets = Sockets::new(listening).expect("a list");
    let both = [loopback(21, true), loopback(22, true)];
    sockets.scan(&both, None, true, &around).expect("opened");
    assert_eq!(sockets.ready().expect("asked"), []);
    // The places of those behind it change.
    sockets
        .scan(&both[1..], None, false, &around)
        .expect("scanned");
    let peer = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
    peer.send_to(b"hello", ("127.0.0.22", port)).expect("sent");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let mut got = Vec::new();
    while got.is_empty() && std::time::Instant::now() < end {
        for place in sockets.ready().expect("asked") {
            let received = sockets.receive(place, &log, |path, octets| {
                got.push((path.local, octets.to_vec()));
            });
            received.expect("received");
        }
    }
    assert_eq!(got, [(([127, 0, 0, 22], port).into(), b"hello".to_vec())]);
    assert_eq!(sockets.ready().expect("asked"), []);
}
