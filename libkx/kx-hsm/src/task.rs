//! What every verb has: the command line, the report, the question before something is destroyed.

use std::path::{Path, PathBuf};

use kx_sys::terminal::Terminal;

use crate::arguments::{ArgumentError, Arguments};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::files;
use crate::report::Report;
use crate::secret_source;

/// One run of a verb.
pub struct Task {
    /// The command line.
    pub arguments: Arguments,
    /// What is said.
    pub report: Report,
    /// Files behind the verb's words.
    pub files: Vec<PathBuf>,
}

impl Task {
    /// Opens the card that is meant.
    ///
    /// # Errors
    /// [`Error`].
    pub fn device(&self) -> Result<Device> {
        Device::open(&self.arguments.card()?)
    }

    /// Opens the card and verifies the user's PIN of `--pin`.
    ///
    /// # Errors
    /// [`Error`].
    pub fn logged_in(&self) -> Result<Device> {
        let mut device = self.device()?;
        device.login(&self.arguments.secret("pin")?)?;
        Ok(device)
    }

    /// The key domain of `--domain`.
    ///
    /// # Errors
    /// [`ArgumentError`].
    pub fn domain(&self) -> Result<u8> {
        Ok(self.arguments.octet("domain")?.unwrap_or(0))
    }

    /// A number that is needed.
    ///
    /// # Errors
    /// [`ArgumentError`].
    pub fn octet(&self, option: &'static str) -> Result<u8> {
        let value = self.arguments.octet(option)?;
        Ok(value.ok_or(ArgumentError::Missing(option))?)
    }

    /// The only file.
    ///
    /// # Errors
    /// [`ArgumentError`].
    pub fn file(&self) -> Result<PathBuf> {
        match self.files.as_slice() {
            [file] => Ok(file.clone()),
            [] => Err(ArgumentError::Operands("which file?".to_owned()).into()),
            _ => Err(ArgumentError::Operands("only one file at a time".to_owned()).into()),
        }
    }

    /// With `--dry-run`: says what would be done. Whether to stop here.
    pub fn dry(&mut self, what: &str) -> bool {
        let dry = self.arguments.has("dry-run");
        if dry {
            self.report
                .step(&format!("Would {what}. Nothing was done."), "");
            self.report.value("dry_run", "", true);
        }
        dry
    }

    /// Which facts a step on a real device rests on that are not the vendor's.
    pub fn unsure(&mut self, device: &Device, facts: &[&str]) {
        if device.real {
            for fact in facts {
                self.report
                    .warn(&format!("not certain for a real device: {fact}"));
            }
        }
    }

    /// Asks before something is destroyed, unless `--yes`.
    ///
    /// # Errors
    /// [`Error::NotConfirmed`].
    pub fn confirm(&mut self, what: &str) -> Result<()> {
        if self.arguments.has("yes") {
            return Ok(());
        }
        let no = |text: &str| Error::NotConfirmed(text.to_owned());
        let mut terminal =
            Terminal::controlling().map_err(|_| no("nobody to ask; --yes does without"))?;
        let question = format!("{what}\nType yes to go on: ");
        let answer = terminal
            .write(question.as_bytes())
            .and_then(|()| secret_source::line(&mut terminal));
        match answer {
            Ok(answer) if answer.as_slice() == b"yes" => Ok(()),
            _ => Err(no("the answer was not yes")),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn read(&self, path: &Path) -> Result<Vec<u8>> {
        files::read(path, files::WRAPPED_KEY).map_err(|error| Error::file(path, error))
    }

    /// Refuses to overwrite a file, unless `--force`. Called before anything is done for it.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn output(&self) -> Result<PathBuf> {
        let path = self.arguments.path("out")?;
        if path.exists() && !self.arguments.has("force") {
            return Err(Error::file(&path, "is there already; --force replaces it"));
        }
        Ok(path)
    }

    /// Writes a file.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write(&self, path: &Path, content: &[u8]) -> Result<()> {
        files::write(path, content).map_err(|error| Error::file(path, error))
    }
}
