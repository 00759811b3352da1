//! Lines of isakmpd's FIFO, and what its two processes say to each other.
#![no_main]
use isakmpd::fifo::Command;
use isakmpd::monitor::{Reply, Request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for line in data.split(|octet| *octet == b'\n').take(200) {
        if let Err(error) = Command::parse(line) {
            // What is logged of it is no longer than it is, with the words around it.
            assert!(error.to_string().len() <= line.len().saturating_mul(3).saturating_add(80));
        }
    }
    if let Some(request) = Request::decode(data) {
        assert_eq!(request.encode(), data);
    }
    if let Some(reply) = Reply::decode(data) {
        assert_eq!(Reply::decode(&reply.encode()), Some(reply));
    }
});
