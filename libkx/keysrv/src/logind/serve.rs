//! One connection to logind, from its first octet to its last.

use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use inferno_auth::authinfo::AuthInfo;
use inferno_auth::floor::Floor;
use inferno_auth::login::{Account, Lookup, Server, ServerConfig, ServerError, ServerEvent};
use inferno_auth::sts::{DRAIN_TIME, Fresh};

use crate::accounts::{Accounts, Error};
use crate::driver::Driver;

/// How a connection is served.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where keyfs is.
    pub accounts: PathBuf,
    /// Unknown users see the same as those with a wrong password.
    pub hide_users: bool,
    /// What is refused of a user's key.
    pub floor: Floor,
}

/// Serves one connection: whose key was certified, or why none was. `signer`: the signer's own keys,
/// or why they cannot be read. `unix_now`: seconds since 1970.
///
/// # Errors
/// Those of setting the connection up.
pub fn serve(
    connection: TcpStream,
    signer: Result<Arc<AuthInfo>, String>,
    options: &Options,
    unix_now: i64,
) -> io::Result<Result<String, ServerError>> {
    let config = ServerConfig {
        signer: signer.map_err(|why| format!("readauthinfo {why}")),
        hide_users: options.hide_users,
        floor: options.floor,
        unix_now,
    };
    let server = Server::new(config, Box::new(Fresh::default()), Instant::now());
    let mut driver = Driver::new(server, connection)?;
    loop {
        match driver.machine.poll_event() {
            Some(ServerEvent::Lookup(user)) => {
                let account = look_up(&options.accounts, &user);
                driver.machine.answer(Instant::now(), account);
            }
            Some(ServerEvent::Done(user)) => {
                driver.drain(DRAIN_TIME);
                return Ok(Ok(user));
            }
            Some(ServerEvent::Failed(error)) => {
                driver.drain(DRAIN_TIME);
                return Ok(Err(error));
            }
            None => driver.wait()?,
        }
    }
}

/// What keyfs knows of a user, with the texts that the original takes from its system.
fn look_up(path: &Path, user: &str) -> Result<Account, Lookup> {
    let why = |error: Error| match error {
        Error::NoUser => format!("'/mnt/keys/{user}' file does not exist"),
        other => other.to_string(),
    };
    let mut accounts = Accounts::open(path).map_err(|error| Lookup::Secret(why(error)))?;
    let secret = accounts
        .secret(user)
        .map_err(|error| Lookup::Secret(why(error)))?;
    let expire = accounts
        .expire(user)
        .map_err(|error| Lookup::Expiry(why(error)))?;
    Ok(Account {
        secret,
        expire: expire.map_or(0, |time| i32::try_from(time).unwrap_or(i32::MAX)),
    })
}
