//! How long a keep-alive request takes, from the first octet to the last of the answer. Build it with
//! optimisation, or the number means nothing.
#![forbid(unsafe_code)]

use std::time::Instant;

use kx_http::router::{Route, key_path, route};
use kx_http::server::{Connection, Limits, Response, Step};
use kx_secret::SecretBytes;

fn main() {
    const ROUNDS: u32 = 500_000;
    let request = b"GET /v1/host/disk HTTP/1.1\r\nHost: kxd.example:19840\r\nUser-Agent: Go-http-client/1.1\r\n\
                    Accept-Encoding: gzip\r\n\r\n";
    let mut connection = Connection::new(Limits::default());
    let mut out = SecretBytes::default();
    let start = Instant::now();
    for _ in 0..ROUNDS {
        assert!(matches!(connection.poll(), Step::NeedInput));
        assert!(connection.handle_input(request).is_ok());
        let Step::Request(request) = connection.poll() else {
            panic!("no request");
        };
        let Route::V1 { path } = route(&request) else {
            panic!("not a key");
        };
        assert!(key_path(&path).is_ok());
        assert!(connection.ready_to_respond());
        out.truncate(0);
        connection.respond(
            &Response::key([7; 2048]),
            "Sun, 06 Nov 1994 08:49:37 GMT",
            &mut out,
        );
    }
    println!(
        "{} ns per request",
        start.elapsed().as_nanos() / u128::from(ROUNDS)
    );
}
