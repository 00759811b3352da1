//! Many connections, in processes beside this one: a process may have only so many descriptors, and each connection
//! takes two.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, ExitCode, Stdio};

use interop_tests::lab::Lab;
use interop_tests::program::Guarded;
use kx_sys::descriptor_channel::DescriptorChannel;

use crate::load::{Ends, open_idle, talk};

/// Connections that a process holds.
const EACH: usize = 8_000;
/// Questions that one process asks before the next one's turn.
const TURN: usize = 200;
/// A message with both ends of a connection.
const KEEP: &[u8] = b"keep";
/// A message: a turn of questions. It comes back when they were answered.
const TALK: &[u8] = b"talk";

/// All connections.
pub(crate) struct Holders(Vec<Holder>);

struct Holder {
    channel: DescriptorChannel,
    _process: Guarded,
}

impl Holders {
    /// Opens `count` connections over which a word was said each way.
    pub(crate) fn open(lab: &Lab, count: usize) -> io::Result<Holders> {
        // More than a client has ports for the same server, as systems are set up.
        lab.client
            .script("echo 1024 65535 > /proc/sys/net/ipv4/ip_local_port_range");
        let mut holders = Vec::new();
        let mut left = 0;
        open_idle(lab, count, |(near, far)| {
            if left == 0 {
                holders.push(Holder::start()?);
                left = EACH;
            }
            left -= 1;
            match holders.last() {
                Some(holder) => holder.channel.send_all(KEEP, &[near.as_fd(), far.as_fd()]),
                None => Ok(()),
            }
        })?;
        Ok(Holders(holders))
    }

    /// Questions and answers of four octets on connections taken at random, each process at its turn.
    pub(crate) fn talk(&self, count: usize) -> io::Result<()> {
        for turn in 0..count / TURN {
            let Some(holder) = self.0.get(turn % self.0.len().max(1)) else {
                break;
            };
            holder.channel.send(TALK, None)?;
            let mut answer = [0; 100];
            match holder.channel.receive(&mut answer)? {
                Some((length, _)) if answer.get(..length) == Some(TALK) => {}
                _ => return Err(io::Error::other("a process with connections has ended")),
            }
        }
        Ok(())
    }
}

impl Holder {
    fn start() -> io::Result<Holder> {
        let (channel, theirs) = DescriptorChannel::pair()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("-hold").stdin(OwnedFd::from(theirs));
        let process = Guarded(command.stdout(Stdio::null()).spawn()?);
        Ok(Holder {
            channel,
            _process: process,
        })
    }
}

/// The process: keeps what comes over its standard input, until that ends.
pub(crate) fn run() -> ExitCode {
    match hold() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("-hold: {error}");
            ExitCode::FAILURE
        }
    }
}

fn hold() -> io::Result<()> {
    let channel = DescriptorChannel::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut held: Vec<Ends> = Vec::new();
    let mut message = [0; 16];
    let mut random = 0x2545_f491_4f6c_dd1d;
    while let Some((length, mut descriptors)) = channel.receive_all(&mut message)? {
        match message.get(..length) {
            Some(TALK) => {
                talk(&held, TURN, &mut random)?;
                channel.send(TALK, None)?;
            }
            _ => {
                if let (Some(far), Some(near)) = (descriptors.pop(), descriptors.pop()) {
                    held.push((TcpStream::from(near), TcpStream::from(far)));
                }
            }
        }
    }
    Ok(())
}
