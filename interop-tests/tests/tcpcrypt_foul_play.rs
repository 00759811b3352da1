//! The other end, or somebody on the path, plays foul: the connection ends at both sides or
//! goes on as if nothing had happened, and no byte is believed or let out in clear.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use interop_tests::independent_peer::keys::{self, AES128, KeyPair, P256};
use interop_tests::independent_peer::session::{Offer, Session, eno};
use interop_tests::independent_peer::stage::{AtServer, at_client, at_server, close, talk};
use interop_tests::independent_peer::wire::Wire;
use interop_tests::lab::applications::{self, accept, expect_reset, read_exactly};
use interop_tests::lab::case::case;
use interop_tests::lab::daemon::Daemon;
use interop_tests::lab::scenarios::{ANSWER, QUESTION, assert_secret, open_at_once};
use interop_tests::lab::segment::{ACK, FIN, RST, SYN, Segment};
use interop_tests::lab::{PORT, Settings};
use interop_tests::wait;

const SHORT: [u8; 4] = [0xfd, 4, 0x45, 0x4e];

/// The application reads nothing but an error, and soon.
fn assert_broken(stream: &mut TcpStream, what: &str) {
    stream
        .set_read_timeout(Some(Duration::from_secs(15)))
        .expect("a limit");
    let mut got = Vec::new();
    let end = stream.read_to_end(&mut got).map_err(|e| e.kind());
    assert_eq!(got, b"", "{what}: the application read this");
    assert_eq!(end, Err(ErrorKind::ConnectionReset), "{what}");
}

/// Opens a good connection, does something to it, and demands that both ends are reset.
fn ends_by(at: &AtServer<'_>, wire: &mut Wire, what: &str, act: impl FnOnce(&mut Session<'_>)) {
    let (mut session, mut stream) = at.open(wire, Offer::default());
    talk(&mut session, &stream, &at.daemon);
    act(&mut session);
    assert_broken(&mut stream, what);
    session.idle(Duration::from_millis(300));
    assert!(session.reset, "{what}: the peer is not reset");
    let row = |r: &interop_tests::lab::daemon::Row| r.remote == session.local;
    assert!(!at.daemon.netstat().iter().any(row), "{what}: still listed");
    at.daemon.assert_well(what);
}

#[test]
fn a_record_that_is_not_authentic_resets_both_ends() {
    let name = "a_record_that_is_not_authentic_resets_both_ends";
    at_server(name, &[], |at, wire| {
        for at_byte in [3, 10, 40] {
            ends_by(at, wire, "an altered byte", |session| {
                let mut record = session.record(false, QUESTION);
                record[at_byte] ^= 0x10;
                session.send(ACK, &[], &record);
            });
        }
        ends_by(at, wire, "a wrong offset", |session| {
            let record = session.record_at(3, false, QUESTION);
            session.send(ACK, &[], &record);
        });
        ends_by(at, wire, "the other direction's key", |session| {
            let secrets = session.secrets.clone().expect("the keys");
            let offset = u64::from(session.next.wrapping_sub(session.base_out));
            let record = secrets.seal(false, offset, false, None, QUESTION);
            session.send(ACK, &[], &record);
        });
        assert!(
            at.daemon.log().contains("MAC check failed"),
            "{}",
            at.daemon.log()
        );
    });
}

#[test]
fn what_is_no_record_resets_both_ends() {
    at_server("what_is_no_record_resets_both_ends", &[], |at, wire| {
        ends_by(at, wire, "a control byte", |session| {
            let mut record = session.record(false, QUESTION);
            record[0] = 1;
            session.send(ACK, &[], &record);
        });
        ends_by(at, wire, "no room for a tag", |session| {
            session.send(ACK, &[], &[0, 0, 5, 1, 2, 3, 4, 5]);
        });
        ends_by(at, wire, "no room for flags", |session| {
            session.send(ACK, &[], &[&[0, 0, 16][..], &[7; 16]].concat());
        });
        ends_by(at, wire, "plaintext", |session| {
            session.send(ACK, &[], QUESTION);
        });
        ends_by(at, wire, "INIT1 again", |session| {
            let field = KeyPair::new(P256).field();
            let again = keys::init1(&[AES128], &[1; 32], &field);
            session.send(ACK, &[], &again);
        });
    });
}

