//! What the kernel tells over PF_KEY, and requests that one process makes for another to send.
#![no_main]

use kx_sys::pf_key::{Message, notices};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    // No notice is shorter than the header, an SPI and an address.
    assert!(notices(octets).len() <= octets.len() / 48);
    // What is taken is exactly what would be made.
    if let Some(message) = Message::from_octets(octets.to_vec()) {
        assert_eq!(message.octets(), octets);
        let _ = message.subject();
    }
});
