//! Messages of the kernel's packet queue.
#![no_main]

use kx_sys::nfqueue::{Message, Messages};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| {
    for message in Messages::new(datagram) {
        if let Ok(Message::Packet(packet)) = message {
            assert!(packet.payload.len() < datagram.len());
        }
    }
});
