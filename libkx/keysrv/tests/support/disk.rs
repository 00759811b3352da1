//! A disk in memory that fails when it is told to, and loses what was not synchronized when the power
//! goes.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kx_sys::file_replacement::Steps;

/// What happens at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails without an effect.
    Fails,
    /// It has its effect, and yet an error is told.
    Lies,
    /// It fails, and so does everything after it.
    Breaks,
    /// It has its effect; then the power goes, and everything after it fails.
    PowerCut,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    content: Vec<u8>,
    /// What is certainly on the disk.
    synced: Vec<u8>,
}

type Names = BTreeMap<OsString, usize>;

#[derive(Debug, Default)]
pub struct State {
    inodes: Vec<Inode>,
    names: Names,
    /// The directory as it was when last synchronized, and after each change since: any of them may
    /// be what is found after a power cut.
    directories: Vec<Names>,
    open: Option<usize>,
    /// Octets that one write takes.
    pub piece: usize,
    pub steps: usize,
    pub renames: usize,
    fault: Option<(usize, Fault)>,
}

/// The disk; copies are the same disk.
#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<Mutex<State>>);

impl Disk {
    /// A disk with one file, safely there.
    pub fn with(name: &str, content: &[u8]) -> Self {
        let disk = Self::default();
        let mut state = disk.state();
        state.piece = usize::MAX;
        state.inodes.push(Inode {
            content: content.to_vec(),
            synced: content.to_vec(),
        });
        state.names.insert(name.into(), 0);
        state.directories = vec![state.names.clone()];
        drop(state);
        disk
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault comes at this step, counted from now, beginning with 1.
    pub fn fail_at(&self, step: usize, fault: Fault) {
        let mut state = self.state();
        state.steps = 0;
        state.fault = Some((step, fault));
    }

    /// Whether there was a fault; there are none from now on.
    pub fn heal(&self) -> bool {
        let mut state = self.state();
        let steps = state.steps;
        state.fault.take().is_some_and(|(at, _)| steps >= at)
    }

    /// The file as everybody sees it.
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        let inode = *state.names.get(OsStr::new(name))?;
        Some(state.inodes[inode].content.clone())
    }

    pub fn names(&self) -> Vec<OsString> {
        self.state().names.keys().cloned().collect()
    }

    /// All contents that the file may have after a power cut; `None`: it may be gone.
    pub fn after_power_cut(&self, name: &str) -> Vec<Option<Vec<u8>>> {
        let state = self.state();
        let mut found = Vec::new();
        for names in &state.directories {
            let Some(inode) = names.get(OsStr::new(name)) else {
                found.push(None);
                continue;
            };
            let Inode { content, synced } = &state.inodes[*inode];
            found.push(Some(synced.clone()));
            if content != synced {
                // Any part of what was written since.
                for len in 0..=content.len() {
                    found.push(Some(content[..len].to_vec()));
                }
            }
        }
        found
    }

    fn step<V>(&self, deed: impl FnOnce(&mut State) -> io::Result<V>) -> io::Result<V> {
        let mut state = self.state();
        state.steps += 1;
        let broken = || Err(io::Error::from_raw_os_error(5)); // EIO
        match state.fault {
            Some((at, Fault::Fails)) if state.steps == at => broken(),
            Some((at, Fault::Breaks)) if state.steps >= at => broken(),
            Some((at, Fault::PowerCut)) if state.steps > at => broken(),
            Some((at, Fault::Lies)) if state.steps == at => {
                deed(&mut state)?;
                broken()
            }
            _ => deed(&mut state),
        }
    }
}

impl State {
    fn changed(&mut self) {
        let names = self.names.clone();
        self.directories.push(names);
    }
}

impl Steps for Disk {
    fn create(&mut self, name: &OsStr) -> io::Result<()> {
        self.step(|state| {
            if state.names.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.inodes.push(Inode::default());
            let inode = state.inodes.len() - 1;
            state.names.insert(name.to_owned(), inode);
            state.open = Some(inode);
            state.changed();
            Ok(())
        })
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.step(|state| {
            let inode = state.open.expect("a file is open");
            let count = octets.len().min(state.piece);
            state.inodes[inode].content.extend(&octets[..count]);
            Ok(count)
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        self.step(|state| {
            let inode = state.open.take().expect("a file is open");
            state.inodes[inode].synced = state.inodes[inode].content.clone();
            Ok(())
        })
    }

    fn rename(&mut self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        self.step(|state| {
            let inode = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            state.names.insert(to.to_owned(), inode);
            state.renames += 1;
            state.changed();
            Ok(())
        })
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.step(|state| {
            state.directories = vec![state.names.clone()];
            Ok(())
        })
    }

    fn remove(&mut self, name: &OsStr) -> io::Result<()> {
        self.step(|state| {
            state.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
            state.changed();
            Ok(())
        })
    }
}
