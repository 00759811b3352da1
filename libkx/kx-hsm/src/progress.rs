//! How far the derivation from a password is: it takes seconds, and nobody should think that it hangs.

use std::io::{IsTerminal, Write};

use kx_secret::SecretBytes;
use xkek::dkek::{self, ShareFile};
use xkek::kek::Kek;

/// Columns of the bar.
const WIDTH: usize = 40;

/// Draws on standard error, if that is a terminal.
#[derive(Debug)]
pub struct Bar {
    shown: bool,
    last: u32,
}

impl Bar {
    /// A bar; without one on a terminal, or with `wanted` off, it draws nothing.
    #[must_use]
    pub fn new(wanted: bool) -> Self {
        Self {
            shown: wanted && std::io::stderr().is_terminal(),
            last: u32::MAX,
        }
    }

    /// Thousandths that are done.
    pub fn draw(&mut self, thousandths: u32) -> bool {
        let percent = thousandths.min(1000) / 10;
        if self.shown && percent != self.last {
            self.last = percent;
            let part = usize::try_from(percent).unwrap_or(0) * WIDTH / 100;
            let bar = "#".repeat(part);
            let _ = write!(std::io::stderr(), "\r[{bar:<WIDTH$}] {percent:3} %");
            if percent == 100 {
                let _ = write!(std::io::stderr(), "\r{:width$}\r", "", width = WIDTH + 8);
            }
        }
        true
    }
}

/// Opens a share file with the first of the passwords that fits.
///
/// # Errors
/// [`dkek::Error`].
pub fn open(file: &ShareFile, passwords: &[SecretBytes], draw: bool) -> Result<Kek, dkek::Error> {
    let mut result = Err(dkek::Error::Password);
    for password in passwords {
        let mut bar = Bar::new(draw);
        result = file.open(password.as_slice(), &mut |done| bar.draw(done));
        if !matches!(result, Err(dkek::Error::Password)) {
            break;
        }
    }
    result
}
