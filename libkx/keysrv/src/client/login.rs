//! The client of a logind (keysrv spec 7).

use std::net::TcpStream;
use std::time::Instant;

use inferno_auth::authinfo::AuthInfo;
use inferno_auth::floor::Floor;
use inferno_auth::login::{Client, ClientChoices, ClientError, ClientEvent};

use crate::driver::Driver;

/// Logs `name` in with `password` at the logind on `connection`, and has a new key certified there.
/// Making the key takes a second or more. `floor`: what is refused of the signer's key.
///
/// # Errors
/// [`ClientError`], with the original's text.
pub fn login(
    connection: TcpStream,
    name: &str,
    password: &[u8],
    floor: Floor,
) -> Result<AuthInfo, ClientError> {
    let choices = ClientChoices::fresh().map_err(|_| ClientError::Keys)?;
    let client = Client::new(name, password, floor, choices, Instant::now());
    let hungup = |_| ClientError::Remote("hungup".to_owned());
    let mut driver = Driver::new(client, connection).map_err(hungup)?;
    loop {
        match driver.machine.poll_event() {
            Some(ClientEvent::Done(info)) => return Ok(*info),
            Some(ClientEvent::Failed(error)) => return Err(error),
            None => driver.wait().map_err(hungup)?,
        }
    }
}
