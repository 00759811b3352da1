//! The start of redirect mode: where connections will arrive, what does the options of handshakes, the proxy.

use kx_sys::notify::ConnectedNotifier;
use kx_sys::sandbox;
use kx_sys::sock_ops::{self, SockOpsError};
use kx_sys::tcp_proxy::Listener;
use rustix::thread::CapabilitySet;
use tcpcrypt_proto::endpoint::Endpoint;

use crate::log::{ALWAYS, DEBUG, DEFAULT, Log, NOISY, system_text};
use crate::options::{EnoBy, Options};
use crate::redirect::{self, Program, ProxyDaemon};

use super::{StartError, call, confine, drop_privileges};

/// Where redirected connections will arrive, over IPv6 if the system has it.
pub(super) fn bind_listeners(log: &Log) -> Result<Vec<Listener>, StartError> {
    let mut listeners = vec![Listener::bind(redirect::PORT).map_err(call("bind()"))?];
    match Listener::bind_ipv6(redirect::PORT) {
        Ok(listener) => listeners.push(listener),
        Err(error) => {
            let line = format_args!("No connections over IPv6: {}", system_text(&error));
            log.say(NOISY, line);
        }
    }
    Ok(listeners)
}

/// Attaches the program for handshakes if it can be had, gives up privileges and begins to listen. Which way
/// handshakes go is said once.
pub(super) fn begin_listening(
    options: &Options,
    log: &Log,
    listeners: &[Listener],
    endpoint: &mut Endpoint,
) -> Result<Option<Program>, StartError> {
    let eno_by = options.eno_by.unwrap_or(EnoBy::Auto);
    let attached = match eno_by {
        EnoBy::Queue => None,
        EnoBy::Auto | EnoBy::Program => Some(Program::attach(listeners)),
    };
    let useless = |source| SockOpsError::System {
        step: "using the program without privileges",
        source,
    };
    let attached = attached.map(|attached| {
        let program = attached?;
        let kept = program.capabilities().map_err(useless)?;
        Ok((program, kept))
    });
    let kept = match &attached {
        Some(Ok((_, kept))) => *kept,
        _ => CapabilitySet::empty(),
    };
    drop_privileges(options, log, kept)?;
    let attached = attached.map(|attached| {
        let (program, _) = attached?;
        program.prepare(endpoint).map_err(useless)?;
        Ok(program)
    });
    let program = match attached {
        Some(Ok(program)) => {
            log.say(DEFAULT, "ENO options by an eBPF program");
            Some(program)
        }
        Some(Err(error)) if eno_by == EnoBy::Program => {
            return Err(StartError::Program(error));
        }
        Some(Err(error)) => {
            let why = missing(&error);
            log.say(DEFAULT, format_args!("ENO options by the queue: {why}"));
            None
        }
        None => {
            log.say(DEFAULT, "ENO options by the queue");
            None
        }
    };
    for listener in listeners {
        let listening = listener.listen(redirect::BACKLOG);
        listening.map_err(call("listen()"))?;
    }
    Ok(program)
}

/// What an error of the program is about, with the system's words.
pub(super) fn missing(error: &SockOpsError) -> String {
    match error {
        SockOpsError::NotPermitted { source, .. }
        | SockOpsError::Cgroup { source, .. }
        | SockOpsError::System { source, .. } => format!("{error}: {}", system_text(source)),
        _ => error.to_string(),
    }
}

/// Redirect mode. There is no guard: when this process dies, the kernel resets its connections, and the queue
/// lets new ones pass.
pub(super) fn proxy(
    log: &mut Log,
    notifier: Option<&ConnectedNotifier>,
    parts: redirect::Parts,
) -> Result<(), StartError> {
    let has_program = parts.program.is_some();
    let mut daemon = ProxyDaemon::new(parts, log).map_err(call("epoll_create()"))?;
    let calls = [
        sandbox::BASIC_CALLS,
        sandbox::SOCKET_CALLS,
        sandbox::EPOLL_CALLS,
        sandbox::PROXY_CALLS,
    ];
    let parts: &[_] = match has_program {
        true => &[sock_ops::WORKING],
        false => &[],
    };
    confine(log, DEBUG, &calls, parts);
    log.say(ALWAYS, "Running");
    if let Some(notifier) = notifier {
        let _ = notifier.ready();
    }
    let result = daemon.run(log);
    if let Some(notifier) = notifier {
        let _ = notifier.stopping();
    }
    match result.map_err(call("read(divert)"))? {
        redirect::Ended::Signal => {
            daemon.dump(log);
            Ok(())
        }
        redirect::Ended::Check => Err(StartError::Check),
    }
}
