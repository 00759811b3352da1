//! Octets that nobody can guess, for the engine.

use ike::random::{Purpose, Random};

/// The library's generator.
#[derive(Debug, Default)]
pub struct System;

impl Random for System {
    fn fill(&mut self, purpose: Purpose, octets: &mut [u8]) {
        loop {
            // Without randomness there is nothing that a key daemon could do instead.
            #[allow(clippy::expect_used)]
            kx_crypto::random::fill(octets).expect("the library has a source of randomness");
            let must_not_be_zero = matches!(purpose, Purpose::Cookie | Purpose::MessageId);
            if !must_not_be_zero || octets.iter().any(|octet| *octet != 0) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_are_not_the_same() {
        let (mut one, mut two) = ([0; 16], [0; 16]);
        System.fill(Purpose::Nonce, &mut one);
        System.fill(Purpose::Nonce, &mut two);
        assert_ne!(one, two);
    }
}
