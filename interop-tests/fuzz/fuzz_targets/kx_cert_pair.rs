//! Any text as a certificate with its key, and any octets as the key to a good certificate.
#![no_main]
use kx_cert::{pair, pem};
use libfuzzer_sys::fuzz_target;

const CERTIFICATE: &[u8] = include_bytes!("../../vectors/kxd/clientcerts/self-p256/cert.pem");

fuzz_target!(|data: &[u8]| {
    for result in [
        pair::load(data, data),
        pair::load(CERTIFICATE, data),
        pair::load(CERTIFICATE, pem::encode("PRIVATE KEY", data).as_bytes()),
        pair::load(CERTIFICATE, pem::encode("EC PRIVATE KEY", data).as_bytes()),
    ] {
        match result {
            Ok(pair) => assert!(!pair.chain.is_empty() && !pair.leaf.der().is_empty()),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
});