/// What a server may get in the place of INIT1, once both have said ENO.
#[test]
fn a_wrong_init1_resets_both_ends() {
    at_server("a_wrong_init1_resets_both_ends", &[], |at, wire| {
        let field = KeyPair::new(P256).field();
        let good = keys::init1(&[AES128], &[7; 32], &field);
        let altered = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut message = good.clone();
            change(&mut message);
            message
        };
        let mut off_curve = field.clone();
        off_curve[40] ^= 1;
        let wrong = [
            ("plaintext", QUESTION.to_vec()),
            ("a wrong magic", altered(&|m| m[0] ^= 1)),
            ("too short a length", altered(&|m| m[7] -= 1)),
            ("too great a length", altered(&|m| m[5] = 0x10)),
            ("no cipher", keys::init1(&[], &[7; 32], &field)),
            ("an unknown cipher", keys::init1(&[9], &[7; 32], &field)),
            ("more ciphers than bytes", altered(&|m| m[8] = 255)),
            (
                "a point off the curve",
                keys::init1(&[AES128], &[7; 32], &off_curve),
            ),
            (
                "the point at infinity",
                keys::init1(&[AES128], &[7; 32], &[0, 3, 0]),
            ),
            ("an empty key", keys::init1(&[AES128], &[7; 32], &[0, 2])),
            ("a key of the other curve", {
                let field = KeyPair::new(keys::P521).field();
                keys::init1(&[AES128], &[7; 32], &field)
            }),
        ];
        for (what, message) in wrong {
            let mut session = at.begin(wire, Offer::default());
            let option = session.syn_option();
            session.exchange_syns(&option).expect("a SYN-ACK");
            session.send(ACK, &SHORT, &message);
            session.idle(Duration::from_millis(500));
            assert!(session.reset, "{what}: the peer is not reset");
            // The application may not have seen it at all.
            if let Ok(mut stream) = accept(&at.listener, Duration::from_millis(100)) {
                assert_broken(&mut stream, what);
            }
            at.daemon.assert_well(what);
        }
    });
}

#[test]
fn a_wrong_init2_resets_both_ends() {
    at_client("a_wrong_init2_resets_both_ends", &["-c"], |at, wire| {
        let field = KeyPair::new(P256).field();
        let mut off_curve = field.clone();
        off_curve[40] ^= 1;
        let mut magic = keys::init2(AES128, &[7; 32], &field);
        magic[0] ^= 1;
        let mut long = keys::init2(AES128, &[7; 32], &field);
        long[5] = 0x10;
        let wrong = [
            ("plaintext", ANSWER.to_vec()),
            ("a wrong magic", magic),
            ("too great a length", long),
            ("a cipher not offered", keys::init2(9, &[7; 32], &field)),
            (
                "a point off the curve",
                keys::init2(AES128, &[7; 32], &off_curve),
            ),
            ("INIT1", keys::init1(&[AES128], &[7; 32], &field)),
        ];
        for (what, message) in wrong {
            let application = |stream: std::io::Result<TcpStream>| {
                let Ok(stream) = stream else { return };
                stream
                    .set_read_timeout(Some(Duration::from_secs(10)))
                    .expect("a limit");
                let reset = expect_reset(&stream, QUESTION);
                reset.unwrap_or_else(|e| panic!("{what}: {e}"));
            };
            at.connect(application, || {
                let mut session = Session::listen(wire, PORT, Offer::default());
                session.answer_syn(&eno(&[P256]));
                session.receive_message().expect("INIT1");
                session.send(ACK, &[], &message);
                session.idle(Duration::from_millis(700));
                assert!(session.reset, "{what}: the peer is not reset");
                let clear = session.stream.windows(12).any(|w| w == &QUESTION[..12]);
                assert!(!clear, "{what}: plaintext after ENO");
            });
            at.daemon.assert_well(what);
        }
    });
}

