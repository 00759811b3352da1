//! From command line to running daemon, in the original's order (kxd spec 2.1).

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;

use kx_log::golog::{GoLog, format_errno, stderr_line};

use super::signals::Signals;
use super::{HOOKS_AT_ONCE, MAILS_AT_ONCE, Shared, accept, listen_address};
use crate::access_log::AccessLog;
use crate::log_source as at;
use crate::metrics::serve::MetricsListener;
use crate::options::Options;
use crate::tls::ServerContext;
use crate::{check, metrics};

/// What `-version` and the first log line say.
/// In the original's form: revision, then time in brackets.
pub const VERSION: &str = concat!(
    "kxd version kx-",
    env!("CARGO_PKG_VERSION"),
    " (2026-11-21)"
);

/// Runs the daemon to its end.
pub fn run(argv0: &OsStr, args: impl Iterator<Item = OsString>) -> ExitCode {
    let options = match Options::parse(argv0, args) {
        Ok(options) => options,
        Err(stop) => return stop.report(),
    };
    if options.version {
        let _ = writeln!(std::io::stdout(), "{VERSION}");
        return ExitCode::SUCCESS;
    }
    if options.check {
        let mut out = std::io::stdout().lock();
        return match check::run(&options.check_config(), &mut out) {
            Ok(true) => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        };
    }
    let log = match GoLog::open(&options.log) {
        Ok(log) => log,
        Err(e) => {
            stderr_line(format_args!("{e}"));
            return ExitCode::FAILURE;
        }
    };
    log.line(at::START, format_args!("{VERSION}"));
    if options.smtp_addr.is_empty() {
        log.line(
            at::START,
            format_args!("WARNING: No emails will be sent, use --smtp_addr"),
        );
    }
    let outcome = inherited().and_then(|sockets| {
        // Where several were passed, several lines.
        let addresses: Vec<String> = match sockets.as_slice() {
            [] => vec![options.listen_addr()],
            passed => passed.iter().map(listen_address::of).collect(),
        };
        for address in addresses {
            log.line(at::START, format_args!("Listening on {address}"));
        }
        serve(options, log.clone(), sockets)
    });
    match outcome {
        Ok(code) => code,
        Err(e) => {
            log.line(at::FATAL, format_args!("{e}"));
            log.flush(LOG_FLUSH);
            ExitCode::FAILURE
        }
    }
}

/// The sockets that a service manager passed.
fn inherited() -> Result<Vec<TcpListener>, Box<dyn std::error::Error>> {
    let sockets = kx_sys::listen::take_inherited()?;
    Ok(sockets.into_iter().map(|i| i.listener).collect())
}

/// Everything after "Listening on": loads, binds unless there are sockets already, starts the workers
/// and waits for a signal.
fn serve(
    options: Options,
    log: GoLog,
    mut listeners: Vec<TcpListener>,
) -> Result<ExitCode, Box<dyn std::error::Error>> {
    // Who started us may have ignored SIGCHLD; then hooks could not be waited for.
    kx_sys::spawn::reset_sigchld()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let signals = runtime.block_on(async { Signals::install() })?;
    if let Err(e) = kx_sys::hardening::forbid_core_dumps() {
        log.line(
            at::START,
            format_args!("WARNING: core dumps cannot be switched off: {e}"),
        );
    }
    let descriptors = kx_sys::hardening::raise_descriptor_limit().unwrap_or_else(|e| {
        log.line(
            at::START,
            format_args!("WARNING: descriptor limit cannot be raised: {e}"),
        );
        None
    });
    let options = within_descriptors(options, descriptors, &log);
    kx_sys::memory::limit_arenas(u16::try_from(options.workers).unwrap_or(u16::MAX));
    let tls = ServerContext::load(&options.cert, &options.key, options.tls_min)?;
    if listeners.is_empty() {
        listeners.push(listen_address::bind(
            &options.ip_addr.to_string_lossy(),
            options.port,
        )?);
    }
    let access_log = match options.access_log.as_deref() {
        None => None,
        Some(path) => Some(AccessLog::open(path).map_err(|e| {
            format!(
                "Error opening access log {}: {}",
                path.display(),
                format_errno(&e)
            )
        })?),
    };
    let metrics_listener = options
        .metrics_addr
        .as_ref()
        .map(MetricsListener::bind)
        .transpose()
        .map_err(|e| format!("metrics: listen: {}", format_errno(&e)))?;
    let shared = Arc::new(Shared::new(options, log, tls, access_log));
    log_panics(&shared);

    for number in 0..shared.options.workers {
        for listener in &listeners {
            let listener = listener.try_clone()?;
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || worker(shared, listener))?;
        }
    }
    let code = runtime.block_on(async {
        tokio::spawn(drop_startup_code(Arc::clone(&shared)));
        if let Some(listener) = metrics_listener {
            let shared = Arc::clone(&shared);
            let page = move || {
                let lost = shared.access_log.as_ref().map_or(0, AccessLog::lost);
                shared
                    .metrics
                    .render(shared.log.lost().saturating_add(lost))
            };
            tokio::spawn(metrics::serve::serve(listener, Arc::new(page)));
        }
        signals.run(&shared).await
    });
    // What syslog has not taken yet would be lost with us.
    shared.log.flush(LOG_FLUSH);
    // Requests under way are cut, as the original does: nothing waits for the workers.
    std::process::exit(code)
}

/// Gives the memory of code back that only the start needed, once who waited for it is served.
async fn drop_startup_code(shared: Arc<Shared>) {
    const A_WHILE: std::time::Duration = std::time::Duration::from_millis(100);
    tokio::time::sleep(A_WHILE).await;
    if let Err(e) = kx_sys::memory::drop_startup_code() {
        // Costs some memory, nothing else.
        shared.log.line(
            at::START,
            format_args!("WARNING: startup code stays in memory: {e}"),
        );
    }
}

/// As many connections as there are descriptors for, so that running out of them is a refused
/// connection and a line in the log, and not everybody's trouble.
fn within_descriptors(mut options: Options, limit: Option<u64>, log: &GoLog) -> Options {
    /// For files of requests, hooks' pipes, mails, the log.
    const OTHERS: u64 = 64;
    let Some(limit) = limit else { return options };
    let most = u32::try_from(limit.saturating_sub(OTHERS).max(limit / 2)).unwrap_or(u32::MAX);
    if options.max_connections > most {
        log.line(
            at::START,
            format_args!("WARNING: {limit} descriptors allow for {most} connections only"),
        );
        options.max_connections = most;
    }
    options
}

fn worker(shared: Arc<Shared>, listener: TcpListener) {
    let log = shared.log.clone();
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(std::time::Duration::from_secs(10))
        .build()
        .and_then(|runtime| {
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                accept::run(shared, listener).await;
                Ok(())
            })
        });
    if let Err(e) = outcome {
        log.line(at::FATAL, format_args!("worker: {e}"));
        std::process::exit(1);
    }
}

/// How long the last lines may take to reach a busy syslog.
const LOG_FLUSH: std::time::Duration = std::time::Duration::from_millis(200);

/// Threads of a worker for what blocks: starting hooks, and the look-up of the mail server's name, which
/// may hang. As many as can be under way, so that no hook waits behind a dead name server.
const BLOCKING_THREADS: usize = HOOKS_AT_ONCE + MAILS_AT_ONCE;

/// A bug of ours ends one request, not the daemon, and stands in the log instead of on stderr.
fn log_panics(shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    std::panic::set_hook(Box::new(move |info| {
        shared.metrics.panicked();
        shared
            .log
            .line(at::PANIC, format_args!("http: panic serving: {info}"));
    }));
}
