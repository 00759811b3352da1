//! Carrying octets between the two ends of a connection.
//!
//! Each direction reads only when everything that was read before is written, so what waits is bounded by one
//! read, and a slow reader slows the writer.

use std::io;
use std::time::Instant;

use tcpcrypt_proto::endpoint::Endpoint;
use tcpcrypt_proto::event::Line;
use tcpcrypt_proto::stream::{Broken, READ_ROOM, Received, Shape, Stream};

use super::buffers::Buffers;
use super::connection::Connection;

/// Octets after which the others get their turn.
const TURN: usize = 1 << 20;

/// Room in a segment that selective acknowledgements of the other direction may take: with them a record must
/// still fit, since the original takes only whole ones.
const OPTIONS_IN_RESERVE: usize = 36;

/// What a record has more than its data.
const RECORD_OVERHEAD: usize = 20;

/// Octets of data in a frame of the standard, if there are as many.
const FRAME: usize = 16 * 1024;

/// A record is not made shorter than this.
const SHORTEST: usize = 64;

/// Why a connection ends before its time. Both ends are reset.
#[derive(Debug)]
pub(super) enum Trouble {
    /// tcpcrypt says so.
    Broken(Line),
    /// One of the two TCPs does.
    System,
}

impl From<Broken> for Trouble {
    fn from(broken: Broken) -> Trouble {
        Trouble::Broken(broken.0)
    }
}

impl From<io::Error> for Trouble {
    fn from(_: io::Error) -> Trouble {
        Trouble::System
    }
}

/// Who remembers what a connection leaves behind.
pub(super) enum Keeper<'a> {
    /// This one.
    Here(&'a mut Endpoint),
    /// One whose thread is another; he is told with this, each time octets came, that the peer has shown its keys.
    Elsewhere(&'a mut dyn FnMut()),
}

/// What is to be done with a connection next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carried {
    /// Wait for an event.
    Waiting,
    /// It had its turn, there is more.
    More,
    /// Both directions are done.
    Done,
}

impl Connection {
    /// Moves what can be moved. Where the endpoint is elsewhere, only what is a [stream](Self::is_stream).
    pub(super) fn carry(
        &mut self,
        mut keeper: Keeper<'_>,
        now: Instant,
        buffers: &mut Buffers,
    ) -> Result<Carried, Trouble> {
        let mut moved = 0;
        while moved < TURN {
            let inward = self.carry_inward(&mut keeper, now, buffers)?;
            let outward = self.carry_outward(buffers)?;
            if inward + outward == 0 {
                return self.close_what_ended(buffers);
            }
            moved += inward + outward;
        }
        Ok(Carried::More)
    }

    /// From the wire to the application.
    fn carry_inward(
        &mut self,
        keeper: &mut Keeper<'_>,
        now: Instant,
        buffers: &mut Buffers,
    ) -> Result<usize, Trouble> {
        let (Some(far), Some(stream)) = (&mut self.far, &mut self.stream) else {
            return Ok(0);
        };
        if let Some(near) = &mut self.near {
            near.flush(super::PLAIN_SHAPE, buffers)?;
            if near.is_busy() {
                return Ok(0);
            }
        }
        // Plain text has nowhere to go before the application is there.
        if !self.unread.is_empty() && self.near.is_none() || far.ended {
            return Ok(0);
        }
        let kept = self.partial.len();
        let Some((front, room)) = buffers.wire.split_at_mut_checked(kept) else {
            return Err(Trouble::System);
        };
        let before = self.unread.len();
        let mut count = 0;
        if before == 0 {
            match far.read(room)? {
                Some(read) => count = read,
                None if far.ended => {
                    stream.end(&self.partial)?;
                    return Ok(1);
                }
                None => return Ok(0),
            }
        }
        front.copy_from_slice(&self.partial);
        let input = buffers.wire.get(..kept + count).unwrap_or_default();
        buffers.opened.clear();
        buffers.reply.clear();
        let (opened, reply) = (&mut buffers.opened, &mut buffers.reply);
        let received = match keeper {
            Keeper::Here(host) => stream.receive(host, now, input, usize::MAX, opened, reply)?,
            Keeper::Elsewhere(tell) => {
                let consumed = stream.receive_data(input, usize::MAX, opened)?;
                // Before the application gets any of it: its next connection may be the one that resumes.
                if stream.is_authenticated() {
                    tell();
                }
                Received {
                    consumed,
                    settled: false,
                }
            }
        };
        let rest = input.get(received.consumed..).unwrap_or_default();
        if rest.len() > READ_ROOM {
            return Err(Trouble::System);
        }
        if rest.is_empty() {
            self.partial = Vec::new();
        } else {
            self.partial.clear();
            self.partial.extend_from_slice(rest);
        }
        let shape = stream.shape();
        if received.settled && stream.session().is_some() {
            self.watch();
        }
        let Some(far) = &mut self.far else {
            return Ok(0);
        };
        if !buffers.reply.is_empty() {
            let reply = std::mem::take(&mut buffers.reply);
            let result = far.write(shape, &reply, buffers);
            buffers.reply = reply;
            result?;
        }
        let opened = std::mem::take(&mut buffers.opened);
        let result = match &mut self.near {
            Some(near) => {
                let waited = std::mem::take(&mut self.unread);
                near.write(super::PLAIN_SHAPE, &waited, buffers)
                    .and_then(|()| near.write(super::PLAIN_SHAPE, &opened, buffers))
            }
            None => {
                self.unread.extend_from_slice(&opened);
                Ok(())
            }
        };
        let moved = count + before;
        buffers.opened = opened;
        result?;
        if let (true, Keeper::Here(host)) = (received.settled, keeper) {
            self.settled(host);
        }
        Ok(moved.max(1))
    }

