//! A card in a PC/SC reader. PC/SC knows no time limit for a command, so a thread of its own waits for the
//! answer; after the limit it is left to itself and the card is given up.

use std::ffi::{CStr, CString};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use pcsc::{Context, Protocols, ReaderState, Scope, ShareMode, State};
use xkek::card::Card;

use crate::Error;

type Answer = Result<Vec<u8>, pcsc::Error>;

/// An opened card.
#[derive(Debug)]
pub struct PcscCard {
    /// Until it is dropped.
    commands: Option<Sender<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
    answers: Receiver<Answer>,
    limit: Duration,
    reader: String,
    atr: Vec<u8>,
    lost: bool,
}

/// The names of all readers.
///
/// # Errors
/// [`Error::Reader`]: no PC/SC service.
pub fn readers() -> Result<Vec<String>, Error> {
    let context = Context::establish(Scope::User)?;
    let names = names(&context)?;
    Ok(names
        .iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect())
}

fn names(context: &Context) -> Result<Vec<CString>, Error> {
    match context.list_readers_owned() {
        Ok(names) => Ok(names),
        Err(pcsc::Error::NoReadersAvailable) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

fn has_card(context: &Context, name: &CStr, wait: Duration) -> Result<bool, Error> {
    let mut states = [ReaderState::new(name, State::UNAWARE)];
    context.get_status_change(Duration::ZERO, &mut states)?;
    let present = |states: &[ReaderState; 1]| {
        let [state] = states;
        state.event_state().contains(State::PRESENT)
    };
    if present(&states) || wait.is_zero() {
        return Ok(present(&states));
    }
    for state in &mut states {
        state.sync_current_state();
    }
    match context.get_status_change(wait, &mut states) {
        Ok(()) => Ok(present(&states)),
        Err(pcsc::Error::Timeout) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The reader that `wanted` names: by its number, by the beginning of its name, or the first with a card.
fn choose(context: &Context, wanted: &str, wait: Duration) -> Result<CString, Error> {
    let names = names(context)?;
    if wanted.is_empty() {
        for name in &names {
            if has_card(context, name, Duration::ZERO)? {
                return Ok(name.clone());
            }
        }
        return match names.into_iter().next() {
            Some(name) if has_card(context, &name, wait)? => Ok(name),
            Some(_) => Err(Error::NoCard),
            None => Err(Error::NoReader(String::new())),
        };
    }
    let by_number = wanted
        .parse()
        .ok()
        .and_then(|number| names.get::<usize>(number));
    let found = by_number.or_else(|| {
        names
            .iter()
            .find(|name| name.to_bytes().starts_with(wanted.as_bytes()))
    });
    let found = found.ok_or_else(|| Error::NoReader(wanted.to_owned()))?;
    if has_card(context, found, wait)? {
        Ok(found.clone())
    } else {
        Err(Error::NoCard)
    }
}

impl PcscCard {
    /// Opens the card in the reader that `wanted` names (a number, the beginning of its name, or nothing
    /// for the first with a card). `wait` is how long a card may take to come, `limit` is for each command.
    ///
    /// # Errors
    /// [`Error::Reader`], [`Error::NoReader`], [`Error::NoCard`].
    pub fn open(wanted: &str, wait: Duration, limit: Duration) -> Result<Self, Error> {
        let context = Context::establish(Scope::User)?;
        let name = choose(&context, wanted, wait)?;
        let card = context.connect(&name, ShareMode::Shared, Protocols::ANY)?;
        // Not the attribute, which not every driver has (vpcd).
        let atr = card.status2_owned()?.atr().to_vec();
        let (commands, to_send) = channel::<Vec<u8>>();
        let (to_answer, answers) = channel::<Answer>();
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; pcsc::MAX_BUFFER_SIZE_EXTENDED];
            while let Ok(command) = to_send.recv() {
                let command = zeroize::Zeroizing::new(command);
                let answer = card.transmit(&command, &mut buffer).map(<[u8]>::to_vec);
                zeroize::Zeroize::zeroize(buffer.as_mut_slice());
                if to_answer.send(answer).is_err() {
                    break;
                }
            }
            // What was verified must not be there for the next program.
            let _ = card.disconnect(pcsc::Disposition::ResetCard);
            drop(context);
        });
        let reader = name.to_string_lossy().into_owned();
        Ok(Self {
            commands: Some(commands),
            thread: Some(thread),
            answers,
            limit,
            reader,
            atr,
            lost: false,
        })
    }

    /// The reader's whole name.
    #[must_use]
    pub fn reader(&self) -> &str {
        &self.reader
    }

    /// The card's answer to reset.
    #[must_use]
    pub fn atr(&self) -> &[u8] {
        &self.atr
    }
}

impl Drop for PcscCard {
    /// Lets go of the card before the program goes on or ends: otherwise pcscd would reset it some time later,
    /// when the next program is talking to it.
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take().filter(|_| !self.lost) {
            // It has no result, and nothing is left to do if it panicked.
            let _ = thread.join();
        }
    }
}

impl Card for PcscCard {
    type Error = Error;

    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), Error> {
        let commands = self.commands.as_ref().filter(|_| !self.lost);
        if commands.is_none_or(|commands| commands.send(command.to_vec()).is_err()) {
            return Err(Error::Removed);
        }
        match self.answers.recv_timeout(self.limit) {
            Ok(Ok(answer)) => {
                *response = answer;
                Ok(())
            }
            Ok(Err(error)) => Err(error.into()),
            Err(waited) => {
                // A late answer would be taken for the next command's.
                self.lost = true;
                Err(match waited {
                    RecvTimeoutError::Timeout => Error::TimedOut,
                    RecvTimeoutError::Disconnected => Error::Removed,
                })
            }
        }
    }
}