/// SYN-ACKs that no client can work with: plain TCP, as if there was none.
#[test]
fn a_syn_ack_that_makes_no_sense_leaves_a_plain_connection() {
    let name = "a_syn_ack_that_makes_no_sense_leaves_a_plain_connection";
    at_client(name, &["-c"], |at, wire| {
        let lists: [&[u8]; 8] = [
            &[],
            &[0x23],
            &[0x30],
            &[0xa1],
            &[0xff; 4],
            &[2],
            &[0x21 | 0x80, 1, 2, 3, 4, 5, 6, 7, 8, 9],
            &[0xa1; 28],
        ];
        for list in lists {
            let application = |stream: std::io::Result<TcpStream>| {
                let mut stream = stream.expect("connecting");
                stream.write_all(QUESTION).expect("asking");
                read_exactly(&stream, ANSWER).expect("the answer");
            };
            at.connect(application, || {
                let mut session = Session::listen(wire, PORT, Offer::default());
                session.answer_syn(&eno(list));
                let end = std::time::Instant::now() + Duration::from_secs(5);
                while session.stream.len() < QUESTION.len() && std::time::Instant::now() < end {
                    session.pump(Duration::from_millis(100));
                }
                assert_eq!(session.stream, QUESTION, "{list:02x?}");
                assert!(session.deliver(ACK, ANSWER));
            });
            at.daemon.assert_well(&format!("the list {list:02x?}"));
        }
    });
}

/// Every malformed or unknown SYN; then the daemon still encrypts.
#[test]
fn no_syn_whatever_its_options_harms_the_server() {
    at_server(
        "no_syn_whatever_its_options_harms_the_server",
        &[],
        |at, wire| {
            let mut all: Vec<Vec<u8>> = vec![
                eno(&[]),
                eno(&[0x25, 0x26]),
                eno(&[0x30, 0x21]),
                eno(&[0x21, 0x30, 0x7f]),
                eno(&[0xa1; 32]),
                eno(&[0xa1; 10]),
                eno(&[0x21, 0xa1]),
                eno(&[0xff; 20]),
                eno(&[0; 12]),
                eno(&[2]),
                vec![0xfd],
                vec![1, 1, 1, 0xfd],
                vec![0xfd, 0, 0x45, 0x4e],
                vec![0xfd, 1, 0x45, 0x4e],
                vec![0xfd, 2, 1, 1],
                vec![0xfd, 3, 0x45, 1],
                vec![0xfd, 40, 0x45, 0x4e],
                vec![0xfd, 255, 0x45, 0x4e, 0x21, 0x22, 1, 1],
                vec![2, 0, 5, 0xb4],
                vec![2, 3, 5, 1],
                vec![2, 4, 0, 0, 0xfd, 6, 0x45, 0x4e, 0x21, 0x22, 1, 1],
                [eno(&[0x21, 0x22]), eno(&[0x21, 0x22])].concat(),
                [eno(&[0x21]), vec![69, 3, 0x21]].concat(),
                vec![1; 40],
                vec![0xfe; 40],
            ];
            // And a thousand at random, always the same ones.
            let mut state = 1_u32;
            let mut random = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 16) as u8
            };
            for _ in 0..1000 {
                let length = usize::from(random() % 11) * 4;
                let mut options: Vec<u8> = (0..length).map(|_| random()).collect();
                if length >= 8 && random() % 2 == 0 {
                    options.splice(..4, [0xfd, random() % 42, 0x45, 0x4e]);
                }
                all.push(options);
            }
            let to = at.lab.server_address(PORT);
            for (number, options) in all.iter().enumerate() {
                let port = 30_000 + (number % 30_000) as u16;
                let mut syn = Segment::new(SocketAddr::new(wire.address.into(), port), to);
                syn.flags = SYN;
                syn.options.clone_from(options);
                wire.send(&syn);
                if number < 25 {
                    std::thread::sleep(Duration::from_millis(5));
                    assert!(
                        at.daemon.alive(),
                        "the SYN with {options:02x?}: {}",
                        at.daemon.log()
                    );
                    // Does it go on as a client would?
                    syn.seq = 1;
                    syn.flags = ACK;
                    syn.options = SHORT.to_vec();
                    syn.payload = vec![0x15; 120];
                    wire.send(&syn);
                    std::thread::sleep(Duration::from_millis(5));
                    assert!(
                        at.daemon.alive(),
                        "data after {options:02x?}: {}",
                        at.daemon.log()
                    );
                }
            }
            at.daemon.assert_well("the SYNs");
            let (mut session, stream) = at.open(wire, Offer::default());
            talk(&mut session, &stream, &at.daemon);
        },
    );
}

