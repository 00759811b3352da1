//! Counters of the daemon, in the text format of Prometheus (ours).
//!
//! All workers share one [`Metrics`]; each count is one atomic addition. [`serve`](serve::serve)
//! answers who asks on a local address.

pub mod serve;

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Statuses that are counted by themselves; others count as `other`.
const STATUSES: [u16; 18] = [
    200, 301, 400, 403, 404, 405, 406, 408, 411, 413, 414, 417, 429, 431, 500, 501, 503, 505,
];

/// Why a request, or the rest of its answer, was dropped.
const DROPPED: [&str; 5] = [
    "header_timeout",
    "body_timeout",
    "large_headers",
    "http2",
    "answer_timeout",
];

/// Upper bounds of the buckets of durations, in microseconds, and how they are written.
const BUCKETS: [(u64, &str); 9] = [
    (1_000, "0.001"),
    (5_000, "0.005"),
    (25_000, "0.025"),
    (100_000, "0.1"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (5_000_000, "5"),
    (15_000_000, "15"),
    (60_000_000, "60"),
];

/// A number that goes up.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long something took.
#[derive(Debug, Default)]
struct Histogram {
    /// Each duration counts in the first bucket that it fits into; the last is for those in none.
    buckets: [Counter; BUCKETS.len() + 1],
    microseconds: Counter,
}

impl Histogram {
    fn observe(&self, took: Duration) {
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at = BUCKETS.iter().position(|(bound, _)| microseconds <= *bound);
        if let Some(bucket) = self.buckets.get(at.unwrap_or(BUCKETS.len())) {
            bucket.add(1);
        }
        self.microseconds.add(microseconds);
    }
}

/// All counters, at zero when made.
#[derive(Debug, Default)]
pub struct Metrics {
    connections: Counter,
    connections_ended: Counter,
    connections_refused: Counter,
    accept_errors: Counter,
    handshakes: Counter,
    handshakes_failed: Counter,
    requests: [Counter; STATUSES.len() + 1],
    request_time: Histogram,
    dropped: [Counter; DROPPED.len()],
    rate_limited: Counter,
    hook_refusals: Counter,
    hook_time: Histogram,
    mails: Counter,
    mails_failed: Counter,
    reloads: Counter,
    reloads_failed: Counter,
    panics: Counter,
}

/// An open connection; it counts as closed when this is dropped.
#[derive(Debug)]
pub struct OpenConnection(Arc<Metrics>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections_ended.add(1);
    }
}

impl Metrics {
    /// A connection was accepted and is within the limits.
    pub fn connection_opened(self: &Arc<Self>) -> OpenConnection {
        self.connections.add(1);
        OpenConnection(Arc::clone(self))
    }

    /// A connection was over a limit and closed at once.
    pub fn connections_refused(&self) {
        self.connections_refused.add(1);
    }

    /// accept(2) failed, not for reasons of the peer.
    pub fn accept_error(&self) {
        self.accept_errors.add(1);
    }

    /// A TLS handshake succeeded.
    pub fn handshake_done(&self) {
        self.handshakes.add(1);
    }

    /// A TLS handshake failed.
    pub fn handshake_failed(&self) {
        self.handshakes_failed.add(1);
    }

    /// A request was answered with `status` after `took`.
    pub fn request(&self, status: u16, took: Duration) {
        self.status(status);
        self.request_time.observe(took);
    }

    /// What could not be understood was answered with `status`.
    pub fn malformed(&self, status: u16) {
        self.status(status);
    }

    /// A request was dropped without an answer, or its answer before the end. Unknown reasons count
    /// nowhere.
    pub fn dropped(&self, reason: &str) {
        let at = DROPPED.iter().position(|r| *r == reason);
        if let Some(counter) = at.and_then(|at| self.dropped.get(at)) {
            counter.add(1);
        }
    }

    fn status(&self, status: u16) {
        let at = STATUSES
            .iter()
            .position(|s| *s == status)
            .unwrap_or(STATUSES.len());
        if let Some(counter) = self.requests.get(at) {
            counter.add(1);
        }
    }

    /// A request was over `--rate_limit` (it is a request with status 429 too).
    pub fn rate_limited(&self) {
        self.rate_limited.add(1);
    }

