//! The stream of a vpcd connection: cut anywhere it gives the same messages, and each is answered or not as
//! its kind says.
#![no_main]
use std::io;

use kx_fuzz::pieces;
use libfuzzer_sys::fuzz_target;
use xkek_io::transcript;
use xkek_io::vpcd::{Decoder, frame};
use xkek_io::vpcd_card::{Responder, VpcdCard};

/// Answers a command with itself.
#[derive(Default)]
struct Echo(Vec<Vec<u8>>);

impl Responder for Echo {
    fn power_on(&mut self) {}
    fn power_off(&mut self) {}
    fn reset(&mut self) {}
    fn atr(&self) -> Vec<u8> {
        vec![0x3b]
    }
    fn respond(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        self.0.push(command.to_vec());
        Ok(command.to_vec())
    }
}

fuzz_target!(|data: &[u8]| {
    let (mut whole, mut echo) = (VpcdCard::default(), Echo::default());
    let answers = whole.handle_input(data, &mut echo).expect("short enough");
    let (mut cut, mut again) = (VpcdCard::default(), Echo::default());
    let mut pieced = Vec::new();
    for piece in pieces(data) {
        pieced.extend(cut.handle_input(piece, &mut again).expect("short enough"));
    }
    assert_eq!(answers, pieced);
    assert_eq!(echo.0, again.0);
    assert!(echo.0.iter().all(|command| command.len() != 1));

    let mut decoder = Decoder::default();
    decoder.push(data);
    let mut written = Vec::new();
    while let Some(message) = decoder.next_message() {
        written.extend(frame(&message).expect("short enough"));
    }
    assert!(data.starts_with(&written));
    assert_eq!(decoder.is_in_message(), written.len() < data.len());

    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(exchanges) = transcript::parse(text) {
            let written: String = exchanges.iter().map(transcript::lines).collect();
            assert_eq!(transcript::parse(&written).expect("ours"), exchanges);
        }
    }
});
