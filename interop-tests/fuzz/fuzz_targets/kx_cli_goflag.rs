//! kxd's command line: any words.
#![no_main]
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let words = data.split(|b| *b == 0).map(|w| OsString::from_vec(w.to_vec()));
    // A table with every kind of flag: the server's own.
    match kx_cli::goflag::parse(OsStr::new("kxd"), kxd::options::FLAGS, words) {
        Ok(parsed) => {
            let _ = (parsed.int("port"), parsed.string("cert"), parsed.duration("idle_timeout"));
        }
        Err(stop) => assert!(stop.code == 0 || stop.code == 2),
    }
});