    /// The hook was run for `took`; `refused` if the key was not given because of it.
    pub fn hook_ran(&self, took: Duration, refused: bool) {
        self.hook_time.observe(took);
        if refused {
            self.hook_refusals.add(1);
        }
    }

    /// A mail was accepted by the mail server.
    pub fn mail_sent(&self) {
        self.mails.add(1);
    }

    /// A mail could not be sent, so the key was not given.
    pub fn mail_failed(&self) {
        self.mails_failed.add(1);
    }

    /// Certificate and key were read anew (SIGHUP); `ok` if they are in use now.
    pub fn reload(&self, ok: bool) {
        if ok {
            &self.reloads
        } else {
            &self.reloads_failed
        }
        .add(1);
    }

    /// A request was ended by a bug of ours.
    pub fn panicked(&self) {
        self.panics.add(1);
    }

    /// Connections open now.
    pub fn open_connections(&self) -> u64 {
        // In this order a connection that opens and ends in between cannot make it negative.
        let ended = self.connections_ended.get();
        self.connections.get().saturating_sub(ended)
    }

    /// All counters as text (Prometheus exposition format 0.0.4). `log_lines_lost` is counted by the
    /// logs.
    pub fn render(&self, log_lines_lost: u64) -> String {
        let mut page = Page(String::with_capacity(6 * 1024));
        page.value(
            "connections_open",
            "gauge",
            "Connections now.",
            self.open_connections(),
        );
        page.count(
            "connections_total",
            "Connections accepted.",
            &self.connections,
        );
        page.count(
            "connections_refused_total",
            "Connections over a limit, closed at once.",
            &self.connections_refused,
        );
        page.count(
            "accept_errors_total",
            "Failures to accept.",
            &self.accept_errors,
        );
        page.head("handshakes_total", "counter", "TLS handshakes by result.");
        page.sample("handshakes_total", "result=\"ok\"", self.handshakes.get());
        page.sample(
            "handshakes_total",
            "result=\"failed\"",
            self.handshakes_failed.get(),
        );
        page.head("requests_total", "counter", "Requests answered, by status.");
        let names = STATUSES
            .iter()
            .map(u16::to_string)
            .chain(["other".to_owned()]);
        for (status, counter) in names.zip(&self.requests) {
            // 200 is always there, so that a rate can be computed from the first scrape on.
            if counter.get() > 0 || status == "200" {
                page.sample(
                    "requests_total",
                    &format!("status=\"{status}\""),
                    counter.get(),
                );
            }
        }
        page.histogram(
            "request_duration_seconds",
            "Time to answer, malformed requests left out.",
            &self.request_time,
        );
        page.head(
            "requests_dropped_total",
            "counter",
            "Requests not answered, or not to the end, by reason.",
        );
        for (reason, counter) in DROPPED.iter().zip(&self.dropped) {
            page.sample(
                "requests_dropped_total",
                &format!("reason=\"{reason}\""),
                counter.get(),
            );
        }
        page.count(
            "rate_limited_total",
            "Requests over --rate_limit.",
            &self.rate_limited,
        );
        page.histogram(
            "hook_duration_seconds",
            "Time the hook ran.",
            &self.hook_time,
        );
        page.count(
            "hook_refusals_total",
            "Requests the hook refused.",
            &self.hook_refusals,
        );
        page.head("mails_total", "counter", "Notifications by result.");
        page.sample("mails_total", "result=\"ok\"", self.mails.get());
        page.sample("mails_total", "result=\"failed\"", self.mails_failed.get());
        page.head(
            "reloads_total",
            "counter",
            "Reloads of certificate and key by result.",
        );
        page.sample("reloads_total", "result=\"ok\"", self.reloads.get());
        page.sample(
            "reloads_total",
            "result=\"failed\"",
            self.reloads_failed.get(),
        );
        page.value(
            "log_lines_lost",
            "gauge",
            "Log lines not written.",
            log_lines_lost,
        );
        page.count("panics_total", "Requests ended by a bug.", &self.panics);
        page.0
    }
}

