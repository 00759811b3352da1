//! Connections that go to the threads that carry, and what comes back of them.

use std::time::Instant;

use rustix::event::epoll;
use tcpcrypt_proto::event::Line;
use tcpcrypt_proto::stream::Stream;

use super::Proxy;
use super::carry::Trouble;
use super::connection::Connection;
use super::end::End;
use super::table::{Away, Key, Side};
use super::worker::Report;

impl Proxy {
    /// Gives a connection that has become a stream to a thread that carries, if there is one with room: otherwise it
    /// comes back and is carried here, until later.
    pub(super) fn hand_over(
        &mut self,
        key: Key,
        mut connection: Box<Connection>,
    ) -> Option<Box<Connection>> {
        if !connection.is_stream() {
            return Some(connection);
        }
        for end in [&mut connection.near, &mut connection.far] {
            end.iter_mut().for_each(End::limit_unsent);
        }
        let Some(worker) = self.workers.free() else {
            return Some(connection);
        };
        for end in [&connection.near, &connection.far].into_iter().flatten() {
            // Events of one that could not be taken out would find nobody.
            let _ = epoll::delete(&self.epoll, &end.socket);
        }
        self.table.set_deadline(key, &mut connection, None);
        // Who finds it among those that have more to do, finds nobody there.
        connection.queued = false;
        let away = Away {
            worker,
            names: connection.names(),
            bequest: connection
                .stream
                .as_mut()
                .and_then(Stream::part_from_bequest),
        };
        self.table.put_away(key, away);
        self.counters.handed_over += 1;
        self.workers.give(worker, key, connection);
        None
    }

    /// Takes what the threads that carry have told, if they have: what they told of sessions in front of a packet has to
    /// be known when that packet is looked at. They ring for it all the same.
    pub(super) fn catch_up(&mut self, now: Instant) {
        if self.workers.have_told() {
            self.handle_reports(now);
        }
    }

    /// How many connections were reset since the last call because threads have ended that nobody told to.
    pub(super) fn take_lost(&mut self) -> Option<usize> {
        self.lost.take()
    }

    /// What the threads that carry have told.
    pub(super) fn handle_reports(&mut self, now: Instant) {
        for report in self.workers.reports() {
            match report {
                Report::Authenticated(key) => {
                    let bequest = self.table.away(key).and_then(|away| away.bequest.as_mut());
                    if let Some(bequest) = bequest {
                        bequest.confirm(&mut self.host, now);
                    }
                }
                Report::Ended(key, trouble) => {
                    if self.end_away(key, false) {
                        if let Some(line) = trouble {
                            self.host.redirected_failed(line);
                        }
                    }
                }
                Report::Gone(worker) => {
                    let more = self.worker_is_gone(now, worker);
                    *self.lost.get_or_insert(0) += more;
                }
            }
        }
    }

    /// Programs and packets do not know a connection any more that a thread carried; says whether they did. With
    /// `tell` that thread is to reset it.
    pub(super) fn end_away(&mut self, key: Key, tell: bool) -> bool {
        let Some(away) = self.table.forget_away(key) else {
            return false;
        };
        self.workers.ended(away.worker, key, tell);
        let names = away.names;
        self.host.redirected_ended(names.listed, names.alias);
        true
    }

    /// A thread has ended. What it did not take yet comes back; the rest was reset. Other threads go on, and where there
    /// are none this one carries everything. Returns how many were reset.
    fn worker_is_gone(&mut self, now: Instant, worker: usize) -> usize {
        for (key, connection) in self.workers.gone(worker) {
            if let Some(away) = self.table.take_away(key) {
                self.workers.ended(worker, key, false);
                self.take_back(now, key, away, connection);
            }
        }
        let lost = self.table.keys_of_worker(worker);
        for key in &lost {
            self.end_away(*key, false);
            self.host.redirected_failed(Line::SendingRst);
        }
        lost.len()
    }

    fn take_back(&mut self, now: Instant, key: Key, away: Away, mut connection: Box<Connection>) {
        if let (Some(bequest), Some(stream)) = (away.bequest, &mut connection.stream) {
            stream.rejoin(bequest);
        }
        let ends = [(Side::Near, &connection.near), (Side::Far, &connection.far)];
        let watched = ends.into_iter().all(|(side, end)| {
            end.as_ref()
                .is_some_and(|end| Proxy::watch(&self.epoll, key, side, end).is_ok())
        });
        match watched {
            true => self.carry(now, key, connection),
            false => self.destroy(now, key, connection, Some(Trouble::System)),
        }
    }
}
