//! kxd's command line: the original's flags, exactly, and ours beside them (kxd spec 2).

use std::ffi::{OsStr, OsString};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use kx_cli::goflag::{self, Flag, Kind, Parsed, Stop};
use kx_log::golog::Target;

use crate::check::CheckConfig;
use crate::metrics::serve::MetricsAddr;
use crate::tls::TlsMin;

const SECOND: i64 = 1_000_000_000;

/// Every flag; those marked "ours" are not in the original.
pub const FLAGS: &[Flag] = &[
    // The original's.
    Flag {
        name: "cert",
        kind: Kind::String("/etc/kxd/cert.pem"),
        usage: "Certificate",
    },
    Flag {
        name: "data_dir",
        kind: Kind::String("/etc/kxd/data"),
        usage: "Data directory",
    },
    Flag {
        name: "email_from",
        kind: Kind::String(""),
        usage: "Email address to send email from",
    },
    Flag {
        name: "hook",
        kind: Kind::String("/etc/kxd/hook"),
        usage: "Hook to run before authorizing keys (skipped if it doesn't exist)",
    },
    Flag {
        name: "ip_addr",
        kind: Kind::String(""),
        usage: "IP address to listen on",
    },
    Flag {
        name: "key",
        kind: Kind::String("/etc/kxd/key.pem"),
        usage: "Private key",
    },
    Flag {
        name: "logfile",
        kind: Kind::String(""),
        usage: "File to write logs to, use '-' for stdout",
    },
    Flag {
        name: "port",
        kind: Kind::Int(19840),
        usage: "Port to listen on",
    },
    Flag {
        name: "smtp_addr",
        kind: Kind::String(""),
        usage: "Address of the SMTP server to use to send emails",
    },
    Flag {
        name: "version",
        kind: Kind::Bool(false),
        usage: "Print version and exit",
    },
    // Ours.
    Flag {
        name: "access_log",
        kind: Kind::String(""),
        usage: "File to write one JSON line per request to, use '-' for stdout",
    },
    Flag {
        name: "answer_timeout",
        kind: Kind::Duration(120 * SECOND),
        usage: "How long a client may take for each 512 KiB of an answer",
    },
    Flag {
        name: "check",
        kind: Kind::Bool(false),
        usage: "Check certificate, key and data directory, report problems and exit",
    },
    Flag {
        name: "handshake_timeout",
        kind: Kind::Duration(10 * SECOND),
        usage: "How long a TLS handshake may take",
    },
    Flag {
        name: "header_timeout",
        kind: Kind::Duration(30 * SECOND),
        usage: "How long a request's header may take to arrive",
    },
    Flag {
        name: "idle_timeout",
        kind: Kind::Duration(300 * SECOND),
        usage: "How long a connection may stay without a request",
    },
    Flag {
        name: "max_connections",
        kind: Kind::Int(4096),
        usage: "Most connections at once",
    },
    Flag {
        name: "max_connections_per_addr",
        kind: Kind::Int(1024),
        usage: "Most connections at once from one address (an IPv6 /64 counts as one)",
    },
    Flag {
        name: "metrics_addr",
        kind: Kind::String(""),
        usage: "Local address (127.0.0.1:PORT, [::1]:PORT or unix:PATH) to serve metrics on",
    },
    Flag {
        name: "rate_limit",
        kind: Kind::Int(0),
        usage: "Most requests per second from one address, 0 for no limit",
    },
    Flag {
        name: "tls_min",
        kind: Kind::String("1.2"),
        usage: "Lowest TLS version; 1.0 also enables RSA key exchange, as the original",
    },
    Flag {
        name: "workers",
        kind: Kind::Int(0),
        usage: "Worker threads, 0 for one per processor",
    },
];

