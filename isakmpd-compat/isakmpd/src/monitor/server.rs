//! The monitor's side.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use ike::journal::Class;
use kx_sys::descriptor_channel::DescriptorChannel;
use kx_sys::privileges::DropError;
use kx_sys::process_pair::Child;
use kx_sys::signals::{Signals, number};
use rustix::event::{PollFd, PollFlags, poll};
use zeroize::Zeroizing;

use crate::confinement;
use crate::files::{Direct, Files, Rules};
use crate::log::Log;

use super::guard::Guard;
use super::message::{MAX_MESSAGE, Reply, Request, number_of};

/// For the end of a child that has nothing to say any more.
const PATIENCE: Duration = Duration::from_secs(5);

/// Confines this process, does what the child asks for and passes signals on, until the child has ended. Returns the
/// exit status. `traces` are files that are to be removed afterwards; without `guard` the kernel's IPsec takes no part.
///
/// # Errors
/// Capabilities could not be given up.
pub fn run(
    child: Child,
    signals: &Signals,
    guard: Option<Guard>,
    traces: &[PathBuf],
    log: &Rc<Log>,
) -> Result<u8, DropError> {
    let report = confinement::confine_monitor(child.pid(), traces)?;
    log.debug(Class::Misc, 10, || format!("monitor_init: {report}"));
    let files = Direct::new(Rules::default(), Rc::clone(log));
    Ok(supervise(child, signals, &files, guard, log))
}

fn supervise(
    child: Child,
    signals: &Signals,
    files: &dyn Files,
    mut guard: Option<Guard>,
    log: &Log,
) -> u8 {
    loop {
        let mut wanted = vec![
            PollFd::new(signals, PollFlags::IN),
            PollFd::new(&child, PollFlags::IN),
        ];
        let told = guard.as_ref().and_then(Guard::descriptor);
        wanted.extend(told.map(|told| PollFd::from_borrowed_fd(told, PollFlags::IN)));
        match poll(&mut wanted, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                log.error("monitor_loop: poll failed", &error.into());
                break;
            }
        }
        let mut ready = wanted.iter().map(|one| !one.revents().is_empty());
        let mut is_ready = || ready.next().unwrap_or(false);
        let (signal, line, told) = (is_ready(), is_ready(), is_ready());
        if signal {
            while let Ok(Some(number)) = signals.next() {
                child.signal(number);
            }
        }
        if let (true, Some(guard)) = (told, &mut guard) {
            guard.pass_on();
        }
        if line {
            match answer(child.line(), files, guard.as_mut(), log) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    log.error("monitor_loop: request failed", &error);
                    // Ours says nothing that would come to this, so it is somebody else's by now.
                    child.signal(number::KILL);
                    break;
                }
            }
        }
    }
    // It sees that the line is gone, and ends. One that does not is not ours any more.
    let status = match child.wait_or_kill(PATIENCE) {
        Ok(Some(status)) => u8::try_from(status).unwrap_or(1),
        _ => 1,
    };
    if let Some(guard) = &mut guard {
        guard.clean_up(log);
    }
    status
}

