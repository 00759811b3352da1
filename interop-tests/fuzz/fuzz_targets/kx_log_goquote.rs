//! Quoted and escaped text never holds a control character.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let quoted = kx_log::goquote::quote(data);
    assert!(
        quoted.starts_with('"') && quoted.ends_with('"') && !quoted.chars().any(char::is_control)
    );
    assert!(
        !kx_log::goquote::escape_control(data)
            .chars()
            .any(char::is_control)
    );
});