/// The text under construction. Writing to a `String` does not fail, so results are dropped.
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(
            self.0,
            "# HELP kxd_{name} {help}\n# TYPE kxd_{name} {kind}\n"
        );
    }

    fn sample(&mut self, name: &str, labels: &str, value: u64) {
        let _ = writeln!(self.0, "kxd_{name}{{{labels}}} {value}");
    }

    fn value(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.head(name, kind, help);
        let _ = writeln!(self.0, "kxd_{name} {value}");
    }

    fn count(&mut self, name: &str, help: &str, counter: &Counter) {
        self.value(name, "counter", help, counter.get());
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, "histogram", help);
        let mut total = 0u64;
        let bounds = BUCKETS.iter().map(|(_, text)| *text).chain(["+Inf"]);
        for (bound, counter) in bounds.zip(&histogram.buckets) {
            total = total.saturating_add(counter.get());
            let _ = writeln!(self.0, "kxd_{name}_bucket{{le=\"{bound}\"}} {total}");
        }
        let microseconds = histogram.microseconds.get();
        let (seconds, rest) = (microseconds / 1_000_000, microseconds % 1_000_000);
        let _ = writeln!(
            self.0,
            "kxd_{name}_sum {seconds}.{rest:06}\nkxd_{name}_count {total}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_appear_in_the_text() {
        let metrics = Arc::new(Metrics::default());
        let open = metrics.connection_opened();
        drop(metrics.connection_opened());
        metrics.connections_refused();
        metrics.handshake_done();
        metrics.handshake_failed();
        metrics.request(200, Duration::from_micros(900));
        metrics.request(200, Duration::from_millis(3));
        metrics.request(403, Duration::from_secs(100));
        metrics.request(299, Duration::ZERO);
        metrics.malformed(431);
        metrics.dropped("header_timeout");
        metrics.dropped("no such reason");
        metrics.rate_limited();
        metrics.hook_ran(Duration::from_millis(20), true);
        metrics.mail_sent();
        metrics.mail_failed();
        metrics.reload(true);
        let text = metrics.render(7);
        for line in [
            "kxd_connections_open 1",
            "kxd_connections_total 2",
            "kxd_connections_refused_total 1",
            "kxd_handshakes_total{result=\"ok\"} 1",
            "kxd_handshakes_total{result=\"failed\"} 1",
            "kxd_requests_total{status=\"200\"} 2",
            "kxd_requests_total{status=\"403\"} 1",
            "kxd_requests_total{status=\"other\"} 1",
            "kxd_requests_total{status=\"431\"} 1",
            "kxd_requests_dropped_total{reason=\"header_timeout\"} 1",
            "kxd_requests_dropped_total{reason=\"http2\"} 0",
            "kxd_request_duration_seconds_bucket{le=\"0.001\"} 2",
            "kxd_request_duration_seconds_bucket{le=\"0.005\"} 3",
            "kxd_request_duration_seconds_bucket{le=\"60\"} 3",
            "kxd_request_duration_seconds_bucket{le=\"+Inf\"} 4",
            "kxd_request_duration_seconds_sum 100.003900",
            "kxd_request_duration_seconds_count 4",
            "kxd_rate_limited_total 1",
            "kxd_hook_refusals_total 1",
            "kxd_hook_duration_seconds_bucket{le=\"0.025\"} 1",
            "kxd_mails_total{result=\"ok\"} 1",
            "kxd_mails_total{result=\"failed\"} 1",
            "kxd_reloads_total{result=\"ok\"} 1",
            "kxd_log_lines_lost 7",
            "kxd_panics_total 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} not in\n{text}");
        }
        drop(open);
        assert_eq!(metrics.open_connections(), 0);
    }

    #[test]
    fn every_sample_has_help_and_type_and_stands_once() {
        let text = Metrics::default().render(0);
        let mut seen = std::collections::HashSet::new();
        let mut family = String::new();
        for line in text.lines() {
            assert!(seen.insert(line), "twice: {line}");
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.split(' ').next().unwrap().to_owned();
            } else if !line.starts_with('#') {
                assert!(line.starts_with(&family), "{line} in {family}");
                assert!(
                    line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(),
                    "{line}"
                );
            }
        }
        assert!(text.ends_with('\n'));
    }
}
