//! What killed, stalled or opened the original ("tcpcrypt spec 3.3, 4.1, 5.1"), and how the
//! daemon bears a bad network. Foul play of the other end is in `tcpcrypt_foul_play.rs`.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use interop_tests::lab::applications::{
    accept, exchange, expect_reset, local, read_exactly, remote, talk,
};
use interop_tests::lab::case::case;
use interop_tests::lab::control::{NETSTAT, NOBODY, RESET, SESSID};
use interop_tests::lab::daemon::Daemon;
use interop_tests::lab::scenarios::{
    ANSWER, QUESTION, assert_secret, close_both, id_of, one_talk, slow,
};
use interop_tests::lab::wire_checks::{assert_only_records, opening};
use interop_tests::lab::{Lab, PORT, Settings};

fn with_daemons(name: &str, body: impl Fn(&Lab, Daemon<'_>, Daemon<'_>)) {
    with_settings(name, Settings::default(), body);
}

fn with_settings(name: &str, settings: Settings, body: impl Fn(&Lab, Daemon<'_>, Daemon<'_>)) {
    case(name, settings, |lab, pair| {
        let client = Daemon::start(&lab.client, pair.client, &[]);
        let server = Daemon::start(&lab.server, pair.server, &[]);
        lab.divert(&PORT.to_string());
        body(lab, client, server);
    });
}

#[test]
fn three_thousand_closes_in_ten_seconds() {
    with_daemons(
        "three_thousand_closes_in_ten_seconds",
        |lab, client, server| {
            let listener = lab.server.listen(PORT);
            let begin = Instant::now();
            for number in 0..3000 {
                let one = || -> std::io::Result<()> {
                    let (near, far) = lab.connect_to(&listener)?;
                    talk(&near, &far, b"four", b"four")?;
                    close_both(near, far);
                    Ok(())
                };
                one().unwrap_or_else(|e| panic!("connection {number}: {e}"));
            }
            eprintln!("3,000 connections: {:?}", begin.elapsed());
            client.assert_well("3,000 closes");
            server.assert_well("3,000 closes");
            drop(listener);
            one_talk(lab, &client, &server);
        },
    );
}

#[test]
fn an_upload_under_two_percent_loss_ends() {
    with_daemons(
        "an_upload_under_two_percent_loss_ends",
        |lab, client, server| {
            lab.lose(0.02);
            let size = if slow() { 3_000_000 } else { 300_000 };
            for _ in 0..3 {
                let begin = Instant::now();
                let (near, far) = lab.connection(PORT).expect("connecting");
                exchange(&near, &far, size, 0).expect("the upload");
                eprintln!("{size} bytes under 2 % loss: {:?}", begin.elapsed());
            }
            client.assert_well("loss");
            server.assert_well("loss");
        },
    );
}

#[test]
fn bulk_both_ways_under_half_a_percent_of_loss() {
    let name = "bulk_both_ways_under_half_a_percent_of_loss";
    with_daemons(name, |lab, client, server| {
        lab.lose(0.005);
        let size = if slow() { 20_000_000 } else { 3_000_000 };
        for (up, down) in [(size, 0), (0, size), (size / 2, size / 2)] {
            let begin = Instant::now();
            let (near, far) = lab.connection(PORT).expect("connecting");
            exchange(&near, &far, up, down).expect("the exchange");
            eprintln!("{up}/{down} bytes under 0.5 % loss: {:?}", begin.elapsed());
        }
        client.assert_well("loss");
        server.assert_well("loss");
    });
}

/// Loses exactly one packet: each of the first ones of either direction in turn, of a full
/// exchange or of a resumed one.
fn any_early_packet(name: &str, options: &[&str]) {
    case(name, Settings::default(), |lab, pair| {
        let client = Daemon::start(&lab.client, pair.client, options);
        let server = Daemon::start(&lab.server, pair.server, options);
        lab.divert(&PORT.to_string());
        one_talk(lab, &client, &server);
        let tap = lab.tap();
        for host in [&lab.server, &lab.client] {
            for lost in 0..7 {
                let what = format!("packet {lost} toward {}", host.address);
                host.rule(&format!(
                    "-t mangle -A PREROUTING -p tcp -m statistic --mode nth \
                     --every 100000 --packet {lost} -j DROP"
                ));
                let (near, far) = lab.connection(PORT).expect(&what);
                talk(&near, &far, QUESTION, ANSWER).unwrap_or_else(|e| panic!("{what}: {e}"));
                id_of(&client, &server, &near);
                close_both(near, far);
                host.lose_nothing();
            }
        }
        assert_secret(&tap);
        client.assert_well("lost packets");
        server.assert_well("lost packets");
    });
}

