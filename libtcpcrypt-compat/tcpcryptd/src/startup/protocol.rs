//! The protocol as the options want it, with a cryptographic library that needs no more files.

use std::time::Instant;

use kx_crypto::aead::{Algorithm, NonceLen, Seal};
use tcpcrypt_proto::config::Config;
use tcpcrypt_proto::endpoint::Endpoint;
use tcpcrypt_proto::eno::Tep;
use tcpcrypt_proto::entropy::{Entropy, System};

use crate::options::Options;

pub(super) fn endpoint(options: &Options, seed: &[u8], key_log: bool) -> Endpoint {
    let config = Config {
        enabled: !options.disable,
        session_cache: !options.no_cache,
        timers: !options.disable_timers,
        prefer: options.prefer.and_then(Tep::from_octet),
        eno: options.eno,
        standard_ciphers: standard_ciphers(options.aead),
        debug: options.debug,
        key_log,
        ..Config::default()
    };
    let mut entropy = System::with_extra(seed);
    warm_up(&mut entropy);
    Endpoint::new(config, Box::new(entropy), Instant::now())
}

/// All ciphers of RFC 8548, this one first.
fn standard_ciphers(first: Option<Algorithm>) -> [Algorithm; 3] {
    let mut ciphers = Config::default().standard_ciphers;
    // Stable: the others stay in their order.
    ciphers.sort_by_key(|cipher| Some(*cipher) != first);
    ciphers
}

/// Uses the cryptographic library once: it looks for its configuration and its modules on first use,
/// and later there are no files. What fails here fails again when it matters.
fn warm_up(entropy: &mut System) {
    for tep in Tep::ALL {
        if let Ok(key) = entropy.private_key(tep.curve()) {
            let _ = key.agree(key.public());
            let _ = key.agree(&key.compressed_public());
        }
    }
    for algorithm in [Algorithm::Aes128Gcm, Algorithm::Aes256Gcm] {
        let key = vec![0; algorithm.key_len()];
        let _ = Seal::new(algorithm, &key, NonceLen::Eight)
            .and_then(|mut seal| seal.seal(&[0; 8], &[], &mut [0; 16]));
    }
    for algorithm in Config::default().standard_ciphers {
        let key = vec![0; algorithm.key_len()];
        let _ = Seal::new(algorithm, &key, NonceLen::Twelve)
            .and_then(|mut seal| seal.seal(&[0; 12], &[], &mut [0; 16]));
    }
    let _ = entropy.fill(&mut [0; 32]);
}
