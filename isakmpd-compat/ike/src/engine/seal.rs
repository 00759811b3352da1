//! The last thing that happens to a message: padding, encryption, and a copy in clear for the capture.

use isakmp_proto::header::HEADER_LENGTH;
use isakmp_proto::message::Built;
use isakmp_proto::number::Flags as HeaderFlags;

use super::Engine;
use crate::cipher::Cipher;
use crate::event::{Captured, Event, Path};
use crate::exchange::Exchange;

impl Engine {
    /// Pads, encrypts and finishes a message; `exchange.iv` becomes its last block.
    ///
    /// The capture gets it in clear.
    pub(crate) fn seal(
        &mut self,
        exchange: &mut Exchange,
        cipher: &Cipher,
        built: Built,
    ) -> Vec<u8> {
        let mut octets = built.into_octets();
        self.capture_sent(exchange.path, &octets);
        let body = octets.len().saturating_sub(HEADER_LENGTH);
        let block = cipher.block_len();
        let padded = body.div_ceil(block).saturating_mul(block);
        octets.resize(HEADER_LENGTH.saturating_add(padded), 0);
        let length = u32::try_from(octets.len()).unwrap_or(u32::MAX);
        if let Some(field) = octets.get_mut(24..28) {
            field.copy_from_slice(&length.to_be_bytes());
        }
        if let Some(flags) = octets.get_mut(19) {
            *flags |= HeaderFlags::ENCRYPTED;
        }
        if let Some(text) = octets.get_mut(HEADER_LENGTH..) {
            if cipher.encrypt(&exchange.iv, text).is_ok() {
                let from = text.len().saturating_sub(block);
                exchange.iv = text.get(from..).unwrap_or_default().to_vec();
            } else {
                // Never in clear: better nothing than the message.
                text.fill(0);
            }
        }
        octets
    }

    pub(crate) fn capture_sent(&mut self, path: Path, octets: &[u8]) {
        if self.capture {
            let captured = Captured {
                from: path.local,
                to: path.remote,
                octets: octets.to_vec(),
            };
            self.emit(Event::Capture(captured));
        }
    }

    pub(crate) fn capture_received(&mut self, path: Path, clear: &[u8]) {
        if self.capture {
            let mut octets = clear.to_vec();
            if let Some(flags) = octets.get_mut(19) {
                *flags &= !HeaderFlags::ENCRYPTED;
            }
            self.emit(Event::Capture(Captured {
                from: path.remote,
                to: path.local,
                octets,
            }));
        }
    }
}