/// A forged reset that the kernel does not believe must not make the daemon forget the
/// connection: what follows would go out in clear.
#[test]
fn a_reset_out_of_the_window_changes_nothing() {
    at_server(
        "a_reset_out_of_the_window_changes_nothing",
        &[],
        |at, wire| {
            let (mut session, stream) = at.open(wire, Offer::default());
            talk(&mut session, &stream, &at.daemon);
            for distance in [0x2000_0000, 0x8000_0000, u32::MAX - 100_000] {
                for flags in [RST, RST | ACK] {
                    let mut forged = session.segment(flags, &[], &[]);
                    forged.seq = session.next.wrapping_add(distance);
                    session.wire.send(&forged);
                }
            }
            std::thread::sleep(Duration::from_millis(100));
            talk(&mut session, &stream, &at.daemon);
            assert_eq!(session.not_records, Vec::<Vec<u8>>::new());
            close(&mut session, stream);
        },
    );
}

#[test]
fn forged_data_out_of_the_window_change_nothing() {
    at_server(
        "forged_data_out_of_the_window_change_nothing",
        &[],
        |at, wire| {
            let (mut session, stream) = at.open(wire, Offer::default());
            talk(&mut session, &stream, &at.daemon);
            for distance in [0x1000_0000, 0x8000_0000, 0xf000_0000] {
                for payload in [QUESTION, &[0, 0, 40, 1, 2, 3]] {
                    let mut forged = session.segment(ACK, &[], payload);
                    forged.seq = session.next.wrapping_add(distance);
                    session.wire.send(&forged);
                    forged.flags |= FIN;
                    session.wire.send(&forged);
                }
            }
            std::thread::sleep(Duration::from_millis(100));
            talk(&mut session, &stream, &at.daemon);
            close(&mut session, stream);
        },
    );
}

/// A SYN for a connection that is there: the kernel answers with an ACK and so must it be.
#[test]
fn a_syn_on_a_live_connection_changes_nothing() {
    at_server(
        "a_syn_on_a_live_connection_changes_nothing",
        &[],
        |at, wire| {
            let (mut session, stream) = at.open(wire, Offer::default());
            talk(&mut session, &stream, &at.daemon);
            for options in [eno(&[0x21, 0x22]), vec![]] {
                let mut syn = session.segment(SYN, &options, &[]);
                syn.seq = 77;
                session.wire.send(&syn);
            }
            session.idle(Duration::from_millis(200));
            talk(&mut session, &stream, &at.daemon);
            assert_eq!(session.not_records, Vec::<Vec<u8>>::new());
        },
    );
}

/// After both have closed, whatever the kernel repeats leaves as the record that it was.
#[test]
fn nothing_leaves_in_clear_when_the_last_data_are_repeated() {
    let name = "nothing_leaves_in_clear_when_the_last_data_are_repeated";
    at_server(name, &[], |at, wire| {
        let (mut session, mut stream) = at.open(wire, Offer::default());
        talk(&mut session, &stream, &at.daemon);
        // The peer closes, the application answers and closes, and nobody acknowledges.
        session.acknowledging = false;
        session.send(ACK | FIN, &[], &[]);
        stream.read_to_end(&mut Vec::new()).expect("the peer's end");
        stream.write_all(ANSWER).expect("answering");
        drop(stream);
        let (port, remote) = (session.local.port(), session.remote);
        let end = std::time::Instant::now() + Duration::from_secs(14);
        let mut repeated = 0;
        while let Some(segment) = session.wire.receive(port, end) {
            if segment.source == remote && !segment.payload.is_empty() {
                repeated += 1;
                let clear = segment.payload.windows(8).any(|w| w == &ANSWER[..8]);
                assert!(!clear, "in clear: {segment:?}");
            }
        }
        assert!(repeated > 3, "{repeated}");
    });
}

