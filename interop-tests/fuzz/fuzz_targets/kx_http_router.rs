//! Any target: a key path that comes out never has two dots in a row and never begins with a slash.
#![no_main]
use kx_http::router::{self, Route};
use libfuzzer_sys::fuzz_target;

fn check(key_path: &[u8]) {
    assert!(!key_path.windows(2).any(|pair| pair == b".."));
    assert!(
        key_path
            .split(|octet| *octet == b'/')
            .all(|part| !matches!(part, b"" | b"."))
    );
}

fuzz_target!(|data: &[u8]| {
    for method in [&b"GET"[..], b"CONNECT", b"OPTIONS"] {
        match router::route_target(method, data) {
            Route::V1 { path } => {
                assert!(path.starts_with(b"/v1/"));
                if let Ok(key_path) = router::key_path(&path) {
                    check(&key_path);
                }
            }
            Route::Response(response) => {
                assert!(matches!(response.status, 200 | 301 | 307 | 308 | 400 | 404));
                // Nothing in a target can begin a header of its own.
                let location = response.location.unwrap_or_default();
                assert!(!kx_fuzz::has_control(&location));
            }
        }
    }
    if let Ok(key_path) = router::key_path(data) {
        check(&key_path);
    }
});