/// A checked command line.
#[derive(Debug, Clone)]
pub struct Options {
    /// Server certificate chain, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Keys and their configuration.
    pub data_dir: PathBuf,
    /// Literal address to listen on, may be empty; IPv6 in brackets.
    pub ip_addr: OsString,
    /// Port as given; whether it is one is found out when listening, as in the original.
    pub port: i64,
    /// Program to run before a key is given; empty for none.
    pub hook: PathBuf,
    /// Whether the hook was named on the command line.
    pub hook_given: bool,
    /// `host:port` of the mail server; empty for no mail.
    pub smtp_addr: String,
    /// Sender of mail, already defaulted from `smtp_addr`.
    pub email_from: String,
    /// Where the log goes.
    pub log: Target,
    /// Print the version and stop.
    pub version: bool,
    /// Check the configuration and stop.
    pub check: bool,
    /// Lowest TLS version.
    pub tls_min: TlsMin,
    /// JSON access log; `-` is stdout.
    pub access_log: Option<PathBuf>,
    /// Where metrics are served.
    pub metrics_addr: Option<MetricsAddr>,
    /// Requests per second and address; 0 is no limit.
    pub rate_limit: u32,
    /// Connections at once.
    pub max_connections: u32,
    /// Connections at once from one address.
    pub max_connections_per_addr: u32,
    /// Limit of an answer of up to [`ANSWER_UNIT`]; longer ones have in proportion more.
    pub answer_timeout: Duration,
    /// Limit of a TLS handshake.
    pub handshake_timeout: Duration,
    /// Limit of a request header.
    pub header_timeout: Duration,
    /// Limit of a connection without a request.
    pub idle_timeout: Duration,
    /// Worker threads, at least one.
    pub workers: usize,
}

impl Options {
    /// Parses the words after the program's name.
    ///
    /// # Errors
    /// What to print on stderr and the exit code: flag errors as the original's, then ours.
    pub fn parse(argv0: &OsStr, args: impl Iterator<Item = OsString>) -> Result<Options, Stop> {
        let parsed = goflag::parse(argv0, FLAGS, args)?;
        let text = |name: &str| parsed.string(name).to_string_lossy().into_owned();
        let path = |name: &str| PathBuf::from(parsed.string(name));
        let given = |name: &str| (!parsed.string(name).is_empty()).then(|| path(name));

        let smtp_addr = text("smtp_addr");
        let mut email_from = text("email_from");
        if email_from.is_empty() {
            let host = smtp_addr.split(':').next().unwrap_or_default();
            email_from = format!("kxd@{host}");
        }
        let tls_min = text("tls_min");
        let tls_min = tls_min.parse().map_err(|()| {
            goflag::reject(
                argv0,
                FLAGS,
                "tls_min",
                tls_min.as_bytes(),
                "use 1.0, 1.2 or 1.3",
            )
        })?;
        let workers = number(argv0, &parsed, "workers", 0..=MAX_WORKERS)?;
        Ok(Options {
            cert: path("cert"),
            key: path("key"),
            data_dir: path("data_dir"),
            ip_addr: parsed.string("ip_addr").to_owned(),
            port: parsed.int("port"),
            hook: path("hook"),
            hook_given: parsed.is_set("hook"),
            smtp_addr,
            email_from,
            log: Target::from_logfile(parsed.string("logfile")),
            version: parsed.bool("version"),
            check: parsed.bool("check"),
            tls_min,
            access_log: given("access_log"),
            metrics_addr: metrics_addr(argv0, &parsed)?,
            rate_limit: number(argv0, &parsed, "rate_limit", 0..=MAX_COUNT)?,
            max_connections: number(argv0, &parsed, "max_connections", 1..=MAX_COUNT)?,
            max_connections_per_addr: number(
                argv0,
                &parsed,
                "max_connections_per_addr",
                1..=MAX_COUNT,
            )?,
            answer_timeout: wait(argv0, &parsed, "answer_timeout")?,
            handshake_timeout: wait(argv0, &parsed, "handshake_timeout")?,
            header_timeout: wait(argv0, &parsed, "header_timeout")?,
            idle_timeout: wait(argv0, &parsed, "idle_timeout")?,
            workers: match usize::try_from(workers) {
                Ok(n) if n > 0 => n,
                _ => std::thread::available_parallelism()
                    .map_or(1, |n| n.get().min(MAX_AUTO_WORKERS)),
            },
        })
    }

    /// What `-check` looks at.
    pub fn check_config(&self) -> CheckConfig {
        let log = match &self.log {
            Target::File(path) => Some(path.clone()),
            Target::Stdout | Target::Syslog => None,
        };
        let access_log = self.access_log.clone().filter(|p| p.as_os_str() != "-");
        CheckConfig {
            cert: self.cert.clone(),
            key: self.key.clone(),
            data_dir: self.data_dir.clone(),
            hook: self.hook.clone(),
            hook_expected: self.hook_given && !self.hook.as_os_str().is_empty(),
            ip_addr: self.ip_addr.to_string_lossy().into_owned(),
            port: self.port,
            smtp_addr: self.smtp_addr.clone(),
            email_from: self.email_from.clone(),
            logs: log.into_iter().chain(access_log).collect(),
            now: crate::clock::now(),
        }
    }

