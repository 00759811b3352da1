//! tcs: the server of the test whether tcpcrypt gets through to here (tcpcrypt spec 2.3).
#![forbid(unsafe_code)]

mod conversation;
mod server;
mod sniffed;
mod startup;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use kx_sys::local_time::LocalTime;
use rustix::io::Errno;
use tcpcrypt::Client;

use server::{Server, Sniffers};
use startup::StartError;

const PORTS: [u16; 2] = [80, 7777];

/// The daemon answers at once, unless a handshake is going on, and then there is no request yet.
/// Meanwhile nobody else is served.
const PATIENCE: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    let address = arguments.next();
    if let Some(address) = &address {
        say(&format!("Binding to {}", address.to_string_lossy()));
    }
    let mut server = match prepare(address) {
        Ok(server) => server,
        Err(error) => return failure(&program, &error),
    };
    loop {
        if let Err(error) = server.turn(&mut say) {
            let call = "poll";
            return failure(
                &program,
                &StartError::Socket {
                    call,
                    source: error,
                },
            );
        }
    }
}

/// Opens everything while it can be opened. The daemon's socket cannot be reached from within the
/// jail, so the connection to it is made here; a daemon that is started later is not found.
fn prepare(address: Option<OsString>) -> Result<Server, StartError> {
    let ip = match address.as_ref().map(|a| a.to_string_lossy().parse()) {
        None => None,
        Some(Ok(ip)) => Some(ip),
        // The original would listen on 255.255.255.255, where nobody ever connects.
        Some(Err(_)) => {
            let source = io::Error::from(Errno::ADDRNOTAVAIL);
            let call = "bind";
            return Err(StartError::Socket { call, source });
        }
    };
    let sniffers = Sniffers {
        v4: Some(startup::sniffer()?),
        v6: startup::sniffer_v6(),
    };
    let mut listeners = Vec::new();
    for port in PORTS {
        let first = ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        listeners.push((startup::listener(first, port)?, port));
    }
    for port in PORTS.iter().filter(|_| ip.is_none()) {
        match startup::listener(Ipv6Addr::UNSPECIFIED.into(), *port) {
            Ok(listener) => listeners.push((listener, *port)),
            Err(error) if startup::is_without_ipv6(&error) => {}
            Err(error) => return Err(error),
        }
    }
    let mut control = match Client::of_process() {
        Ok(client) => client.patience(PATIENCE),
        Err(error) => {
            let source = io::Error::from_raw_os_error(error.errno());
            let call = "tcpcrypt_getsockopt";
            return Err(StartError::Socket { call, source });
        }
    };
    let _ = control.connect();
    // Reads the time zone's file.
    let _ = LocalTime::now();
    startup::drop_privileges()?;
    Ok(Server::new(sniffers, listeners, control))
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    // A log that nobody reads any more is no reason to end.
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

fn failure(program: &OsString, error: &impl Display) -> ExitCode {
    let name = Path::new(program).file_name().unwrap_or(program);
    let _ = writeln!(io::stderr(), "{}: {error}", name.to_string_lossy());
    ExitCode::FAILURE
}
