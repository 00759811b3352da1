//! The subject and the tests' own endpoint: what the specification says goes over the cable.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use interop_tests::independent_peer::keys::{AES128, AES256, P256, P521, RESUMED};
use interop_tests::independent_peer::session::{Offer, Session, eno};
use interop_tests::independent_peer::stage::{
    answer, assert_same_id, at_client, at_server, close, talk,
};
use interop_tests::lab::applications::{Pattern, read_exactly};
use interop_tests::lab::scenarios::{ANSWER, QUESTION};
use interop_tests::lab::segment::{ACK, FIN, URG};

/// All four combinations of key exchange and cipher.
fn offers() -> Vec<Offer> {
    let mut offers = Vec::new();
    for tep in [P256, P521] {
        for cipher in [AES128, AES256] {
            offers.push(Offer {
                teps: vec![tep],
                ciphers: vec![cipher],
                ..Offer::default()
            });
        }
    }
    offers
}

#[test]
fn a_client_with_every_key_exchange_and_cipher() {
    at_server(
        "a_client_with_every_key_exchange_and_cipher",
        &["-c"],
        |at, wire| {
            for offer in offers() {
                let (mut session, stream) = at.open(wire, offer);
                talk(&mut session, &stream, &at.daemon);
                assert_eq!(session.not_records, Vec::<Vec<u8>>::new());
                close(&mut session, stream);
            }
        },
    );
}

#[test]
fn a_server_with_every_key_exchange_and_cipher() {
    at_client(
        "a_server_with_every_key_exchange_and_cipher",
        &["-c"],
        |at, wire| {
            for offer in offers() {
                at.ask(|| {
                    let mut session = Session::accept(wire, 8080, offer);
                    answer(&mut session, &at.daemon);
                });
            }
        },
    );
}

#[test]
fn the_first_of_the_clients_choices_is_taken() {
    at_server(
        "the_first_of_the_clients_choices_is_taken",
        &["-c"],
        |at, wire| {
            let offer = Offer {
                teps: vec![P521, P256],
                ciphers: vec![AES256, AES128],
                ..Offer::default()
            };
            let (mut session, stream) = at.open(wire, offer);
            let secrets = session.secrets.clone().expect("the keys");
            assert_eq!((secrets.id[0], secrets.cipher), (P521, AES256));
            talk(&mut session, &stream, &at.daemon);
        },
    );
}

#[test]
fn a_client_that_resumes_four_times() {
    at_server("a_client_that_resumes_four_times", &[], |at, wire| {
        for mut offer in offers() {
            let (mut session, stream) = at.open(wire, offer.clone());
            for _ in 0..4 {
                talk(&mut session, &stream, &at.daemon);
            }
            close(&mut session, stream);
            let mut secrets = session.secrets.take().expect("the keys");
            for _ in 0..4 {
                secrets = secrets.resumed();
                offer.resume = Some(secrets.clone());
                let (mut session, stream) = at.open(wire, offer.clone());
                assert!(session.secrets.as_ref() == Some(&secrets), "not resumed");
                talk(&mut session, &stream, &at.daemon);
                close(&mut session, stream);
            }
        }
    });
}

#[test]
fn a_server_that_resumes_four_times() {
    at_client("a_server_that_resumes_four_times", &[], |at, wire| {
        let mut offer = Offer::default();
        for round in 0..5 {
            at.ask(|| {
                let mut session = Session::accept(wire, 8080, offer.clone());
                let secrets = session.secrets.clone().expect("the keys");
                assert_eq!(secrets.id[0] & RESUMED != 0, round > 0, "round {round}");
                answer(&mut session, &at.daemon);
                offer.resume = Some(secrets.resumed());
            });
        }
    });
}

#[test]
fn a_session_that_the_server_has_forgotten_is_never_used_again() {
    let name = "a_session_that_the_server_has_forgotten_is_never_used_again";
    at_client(name, &[], |at, wire| {
        let mut names = Vec::new();
        for round in 0..4 {
            at.ask(|| {
                let mut session = Session::accept(wire, 8080, Offer::default());
                let offered = session.options[0].get(6..).unwrap_or_default().to_vec();
                assert_eq!(offered.is_empty(), round == 0);
                assert!(!names.contains(&offered), "the same name twice");
                names.push(offered);
                answer(&mut session, &at.daemon);
            });
        }
    });
}