    /// From the application to the wire.
    fn carry_outward(&mut self, buffers: &mut Buffers) -> Result<usize, Trouble> {
        self.look_for_answer();
        let (Some(far), Some(stream)) = (&mut self.far, &mut self.stream) else {
            return Ok(0);
        };
        let shape = stream.shape();
        far.flush(shape, buffers)?;
        if !far.is_busy() && stream.owes() {
            buffers.sealed.clear();
            stream.pay(&mut buffers.sealed)?;
            let sealed = std::mem::take(&mut buffers.sealed);
            let result = far.write(shape, &sealed, buffers);
            buffers.sealed = sealed;
            result?;
            return Ok(1);
        }
        let Some(near) = &mut self.near else {
            return Ok(0);
        };
        if far.is_busy() || !stream.is_ready() || near.ended {
            return Ok(0);
        }
        let Some(count) = near.read(&mut buffers.plain)? else {
            if !near.ended {
                return Ok(0);
            }
            buffers.sealed.clear();
            stream.finish(&mut buffers.sealed)?;
            let sealed = std::mem::take(&mut buffers.sealed);
            let result = far.write(shape, &sealed, buffers);
            buffers.sealed = sealed;
            result?;
            return Ok(1);
        };
        let data = buffers.plain.get(..count).unwrap_or_default();
        if stream.is_plain() {
            let plain = std::mem::take(&mut buffers.plain);
            let result = far.write(shape, plain.get(..count).unwrap_or_default(), buffers);
            buffers.plain = plain;
            result?;
            return Ok(count);
        }
        let most = match shape {
            Shape::Stream => FRAME,
            Shape::Segments => {
                let segment = far.socket.segment_size()?;
                let reserve = if far.together { 0 } else { OPTIONS_IN_RESERVE };
                segment
                    .saturating_sub(reserve + RECORD_OVERHEAD)
                    .max(SHORTEST)
            }
        };
        buffers.sealed.clear();
        stream.send(data, most, &mut buffers.sealed)?;
        let sealed = std::mem::take(&mut buffers.sealed);
        let result = far.write(shape, &sealed, buffers);
        buffers.sealed = sealed;
        result?;
        Ok(count)
    }

