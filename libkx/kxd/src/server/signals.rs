//! TERM and INT end the daemon, HUP reloads; USR1 is ignored as in the original (kxd spec 2.1).

use std::io;
use std::time::Duration;

use kx_log::golog::format_errno;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Shared;
use crate::log_source as at;
use crate::tls::ServerContext;

/// The signals that mean something, caught from [`install`](Signals::install) on.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    quit: Signal,
    /// Only so that it does not end the process.
    _user1: Signal,
}

impl Signals {
    /// Catches them. To be called, inside a runtime, before anybody can see that the daemon is there.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn install() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            _user1: signal(SignalKind::user_defined1())?,
        })
    }

    /// Tells the service manager that the daemon is ready, and handles signals until one ends it;
    /// tells the exit code.
    pub(super) async fn run(mut self, shared: &Shared) -> i32 {
        told(shared, shared.notifier.ready());
        loop {
            let name = tokio::select! {
                _ = self.terminate.recv() => "terminated",
                _ = self.interrupt.recv() => "interrupt",
                _ = self.quit.recv() => return 2,
                _ = self.hangup.recv() => {
                    reload(shared);
                    continue;
                }
            };
            end_without_the_log_if_need_be();
            told(shared, shared.notifier.stopping());
            shared
                .log
                .line(at::SIGNAL, format_args!("Received signal {name}, exiting"));
            return 0;
        }
    }
}

/// The last line may never be written: the log can be a pipe that nobody reads.
fn end_without_the_log_if_need_be() {
    std::thread::spawn(|| {
        std::thread::sleep(LAST_WORDS);
        std::process::exit(0);
    });
}

/// How long the last line and the service manager may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Reads certificate and key anew and reopens the logs. What fails leaves the old one in use.
fn reload(shared: &Shared) {
    told(shared, shared.notifier.reloading());
    let reopened = shared.log.reopen();
    shared.log.line(
        at::SIGNAL,
        format_args!("Received signal hangup, reloading"),
    );
    if let Err(e) = reopened {
        shared.log.line(
            at::RELOAD,
            format_args!(
                "Error reopening log, keeping the old one: {}",
                format_errno(&e)
            ),
        );
    }
    if let Some(Err(e)) = shared
        .access_log
        .as_ref()
        .map(crate::access_log::AccessLog::reopen)
    {
        shared.log.line(
            at::RELOAD,
            format_args!(
                "Error reopening access log, keeping the old one: {}",
                format_errno(&e)
            ),
        );
    }
    let options = &shared.options;
    match ServerContext::load(&options.cert, &options.key, options.tls_min) {
        Ok(context) => {
            shared.replace_tls(context);
            shared.metrics.reload(true);
            shared
                .log
                .line(at::RELOAD, format_args!("Reloaded certificate and key"));
        }
        Err(e) => {
            shared.metrics.reload(false);
            shared.log.line(
                at::RELOAD,
                format_args!("Error reloading certificate and key, keeping the old ones: {e}"),
            );
        }
    }
    told(shared, shared.notifier.ready());
}

/// A service manager that does not listen is worth a line, no more.
fn told(shared: &Shared, outcome: io::Result<()>) {
    if let Err(e) = outcome {
        shared.log.line(
            at::SIGNAL,
            format_args!("Cannot notify the service manager: {}", format_errno(&e)),
        );
    }
}
