// SPDX-License-Identifier: Apache-2.0
//! What `password.rs` and `key.rs` share: a connection that is encrypted, and its session id.

use std::env;
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use tcpcrypt::{Client, Ends, Hex, Opt};

/// Why a program ends otherwise than well.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The other end is not who it should be, or the connection is not encrypted.
    Refused(String),
    /// There is no connection, or something else went wrong.
    Other(Box<dyn Error>),
}

impl<E: Into<Box<dyn Error>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Other(error.into())
    }
}

impl Failure {
    /// The program's last words, and its exit status: 1 or 2.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Failure::Refused(why) => {
                println!("REFUSED: {why}");
                ExitCode::from(1)
            }
            Failure::Other(error) => {
                eprintln!("{error}");
                ExitCode::from(2)
            }
        }
    }
}

/// Which end this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Opened the connection.
    A,
    /// Took it.
    B,
}

impl Role {
    pub(crate) fn other(self) -> Role {
        match self {
            Role::A => Role::B,
            Role::B => Role::A,
        }
    }
}

/// An encrypted connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    pub(crate) role: Role,
    id: Vec<u8>,
}

impl Connection {
    /// Opens one by the words of a command line, `listen PORT` or `connect HOST PORT`.
    pub(crate) fn open(words: &[String]) -> Result<Connection, Failure> {
        let (stream, role) = match words {
            [word, port] if word == "listen" => {
                // A socket of IPv6 takes connections over IPv4, too.
                let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port.parse()?))?;
                println!("listening");
                (listener.accept()?.0, Role::B)
            }
            [word, host, port] if word == "connect" => {
                let stream = TcpStream::connect((host.as_str(), port.parse()?))?;
                (stream, Role::A)
            }
            _ => return Err("say: listen PORT, or: connect HOST PORT".into()),
        };
        // Nobody hangs on a peer that says nothing.
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.set_write_timeout(Some(Duration::from_secs(20)))?;
        let id = session_id(&stream)
            .map_err(|error| Failure::Refused(format!("not encrypted: {error}")))?;
        println!("session id {}", Hex(&id));
        Ok(Connection { stream, role, id })
    }

    /// The octets that an end has to prove that it knows: purpose, role, session id.
    pub(crate) fn statement(&self, purpose: &str, role: Role) -> Vec<u8> {
        let mut text = purpose.as_bytes().to_vec();
        // So that no purpose is the beginning of another.
        text.push(0);
        text.push(match role {
            Role::A => b'A',
            Role::B => b'B',
        });
        text.extend(&self.id);
        text
    }

    /// After the proof: who connected says something, who listened shows it.
    pub(crate) fn converse(mut self) -> io::Result<()> {
        let letter = b"Dear Bob, the vault opens with 4711.\n";
        match self.role {
            Role::A => self.stream.write_all(letter),
            Role::B => {
                let mut heard = [0; 37];
                self.stream.read_exact(&mut heard)?;
                print!("heard: {}", String::from_utf8_lossy(&heard));
                Ok(())
            }
        }
    }
}

/// The session id. An error: the connection is plain or there is nobody to ask, and nothing may be said on it.
fn session_id(stream: &TcpStream) -> Result<Vec<u8>, tcpcrypt::Error> {
    let mut daemon = match env::var("TCPCRYPT_CONTROL") {
        // Only for daemons whose control socket is not in the usual place.
        Ok(path) => Client::at(path.as_bytes())?,
        Err(_) => Client::of_process()?,
    };
    let mut id = vec![0; 64];
    let length = daemon.get(Ends::of(stream.as_fd())?, Opt::SessionId.number(), &mut id)?;
    id.truncate(length);
    Ok(id)
}
