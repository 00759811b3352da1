//! TERM and INT end the daemon, HUP reloads; USR1 is ignored as in the original (kxd spec 2.1).

use std::io;

use kx_log::golog::format_errno;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Shared;
use crate::log_source as at;
use crate::tls::ServerContext;

/// Handles signals until one ends the daemon; tells the exit code.
pub(super) async fn run(shared: &Shared) -> io::Result<i32> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut quit = signal(SignalKind::quit())?;
    // Only so that they do not end the process.
    let _user1: Signal = signal(SignalKind::user_defined1())?;
    told(shared, shared.notifier.ready());
    loop {
        let name = tokio::select! {
            _ = terminate.recv() => "terminated",
            _ = interrupt.recv() => "interrupt",
            _ = quit.recv() => return Ok(2),
            _ = hangup.recv() => {
                reload(shared);
                continue;
            }
        };
        told(shared, shared.notifier.stopping());
        shared
            .log
            .line(at::SIGNAL, format_args!("Received signal {name}, exiting"));
        return Ok(0);
    }
}

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
