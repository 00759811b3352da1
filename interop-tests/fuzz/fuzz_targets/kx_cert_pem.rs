//! PEM of any shape; what was found is found again after encoding.
#![no_main]
use kx_cert::pem::{self, Item};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let blocks: Vec<_> = pem::blocks(data).collect();
    for block in &blocks {
        // A colon in the END line makes it a header when no content stands before it.
        if let Ok(label) = std::str::from_utf8(block.label)
            && !label.contains(':')
        {
            let encoded = pem::encode(label, &block.der);
            let again: Vec<_> = pem::blocks(encoded.as_bytes()).collect();
            assert_eq!(again.len(), 1);
            assert_eq!((again[0].label, &again[0].der), (block.label, &block.der));
            assert!(!again[0].has_headers);
        }
    }
    // `--check` sees the blocks that the server sees, in order.
    let items = pem::items(data);
    let seen: Vec<_> = items
        .into_iter()
        .filter_map(|item| match item {
            Item::Block(block) => Some(block),
            Item::Malformed(_) => None,
        })
        .collect();
    assert_eq!(seen, blocks);
});
