//! A log of what is said to a card, to send to others: without PINs, shares and keys.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use xkek::card::Card;
use xkek_io::Transport;

use crate::report::hex;

/// A card whose conversation may be written down.
pub struct Logged {
    card: Transport,
    file: Option<File>,
}

impl Logged {
    /// A card; what is said goes to the end of the file of that name, if there is one.
    ///
    /// # Errors
    /// The system's: the file cannot be written.
    pub fn new(card: Transport, path: Option<&Path>) -> std::io::Result<Self> {
        let open = |path| OpenOptions::new().append(true).create(true).open(path);
        let mut file = path.map(open).transpose()?;
        if let Some(file) = &mut file {
            writeln!(file, "# {}", card.name())?;
        }
        Ok(Self { card, file })
    }
}

/// Whether the data of a command, or of its answer, are nobody's business.
fn secret(command: &[u8]) -> bool {
    match command {
        // PINs; also in INITIALIZE.
        [_, 0x20 | 0x24 | 0x2c | 0x50, ..] => command.len() > 5,
        // A share, which has a length and 32 octets.
        [0x80, 0x52, 0x00, ..] => command.len() > 6,
        // Decryption and AES.
        [0x80, 0x62, _, 0x20..=0x23 | 0x80, ..] | [0x80, 0x78, ..] => true,
        // Random octets that may become a share or a password.
        [_, 0x84, ..] => true,
        _ => false,
    }
}

fn lines(command: &[u8], response: &[u8]) -> String {
    let secret = secret(command);
    let sent = match command.get(..4) {
        Some(head) if secret && command.len() > 5 => format!("{} (not shown)", hex(head)),
        _ => hex(command),
    };
    let received = match response.split_last_chunk::<2>() {
        Some((data, sw)) if secret && !data.is_empty() && command.get(1) != Some(&0x52) => {
            format!("(not shown) {}", hex(sw))
        }
        _ => hex(response),
    };
    format!("> {sent}\n< {received}\n")
}

impl Card for Logged {
    type Error = xkek_io::Error;

    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), xkek_io::Error> {
        let result = self.card.transmit(command, response);
        if let Some(file) = &mut self.file {
            let text = match &result {
                Ok(()) => lines(command, response),
                Err(error) => format!(
                    "> {}\n! {error}\n",
                    hex(command.get(..4).unwrap_or_default())
                ),
            };
            // A log that cannot be written is no reason to leave a card in the middle of something.
            let _ = file.write_all(text.as_bytes());
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn secrets_are_left_out() {
        let pin = lines(&[0, 0x20, 0, 0x81, 2, 0x31, 0x32], &[0x90, 0]);
        assert_eq!(pin, "> 00200081 (not shown)\n< 9000\n");
        assert_eq!(
            lines(&[0, 0x20, 0, 0x81], &[0x63, 0xc3]),
            "> 00200081\n< 63C3\n"
        );
        let mut share = vec![0x80, 0x52, 0, 0, 32];
        share.extend([7; 33]);
        let answer = lines(&share, &[2, 1, 0x90, 0]);
        assert_eq!(answer, "> 80520000 (not shown)\n< 02019000\n");
        let random = lines(&[0, 0x84, 0, 0, 2], &[1, 2, 0x90, 0]);
        assert_eq!(random, "> 0084000002\n< (not shown) 9000\n");
    }
}