/// The original's server says `04 A1` when a byte of the name looks like an application's
/// bit to it.
#[test]
fn a_resumption_accepted_with_an_application_byte() {
    at_client(
        "a_resumption_accepted_with_an_application_byte",
        &[],
        |at, wire| {
            let mut next = None;
            at.ask(|| {
                let mut session = Session::accept(wire, 8080, Offer::default());
                answer(&mut session, &at.daemon);
                next = session.secrets.map(|s| s.resumed());
            });
            at.ask(|| {
                let mut session = Session::listen(wire, 8080, Offer::default());
                let next = next.clone().expect("the keys");
                assert!(session.options[0].ends_with(&next.id[..10]));
                session.answer_syn(&eno(&[4, next.id[0]]));
                session.await_ack();
                session.start(next);
                answer(&mut session, &at.daemon);
            });
        },
    );
}

#[test]
fn bulk_to_and_from_the_subject() {
    at_server("bulk_to_and_from_the_subject", &[], |at, wire| {
        let (mut session, mut stream) = at.open(wire, Offer::default());
        let data = Pattern::new(3, 200_000).bytes();
        let reader = {
            let (stream, data) = (stream.try_clone().expect("a clone"), data.clone());
            std::thread::spawn(move || read_exactly(&stream, &data))
        };
        for piece in data.chunks(1300) {
            assert!(session.say(piece));
        }
        reader.join().expect("the reader").expect("the data");
        let writer = {
            let data = data.clone();
            std::thread::spawn(move || stream.write_all(&data).map(|()| stream))
        };
        let got = session.hear(data.len());
        assert!(got == data, "{} bytes", got.len());
        assert_eq!(session.not_records, Vec::<Vec<u8>>::new());
        // "tcpcrypt spec 5.1": the MSS shown to the kernel is 40 less than ours of 1460.
        let longest = session.records.iter().max().copied();
        assert!(
            longest.is_some_and(|l| (1200..=1460).contains(&l)),
            "{longest:?}"
        );
        writer.join().expect("the writer").expect("writing");
    });
}

#[test]
fn a_retransmission_repeats_the_same_bytes_in_the_same_segment() {
    let name = "a_retransmission_repeats_the_same_bytes_in_the_same_segment";
    at_server(name, &[], |at, wire| {
        let (mut session, mut stream) = at.open(wire, Offer::default());
        assert!(session.say(QUESTION));
        read_exactly(&stream, QUESTION).expect("the data");
        for piece in 0..6_u8 {
            stream.write_all(&[piece; 100]).expect("writing");
            std::thread::sleep(Duration::from_millis(5));
        }
        // Nothing is acknowledged for three seconds.
        let (port, remote) = (session.local.port(), session.remote);
        let mut seen: Vec<(u32, Vec<u8>)> = Vec::new();
        let mut repeated = 0;
        let end = std::time::Instant::now() + Duration::from_secs(3);
        while let Some(segment) = session.wire.receive(port, end) {
            if segment.source != remote || segment.payload.is_empty() {
                continue;
            }
            match seen.iter().find(|(seq, _)| *seq == segment.seq) {
                Some((_, payload)) => {
                    let same = *payload == segment.payload;
                    assert!(same, "other bytes at {}", segment.seq);
                    repeated += 1;
                }
                None => {
                    let after = seen.last().map(|(s, p)| s.wrapping_add(p.len() as u32));
                    let follows = after.is_none_or(|a| a == segment.seq);
                    assert!(follows, "other boundaries: {segment:?}");
                    seen.push((segment.seq, segment.payload));
                }
            }
        }
        assert!(
            repeated > 0 && seen.len() >= 2,
            "{repeated} of {}",
            seen.len()
        );
        let wanted: Vec<u8> = (0..6_u8).flat_map(|p| [p; 100]).collect();
        session.acknowledge();
        assert_eq!(session.hear(wanted.len()), wanted);
    });
}

