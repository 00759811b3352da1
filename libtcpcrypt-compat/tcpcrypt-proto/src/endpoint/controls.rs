//! Requests of programs (tcpcrypt spec 3.3).

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use tcpcrypt_control::netstat::PageRequest;
use tcpcrypt_control::{Datagram, Header, OptionName, int_bytes, int_value};

use crate::legacy::keys::SessionId;
use crate::packet::FourTuple;

use super::settings::Settings;
use super::table::State;
use super::{ClientId, Endpoint, Fate};

/// Linux's numbers, on every architecture that tcpcryptd runs on.
mod errno {
    pub(super) const EBUSY: i32 = 16;
    pub(super) const EINVAL: i32 = 22;
    pub(super) const ENOBUFS: i32 = 105;
    pub(super) const ENOTCONN: i32 = 107;
}

type Answer = Result<Vec<u8>, i32>;

/// A request about a connection in the handshake.
struct Waiting {
    client: ClientId,
    request: Vec<u8>,
    until: Instant,
}

/// Requests that wait, and answers that wait to be sent.
#[derive(Default)]
pub(super) struct Controls {
    waiting: HashMap<FourTuple, Vec<Waiting>>,
    /// All wait equally long, so the first came first. Some may have been answered.
    order: VecDeque<(Instant, FourTuple)>,
    answers: VecDeque<(ClientId, Vec<u8>)>,
}

impl Controls {
    pub(super) fn pop(&mut self, out: &mut Vec<u8>) -> Option<ClientId> {
        let (client, answer) = self.answers.pop_front()?;
        out.extend_from_slice(&answer);
        Some(client)
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.order.front().map(|(until, _)| *until)
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.values().map(Vec::len).sum()
    }

    fn answer(&mut self, client: ClientId, request: &Datagram<'_>, answer: &Answer) {
        let mut reply = Vec::new();
        let answer = answer.as_ref().map(Vec::as_slice).map_err(|errno| *errno);
        request.write_reply(answer, &mut reply);
        self.answers.push_back((client, reply));
    }
}

/// What a request is about.
enum Subject {
    /// A port, before there is a connection.
    Port(u16),
    /// A connection in the handshake.
    Undecided(FourTuple),
    /// A connection that is encrypted, or was until just now.
    Encrypted(SessionId, u8),
    /// A connection that we did not, or could not, encrypt.
    Plain,
}

impl Endpoint {
    /// A datagram of a program.
    pub(super) fn request(&mut self, client: ClientId, octets: &[u8]) {
        let Ok(request) = Datagram::parse(octets) else {
            return;
        };
        let name = OptionName::from_number(request.header.optname);
        let answer = match (name, request.header.is_set()) {
            (Some(OptionName::Netstat), false) => Ok(self.list(request.data.len())),
            (Some(OptionName::NetstatPage), false) => PageRequest::parse(request.data)
                .map(|page| self.page(&page))
                .ok_or(errno::EINVAL),
            (Some(OptionName::Reset), true) => {
                let done = self.reset_requested(&request.header);
                done.map(|()| request.data.to_vec())
            }
            _ => match self.subject(&request.header) {
                Subject::Undecided(tuple) => return self.wait(client, tuple, octets),
                subject => self.option(name, &request, &subject),
            },
        };
        self.controls.answer(client, &request, &answer);
    }

    fn subject(&self, header: &Header) -> Subject {
        let tuple = tuple(header);
        if header.remote.port() == 0 {
            return Subject::Port(header.local.port());
        }
        match self.redirected.fate(&tuple) {
            Some(Fate::Undecided) => return Subject::Undecided(self.redirected.resolve(tuple)),
            Some(Fate::Plain) => return Subject::Plain,
            Some(Fate::Encrypted(id, application)) => return Subject::Encrypted(id, application),
            None => {}
        }
        match self.table.get(&tuple).map(|connection| &connection.state) {
            None => Subject::Port(header.local.port()),
            Some(State::Active(_) | State::Passive(_)) => Subject::Undecided(tuple),
            Some(State::Unwanted(..)) => Subject::Plain,
            Some(State::Encrypted(it)) => Subject::Encrypted(it.id, it.application),
            Some(State::Ended(ended)) => match ended.id {
                Some((id, application)) => Subject::Encrypted(id, application),
                None => Subject::Plain,
            },
        }
    }

    fn option(
        &mut self,
        name: Option<OptionName>,
        request: &Datagram<'_>,
        subject: &Subject,
    ) -> Answer {
        let Some(name) = name else {
            return self.touch(subject).and(Err(errno::EINVAL));
        };
        if request.header.is_set() {
            self.set(name, request.data, subject)?;
            return Ok(request.data.to_vec());
        }
        self.get(name, request.data.len(), subject)
    }

    /// Any request makes the slot of its port, which RESET can then forget.
    fn touch(&mut self, subject: &Subject) -> Result<(), i32> {
        match subject {
            Subject::Port(port) => match self.ports.slot(*port) {
                Some(_) => Ok(()),
                None => Err(errno::EINVAL),
            },
            _ => Ok(()),
        }
    }

