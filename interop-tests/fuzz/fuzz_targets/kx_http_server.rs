//! The HTTP front: any octets in any pieces give the same answers.
#![no_main]
use kx_http::router::{self, Route};
use kx_http::server::{Connection, Limits, Response, Step};
use kx_secret::SecretBytes;
use libfuzzer_sys::fuzz_target;

/// Answers everything; tells what was sent.
fn serve<'a>(limits: Limits, steps: usize, mut input: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut http = Connection::new(limits);
    let mut out = SecretBytes::default();
    let mut feed = |http: &mut Connection| match input.next() {
        Some(bytes) => {
            assert!(http.handle_input(bytes).is_ok());
            true
        }
        None => {
            http.handle_eof();
            false
        }
    };
    let mut ended = false;
    for _ in 0..steps {
        match http.poll() {
            Step::NeedInput => {
                assert!(!ended, "input wanted behind its end");
                ended = !feed(&mut http);
            }
            Step::Request(request) => {
                if let Some(interim) = http.poll_interim() {
                    out.extend_from_slice(interim);
                }
                while !http.ready_to_respond() {
                    assert!(!ended, "input wanted behind its end");
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
                    return out.as_slice().to_vec();
                }
            }
            Step::Reject(reject) => {
                out.extend_from_slice(&reject.bytes);
                return out.as_slice().to_vec();
            }
        }
    }
    panic!("no end");
}

fuzz_target!(|data: &[u8]| {
    // One step for each piece, of which the first may be empty, each request and the end.
    let steps = data.len() * 2 + 4;
    let tight = Limits {
        max_head: 128,
        max_discarded_body: 16,
    };
    for limits in [Limits::default(), tight] {
        let whole = serve(limits, steps, std::iter::once(data));
        assert!(whole.is_empty() || whole.starts_with(b"HTTP/1."));
        assert!(
            whole == serve(limits, steps, kx_fuzz::pieces(data)),
            "pieces"
        );
        assert!(
            whole == serve(limits, steps, data.chunks(1)),
            "single octets"
        );
    }
});
