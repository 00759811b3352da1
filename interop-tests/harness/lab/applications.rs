//! The applications at both ends: they know nothing of tcpcrypt.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use openssl::sha::Sha256;

use crate::lab::host::patient;

/// Accepts one connection within `limit`.
pub fn accept(listener: &TcpListener, limit: Duration) -> io::Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let end = Instant::now() + limit;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                patient(&stream)?;
                return Ok(stream);
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody connected"));
            }
            Err(e) => return Err(e),
        }
    }
}

/// This end of a stream.
pub fn local(stream: &TcpStream) -> SocketAddr {
    stream.local_addr().expect("this end")
}

/// The other end of a stream.
pub fn remote(stream: &TcpStream) -> SocketAddr {
    stream.peer_addr().expect("the other end")
}

/// Bytes that look random and are the same for the same seed.
#[derive(Debug, Clone)]
pub struct Pattern {
    state: u64,
    left: u64,
}

impl Pattern {
    /// `length` bytes.
    pub fn new(seed: u64, length: u64) -> Pattern {
        let state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Pattern {
            state,
            left: length,
        }
    }

    /// The next bytes, at most 64 KiB; empty at the end.
    fn next_block(&mut self, block: &mut Vec<u8>) {
        block.clear();
        let length = self.left.min(65536);
        self.left -= length;
        while (block.len() as u64) < length {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            block.extend(self.state.to_le_bytes());
        }
        block.truncate(usize::try_from(length).expect("at most 64 KiB"));
    }

    /// All of it; for short ones.
    pub fn bytes(mut self) -> Vec<u8> {
        let (mut all, mut block) = (Vec::new(), Vec::new());
        loop {
            self.next_block(&mut block);
            if block.is_empty() {
                return all;
            }
            all.extend(&block);
        }
    }

    /// SHA-256 of all of it.
    pub fn digest(mut self) -> [u8; 32] {
        let (mut hash, mut block) = (Sha256::new(), Vec::new());
        loop {
            self.next_block(&mut block);
            if block.is_empty() {
                return hash.finish();
            }
            hash.update(&block);
        }
    }

    /// Writes all of it.
    pub fn write_to(mut self, mut stream: &TcpStream) -> io::Result<()> {
        let mut block = Vec::new();
        loop {
            self.next_block(&mut block);
            if block.is_empty() {
                return Ok(());
            }
            stream.write_all(&block)?;
        }
    }

    /// Reads to the end of the stream and demands exactly this. If it is something else, the error says where, and
    /// where in this what came there belongs.
    pub fn expect_from(self, mut stream: &TcpStream) -> io::Result<()> {
        let (mut hash, mut wanted_hash, mut got) = (Sha256::new(), Sha256::new(), 0_u64);
        let mut altered = Altered::default();
        let (mut rest, mut expected) = (self.clone(), Vec::new());
        let mut block = vec![0; 65536];
        loop {
            let length = match stream.read(&mut block) {
                // A signal that stopped and continued the tests ends calls that have a time limit.
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                result => result.map_err(|e| {
                    io::Error::new(e.kind(), format!("after {got} of {} bytes: {e}", self.left))
                })?,
            };
            if length == 0 {
                break;
            }
            let mut arrived = block.get(..length).unwrap_or_default();
            hash.update(arrived);
            while !arrived.is_empty() {
                if expected.is_empty() {
                    rest.next_block(&mut expected);
                    wanted_hash.update(&expected);
                    if expected.is_empty() {
                        got += arrived.len() as u64;
                        break;
                    }
                }
                let count = arrived.len().min(expected.len());
                let (now, later) = arrived.split_at(count);
                altered.compare(got, now, expected.get(..count).unwrap_or_default());
                expected.drain(..count);
                arrived = later;
                got += count as u64;
            }
        }
        let wanted = self.left;
        if got != wanted {
            let text = format!("{got} bytes instead of {wanted}{}", altered.text(self));
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        if hash.finish() == wanted_hash.finish() {
            Ok(())
        } else {
            let text = format!("altered bytes{}", altered.text(self));
            Err(io::Error::new(io::ErrorKind::InvalidData, text))
        }
    }

    /// Where these bytes stand first.
    fn find(mut self, some: &[u8]) -> Option<u64> {
        let (mut all, mut block, mut at) = (Vec::new(), Vec::new(), 0_u64);
        loop {
            self.next_block(&mut block);
            if block.is_empty() || some.is_empty() {
                return None;
            }
            all.extend_from_slice(&block);
            if let Some(found) = all.windows(some.len()).position(|part| part == some) {
                return Some(at + found as u64);
            }
            let keep = all.len().min(some.len() - 1);
            at += (all.len() - keep) as u64;
            all.drain(..all.len() - keep);
        }
    }
}

/// What is not as it should be in a stream.
#[derive(Debug, Default)]
struct Altered {
    /// Begin and end of each part; parts with fewer than 16 equal bytes between them are one.
    parts: Vec<(u64, u64)>,
    /// The first bytes of the first part, as they came.
    sample: Vec<u8>,
}

impl Altered {
    fn compare(&mut self, at: u64, got: &[u8], wanted: &[u8]) {
        if got == wanted {
            return;
        }
        for ((byte, other), at) in got.iter().zip(wanted).zip(at..) {
            if (1..16).contains(&self.sample.len()) {
                self.sample.push(*byte);
            }
            if byte == other {
                continue;
            }
            if self.sample.is_empty() {
                self.sample.push(*byte);
            }
            match self.parts.last_mut() {
                Some((_, end)) if at < *end + 16 => *end = at + 1,
                _ => self.parts.push((at, at + 1)),
            }
        }
    }

