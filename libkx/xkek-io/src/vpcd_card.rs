//! The card's side of a vpcd connection (xkek spec 15).

use std::io::{self, Read, Write};
use std::net::TcpStream;

use crate::vpcd::{Decoder, FromHost, frame};

/// What answers at the card's end.
pub trait Responder {
    /// Power comes.
    fn power_on(&mut self);
    /// Power goes.
    fn power_off(&mut self);
    /// A reset.
    fn reset(&mut self);
    /// The answer to reset.
    fn atr(&self) -> Vec<u8>;
    /// A command's response. An error ends the connection without an answer: a card that cannot keep
    /// what it did must not say that it did it.
    ///
    /// # Errors
    /// What kept it from answering.
    fn respond(&mut self, command: &[u8]) -> io::Result<Vec<u8>>;
}

/// A connection to a reader, fed by who watches the socket.
#[derive(Debug, Default)]
pub struct VpcdCard {
    decoder: Decoder,
}

impl VpcdCard {
    /// Takes octets that came and gives those to send.
    ///
    /// # Errors
    /// The responder's; `InvalidData` for an answer too long to send.
    pub fn handle_input(
        &mut self,
        octets: &[u8],
        card: &mut impl Responder,
    ) -> io::Result<Vec<u8>> {
        self.decoder.push(octets);
        let mut out = Vec::new();
        while let Some(message) = self.decoder.next_message() {
            let answer = match FromHost::parse(message) {
                FromHost::PowerOff => {
                    card.power_off();
                    continue;
                }
                FromHost::PowerOn => {
                    card.power_on();
                    continue;
                }
                FromHost::Reset => {
                    card.reset();
                    continue;
                }
                FromHost::Unknown(_) => continue,
                FromHost::GetAtr => card.atr(),
                FromHost::Apdu(command) => card.respond(&command)?,
            };
            let framed = frame(&answer).ok_or(io::ErrorKind::InvalidData)?;
            out.extend_from_slice(&framed);
        }
        Ok(out)
    }

    /// Reads once from `socket` and answers. `false`: the reader is gone.
    ///
    /// # Errors
    /// The socket's and the responder's.
    pub fn serve_once(
        &mut self,
        socket: &mut TcpStream,
        card: &mut impl Responder,
    ) -> io::Result<bool> {
        let mut piece = [0; 4096];
        let count = socket.read(&mut piece)?;
        if count == 0 {
            return Ok(false);
        }
        let answer = self.handle_input(piece.get(..count).unwrap_or_default(), card)?;
        socket.write_all(&answer)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::{Responder, VpcdCard};
    use crate::vpcd::frame;
    use std::io;

    #[derive(Default)]
    struct Noted(Vec<&'static str>);

    impl Responder for Noted {
        fn power_on(&mut self) {
            self.0.push("on");
        }
        fn power_off(&mut self) {
            self.0.push("off");
        }
        fn reset(&mut self) {
            self.0.push("reset");
        }
        fn atr(&self) -> Vec<u8> {
            vec![0x3B, 0xFE]
        }
        fn respond(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
            if command == b"die" {
                return Err(io::Error::other("disk full"));
            }
            Ok(vec![0x90, 0x00])
        }
    }

    #[test]
    fn only_the_atr_and_commands_are_answered() {
        let mut stream = Vec::new();
        for message in [&[1u8][..], &[4], &[0, 0x84, 0, 0], &[2], &[9], &[0]] {
            stream.extend(frame(message).expect("short"));
        }
        let (mut connection, mut card) = (VpcdCard::default(), Noted::default());
        let mut out = Vec::new();
        for octet in stream {
            out.extend(
                connection
                    .handle_input(&[octet], &mut card)
                    .expect("answered"),
            );
        }
        assert_eq!(out, [0, 2, 0x3B, 0xFE, 0, 2, 0x90, 0x00]);
        assert_eq!(card.0, ["on", "reset", "off"]);
    }

    #[test]
    fn a_card_that_cannot_keep_what_it_did_does_not_answer() {
        let (mut connection, mut card) = (VpcdCard::default(), Noted::default());
        let stream = frame(b"die").expect("short");
        assert!(connection.handle_input(&stream, &mut card).is_err());
    }
}