#[test]
fn the_loss_of_any_early_packet_of_a_full_exchange() {
    any_early_packet("the_loss_of_any_early_packet_of_a_full_exchange", &["-c"]);
}

#[test]
fn the_loss_of_any_early_packet_of_a_resumed_exchange() {
    any_early_packet("the_loss_of_any_early_packet_of_a_resumed_exchange", &[]);
}

#[test]
fn every_packet_twice() {
    with_daemons("every_packet_twice", |lab, client, server| {
        for (host, other) in [(&lab.client, &lab.server), (&lab.server, &lab.client)] {
            // The copy goes out as if it was made here, so that it must pass the queue by.
            host.rule("-t mangle -A POSTROUTING -p tcp -j MARK --set-mark 7");
            host.rule(&format!(
                "-t mangle -A POSTROUTING -p tcp -j TEE --gateway {}",
                other.address
            ));
            host.rule("-I OUTPUT -m mark --mark 7 -j ACCEPT");
        }
        for _ in 0..3 {
            one_talk(lab, &client, &server);
        }
        let (near, far) = lab.connection(PORT).expect("connecting");
        exchange(&near, &far, 1_000_000, 1_000_000).expect("the exchange");
    });
}

#[test]
fn syns_with_ecn_are_encrypted() {
    let settings = Settings {
        ecn: true,
        ..Settings::default()
    };
    with_settings(
        "syns_with_ecn_are_encrypted",
        settings,
        |lab, client, server| {
            let tap = lab.tap();
            for round in 0..3 {
                let (_, port) = one_talk(lab, &client, &server);
                let seen = tap.segments();
                let with_ecn = |s: &interop_tests::lab::segment::Segment| {
                    s.source.port() == port && s.flags & 0xc2 == 0xc2
                };
                assert!(seen.iter().any(with_ecn), "no SYN with ECE and CWR");
                assert_eq!(opening(&seen, port).exchanged, round == 0);
                assert_only_records(&seen, port);
            }
            assert_secret(&tap);
        },
    );
}

#[test]
fn an_application_that_reads_late_gets_everything() {
    let name = "an_application_that_reads_late_gets_everything";
    with_daemons(name, |lab, _client, _server| {
        let (near, far) = lab.connection(PORT).expect("connecting");
        let data = interop_tests::lab::applications::Pattern::new(5, 6_000_000);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                data.clone().write_to(&near)?;
                near.shutdown(std::net::Shutdown::Write)
            });
            // The window closes and stays closed through several probes.
            std::thread::sleep(Duration::from_secs(3));
            data.clone().expect_from(&far).expect("all of it");
            writer.join().expect("the writer").expect("writing");
        });
    });
}

#[test]
fn a_control_client_that_went_before_its_answer() {
    let name = "a_control_client_that_went_before_its_answer";
    with_daemons(name, |lab, client, server| {
        // The server is out of reach, so that the handshake is not decided.
        lab.server.rule("-t mangle -A PREROUTING -p tcp -j DROP");
        let listener = lab.server.listen(PORT);
        let to = lab.server_address(PORT);
        let own = SocketAddrV4::new(lab.client.address, 31_500);
        std::thread::scope(|scope| {
            let connecting = scope.spawn(|| lab.client.connect_from(31_500, to));
            std::thread::sleep(Duration::from_millis(300));
            let mut gone = client.client();
            for option in [SESSID, 0, 15] {
                gone.send(false, option, own, to, &[0; 64]).expect("asking");
            }
            // Undecided: no answer yet.
            let early = gone.reply(Duration::from_millis(200)).map_err(|e| e.kind());
            assert_eq!(early, Err(ErrorKind::WouldBlock));
            drop(gone);
            let mut patient = client.client();
            patient
                .send(false, SESSID, own, to, &[0; 64])
                .expect("asking");
            lab.server.lose_nothing();
            let near = connecting.join().expect("a thread").expect("connecting");
            let far = accept(&listener, Duration::from_secs(5)).expect("accepting");
            talk(&near, &far, QUESTION, ANSWER).expect("talking");
            client.assert_well("a client that went");
            let reply = patient.reply(Duration::from_secs(5)).expect("an answer");
            assert_eq!((reply.error, reply.data.len()), (0, 33));
            id_of(&client, &server, &near);
        });
    });
}

