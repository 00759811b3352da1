//! Requests of programs (tcpcrypt spec 3.3).

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use tcpcrypt_control::netstat::PageRequest;
use tcpcrypt_control::{OptionName, int_bytes, int_value};

use crate::conn::Identity;
use crate::packet::FourTuple;

use super::request::{Answer, Request};
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

    /// Octets that wait.
    pub(super) fn footprint(&self) -> usize {
        let waiting = self.waiting.values().flatten();
        let waiting: usize = waiting.map(|waiting| waiting.request.capacity()).sum();
        let answers = self.answers.iter();
        waiting + answers.map(|(_, answer)| answer.capacity()).sum::<usize>()
    }

    fn answer(&mut self, client: ClientId, request: &Request<'_>, answer: &Answer) {
        self.answers.push_back((client, request.reply(answer)));
    }
}

/// What a request is about.
enum Subject {
    /// A port, before there is a connection.
    Port(u16),
    /// A connection in the handshake.
    Undecided(FourTuple),
    /// A connection that is encrypted, or was until just now.
    Encrypted(Identity),
    /// A connection that we did not, or could not, encrypt.
    Plain,
}

impl Endpoint {
    /// A datagram of a program.
    pub(super) fn request(&mut self, client: ClientId, octets: &[u8]) {
        let Some(request) = Request::parse(octets) else {
            return;
        };
        let name = request.name();
        let answer = match (name, request.is_set(), request.is_wide) {
            (Some(OptionName::Netstat), false, false) => Ok(self.list(request.room)),
            (Some(OptionName::Netstat), false, true) => Ok(self.wide_rows(None, request.room)),
            (Some(OptionName::NetstatPage), false, false) => PageRequest::parse(request.value)
                .map(|page| self.page(&page))
                .ok_or(errno::EINVAL),
            (Some(OptionName::NetstatPage), false, true) => {
                Ok(self.wide_rows(request.after(), request.room))
            }
            (Some(OptionName::Reset), true, _) => {
                let done = self.reset_requested(&request.ends);
                done.map(|()| request.value.to_vec())
            }
            _ => match self.subject(&request.ends) {
                Subject::Undecided(tuple) => return self.wait(client, tuple, octets),
                subject => self.option(&request, &subject),
            },
        };
        self.controls.answer(client, &request, &answer);
    }

    fn subject(&self, tuple: &FourTuple) -> Subject {
        if tuple.remote.port() == 0 {
            return Subject::Port(tuple.local.port());
        }
        match self.redirected.fate(tuple) {
            Some(Fate::Undecided) => return Subject::Undecided(self.redirected.resolve(*tuple)),
            Some(Fate::Plain) => return Subject::Plain,
            Some(Fate::Encrypted(identity)) => return Subject::Encrypted(identity),
            None => {}
        }
        match self.table.get(tuple).map(|connection| &connection.state) {
            None => Subject::Port(tuple.local.port()),
            Some(State::Active(_) | State::Passive(_)) => Subject::Undecided(*tuple),
            Some(State::Unwanted(..)) => Subject::Plain,
            Some(State::Encrypted(it)) => Subject::Encrypted(it.identity()),
            Some(State::Ended(ended)) => ended.id.map_or(Subject::Plain, Subject::Encrypted),
        }
    }

    fn option(&mut self, request: &Request<'_>, subject: &Subject) -> Answer {
        let Some(name) = request.name() else {
            return self.touch(subject).and(Err(errno::EINVAL));
        };
        if name == OptionName::FlushCache && request.is_set() {
            self.flush_cache(&request.ends)?;
            return Ok(request.value.to_vec());
        }
        if request.is_set() {
            self.set(name, request.value, subject)?;
            return Ok(request.value.to_vec());
        }
        self.get(name, request.room, subject)
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
            (OptionName::PassiveRole, Some(settings)) => {
                settings.passive_role = number?;
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
            (OptionName::SessionId, Subject::Encrypted(it), _) => {
                Ok(it.id.as_bytes().iter().copied().take(room).collect())
            }
            (OptionName::AppSupport, Subject::Encrypted(it), _) => {
                whole(room, [&[it.application][..], it.id.as_bytes()].concat())
            }
            (OptionName::Role, Subject::Encrypted(it), _) => whole(room, it.details.role.name()),
            (OptionName::Dialect, Subject::Encrypted(it), _) => {
                whole(room, it.details.dialect.name())
            }
            (OptionName::KeyExchange, Subject::Encrypted(it), _) => {
                whole(room, it.details.tep_name())
            }
            (OptionName::Cipher, Subject::Encrypted(it), _) => {
                whole(room, it.details.cipher_name())
            }
            (
                OptionName::SessionId
                | OptionName::AppSupport
                | OptionName::Role
                | OptionName::Dialect
                | OptionName::KeyExchange
                | OptionName::Cipher,
                _,
                _,
            ) => Err(errno::ENOTCONN),
            (OptionName::Cmode, _, Some(settings)) if settings.enabled => {
                int(u32::from(settings.always))
            }
            (OptionName::NoCache, _, Some(settings)) if settings.enabled => int(settings.no_cache),
            (OptionName::PassiveRole, _, Some(settings)) if settings.enabled => {
                int(settings.passive_role)
            }
            _ => Err(errno::EINVAL),
        }
    }

    /// The session that was used is gone; the one that came out of it is to be gone, too.
    fn flush_cache(&mut self, tuple: &FourTuple) -> Result<(), i32> {
        match self.table.get_mut(tuple).map(|it| &mut it.state) {
            Some(State::Encrypted(established)) => {
                established.flush(&mut self.services.cache);
                Ok(())
            }
            _ if self.redirected.flush(*tuple) => Ok(()),
            _ => Err(errno::ENOTCONN),
        }
    }

    /// RESET: a port's settings are forgotten; a connection is aborted at both ends, where the original
    /// crashes.
    fn reset_requested(&mut self, tuple: &FourTuple) -> Result<(), i32> {
        if tuple.remote.port() == 0 {
            let forgotten = self.ports.forget(tuple.local.port());
            return forgotten.then_some(()).ok_or(errno::EINVAL);
        }
        if self.redirected.reset(*tuple) {
            return Ok(());
        }
        match self.table.get(tuple).map(|connection| &connection.state) {
            None | Some(State::Ended(_)) => Err(errno::EINVAL),
            Some(_) => {
                self.abort(tuple);
                Ok(())
            }
        }
    }

    /// Keeps a request until the handshake is decided.
    fn wait(&mut self, client: ClientId, tuple: FourTuple, octets: &[u8]) {
        let limits = &self.services.config.limits;
        if self.controls.order.len() >= limits.waiting_requests {
            if let Some(request) = Request::parse(octets) {
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
            let Some(request) = Request::parse(&waiting.request) else {
                continue;
            };
            let subject = match self.subject(&request.ends) {
                // It was about this connection, not about the next one from this port.
                Subject::Port(_) | Subject::Undecided(_) => Subject::Plain,
                decided => decided,
            };
            let answer = self.option(&request, &subject);
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
                if let Some(request) = Request::parse(&waiting.request) {
                    self.controls
                        .answer(waiting.client, &request, &Err(errno::EBUSY));
                }
            }
        }
    }
}

/// A value that means nothing when it is cut.
fn whole(room: usize, value: impl Into<Vec<u8>>) -> Answer {
    let value = value.into();
    if value.len() > room {
        return Err(errno::ENOBUFS);
    }
    Ok(value)
}
