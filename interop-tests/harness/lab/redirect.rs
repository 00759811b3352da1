//! Redirect mode in a laboratory: which hosts are proxies, by whose rules, and how their connections are known.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use crate::lab::applications::{local, remote, talk};
use crate::lab::case::Pair;
use crate::lab::daemon::Daemon;
use crate::lab::host::Host;
use crate::lab::implementation::Implementation;
use crate::lab::scenarios::{ANSWER, QUESTION, close_both};
use crate::lab::{Lab, PORT, Settings};
use crate::skip::skip;
use crate::wait;

/// What the daemons are told of the dialects, and over what their applications speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speech {
    /// The option `--eno`.
    pub eno: &'static str,
    /// Over IPv6.
    pub ipv6: bool,
}

impl Speech {
    /// The original's dialect, as it is asked for.
    pub const LEGACY: Speech = Speech::over_ipv4("--eno=legacy");
    /// The standard, which hosts reach that know nothing of each other.
    pub const UPGRADED: Speech = Speech::over_ipv4("--eno=auto");
    /// The standard by its own kind of option.
    pub const STANDARD: Speech = Speech::over_ipv4("--eno=rfc");
    /// The same over IPv6.
    pub const STANDARD_IPV6: Speech = Speech {
        ipv6: true,
        ..Speech::STANDARD
    };
    /// All of them.
    pub const ALL: [Speech; 4] = [
        Speech::LEGACY,
        Speech::UPGRADED,
        Speech::STANDARD,
        Speech::STANDARD_IPV6,
    ];

    const fn over_ipv4(eno: &'static str) -> Speech {
        Speech { eno, ipv6: false }
    }

    /// The laboratory for it.
    pub fn settings(self) -> Settings {
        Settings {
            ipv6: self.ipv6,
            ..Settings::default()
        }
    }

    /// Whether connections are in the standard.
    pub fn is_standard(self) -> bool {
        self != Speech::LEGACY
    }

    /// How the id of a session begins, of the first and of those that go on.
    pub fn first_octets(self) -> [&'static str; 2] {
        match self.is_standard() {
            false => ["21", "A1"],
            true => ["23", "A3"],
        }
    }
}

/// How a host takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Our rules and `-e`, handshakes by the queue.
    Redirect,
    /// Our rules and `-e`, handshakes by a program in the kernel.
    RedirectByProgram,
    /// The original's rules and `-e`, handshakes by the queue.
    RedirectOriginalRules,
    /// The original's rules and `-e`, handshakes by a program in the kernel.
    RedirectOriginalRulesByProgram,
    /// The original's rules for all ports but some.
    RedirectOriginalOmit,
    /// The rules of divert mode.
    Divert,
}

use Mode::{
    Divert, Redirect, RedirectByProgram, RedirectOriginalOmit, RedirectOriginalRules,
    RedirectOriginalRulesByProgram,
};

/// Both ways of handshakes, with our rules.
pub const WAYS: [Mode; 2] = [Redirect, RedirectByProgram];

impl Mode {
    /// The daemon's options.
    pub fn options(self, more: &[&'static str]) -> Vec<&'static str> {
        let mut options = more.to_vec();
        options.extend_from_slice(match self {
            Divert => &[][..],
            RedirectByProgram | RedirectOriginalRulesByProgram => &["-e", "--eno-by=ebpf"],
            Redirect | RedirectOriginalRules | RedirectOriginalOmit => &["-e", "--eno-by=queue"],
        });
        options
    }

    /// Whether this machine can do it; says if not.
    pub fn is_possible(self) -> bool {
        if !matches!(self, RedirectByProgram | RedirectOriginalRulesByProgram) {
            return true;
        }
        match kx_sys::sock_ops::probe() {
            Ok(()) => true,
            Err(error) => {
                skip(&format!("{self:?}"), &error.to_string());
                false
            }
        }
    }

    /// Adds the rules.
    pub fn rules(self, host: &Host) {
        let ports = PORT.to_string();
        match self {
            Redirect | RedirectByProgram => host.redirect(&ports),
            RedirectOriginalRules | RedirectOriginalRulesByProgram => {
                host.redirect_as_original(&ports, false)
            }
            RedirectOriginalOmit => host.redirect_as_original("22,261,443,992:995", true),
            Divert => host.divert(&ports),
        }
    }
}

/// Runs a test between two daemons in these modes.
pub fn between(
    lab: &Lab,
    pair: Pair,
    modes: (Mode, Mode),
    speech: Speech,
    body: impl Fn(&Lab, &Daemon<'_>, &Daemon<'_>),
) {
    if !modes.0.is_possible() || !modes.1.is_possible() {
        return;
    }
    let start = |host, implementation: &'static Implementation, mode: Mode| {
        let options: &[_] = match implementation.original {
            true => &["-v"],
            false => &["-v", speech.eno],
        };
        Daemon::start(host, implementation, &mode.options(options))
    };
    let client = start(&lab.client, pair.client, modes.0);
    let server = start(&lab.server, pair.server, modes.1);
    modes.0.rules(&lab.client);
    modes.1.rules(&lab.server);
    body(lab, &client, &server);
    client.assert_well("the test");
    server.assert_well("the test");
}

/// The id of an open connection, the same at both ends. A proxy's own port is on the wire, so only the client's
/// row is known by its addresses.
pub fn agreed_id(client: &Daemon<'_>, server: &Daemon<'_>, near: &TcpStream) -> String {
    let row = client.row_of(local(near), remote(near));
    let row = row.expect("the client's row");
    let other = wait::until(Duration::from_secs(3), || {
        server
            .netstat()
            .into_iter()
            .find(|other| other.id == row.id)
    });
    let other = other.expect("the server's row");
    assert_eq!(other.local, remote(near));
    assert_eq!(other.remote.ip(), local(near).ip());
    row.id
}

/// Opens a connection, talks, compares the ids, closes in order.
pub fn one_talk_on(
    lab: &Lab,
    client: &Daemon<'_>,
    server: &Daemon<'_>,
    listener: &TcpListener,
) -> String {
    let (near, far) = lab.connect_to(listener).expect("connecting");
    talk(&near, &far, QUESTION, ANSWER).expect("talking");
    let id = agreed_id(client, server, &near);
    close_both(near, far);
    id
}

/// The same with a listener of its own.
pub fn one_talk(lab: &Lab, client: &Daemon<'_>, server: &Daemon<'_>) -> String {
    one_talk_on(lab, client, server, &lab.server.listen(PORT))
}

/// The first end closes and still reads what the second one writes then.
pub fn half_close(mut first: TcpStream, mut second: TcpStream) {
    first.shutdown(Shutdown::Write).expect("half-closing");
    let mut rest = Vec::new();
    second.read_to_end(&mut rest).expect("the first one's end");
    let bulk = vec![7; 300_000];
    second.write_all(&bulk).expect("writing after the end");
    drop(second);
    first.read_to_end(&mut rest).expect("the second one's end");
    assert_eq!(rest, bulk);
}

/// Once the client half-closes and goes on reading, once the server.
pub fn either_end_closes_first(lab: &Lab) {
    let listener = lab.server.listen(PORT);
    for by_client in [true, false] {
        let (near, far) = lab.connect_to(&listener).expect("connecting");
        talk(&near, &far, QUESTION, ANSWER).expect("talking");
        match by_client {
            true => half_close(near, far),
            false => half_close(far, near),
        }
    }
}