#[test]
fn reset_by_the_control_socket_on_a_live_connection() {
    let name = "reset_by_the_control_socket_on_a_live_connection";
    with_daemons(name, |lab, client, server| {
        let tap = lab.tap();
        for daemon in [&client, &server] {
            let (near, far) = lab.connection(PORT).expect("connecting");
            talk(&near, &far, QUESTION, ANSWER).expect("talking");
            let (mut from, mut to) = (local(&near), remote(&near));
            if daemon.control == server.control {
                (from, to) = (to, from);
            }
            let reply = daemon.client().set(RESET, from, to, 1).expect("a reply");
            client.assert_well("RESET");
            server.assert_well("RESET");
            if reply.error == 0 {
                // Aborted: both applications learn it.
                for stream in [&near, &far] {
                    expect_reset(stream, QUESTION).expect("a reset");
                }
            } else {
                talk(&near, &far, QUESTION, ANSWER).expect("it goes on");
            }
        }
        assert_secret(&tap);
        one_talk(lab, &client, &server);
    });
}

#[test]
fn malformed_control_datagrams_are_dropped() {
    with_daemons(
        "malformed_control_datagrams_are_dropped",
        |lab, client, server| {
            let (near, far) = lab.connection(PORT).expect("connecting");
            talk(&near, &far, QUESTION, ANSWER).expect("talking");
            let control = client.client();
            let mut state = 7_u32;
            let mut random = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 16) as u8
            };
            for length in [0, 1, 4, 35, 36, 37, 40, 100, 1200, 4096, 5000] {
                for _ in 0..20 {
                    let datagram: Vec<u8> = (0..length).map(|_| random()).collect();
                    let _ = control.send_raw(&datagram);
                }
            }
            // Well-formed with every option number and length.
            let mut asking = client.client();
            for option in (0..110).chain([1000, u32::MAX]) {
                for room in [0, 1, 3, 4, 5, 33, 34, 1200] {
                    for set in [true, false] {
                        // A live connection is not to be reset here.
                        if set && option == RESET {
                            continue;
                        }
                        asking
                            .send(set, option, local(&near), remote(&near), &vec![0; room])
                            .expect("asking");
                        asking
                            .reply(Duration::from_secs(3))
                            .expect("every request is answered");
                    }
                }
            }
            client.assert_well("control datagrams");
            talk(&near, &far, QUESTION, ANSWER).expect("talking");
            id_of(&client, &server, &near);
        },
    );
}

/// More answers than the client reads: the daemon must not wait for it.
#[test]
fn a_control_client_that_never_reads_holds_up_nobody() {
    let name = "a_control_client_that_never_reads_holds_up_nobody";
    with_daemons(name, |lab, client, server| {
        let mut deaf = client.client();
        for _ in 0..2000 {
            deaf.send(false, NETSTAT, NOBODY, NOBODY, &[0; 1164])
                .expect("the daemon takes the request");
        }
        one_talk(lab, &client, &server);
        client.assert_well("a deaf client");
    });
}

/// Killed in order: encrypted connections are reset at both ends, plain ones go on, new ones
/// are plain.
#[test]
fn a_daemon_that_is_asked_to_end_in_the_middle() {
    let name = "a_daemon_that_is_asked_to_end_in_the_middle";
    with_daemons(name, |lab, client, server| {
        let listener = lab.server.listen(PORT);
        let (plain_near, plain_far) = plain(lab, &client, &listener);
        let (mut near, mut far) = lab.connect_to(&listener).expect("connecting");
        talk(&near, &far, QUESTION, ANSWER).expect("talking");
        id_of(&client, &server, &near);
        let tap = lab.tap();
        assert_eq!(client.stop(), 0);
        for stream in [&mut near, &mut far] {
            stream
                .set_read_timeout(Some(Duration::from_secs(3)))
                .expect("a limit");
            let end = stream.read(&mut [0; 99]).map_err(|e| e.kind());
            assert_eq!(end, Err(ErrorKind::ConnectionReset));
        }
        assert_secret(&tap);
        talk(&plain_near, &plain_far, QUESTION, ANSWER).expect("the plain one goes on");
        let (near, far) = lab.connect_to(&listener).expect("connecting");
        talk(&near, &far, QUESTION, ANSWER).expect("new ones are plain");
        assert_eq!(server.netstat(), []);
        server.assert_well("the other daemon's end");
    });
}

