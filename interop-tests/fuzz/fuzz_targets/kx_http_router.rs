//! Any target: a key path that comes out never has two dots in a row and never begins with a slash.
#![no_main]
use kx_http::router::{self, Route};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Route::V1 { path } = router::route_target(b"GET", data)
        && let Ok(key_path) = router::key_path(&path)
    {
        assert!(!key_path.windows(2).any(|w| w == b".."));
        assert!(!key_path.is_empty() && !key_path.starts_with(b"/") && !key_path.ends_with(b"/"));
    }
    let _ = router::key_path(data);
});