    fn set(&mut self, name: OptionName, value: &[u8], subject: &Subject) -> Result<(), i32> {
        let number = int_value(value).ok_or(errno::EINVAL);
        let settings = match subject {
            Subject::Port(port) => Some(self.ports.slot(*port).ok_or(errno::EINVAL)?),
            _ => None,
        };
        match (name, settings) {
            (OptionName::Enable, None) => number.map(drop),
            (OptionName::Enable, Some(settings)) => {
                settings.enabled &= number? != 0;
                Ok(())
            }
            (_, Some(Settings { enabled: false, .. })) => Err(errno::EINVAL),
            (OptionName::Cmode, Some(settings)) => {
                settings.always = number? != 0;
                Ok(())
            }
            (OptionName::AppSupport, Some(settings)) => {
                settings.app_support = number?;
                Ok(())
            }
            (OptionName::NoCache, Some(settings)) => {
                settings.no_cache = number?;
                Ok(())
            }
            _ => Err(errno::EINVAL),
        }
    }

    fn get(&mut self, name: OptionName, room: usize, subject: &Subject) -> Answer {
        let int = |number| {
            let (octets, len) = int_bytes(number, room);
            Ok(octets.into_iter().take(len).collect())
        };
        self.touch(subject)?;
        let settings = match subject {
            Subject::Port(port) => self.ports.slot(*port).copied(),
            _ => None,
        };
        match (name, subject, settings) {
            (OptionName::Enable, _, Some(settings)) => int(u32::from(settings.enabled)),
            (OptionName::Enable, Subject::Plain, _) => int(0),
            (OptionName::Enable, _, _) => int(1),
            (OptionName::SessionId, Subject::Encrypted(id, _), _) => {
                Ok(id.as_bytes().iter().copied().take(room).collect())
            }
            (OptionName::AppSupport, Subject::Encrypted(id, application), _) => {
                if room < 1 + SessionId::LEN {
                    return Err(errno::ENOBUFS);
                }
                Ok([&[*application][..], id.as_bytes()].concat())
            }
            (OptionName::SessionId | OptionName::AppSupport, _, _) => Err(errno::ENOTCONN),
            (OptionName::Cmode, _, Some(settings)) if settings.enabled => {
                int(u32::from(settings.always))
            }
            (OptionName::NoCache, _, Some(settings)) if settings.enabled => int(settings.no_cache),
            _ => Err(errno::EINVAL),
        }
    }

    /// RESET: a port's settings are forgotten; a connection is aborted at both ends, where the original
    /// crashes.
    fn reset_requested(&mut self, header: &Header) -> Result<(), i32> {
        if header.remote.port() == 0 {
            let forgotten = self.ports.forget(header.local.port());
            return forgotten.then_some(()).ok_or(errno::EINVAL);
        }
        let tuple = tuple(header);
        if self.redirected.reset(tuple) {
            return Ok(());
        }
        match self.table.get(&tuple).map(|connection| &connection.state) {
            None | Some(State::Ended(_)) => Err(errno::EINVAL),
            Some(_) => {
                self.abort(&tuple);
                Ok(())
            }
        }
    }

    /// Keeps a request until the handshake is decided.
    fn wait(&mut self, client: ClientId, tuple: FourTuple, octets: &[u8]) {
        let limits = &self.services.config.limits;
        if self.controls.order.len() >= limits.waiting_requests {
            if let Ok(request) = Datagram::parse(octets) {
                self.controls.answer(client, &request, &Err(errno::EBUSY));
            }
            return;
        }
        let until = self.now.checked_add(limits.request_wait);
        let until = until.unwrap_or(self.now);
        self.controls.order.push_back((until, tuple));
        let of_tuple = self.controls.waiting.entry(tuple).or_default();
        of_tuple.push(Waiting {
            client,
            request: octets.to_vec(),
            until,
        });
    }

    /// The handshake is decided, one way or the other.
    pub(super) fn answer_waiting(&mut self, tuple: &FourTuple) {
        if self.controls.waiting.is_empty() {
            return;
        }
        let Some(all) = self.controls.waiting.remove(tuple) else {
            return;
        };
        self.controls.order.retain(|(_, of)| of != tuple);
        for waiting in all {
            let Ok(request) = Datagram::parse(&waiting.request) else {
                continue;
            };
            let name = OptionName::from_number(request.header.optname);
            let subject = match self.subject(&request.header) {
                // It was about this connection, not about the next one from this port.
                Subject::Port(_) | Subject::Undecided(_) => Subject::Plain,
                decided => decided,
            };
            let answer = self.option(name, &request, &subject);
            self.controls.answer(waiting.client, &request, &answer);
        }
    }

    /// Answers those that have waited long enough.
    pub(super) fn expire_requests(&mut self, now: Instant) {
        while let Some((until, tuple)) = self.controls.order.front().copied() {
            if until > now {
                break;
            }
            self.controls.order.pop_front();
            let Some(all) = self.controls.waiting.get_mut(&tuple) else {
                continue;
            };
            let (late, others): (Vec<_>, Vec<_>) =
                all.drain(..).partition(|waiting| waiting.until <= now);
            if others.is_empty() {
                self.controls.waiting.remove(&tuple);
            } else {
                *all = others;
            }
            for waiting in late {
                if let Ok(request) = Datagram::parse(&waiting.request) {
                    self.controls
                        .answer(waiting.client, &request, &Err(errno::EBUSY));
                }
            }
        }
    }
}

fn tuple(header: &Header) -> FourTuple {
    FourTuple {
        local: SocketAddr::V4(header.local),
        remote: SocketAddr::V4(header.remote),
    }
}