    /// How long a client may take for an answer of this many octets, all in all.
    pub fn answer_limit(&self, octets: usize) -> Duration {
        let units = octets.div_ceil(ANSWER_UNIT).max(1);
        self.answer_timeout
            .saturating_mul(u32::try_from(units).unwrap_or(u32::MAX))
    }

    /// The listen address as the original writes it: the two texts with a colon between.
    pub fn listen_addr(&self) -> String {
        format!("{}:{}", self.ip_addr.to_string_lossy(), self.port)
    }
}

/// Octets of an answer for which `-answer_timeout` is meant: with its default the slowest client that is
/// served gets 4 KiB in a second, which a modem did.
pub const ANSWER_UNIT: usize = 512 * 1024;

/// More workers than this are for who asks for them: a key server is not that busy.
const MAX_AUTO_WORKERS: usize = 8;

/// More than this would only take long to start: each worker is a thread.
const MAX_WORKERS: u32 = 256;

/// The greatest rate and number of connections that can be asked for.
const MAX_COUNT: u32 = 1_000_000;

/// The longest wait that can be asked for: a day.
const MAX_WAIT: Duration = Duration::from_secs(24 * 3600);

fn metrics_addr(argv0: &OsStr, parsed: &Parsed) -> Result<Option<MetricsAddr>, Stop> {
    let text = parsed.string("metrics_addr").to_string_lossy();
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|e: crate::metrics::serve::MetricsAddrError| {
            goflag::reject(
                argv0,
                FLAGS,
                "metrics_addr",
                text.as_bytes(),
                &e.to_string(),
            )
        })
}

fn number(
    argv0: &OsStr,
    parsed: &Parsed,
    name: &'static str,
    range: RangeInclusive<u32>,
) -> Result<u32, Stop> {
    let given = parsed.int(name);
    u32::try_from(given)
        .ok()
        .filter(|n| range.contains(n))
        .ok_or_else(|| {
            let why = format!("must be from {} to {}", range.start(), range.end());
            goflag::reject(argv0, FLAGS, name, given.to_string().as_bytes(), &why)
        })
}

fn wait(argv0: &OsStr, parsed: &Parsed, name: &'static str) -> Result<Duration, Stop> {
    let nanoseconds = parsed.duration(name);
    u64::try_from(nanoseconds)
        .map(Duration::from_nanos)
        .ok()
        .filter(|d| *d >= Duration::from_millis(1) && *d <= MAX_WAIT)
        .ok_or_else(|| {
            let given = goflag::format_duration(nanoseconds);
            goflag::reject(
                argv0,
                FLAGS,
                name,
                given.as_bytes(),
                "must be from 1ms to 24h",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(flag: &str) -> Option<String> {
        let stop = Options::parse(OsStr::new("kxd"), [OsString::from(flag)].into_iter()).err()?;
        let text = String::from_utf8(stop.stderr).ok()?;
        text.lines().next().map(str::to_owned)
    }

    #[test]
    fn durations_out_of_range_are_shown_as_go_writes_them() {
        for (given, shown) in [
            ("0", "0s"),
            ("-90s", "-1m30s"),
            ("48h", "48h0m0s"),
            ("999us", "999µs"),
        ] {
            assert_eq!(
                refusal(&format!("-idle_timeout={given}")),
                Some(format!(
                    "invalid value \"{shown}\" for flag -idle_timeout: must be from 1ms to 24h"
                ))
            );
        }
        assert_eq!(refusal("-idle_timeout=24h"), None);
        assert_eq!(
            refusal("-idle_timeout=5").as_deref(),
            Some("invalid value \"5\" for flag -idle_timeout: parse error")
        );
    }

    #[test]
    fn long_answers_have_in_proportion_more_time() {
        let options = Options::parse(OsStr::new("kxd"), std::iter::empty()).ok();
        let limit = |octets| options.as_ref().map(|o| o.answer_limit(octets).as_secs());
        assert_eq!(limit(0), Some(120));
        assert_eq!(limit(ANSWER_UNIT), Some(120));
        assert_eq!(limit(ANSWER_UNIT + 1), Some(240));
        assert_eq!(limit(64 << 20), Some(128 * 120));
        assert!(limit(usize::MAX) > Some(1 << 32));
    }
}