    fn text(&self, all: Pattern) -> String {
        let Some((begin, _)) = self.parts.first() else {
            return String::new();
        };
        let shown: Vec<_> = self
            .parts
            .iter()
            .take(8)
            .map(|(begin, end)| format!("{begin}+{}", end - begin))
            .collect();
        let belongs = match all.find(&self.sample) {
            Some(place) => format!("belongs at {place}"),
            None => "belongs nowhere".to_owned(),
        };
        format!(
            ": {} parts, {}; what came at {begin} {belongs}",
            self.parts.len(),
            shown.join(" ")
        )
    }
}

/// Sends `up` bytes from client to server and `down` bytes back at the same time, each ended
/// by a half-close, and compares everything with what was sent.
pub fn exchange(client: &TcpStream, server: &TcpStream, up: u64, down: u64) -> io::Result<()> {
    let (there, back) = (Pattern::new(11, up), Pattern::new(22, down));
    std::thread::scope(|scope| {
        let sent = scope.spawn(|| {
            there.clone().write_to(client)?;
            client.shutdown(Shutdown::Write)
        });
        let answered = scope.spawn(|| {
            back.clone().write_to(server)?;
            server.shutdown(Shutdown::Write)
        });
        let arrived = scope.spawn(|| there.clone().expect_from(server));
        let down = back.clone().expect_from(client);
        for (what, thread) in [
            ("sending up", sent),
            ("sending down", answered),
            ("up", arrived),
        ] {
            let result = thread
                .join()
                .unwrap_or_else(|p| std::panic::resume_unwind(p));
            result.map_err(|e| io::Error::new(e.kind(), format!("{what}: {e}")))?;
        }
        down.map_err(|e| io::Error::new(e.kind(), format!("down: {e}")))
    })
}

/// Client says `question`, server reads it and says `answer`, client reads it. The
/// connection stays open.
pub fn talk(
    mut client: &TcpStream,
    mut server: &TcpStream,
    question: &[u8],
    answer: &[u8],
) -> io::Result<()> {
    client.write_all(question)?;
    read_exactly(server, question)?;
    server.write_all(answer)?;
    read_exactly(client, answer)
}

/// Reads as many bytes as `wanted` has and demands that they are these.
pub fn read_exactly(mut stream: &TcpStream, wanted: &[u8]) -> io::Result<()> {
    let mut got = vec![0; wanted.len()];
    stream.read_exact(&mut got)?;
    if got == wanted {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "altered bytes"))
    }
}

/// Says something and listens: the connection must be reset, with nothing heard. Whichever
/// call comes first is told of the reset.
pub fn expect_reset(mut stream: &TcpStream, say: &[u8]) -> Result<(), String> {
    let said = stream.write_all(say).map_err(|e| e.kind());
    let mut heard = Vec::new();
    let end = stream.read_to_end(&mut heard).map_err(|e| e.kind());
    let reset = |kind: io::ErrorKind| {
        matches!(
            kind,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
        )
    };
    if heard.is_empty() && (said.is_err_and(reset) || end.is_err_and(reset)) {
        Ok(())
    } else {
        Err(format!("no reset: said {said:?}, heard {heard:?} {end:?}"))
    }
}
