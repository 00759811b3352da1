//! What the kernel tells over NETLINK_XFRM, and requests that one process makes for another to send.
#![no_main]

use kx_sys::xfrm::{Message, notices};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    // No notice is shorter than the header and a mapping.
    assert!(notices(octets).len() <= octets.len() / 80);
    if let Some(message) = Message::from_octets(octets.to_vec()) {
        assert_eq!(message.octets(), octets);
        let _ = message.subject();
    }
});