#[test]
fn records_out_of_order_and_twice() {
    at_server("records_out_of_order_and_twice", &[], |at, wire| {
        let (mut session, stream) = at.open(wire, Offer::default());
        talk(&mut session, &stream, &at.daemon);
        let mut segments = Vec::new();
        for piece in 0..4_u8 {
            let record = session.record(false, &[piece; 200]);
            let segment = session.segment(ACK, &[], &record);
            session.next = segment.end();
            segments.push(segment);
        }
        for index in [2, 1, 1, 3, 0, 2, 0] {
            session.wire.send(&segments[index]);
            std::thread::sleep(Duration::from_millis(10));
        }
        // A peer that hears nothing repeats.
        for index in [0, 1, 2, 3] {
            session.idle(Duration::from_millis(100));
            if session.acknowledged != session.next {
                session.wire.send(&segments[index]);
            }
        }
        let wanted: Vec<u8> = (0..4_u8).flat_map(|p| [p; 200]).collect();
        read_exactly(&stream, &wanted).expect("the data in order");
        assert!(session.await_ack(), "not all is acknowledged");
        close(&mut session, stream);
    });
}

#[test]
fn several_records_in_a_segment_and_one_in_several() {
    at_server(
        "several_records_in_a_segment_and_one_in_several",
        &[],
        |at, wire| {
            let (mut session, stream) = at.open(wire, Offer::default());
            let base = session.next.wrapping_sub(session.base_out);
            let mut together = session.record_at(u64::from(base), false, b"one ");
            let second = u64::from(base) + together.len() as u64;
            together.extend(session.record_at(second, false, b"two "));
            let third = u64::from(base) + together.len() as u64;
            together.extend(session.record_at(third, false, &[b'3'; 2000]));
            let (first, rest) = together.split_at(90);
            assert!(session.deliver(ACK, first), "two records and a bit");
            read_exactly(&stream, b"one two ").expect("the whole records");
            for piece in rest.chunks(700) {
                assert!(session.deliver(ACK, piece), "a piece of a record");
            }
            read_exactly(&stream, &[b'3'; 2000]).expect("the third record");
            talk(&mut session, &stream, &at.daemon);
            close(&mut session, stream);
        },
    );
}

#[test]
fn a_header_that_arrives_byte_by_byte() {
    at_server("a_header_that_arrives_byte_by_byte", &[], |at, wire| {
        let (mut session, stream) = at.open(wire, Offer::default());
        let record = session.record(false, QUESTION);
        let (header, body) = record.split_at(3);
        for byte in header.chunks(1) {
            assert!(session.deliver(ACK, byte), "a byte of the header");
        }
        assert!(session.deliver(ACK, body), "the body");
        read_exactly(&stream, QUESTION).expect("the record");
    });
}

#[test]
fn a_fin_with_the_last_record() {
    at_server("a_fin_with_the_last_record", &[], |at, wire| {
        for flagged in [true, false] {
            let (mut session, mut stream) = at.open(wire, Offer::default());
            let record = session.record(flagged, QUESTION);
            session.overhead_out += 20;
            session.send(ACK | FIN, &[], &record);
            let mut got = Vec::new();
            stream.read_to_end(&mut got).expect("the data and the end");
            assert_eq!(got, QUESTION);
            stream.write_all(ANSWER).expect("answering after the end");
            assert_eq!(session.hear(ANSWER.len()), ANSWER);
            drop(stream);
            assert!(session.hear_the_end() && !session.reset);
        }
    });
}

/// "tcpcrypt spec 5.1": the original acknowledges a FIN with L, everybody else with W.
fn closes_first(name: &str, like_the_original: bool) {
    at_server(name, &[], |at, wire| {
        let offer = Offer {
            like_the_original,
            ..Offer::default()
        };
        let (mut session, mut stream) = at.open(wire, offer);
        talk(&mut session, &stream, &at.daemon);
        stream.shutdown(Shutdown::Write).expect("closing");
        assert!(session.hear_the_end());
        session.acknowledge();
        for _ in 0..3 {
            assert!(session.say(QUESTION));
            read_exactly(&stream, QUESTION).expect("data after one's own end");
        }
        assert!(session.close());
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("the peer's end");
        // The FIN was acknowledged, so that it is not repeated.
        let (port, remote) = (session.local.port(), session.remote);
        let again = session.wire.wait(port, Duration::from_millis(1500), |s| {
            s.source == remote && s.has(FIN)
        });
        assert_eq!(again, None, "the FIN is repeated");
    });
}

#[test]
fn the_subject_closes_first_toward_a_peer_like_the_original() {
    closes_first(
        "the_subject_closes_first_toward_a_peer_like_the_original",
        true,
    );
}

#[test]
fn the_subject_closes_first_toward_an_ordinary_tcp() {
    closes_first("the_subject_closes_first_toward_an_ordinary_tcp", false);
}

