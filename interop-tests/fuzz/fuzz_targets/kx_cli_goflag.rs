//! kxd's command line: any words.
#![no_main]
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;

use kx_cli::goflag::{self, Kind};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let words = data
        .split(|b| *b == 0)
        .map(|w| OsString::from_vec(w.to_vec()));
    // A table with every kind of flag: the server's own.
    match goflag::parse(OsStr::new("kxd"), kxd::options::FLAGS, words.clone()) {
        Ok(parsed) => {
            for flag in kxd::options::FLAGS {
                match flag.kind {
                    Kind::String(_) => drop(parsed.string(flag.name)),
                    Kind::Int(_) => drop(parsed.int(flag.name)),
                    Kind::Bool(_) => drop(parsed.bool(flag.name)),
                    Kind::Duration(_) => {
                        // What is shown of a duration is one, and the same.
                        let nanoseconds = parsed.duration(flag.name);
                        let text = goflag::format_duration(nanoseconds);
                        assert_eq!(goflag::parse_duration(text.as_bytes()), Ok(nanoseconds));
                    }
                }
            }
            // Flags come before the rest, and nothing is made up.
            let rest = parsed.rest();
            let all: Vec<OsString> = words.collect();
            assert!(all.ends_with(rest));
        }
        Err(stop) => assert!((stop.code == 0 || stop.code == 2) && !stop.stderr.is_empty()),
    }
});