/// An ordinary TCP acknowledges the FIN with W. A daemon that takes the connection for closed
/// by that, while its kernel does not, lets the kernel's repetitions out in clear.
#[test]
fn nothing_leaves_in_clear_after_the_last_acknowledgement() {
    let name = "nothing_leaves_in_clear_after_the_last_acknowledgement";
    at_server(name, &[], |at, wire| {
        let (mut session, mut stream) = at.open(wire, Offer::default());
        talk(&mut session, &stream, &at.daemon);
        session.acknowledging = false;
        session.offer.like_the_original = false;
        session.send(ACK | FIN, &[], &[]);
        stream.read_to_end(&mut Vec::new()).expect("the peer's end");
        stream.write_all(ANSWER).expect("answering");
        drop(stream);
        let (port, remote) = (session.local.port(), session.remote);
        assert!(session.hear_the_end());
        session.acknowledge();
        let end = std::time::Instant::now() + Duration::from_secs(8);
        while let Some(segment) = session.wire.receive(port, end) {
            let ours = segment.source == remote;
            let clear = segment.payload.windows(8).any(|w| w == &ANSWER[..8]);
            assert!(!(ours && clear), "in clear: {segment:?}");
        }
    });
}

/// Both keys are known, then the peer is gone for good: the reset that the daemon sees but
/// the kernel does not believe, and the same the other way, leave nothing in clear.
#[test]
fn nothing_leaves_in_clear_after_a_reset_of_the_peer() {
    at_server(
        "nothing_leaves_in_clear_after_a_reset_of_the_peer",
        &[],
        |at, wire| {
            let (mut session, mut stream) = at.open(wire, Offer::default());
            talk(&mut session, &stream, &at.daemon);
            session.acknowledging = false;
            stream.write_all(ANSWER).expect("writing");
            session.idle(Duration::from_millis(50));
            // One number off: a modern kernel answers with a challenge and keeps the connection.
            let mut forged = session.segment(RST, &[], &[]);
            forged.seq = session.next.wrapping_add(9);
            session.wire.send(&forged);
            std::thread::sleep(Duration::from_millis(50));
            let _ = stream.write_all(ANSWER);
            let (port, remote) = (session.local.port(), session.remote);
            let end = std::time::Instant::now() + Duration::from_secs(4);
            while let Some(segment) = session.wire.receive(port, end) {
                let ours = segment.source == remote;
                let clear = segment.payload.windows(8).any(|w| w == &ANSWER[..8]);
                assert!(!(ours && clear), "in clear: {segment:?}");
            }
        },
    );
}

/// Option space that is full, or nearly: nothing is lost and nobody is harmed, whether the
/// option found room or not.
#[test]
fn a_full_option_space_gives_plain_tcp() {
    case(
        "a_full_option_space_gives_plain_tcp",
        Settings::default(),
        |lab, pair| {
            let daemon = Daemon::start(&lab.client, pair.client, &[]);
            lab.client.divert(&PORT.to_string());
            // The client's own daemon sees this SYN as an application's.
            let through = Wire::through_the_queue(&lab.client);
            let mut far = Wire::take(&lab.server);
            for (number, used) in [16_usize, 20, 32, 33, 34, 36, 40].into_iter().enumerate() {
                let own = SocketAddr::new(lab.client.address.into(), 40_000 + number as u16);
                let mut syn = Segment::new(own, lab.server_address(PORT));
                syn.flags = SYN;
                syn.options = vec![2, 4, 5, 0xb4];
                let rest = used - 4;
                syn.options.extend([0xfe, rest as u8]);
                syn.options.extend(vec![0xee; rest - 2]);
                through.send(&syn);
                let seen = far
                    .wait(PORT, Duration::from_secs(2), |s| s.source == own)
                    .unwrap_or_else(|| panic!("{used} bytes: the SYN is lost"));
                assert_eq!(
                    seen.options.get(4..used),
                    syn.options.get(4..),
                    "{used} bytes"
                );
                let fits = used + 6 <= 40;
                assert_eq!(seen.eno().is_some(), fits, "{used} bytes: {seen:?}");
                daemon.assert_well(&format!("{used} bytes of options"));
            }
            // Room that is only padding may be used.
            let own = SocketAddr::new(lab.client.address.into(), 40_100);
            let mut syn = Segment::new(own, lab.server_address(PORT));
            syn.flags = SYN;
            syn.options = [&[2, 4, 5, 0xb4, 0xfe, 26][..], &[0xee; 24], &[1; 10]].concat();
            through.send(&syn);
            let seen = far.wait(PORT, Duration::from_secs(2), |s| s.source == own);
            let seen = seen.expect("the SYN");
            assert_eq!(seen.eno(), Some(&eno(&[0x21, 0x22])[..]), "{seen:?}");
            daemon.assert_well("padding");
        },
    );
}