/// A connection that is plain because its application wanted it.
fn plain(
    lab: &Lab,
    client: &Daemon<'_>,
    listener: &std::net::TcpListener,
) -> (TcpStream, TcpStream) {
    let own = SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, 31_900);
    let reply = client.client().set(0, own, NOBODY, 0).expect("a reply");
    assert_eq!(reply.error, 0);
    let near = lab
        .client
        .connect_from(31_900, lab.server_address(PORT))
        .expect("connecting");
    let far = accept(listener, Duration::from_secs(5)).expect("accepting");
    talk(&near, &far, QUESTION, ANSWER).expect("talking");
    (near, far)
}

/// Killed without a word: what its kernel then sends does not leave in clear, and would not be
/// believed by the other side; the connection does not hang for ever.
#[test]
fn a_daemon_that_is_killed_in_the_middle() {
    with_daemons(
        "a_daemon_that_is_killed_in_the_middle",
        |lab, client, server| {
            let listener = lab.server.listen(PORT);
            let (plain_near, plain_far) = plain(lab, &client, &listener);
            let (mut near, mut far) = lab.connect_to(&listener).expect("connecting");
            talk(&near, &far, QUESTION, ANSWER).expect("talking");
            id_of(&client, &server, &near);
            let tap = lab.tap();
            client.kill();
            let _ = near.write_all(QUESTION);
            far.set_read_timeout(Some(Duration::from_secs(3)))
                .expect("a limit");
            let mut got = Vec::new();
            let _ = far.read_to_end(&mut got);
            assert_eq!(got, b"", "plaintext of a dead daemon's host is believed");
            assert_secret(&tap);
            talk(&plain_near, &plain_far, QUESTION, ANSWER).expect("the plain one goes on");
            let (near, far) = lab.connect_to(&listener).expect("connecting");
            talk(&near, &far, QUESTION, ANSWER).expect("new ones are plain");
            server.assert_well("the other daemon's death");
        },
    );
}

/// A new daemon takes over on the same queue and control socket; what was plain stays so.
#[test]
fn a_daemon_that_is_restarted_while_connections_are_open() {
    let name = "a_daemon_that_is_restarted_while_connections_are_open";
    case(name, Settings::default(), |lab, pair| {
        let client = Daemon::start(&lab.client, pair.client, &[]);
        let server = Daemon::start(&lab.server, pair.server, &[]);
        lab.divert(&PORT.to_string());
        let listener = lab.server.listen(PORT);
        let (plain_near, plain_far) = plain(lab, &client, &listener);
        client.stop();
        let client = Daemon::start(&lab.client, pair.client, &[]);
        talk(&plain_near, &plain_far, QUESTION, ANSWER).expect("the plain one goes on");
        drop(listener);
        one_talk(lab, &client, &server);
    });
}

/// The connections of a crowd that never finishes its handshake are not kept for ever.
#[test]
fn half_open_connections_do_not_fill_the_memory() {
    let name = "half_open_connections_do_not_fill_the_memory";
    with_daemons(name, |lab, client, server| {
        one_talk(lab, &client, &server);
        let before = server.resident_kib();
        let wire = interop_tests::independent_peer::wire::Wire::beside(&lab.client);
        let to = lab.server_address(PORT);
        let listener = lab.server.listen(PORT);
        for number in 0..40_000_u32 {
            let address = std::net::Ipv4Addr::from(0x0a4d_0100 + (number >> 6));
            let source = SocketAddrV4::new(address, 10_000 + (number & 63) as u16);
            let mut syn = interop_tests::lab::segment::Segment::new(source, to);
            syn.flags = interop_tests::lab::segment::SYN;
            syn.options = interop_tests::independent_peer::session::eno(&[0x21, 0x22]);
            wire.send(&syn);
        }
        std::thread::sleep(Duration::from_secs(2));
        server.assert_well("a flood of SYNs");
        drop(listener);
        one_talk(lab, &client, &server);
        let grown = server.resident_kib().saturating_sub(before);
        assert!(grown < 60_000, "{grown} KiB more for 40,000 SYNs");
    });
}

#[test]
fn data_that_were_read_before_the_reset_were_authentic() {
    let name = "data_that_were_read_before_the_reset_were_authentic";
    with_daemons(name, |lab, client, server| {
        let (mut near, far) = lab.connection(PORT).expect("connecting");
        near.write_all(QUESTION).expect("writing");
        rustix::net::sockopt::set_socket_linger(&near, Some(Duration::ZERO)).expect("linger");
        read_exactly(&far, QUESTION).expect("the data");
        drop(near);
        let end = (&far).read(&mut [0; 9]).map_err(|e| e.kind());
        assert_eq!(end, Err(ErrorKind::ConnectionReset));
        client.assert_well("a reset");
        server.assert_well("a reset");
    });
}
