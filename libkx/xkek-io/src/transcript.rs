//! Recorded conversations: lines `> ` command and `< ` response in hexadecimal, others are comments
//! (vectors of xkek, `apdu/*.apdu`).

use std::collections::VecDeque;

use xkek::card::Card;

use crate::Error;

/// A command and what was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// The command APDU.
    pub command: Vec<u8>,
    /// The response, with its status word.
    pub response: Vec<u8>,
}

fn octets(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    if !text.is_ascii() || text.len() % 2 != 0 {
        return None;
    }
    let digits = text.as_bytes().chunks_exact(2);
    digits
        .map(|pair| {
            let pair = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(pair, 16).ok()
        })
        .collect()
}

/// Reads a recording.
///
/// # Errors
/// [`Error::Transcript`] with the number of the line that is none.
pub fn parse(text: &str) -> Result<Vec<Exchange>, Error> {
    let mut exchanges = Vec::new();
    let mut command: Option<Vec<u8>> = None;
    for (number, line) in (1usize..).zip(text.lines()) {
        let wrong = || Error::Transcript(number);
        if let Some(sent) = line.strip_prefix("> ") {
            if command.is_some() {
                return Err(wrong());
            }
            command = Some(octets(sent).ok_or_else(wrong)?);
        } else if let Some(received) = line.strip_prefix("< ") {
            let command = command.take().ok_or_else(wrong)?;
            let response = octets(received).ok_or_else(wrong)?;
            exchanges.push(Exchange { command, response });
        }
    }
    Ok(exchanges)
}

/// Lines of an exchange, as [`parse`] reads them.
#[must_use]
pub fn lines(exchange: &Exchange) -> String {
    let hex = |octets: &[u8]| {
        octets
            .iter()
            .map(|octet| format!("{octet:02X}"))
            .collect::<String>()
    };
    format!(
        "> {}\n< {}\n",
        hex(&exchange.command),
        hex(&exchange.response)
    )
}

/// A card that knows one conversation.
#[derive(Debug)]
pub struct Replay(VecDeque<Exchange>);

impl Replay {
    /// Answers the commands in this order.
    #[must_use]
    pub fn new(exchanges: Vec<Exchange>) -> Self {
        Self(exchanges.into())
    }

    /// How many commands have not come.
    #[must_use]
    pub fn left(&self) -> usize {
        self.0.len()
    }
}

impl Card for Replay {
    type Error = Error;

    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), Error> {
        match self.0.front() {
            Some(next) if next.command == command => {
                response.clear();
                response.extend_from_slice(&next.response);
                self.0.pop_front();
                Ok(())
            }
            _ => Err(Error::NotRecorded),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Replay, lines, parse};
    use crate::Error;
    use xkek::card::Card;

    #[test]
    fn a_recording_answers_its_commands_and_no_other() {
        let text = "# tool\n> 00200081\n< 63C3\n> 8058000000\n< CC009000\n";
        let exchanges = parse(text).expect("a recording");
        let written: String = exchanges.iter().map(lines).collect();
        assert_eq!(format!("# tool\n{written}"), text);
        let mut card = Replay::new(exchanges);
        let mut response = Vec::new();
        card.transmit(&[0, 0x20, 0, 0x81], &mut response)
            .expect("recorded");
        assert_eq!(response, [0x63, 0xC3]);
        let wrong = card.transmit(&[0, 0x20, 0, 0x81], &mut response);
        assert!(matches!(wrong, Err(Error::NotRecorded)));
        assert_eq!(card.left(), 1);
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (text, line) in [
            ("< 9000\n", 1),
            ("> 00\n> 00\n", 2),
            ("> 0\n", 1),
            ("# a\n> 0g\n", 2),
            ("> é\n", 1),
        ] {
            assert!(
                matches!(parse(text), Err(Error::Transcript(n)) if n == line),
                "{text}"
            );
        }
    }
}
