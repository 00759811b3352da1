//! The stage: a subject on one host, the peer in the other host's place.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::independent_peer::session::{Offer, SOON, Session};
use crate::independent_peer::wire::Wire;
use crate::lab::applications::{accept, read_exactly};
use crate::lab::case::case;
use crate::lab::daemon::Daemon;
use crate::lab::scenarios::{ANSWER, QUESTION};
use crate::lab::segment::hex;
use crate::lab::{Lab, PORT, Settings};

/// The subject on the server's host; the peer connects.
#[derive(Debug)]
pub struct AtServer<'l> {
    /// The laboratory.
    pub lab: &'l Lab,
    /// The subject.
    pub daemon: Daemon<'l>,
    /// The application behind it.
    pub listener: TcpListener,
    port: Cell<u16>,
}

impl AtServer<'_> {
    /// An encrypted connection of the peer, and the application's end of it.
    pub fn open<'w>(&self, wire: &'w mut Wire, offer: Offer) -> (Session<'w>, TcpStream) {
        let to = self.lab.server_address(PORT);
        let session = Session::open(wire, self.next_port(), to, offer);
        (session, self.accept())
    }

    /// A connection that the test opens step by step.
    pub fn begin<'w>(&self, wire: &'w mut Wire, offer: Offer) -> Session<'w> {
        let to = self.lab.server_address(PORT);
        Session::new(wire, self.next_port(), to, true, offer)
    }

    /// The application's end of the latest connection.
    pub fn accept(&self) -> TcpStream {
        accept(&self.listener, SOON).expect("the application accepts")
    }

    fn next_port(&self) -> u16 {
        self.port.set(self.port.get() + 1);
        self.port.get()
    }
}

/// Runs a case with the subject, given these options, on the server's host.
pub fn at_server(name: &str, options: &[&str], body: impl Fn(&AtServer<'_>, &mut Wire)) {
    case(name, Settings::default(), |lab, pair| {
        let daemon = Daemon::start(&lab.server, pair.server, options);
        lab.server.divert(&PORT.to_string());
        let mut wire = Wire::take(&lab.client);
        let at = AtServer {
            lab,
            daemon,
            listener: lab.server.listen(PORT),
            port: Cell::new(20_000),
        };
        body(&at, &mut wire);
        at.daemon.assert_well("the peer");
    });
}

/// The subject on the client's host; the peer is connected to.
#[derive(Debug)]
pub struct AtClient<'l> {
    /// The laboratory.
    pub lab: &'l Lab,
    /// The subject.
    pub daemon: Daemon<'l>,
}

impl AtClient<'_> {
    /// Runs an application that connects, while the peer does `body`.
    pub fn connect<T>(
        &self,
        application: impl FnOnce(io::Result<TcpStream>) + Send,
        body: impl FnOnce() -> T,
    ) -> T {
        let to = self.lab.server_address(PORT);
        let client = &self.lab.client;
        std::thread::scope(|scope| {
            let application = scope.spawn(|| application(client.connect(to)));
            let result = body();
            if let Err(panic) = application.join() {
                std::panic::resume_unwind(panic);
            }
            result
        })
    }

    /// An application that asks, hears the answer, closes and hears the end.
    pub fn ask(&self, body: impl FnOnce()) {
        let asking = |stream: io::Result<TcpStream>| {
            let mut stream = stream.expect("connecting");
            stream.write_all(QUESTION).expect("asking");
            read_exactly(&stream, ANSWER).expect("the answer");
            stream.shutdown(std::net::Shutdown::Write).expect("closing");
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).expect("the peer's end");
            assert!(rest.is_empty());
        };
        self.connect(asking, body);
    }
}

/// Runs a case with the subject, given these options, on the client's host.
pub fn at_client(name: &str, options: &[&str], body: impl Fn(&AtClient<'_>, &mut Wire)) {
    case(name, Settings::default(), |lab, pair| {
        let daemon = Daemon::start(&lab.client, pair.client, options);
        lab.client.divert(&PORT.to_string());
        let mut wire = Wire::take(&lab.server);
        let at = AtClient { lab, daemon };
        body(&at, &mut wire);
        at.daemon.assert_well("the peer");
    });
}

/// Talks both ways over an open connection and compares the ids.
pub fn talk(session: &mut Session<'_>, mut stream: &TcpStream, daemon: &Daemon<'_>) {
    for round in 0..3 {
        assert!(session.say(QUESTION), "round {round}: no acknowledgement");
        read_exactly(stream, QUESTION).expect("the application's data");
        stream.write_all(ANSWER).expect("the application's answer");
        assert_eq!(session.hear(ANSWER.len()), ANSWER, "round {round}");
    }
    assert_same_id(session, daemon);
}

/// The subject lists the id that the peer computed.
pub fn assert_same_id(session: &Session<'_>, daemon: &Daemon<'_>) {
    let row = daemon.row_of(session.remote, session.local).expect("a row");
    let id = &session.secrets.as_ref().expect("the keys").id;
    assert_eq!(row.id, hex(id).to_uppercase());
}

/// Both ends close, the peer first.
pub fn close(session: &mut Session<'_>, mut stream: TcpStream) {
    assert!(session.close(), "the FIN is not acknowledged");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the peer's end");
    assert!(rest.is_empty());
    drop(stream);
    assert!(session.hear_the_end(), "no FIN of the subject");
    assert!(!session.reset, "reset instead of a close");
}

/// The peer's part of [`AtClient::ask`].
pub fn answer(session: &mut Session<'_>, daemon: &Daemon<'_>) {
    assert_eq!(session.hear(QUESTION.len()), QUESTION);
    assert_same_id(session, daemon);
    assert!(session.say(ANSWER), "the answer is not acknowledged");
    assert!(session.hear_the_end(), "no FIN of the subject");
    assert!(!session.reset, "reset instead of a close");
    assert!(session.close(), "the FIN is not acknowledged");
    assert_eq!(session.not_records, Vec::<Vec<u8>>::new());
}