    /// Passes on the ends of both directions.
    fn close_what_ended(&mut self, buffers: &mut Buffers) -> Result<Carried, Trouble> {
        let (Some(near), Some(far)) = (&mut self.near, &mut self.far) else {
            return Ok(Carried::Waiting);
        };
        if near.ended && !far.is_busy() && !far.shut {
            far.shut = true;
            self.quirk_of_end();
            let Some(far) = &mut self.far else {
                return Ok(Carried::Waiting);
            };
            far.socket.end_writing()?;
        }
        let (Some(near), Some(far)) = (&mut self.near, &mut self.far) else {
            return Ok(Carried::Waiting);
        };
        let finished = self.stream.as_ref().is_some_and(Stream::has_finished);
        if (far.ended || finished) && self.unread.is_empty() && !near.is_busy() && !near.shut {
            near.shut = true;
            near.socket.end_writing()?;
            self.quirk_of_end();
        }
        let (Some(near), Some(far)) = (&mut self.near, &mut self.far) else {
            return Ok(Carried::Waiting);
        };
        if near.shut && far.shut {
            near.socket.orderly();
            far.socket.orderly();
            near.forget(buffers);
            far.forget(buffers);
            return Ok(Carried::Done);
        }
        Ok(Carried::Waiting)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::SocketAddr;

    use rustix::event::epoll::EventFlags;
    use tcpcrypt_proto::config::Config;
    use tcpcrypt_proto::dialect::Policy;
    use tcpcrypt_proto::entropy::System;
    use tcpcrypt_proto::packet::Seq;
    use tcpcrypt_proto::stream::{Client, Server};

    use super::super::table::Side;
    use super::super::workers::tests::{connection, end};
    use super::*;

    /// Both ends of a connection that speaks the standard: the opener's, and the other.
    fn agreed() -> (Stream, Stream) {
        let now = Instant::now();
        let endpoint = || {
            let config = Config {
                eno: Policy::Standard,
                ..Config::default()
            };
            Endpoint::new(config, Box::new(System::default()), now)
        };
        let (mut near, mut far) = (endpoint(), endpoint());
        let peer = SocketAddr::from(([10, 77, 0, 1], 80));
        let mut client = Client::new(&mut near, now, 4000, peer).expect("wanted");
        let offer = client.offer(&mut near, now, 40).expect("room");
        let mut server = Server::new(&mut far, now, 80, peer, offer).expect("wanted");
        let answer = server.answer(&mut far, now, 40);
        client.answered(&mut near, now, answer);
        server.third_segment(client.following());
        let (mut init1, mut init2, mut none) = (Vec::new(), Vec::new(), Vec::new());
        let numbers = (Seq(1), Seq(1));
        let begun = client.begin(&mut near, now, numbers, &mut init1);
        let mut opener = begun.expect("begun");
        let mut other = server.begin(&mut far, now, numbers).expect("begun");
        let mut take = |stream: &mut Stream, host, message: &[u8], reply: &mut Vec<u8>| {
            let taken = stream.receive(host, now, message, READ_ROOM, &mut none, reply);
            assert!(taken.expect("genuine").settled);
        };
        take(&mut other, &mut far, &init1, &mut init2);
        take(&mut opener, &mut near, &init2, &mut Vec::new());
        opener.part_from_bequest();
        (opener, other)
    }

    /// An application that has heard of its peer may open the next connection at once, and that one is to resume.
    #[test]
    fn who_keeps_the_session_is_told_before_the_application_hears_of_the_peer() {
        for has_data in [true, false] {
            let (opener, mut other) = agreed();
            let ((near, application), (far, mut peer)) = (end(), end());
            let mut connection = connection(Some(near), Some(far));
            assert!(!connection.has_failed(Side::Near, EventFlags::OUT));
            assert!(!connection.has_failed(Side::Far, EventFlags::IN | EventFlags::OUT));
            connection.stream = Some(opener);
            let mut wire = Vec::new();
            if has_data {
                other.send(b"data", FRAME, &mut wire).expect("sealed");
            }
            other.finish(&mut wire).expect("sealed");
            peer.write_all(&wire).expect("sent");
            application.set_nonblocking(true).expect("set");
            let mut told = 0;
            let mut tell = || {
                told += 1;
                let heard = (&application).read(&mut [0; 8]);
                assert_eq!(heard.map_err(|it| it.kind()), Err(ErrorKind::WouldBlock));
            };
            let keeper = Keeper::Elsewhere(&mut tell);
            let carried = connection.carry(keeper, Instant::now(), &mut Buffers::new());
            assert_eq!(carried.expect("well"), Carried::Waiting);
            assert_eq!(told, 1);
            application.set_nonblocking(false).expect("set");
            let mut got = Vec::new();
            (&application).read_to_end(&mut got).expect("the end");
            assert_eq!(got, if has_data { &b"data"[..] } else { b"" });
        }
    }
}
