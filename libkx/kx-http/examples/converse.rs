//! The server's side in a few lines: reads the requests of one connection from stdin, writes the answers to
//! stdout. Every key is `KEY`. The exit code is 1 if the connection would be closed then.
//!
//! `printf 'GET /v1/k HTTP/1.1\r\nHost: h\r\n\r\n' | cargo run -p kx-http --example converse`
#![forbid(unsafe_code)]

use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

use kx_http::router::{Route, key_path, route};
use kx_http::server::{Connection, Limits, Response, Step};
use kx_secret::SecretBytes;

fn main() -> io::Result<ExitCode> {
    let mut connection = Connection::new(Limits::default());
    let mut input = vec![0; 4096];
    let mut waiting: Option<Response> = None;
    loop {
        if let Some(response) = waiting.take_if(|_| connection.ready_to_respond()) {
            let mut out = SecretBytes::default();
            connection.respond(&response, "Sun, 06 Nov 1994 08:49:37 GMT", &mut out);
            io::stdout().write_all(out.as_slice())?;
            if !connection.keep_alive() {
                return Ok(ExitCode::FAILURE);
            }
        }
        if waiting.is_none() {
            match connection.poll() {
                Step::NeedInput => {}
                Step::Request(request) => {
                    io::stdout().write_all(connection.poll_interim().unwrap_or_default())?;
                    waiting = Some(match route(&request) {
                        Route::Response(response) => response,
                        Route::V1 { path } => match key_path(&path) {
                            Ok(_) => Response::key("KEY"),
                            Err(_) => Response::error(406, "Invalid key path"),
                        },
                    });
                    continue;
                }
                Step::Reject(reject) => {
                    io::stdout().write_all(&reject.bytes)?;
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
        match io::stdin().read(&mut input)? {
            0 => return Ok(ExitCode::SUCCESS),
            count => {
                let piece = input.get(..count).unwrap_or_default();
                connection.handle_input(piece).map_err(io::Error::other)?;
            }
        }
    }
}