/// Receives a request and answers it. False: there are no more.
///
/// # Errors
/// The child says what no child says, or does not take the answer.
pub fn answer(
    line: &DescriptorChannel,
    files: &dyn Files,
    guard: Option<&mut Guard>,
    log: &Log,
) -> io::Result<bool> {
    // There may be keys in it.
    let mut buffer = Zeroizing::new([0; MAX_MESSAGE]);
    let Some((length, descriptor)) = line.receive(buffer.as_mut_slice())? else {
        return Ok(false);
    };
    // It has none that we want.
    drop(descriptor);
    let request = buffer.get(..length).and_then(Request::decode);
    let Some(request) = request else {
        let code = buffer.first().copied().unwrap_or(0);
        log.print(format!("monitor_loop: got unknown code {code}"));
        return Err(io::ErrorKind::InvalidData.into());
    };
    let failed = |error: &io::Error| Reply::Failed(number_of(error)).encode();
    match request {
        Request::Open(access, path) => match files.open(&path, access) {
            Ok(file) => line.send(&Reply::Done.encode(), Some(file.as_fd()))?,
            Err(error) => line.send(&failed(&error), None)?,
        },
        Request::OpenFirst(choices) => {
            let opened = files.open_each(&choices);
            let told = opened.iter().map(|(place, file)| {
                let error = file.as_ref().err().map(number_of);
                (u8::try_from(*place).unwrap_or(0), error)
            });
            let reply = Reply::First(told.collect()).encode();
            let there = opened.iter().filter_map(|(_, file)| file.as_ref().ok());
            line.send_all(&reply, &there.map(AsFd::as_fd).collect::<Vec<_>>())?;
        }
        Request::ReadDirectory(path) => match files.read_directory(&path) {
            Ok(entries) => {
                for (path, file) in entries {
                    let error = file.as_ref().err().map(number_of);
                    let reply = Reply::Entry(error, path).encode();
                    line.send(&reply, file.as_ref().ok().map(AsFd::as_fd))?;
                }
                line.send(&Reply::Done.encode(), None)?;
            }
            Err(error) => line.send(&failed(&error), None)?,
        },
        Request::Bind(exclusive, address) => {
            let bound = files.bind(address, exclusive).and_then(|socket| {
                guard.map_or(Ok(()), |guard| guard.prepare(&socket))?;
                Ok(socket)
            });
            match bound {
                Ok(socket) => line.send(&Reply::Done.encode(), Some(socket.as_fd()))?,
                Err(error) => line.send(&failed(&error), None)?,
            }
        }
        Request::Kernel(octets) => {
            let asked = match guard {
                Some(guard) => guard.ask(&octets.0, log),
                // With -n it has no business there.
                None => Err(io::ErrorKind::PermissionDenied.into()),
            };
            let reply = match asked {
                Ok(Some(found)) => Reply::Found(found).encode(),
                Ok(None) => Reply::Done.encode(),
                Err(error) => failed(&error),
            };
            line.send(&reply, None)?;
        }
        Request::SystemLog => match files.system_log() {
            Ok(socket) => line.send(&Reply::Done.encode(), Some(socket.as_fd()))?,
            Err(error) => line.send(&failed(&error), None)?,
        },
        Request::DefaultInterfaces => {
            let names = files.default_interfaces();
            line.send(&Reply::Interfaces(names).encode(), None)?;
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{Access, Direct, Rules};
    use crate::monitor::Remote;
    use std::io::{ErrorKind, Read, Write};
    use std::rc::Rc;

    /// The child's requests, answered by a monitor in another thread until the child is gone.
    fn with_monitor(work: impl FnOnce(&Remote, &std::path::Path)) -> Vec<String> {
        let directory = tempfile::tempdir().expect("directory");
        for name in ["etc", "run", "else"] {
            std::fs::create_dir(directory.path().join(name)).expect("made");
        }
        let (ours, theirs) = DescriptorChannel::pair().expect("pair");
        let rules = Rules::new(directory.path().join("etc"), directory.path().join("run"));
        let monitor = std::thread::spawn(move || {
            let log = Rc::new(Log::memory());
            let files = Direct::new(rules, Rc::clone(&log));
            while answer(&theirs, &files, None, &log).unwrap_or(false) {}
            log.texts()
        });
        let remote = Remote::new(ours);
        work(&remote, directory.path());
        drop(remote);
        monitor.join().expect("no panic")
    }

    #[test]
    fn a_child_gets_what_it_may_have() {
        let texts = with_monitor(|remote, directory| {
            std::fs::write(directory.join("etc/a"), "text").expect("written");
            std::fs::write(directory.join("etc/b"), "").expect("written");
            let mut text = String::new();
            let mut file = remote
                .open(&directory.join("etc/a"), Access::Read)
                .expect("opened");
            file.read_to_string(&mut text).expect("read");
            assert_eq!(text, "text");
            let mut result = remote
                .open(&directory.join("run/result"), Access::Public)
                .expect("opened");
            result.write_all(b"x").expect("written");
            let paths = ["etc/none", "none/x", "etc/a", "etc/b"].map(|name| directory.join(name));
            let (place, opened) = remote.open_first(&paths);
            let mut first = String::new();
            let read = opened.expect("opened").read_to_string(&mut first);
            assert_eq!((place, first.as_str(), read.expect("read")), (2, "text", 4));
            let (place, opened) = remote.open_first(&paths[..2]);
            assert_eq!(
                (place, opened.expect_err("none").kind()),
                (1, ErrorKind::NotFound)
            );
            let choices = [paths[3..].to_vec(), paths[..2].to_vec(), paths.to_vec()];
            let opened = remote.open_each(&choices).into_iter();
            let lengths = opened.map(|(place, file)| {
                let length = file.and_then(|file| Ok(file.metadata()?.len()));
                (place, length.map_err(|error| error.kind()))
            });
            assert_eq!(
                lengths.collect::<Vec<_>>(),
                [(0, Ok(0)), (1, Err(ErrorKind::NotFound)), (2, Ok(4))]
            );
            let entries = remote.read_directory(&directory.join("etc")).expect("read");
            let names: Vec<_> = entries.iter().map(|entry| entry.0.clone()).collect();
            assert_eq!(names, [directory.join("etc/a"), directory.join("etc/b")]);
            let socket = remote.bind(([127, 0, 0, 1], 0).into(), false);
            // Port 0 is below 1024.
            assert_eq!(
                socket.expect_err("refused").kind(),
                ErrorKind::PermissionDenied
            );
            let socket = remote
                .bind(([127, 0, 0, 9], 40_500).into(), true)
                .expect("bound");
            assert_eq!(socket.local().port(), 40_500);
            let _ = remote.default_interfaces();
        });
        assert_eq!(texts, ["Default Disallowed port 0"]);
    }

    #[test]
    fn a_child_gets_nothing_else() {
        let texts = with_monitor(|remote, directory| {
            std::fs::write(directory.join("else/secret"), "s").expect("written");
            for (path, access) in [
                ("else/secret", Access::Read),
                ("else/new", Access::Private),
                ("etc/new", Access::Append),
                ("etc/../else/secret", Access::Read),
            ] {
                let error = remote.open(&directory.join(path), access).expect_err(path);
                assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{path}");
            }
            let paths = ["etc/none", "else/secret", "etc/none"].map(|name| directory.join(name));
            let (place, refused) = remote.open_first(&paths);
            let kind = refused.expect_err("refused").kind();
            assert_eq!((place, kind), (1, ErrorKind::PermissionDenied));
            assert!(remote.read_directory(&directory.join("else")).is_err());
            // The kernel takes no part here, as with -n.
            let error = remote.kernel(b"\x10").expect_err("no kernel");
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            let none = remote.open(&directory.join("etc/none"), Access::Read);
            assert_eq!(none.expect_err("none").kind(), ErrorKind::NotFound);
            for address in ["0.0.0.0:22", "[::1]:53", "127.0.0.1:1023"] {
                let error = remote.bind(address.parse().expect("address"), false);
                assert_eq!(
                    error.expect_err(address).kind(),
                    ErrorKind::PermissionDenied
                );
            }
        });
        assert_eq!(texts.len(), 9, "{texts:?}");
    }

    /// Peers choose names, of any length, and the monitor ends when it is asked for nonsense.
    #[test]
    fn it_does_not_hear_of_what_is_no_path() {
        with_monitor(|remote, directory| {
            std::fs::write(directory.join("etc/a"), "text").expect("written");
            for length in [255, 256, 4000, 4090, 5000, 70_000] {
                let long = directory.join("etc").join("x".repeat(length));
                assert!(remote.open(&long, Access::Read).is_err());
                assert!(remote.read_directory(&long).is_err());
                let choices = [vec![long.clone(), long], vec![directory.join("etc/a")]];
                let opened = remote.open_each(&choices);
                assert!(opened[0].1.is_err() && opened[1].1.is_ok(), "{length}");
            }
            let (place, none) = remote.open_first(&[]);
            assert_eq!(
                (place, none.expect_err("none").kind()),
                (0, ErrorKind::NotFound)
            );
            assert!(remote.open(&directory.join("etc/a"), Access::Read).is_ok());
        });
    }

    #[test]
    fn nonsense_ends_it() {
        let (ours, theirs) = DescriptorChannel::pair().expect("pair");
        let log = Rc::new(Log::memory());
        let files = Direct::new(Rules::default(), Rc::clone(&log));
        ours.send(&[99, 1], None).expect("sent");
        assert!(answer(&theirs, &files, None, &log).is_err());
        assert_eq!(log.texts(), ["Default monitor_loop: got unknown code 99"]);
        drop(ours);
        assert!(!answer(&theirs, &files, None, &log).expect("the end"));
    }
}
