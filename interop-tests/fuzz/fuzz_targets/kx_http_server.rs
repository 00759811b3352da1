//! The HTTP front: any octets in any pieces give the same steps.
#![no_main]
use kx_http::router::{self, Route};
use kx_http::server::{Connection, Limits, Response, Step};
use libfuzzer_sys::fuzz_target;
use zeroize::Zeroizing;

/// Answers everything; tells what was sent.
fn serve(data: &[u8], piece: usize) -> Vec<u8> {
    let mut http = Connection::new(Limits::default());
    let mut out = Zeroizing::new(Vec::new());
    let mut input = data.chunks(piece.max(1));
    let mut feed = |http: &mut Connection| match input.next() {
        Some(bytes) => http.handle_input(bytes).is_ok(),
        None => {
            http.handle_eof();
            false
        }
    };
    let mut ended = false;
    for _ in 0..10_000 {
        match http.poll() {
            Step::NeedInput if ended => break,
            Step::NeedInput => ended = !feed(&mut http),
            Step::Request(request) => {
                if let Some(interim) = http.poll_interim() {
                    out.extend_from_slice(interim);
                }
                while !http.ready_to_respond() && !ended {
                    ended = !feed(&mut http);
                }
                let response = match router::route(&request) {
                    Route::Response(response) => response,
                    Route::V1 { path } => match router::key_path(&path) {
                        Ok(path) => Response::key(path),
                        Err(e) => Response::error(406, &e.to_string()),
                    },
                };
                http.respond(&response, "Sat, 21 Nov 2026 00:00:00 GMT", &mut out);
                if !http.keep_alive() {
                    break;
                }
            }
            Step::Reject(reject) => {
                out.extend_from_slice(&reject.bytes);
                break;
            }
        }
    }
    out.to_vec()
}

fuzz_target!(|data: &[u8]| {
    let whole = serve(data, data.len());
    let (first, rest) = match data.split_first() {
        Some((first, _)) => (usize::from(*first % 7) + 1, data),
        None => (1, data),
    };
    assert_eq!(whole, serve(rest, first));
});