/// The other half of that rule: the original expects L for its FIN, everybody else W.
#[test]
fn the_peers_fin_is_acknowledged_with_both_numbers() {
    at_server(
        "the_peers_fin_is_acknowledged_with_both_numbers",
        &[],
        |at, wire| {
            let (mut session, mut stream) = at.open(wire, Offer::default());
            talk(&mut session, &stream, &at.daemon);
            session.acknowledgements.clear();
            session.send(ACK | FIN, &[], &[]);
            let true_number = session.next;
            let short = true_number.wrapping_sub(session.overhead_out);
            session.idle(Duration::from_millis(300));
            stream.write_all(ANSWER).expect("answering after the end");
            let (port, remote) = (session.local.port(), session.remote);
            let data = session
                .wire
                .wait(port, Duration::from_secs(3), |s| {
                    s.source == remote && !s.payload.is_empty()
                })
                .expect("data after the peer's end");
            assert_eq!(data.ack, short, "L in every segment");
            session.take(&data);
            assert_eq!(session.hear(ANSWER.len()), ANSWER);
            let all = &session.acknowledgements;
            assert!(all.contains(&short), "no L: {all:?}");
            assert!(all.contains(&true_number), "no W: {all:?}");
        },
    );
}

#[test]
fn urgent_data_keep_their_pointer() {
    at_server("urgent_data_keep_their_pointer", &[], |at, wire| {
        let (mut session, mut stream) = at.open(wire, Offer::default());
        talk(&mut session, &stream, &at.daemon);
        let secrets = session.secrets.clone().expect("the keys");
        let offset = u64::from(session.next.wrapping_sub(session.base_out));
        let record = secrets.seal(true, offset, false, Some(5), b"12345678");
        let mut segment = session.segment(ACK | URG, &[], &record);
        segment.urgent = 5;
        session.next = segment.end();
        session.wire.send(&segment);
        // Without SO_OOBINLINE the urgent byte, the one before the pointer, is left out.
        let mut got = [0; 7];
        stream
            .read_exact(&mut got[..4])
            .expect("the data before the mark");
        stream
            .read_exact(&mut got[4..])
            .expect("the data behind the mark");
        assert_eq!(&got, b"1234678");
        assert!(session.await_ack());
    });
}

/// "tcpcrypt spec 4.5", offset wrap quirk: both forms occur.
fn over_the_wrap(name: &str, widened: bool) {
    at_server(name, &[], |at, wire| {
        let offer = Offer {
            isn: u32::MAX - 1500,
            ..Offer::default()
        };
        let (mut session, stream) = at.open(wire, offer);
        let mut sent: u64 = 0;
        for round in 0..40_u8 {
            let wrapped = session.next < session.base_out && !widened;
            let offset = if wrapped {
                u64::from(session.next).wrapping_sub(u64::from(session.base_out))
            } else {
                sent
            };
            let record = session.record_at(offset, false, &[round; 80]);
            sent += record.len() as u64;
            assert!(session.deliver(ACK, &record), "round {round}");
            read_exactly(&stream, &[round; 80]).expect("the data");
        }
        assert!(session.next < session.base_out, "the numbers have wrapped");
        assert_same_id(&session, &at.daemon);
    });
}

#[test]
fn offsets_over_the_wrap_as_redirect_mode_counts() {
    over_the_wrap("offsets_over_the_wrap_as_redirect_mode_counts", true);
}

#[test]
fn offsets_over_the_wrap_as_divert_mode_counts() {
    over_the_wrap("offsets_over_the_wrap_as_divert_mode_counts", false);
}

#[test]
fn a_stripped_third_segment_leaves_a_plain_connection() {
    at_server(
        "a_stripped_third_segment_leaves_a_plain_connection",
        &[],
        |at, wire| {
            let mut session = at.begin(wire, Offer::default());
            let option = session.syn_option();
            session.exchange_syns(&option).expect("a SYN-ACK");
            session.send(ACK, &[], &[]);
            let mut stream = at.accept();
            assert!(session.deliver(ACK, QUESTION), "plain data");
            read_exactly(&stream, QUESTION).expect("the data");
            stream.write_all(ANSWER).expect("answering");
            let end = std::time::Instant::now() + Duration::from_secs(5);
            while session.stream.len() < ANSWER.len() && std::time::Instant::now() < end {
                session.pump(Duration::from_millis(100));
            }
            assert_eq!(session.stream, ANSWER);
            assert_eq!(at.daemon.netstat(), []);
        },
    );
}
