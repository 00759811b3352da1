//! Redirect mode (`-e`), and connections that say nothing for a day: of virtual time, in which the daemons are.

use std::io::{Read, Write};
use std::net::Shutdown;

use interop_tests::lab::PORT;
use interop_tests::lab::applications::{Pattern, read_exactly, talk};
use interop_tests::lab::daemon::Daemon;
use interop_tests::lab::later::Clock;
use interop_tests::lab::redirect::{Speech, agreed_id, in_either_way, is_resumed, one_talk_on};
use interop_tests::lab::scenarios::{ANSWER, QUESTION, assert_secret, close_both};
use interop_tests::skip::skip;

/// Longer than anything is remembered.
const HOURS: u32 = 30;

#[test]
fn redirect_connections_outlive_a_silent_day() {
    let name = "redirect_connections_outlive_a_silent_day";
    for speech in [Speech::LEGACY, Speech::STANDARD_IPV6] {
        in_either_way(name, speech, |lab, pair, way| {
            let Some(mut clock) = Clock::new(lab.client.dir()) else {
                return skip(name, "no C compiler");
            };
            let options = way.options(&["-v", speech.eno, "--threads=1"]);
            let start =
                |host, subject| Daemon::start_in(host, subject, &options, &clock.environment());
            let client = start(&lab.client, pair.client);
            let server = start(&lab.server, pair.server);
            lab.redirect(&PORT.to_string());
            let tap = lab.tap();
            let listener = lab.server.listen(PORT);
            let open = || {
                let (near, far) = lab.connect_to(&listener).expect("connecting");
                talk(&near, &far, QUESTION, ANSWER).expect("talking");
                let id = agreed_id(&client, &server, &near);
                (near, far, id)
            };
            // One that has said a word, one that is a thread's, and one of which a direction has ended.
            let (word, stream, half) = (open(), open(), open());
            let much = Pattern::new(1, 300_000);
            std::thread::scope(|scope| {
                let (sent, near) = (much.clone(), &stream.0);
                scope.spawn(move || sent.write_to(near).expect("sending"));
                read_exactly(&stream.1, &much.bytes()).expect("what was sent");
            });
            half.0.shutdown(Shutdown::Write).expect("half-closing");
            assert_eq!((&half.1).read(&mut [0; 8]).expect("the end"), 0);
            assert!(is_resumed(&one_talk_on(lab, &client, &server, &listener)));

            clock.pass(HOURS, &[&client, &server]);

            for (near, far, id) in [&word, &stream] {
                talk(near, far, QUESTION, ANSWER).expect("talking a day later");
                assert_eq!(agreed_id(&client, &server, near), *id);
            }
            (&half.1).write_all(ANSWER).expect("answering a day later");
            read_exactly(&half.0, ANSWER).expect("the answer");
            drop(half.1);
            assert_eq!((&half.0).read(&mut [0; 8]).expect("the end"), 0);
            for (near, far, _) in [word, stream] {
                close_both(near, far);
            }
            // Their clocks did go on: no session is as old.
            assert!(!is_resumed(&one_talk_on(lab, &client, &server, &listener)));
            assert_secret(&tap);
            client.assert_well("a day");
            server.assert_well("a day");
        });
    }
}
