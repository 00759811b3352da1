//! One connection to keysrv, from its first octet to its last.

use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use inferno_auth::authinfo::AuthInfo;
use inferno_auth::floor::Floor;
use inferno_auth::session::{Event, Role, Session, SessionError};
use inferno_auth::ssl::Policy;
use inferno_auth::sts::Config;
use kx_secret::SecretBytes;
use styx::server::{Dialect, Server};

use super::account::Account;
use super::tree::SecretTree;
use crate::clock::Clock;
use crate::driver::Driver;
use inferno_auth::peer_text::one_line;

/// How a connection is served.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where keyfs is.
    pub accounts: PathBuf,
    /// Who runs the server.
    pub owner: String,
    /// Only the original's rule for the hash.
    pub strict: bool,
    /// Wrong hashes are counted in keyfs.
    pub count_failures: bool,
    /// Which algorithms clients may choose.
    pub policy: Policy,
    /// What is refused of a client's key and certificate.
    pub floor: Floor,
    /// How long a client may say nothing.
    pub idle: Option<Duration>,
}

/// How a connection ended.
#[derive(Debug)]
pub enum Served {
    /// The client was authenticated, and left.
    Session,
    /// It was not; why.
    NotAuthenticated(SessionError),
    /// The session was broken off; why.
    Broken(String),
}

/// Serves one connection. `log` gets what happens, for the audit: names, no secrets.
///
/// # Errors
/// Those of setting the connection up.
pub fn serve(
    connection: TcpStream,
    info: Arc<AuthInfo>,
    options: &Options,
    clock: &Clock,
    log: &mut dyn FnMut(&str),
) -> std::io::Result<Served> {
    let role = Role::Server {
        policy: options.policy,
        idle: options.idle,
    };
    let config = Config {
        auth_info: Some(info),
        floor: options.floor,
        unix_now: clock.now(),
    };
    let session = Session::new(role, config, Instant::now());
    let mut driver = Driver::new(session, connection)?;
    let user = match authenticate(&mut driver, log)? {
        Ok(user) => user,
        Err(error) => return Ok(Served::NotAuthenticated(error)),
    };
    // The numbers of the handshake are done with; a session may last for hours.
    kx_sys::memory::trim();
    let shown = one_line(&user);
    let seconds = || u32::try_from(clock.now()).unwrap_or(u32::MAX);
    let account = Account::look_up(&user, options.accounts.clone(), options.strict);
    match account.error() {
        None => log(&format!("{shown}: session begins")),
        Some(text) => log(&format!(
            "{shown}: session without secret: {}",
            one_line(text)
        )),
    }
    let mut log_of_user = |text: &str| log(&format!("{shown}: {}", one_line(text)));
    let tree = SecretTree {
        account,
        owner: options.owner.clone(),
        start: seconds(),
        count_failures: options.count_failures,
        failures: 0,
        checks: 0,
        log: &mut log_of_user,
        sleep: &thread::sleep,
        now: &seconds,
    };
    let mut server = Server::new(Dialect::Exportfs, tree);
    let mut reply = SecretBytes::default();
    loop {
        match driver.machine.poll_event() {
            Some(Event::Data(data)) => {
                if let Err(error) = server.receive(&data) {
                    driver.flush();
                    return Ok(Served::Broken(error.to_string()));
                }
                loop {
                    reply.truncate(0);
                    match server.poll_reply(seconds(), &mut reply) {
                        Ok(true) => {}
                        Ok(false) => break,
                        Err(error) => {
                            // What was answered before is still sent.
                            driver.flush();
                            return Ok(Served::Broken(error.to_string()));
                        }
                    }
                    // Inferno's client wants the answer to its version in one piece.
                    if let Err(error) = driver.machine.send(reply.as_slice()) {
                        return Ok(Served::Broken(error.to_string()));
                    }
                }
            }
            Some(Event::Failed(error)) => return Ok(Served::Broken(error.to_string())),
            Some(Event::Closed) => return Ok(Served::Session),
            Some(Event::Authenticated { .. } | Event::Ready(_)) => {}
            None => driver.wait()?,
        }
    }
}

/// Brings a client to its first record: who it is, or why not.
pub(crate) fn authenticate(
    driver: &mut Driver<Session>,
    log: &mut dyn FnMut(&str),
) -> std::io::Result<Result<String, SessionError>> {
    let mut user = None;
    let mut failure = None;
    loop {
        match driver.machine.poll_event() {
            Some(Event::Authenticated { owner, warnings }) => {
                let shown = one_line(&owner);
                for warning in warnings {
                    log(&format!("{shown}: {warning}"));
                }
                user = Some(owner);
            }
            Some(Event::Ready(_)) => {
                if let Some(user) = user {
                    return Ok(Ok(user));
                }
            }
            Some(Event::Failed(error)) => {
                // The client is listened to until it has read why.
                driver.end_sending();
                failure.get_or_insert(error);
            }
            Some(Event::Closed) => {
                let gone = SessionError::HungUp;
                return Ok(Err(failure.unwrap_or(gone)));
            }
            Some(Event::Data(_)) => {}
            None => driver.wait()?,
        }
    }
}
