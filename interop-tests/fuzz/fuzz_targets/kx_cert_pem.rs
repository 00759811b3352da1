//! PEM of any shape; what was found is found again after encoding.
#![no_main]
use kx_cert::pem;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for block in pem::blocks(data) {
        if let (Ok(label), false) = (std::str::from_utf8(block.label), block.has_headers) {
            let encoded = pem::encode(label, &block.der);
            if let Some(again) = pem::blocks(encoded.as_bytes()).next() {
                assert_eq!(again.der, block.der);
            }
        }
    }
    let _ = pem::items(data);
});