/// A SYN from both sides at once has no roles: plain TCP.
#[test]
fn a_simultaneous_open_is_plain_and_works() {
    case(
        "a_simultaneous_open_is_plain_and_works",
        Settings::default(),
        |lab, pair| {
            let client = Daemon::start(&lab.client, pair.client, &[]);
            let server = Daemon::start(&lab.server, pair.server, &[]);
            lab.divert(&PORT.to_string());
            let (near, far) = open_at_once(lab);
            applications::talk(&near, &far, QUESTION, ANSWER).expect("talking");
            assert_eq!((client.netstat(), server.netstat()), (vec![], vec![]));
            client.assert_well("a simultaneous open");
            server.assert_well("a simultaneous open");
        },
    );
}

/// A third segment without its option, as a middlebox makes it: nothing of it is answered
/// as if it was understood, and the client does not wait for ever.
#[test]
fn a_client_whose_third_segment_was_stripped_is_reset() {
    let name = "a_client_whose_third_segment_was_stripped_is_reset";
    case(name, Settings::default(), |lab, pair| {
        let client = Daemon::start(&lab.client, pair.client, &[]);
        let server = Daemon::start(&lab.server, pair.server, &[]);
        lab.divert(&PORT.to_string());
        lab.server.strip_incoming(253, "--tcp-flags SYN,ACK ACK");
        let listener = lab.server.listen(PORT);
        let tap = lab.tap();
        let near = lab.client.connect(lab.server_address(PORT));
        if let Ok(near) = near {
            // An application that echoes what is no answer.
            let far = accept(&listener, Duration::from_secs(2));
            if let Ok(mut far) = far {
                let _ = far.write_all(ANSWER);
            }
            near.set_read_timeout(Some(Duration::from_secs(15)))
                .expect("a limit");
            expect_reset(&near, QUESTION).expect("a reset");
        }
        assert!(!tap.contains(QUESTION), "the client's words in clear");
        client.assert_well("a stripped option");
        server.assert_well("a stripped option");
    });
}

/// The tap sees no word, whatever the peer never acknowledges.
#[test]
fn nothing_leaves_in_clear_when_the_application_closes_unread() {
    let name = "nothing_leaves_in_clear_when_the_application_closes_unread";
    at_server(name, &[], |at, wire| {
        let tap = at.lab.tap();
        let (mut session, mut stream) = at.open(wire, Offer::default());
        talk(&mut session, &stream, &at.daemon);
        session.acknowledging = false;
        // Data that nobody reads make the kernel reset on close.
        let record = session.record(false, QUESTION);
        session.send(ACK, &[], &record);
        std::thread::sleep(Duration::from_millis(50));
        stream.write_all(ANSWER).expect("writing");
        drop(stream);
        let gone = wait::until(Duration::from_secs(5), || {
            session.pump(Duration::from_millis(50));
            session.reset.then_some(())
        });
        assert!(gone.is_some(), "no reset");
        assert_secret(&tap);
    });
}
