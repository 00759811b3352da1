//! The log (isakmpd 3): lines on standard error or to the system's log, in the original's forms.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ike::journal::{CLASSES, Class, Kind, Record};
use kx_sys::local_time::LocalTime;
use kx_sys::syslog::{DEFAULT_PATH, Priority, Syslog};

use crate::files::Files;
use crate::options::Level;

/// Octets of a text; the rest is cut off.
const MAX_TEXT: usize = 199;

/// Names of the classes.
const NAMES: [&str; CLASSES] = [
    "Misc", "Trpt", "Mesg", "Cryp", "Timr", "Sdep", "SA  ", "Exch", "Negt", "Plcy", "UI  ",
];

/// All classes, by number.
pub const ALL: [Class; CLASSES] = [
    Class::Misc,
    Class::Transport,
    Class::Message,
    Class::Crypto,
    Class::Timer,
    Class::SystemDependent,
    Class::Sa,
    Class::Exchange,
    Class::Negotiation,
    Class::Policy,
    Class::Ui,
];

/// Lines that peers can cause without being known: so many at once,
const BURST: u32 = 200;
/// and one more in this time.
const REFILL: Duration = Duration::from_millis(20);

/// What stands in front of lines in the system's log.
const IDENTITY: &str = "isakmpd";
/// The monitor is not asked for a connection to it more often.
const BETWEEN_RENEWALS: Duration = Duration::from_secs(1);

enum Output {
    Stderr,
    Syslog(Option<Syslog>),
    #[cfg(test)]
    Memory(Vec<u8>),
}

/// Of lines that strangers can cause.
struct Allowance {
    left: u32,
    filled: Instant,
    dropped: u64,
}

/// The log of this process.
pub struct Log {
    output: RefCell<Output>,
    levels: RefCell<[i32; CLASSES]>,
    /// Those that `D T` brings back.
    saved: Cell<Option<[i32; CLASSES]>>,
    verbose: Cell<bool>,
    privileged: Cell<bool>,
    allowance: RefCell<Allowance>,
    /// Who can connect to the system's log when this process cannot, and when that was asked for last.
    renewal: RefCell<Option<Rc<dyn Files>>>,
    renewed: Cell<Option<Instant>>,
}

/// A text of the system's error as strerror(3) has it.
#[must_use]
pub fn system_text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text.get(..end).unwrap_or(&text).to_owned(),
        None => text,
    }
}

impl Log {
    /// On standard error. `privileged`: this process has user number 0, and says so at the end of each line.
    #[must_use]
    pub fn stderr(privileged: bool) -> Log {
        Log::new(Output::Stderr, privileged)
    }

    fn new(output: Output, privileged: bool) -> Log {
        Log {
            output: RefCell::new(output),
            levels: RefCell::new([0; CLASSES]),
            saved: Cell::new(None),
            verbose: Cell::new(false),
            privileged: Cell::new(privileged),
            allowance: RefCell::new(Allowance {
                left: BURST,
                filled: Instant::now(),
                dropped: 0,
            }),
            renewal: RefCell::new(None),
            renewed: Cell::new(None),
        }
    }

    /// From now on to the system's log. Without one, lines are lost, as with syslog(3).
    pub fn use_syslog(&self) {
        let syslog = Syslog::connect(Path::new(DEFAULT_PATH), IDENTITY).ok();
        *self.output.borrow_mut() = Output::Syslog(syslog);
    }

    /// From now on this process cannot connect to the system's log by itself.
    pub fn renew_by(&self, files: Rc<dyn Files>) {
        *self.renewal.borrow_mut() = Some(files);
    }

    /// Another connection to the system's log, if it is time to ask for one.
    fn renewed(&self) -> Option<Syslog> {
        let renewal = self.renewal.borrow();
        let now = Instant::now();
        let last = self.renewed.get();
        if last.is_some_and(|last| now.saturating_duration_since(last) < BETWEEN_RENEWALS) {
            return None;
        }
        let files = renewal.as_ref()?;
        self.renewed.set(Some(now));
        let connection = files.system_log().ok()?;
        Some(Syslog::over(connection, Path::new(DEFAULT_PATH), IDENTITY))
    }

    /// This process has, or has no more, user number 0.
    pub fn set_privileged(&self, privileged: bool) {
        self.privileged.set(privileged);
    }

    /// Whether verbose lines are wanted.
    pub fn set_verbose(&self, verbose: bool) {
        self.verbose.set(verbose);
    }

    /// See [`Log::set_verbose`].
    #[must_use]
    pub fn is_verbose(&self) -> bool {
        self.verbose.get()
    }

    /// The levels of the classes, by number.
    #[must_use]
    pub fn levels(&self) -> [i32; CLASSES] {
        *self.levels.borrow()
    }

    /// The same for the engine, which knows no levels above 255.
    #[must_use]
    pub fn levels_for_engine(&self) -> [u8; CLASSES] {
        self.levels()
            .map(|level| u8::try_from(level.clamp(0, 255)).unwrap_or(u8::MAX))
    }

    /// A plain line.
    pub fn print(&self, text: impl AsRef<str>) {
        self.line("Default", Priority::Notice, text.as_ref());
    }

    /// A line of an error, without the system's word about it.
    pub fn complain(&self, text: impl AsRef<str>) {
        self.line("Default", Priority::Error, text.as_ref());
    }

    /// A line of an error of the system.
    pub fn error(&self, text: impl AsRef<str>, error: &io::Error) {
        let text = format!("{}: {}", text.as_ref(), system_text(error));
        self.line("Default", Priority::Error, &text);
    }

    /// The last line of a daemon that must end.
    pub fn fatal(&self, text: impl AsRef<str>) {
        self.line("Default", Priority::Critical, text.as_ref());
    }

    /// A debugging line; the text is only made when it is wanted.
    pub fn debug<T: AsRef<str>>(&self, class: Class, level: u8, text: impl FnOnce() -> T) {
        if self.wants(class, level) {
            self.debug_line(class, level, text().as_ref());
        }
    }

    /// Whether [`Log::debug`] shows such a line.
    #[must_use]
    pub fn wants(&self, class: Class, level: u8) -> bool {
        let limit = self.levels.borrow().get(class as usize).copied();
        limit.is_some_and(|limit| limit != 0 && i32::from(level) <= limit)
    }

    /// A line of the engine's. Those that strangers can cause are limited in number.
    pub fn record(&self, record: &Record, now: Instant) {
        match record.kind {
            Kind::Plain if self.allowed(now) => self.print(&record.text),
            Kind::Error if self.allowed(now) => self.complain(&record.text),
            Kind::Plain | Kind::Error => {}
            Kind::Verbose => {
                if self.verbose.get() {
                    self.print(&record.text);
                }
            }
            Kind::Debug(class, level) => self.debug(class, level, || record.text.as_str()),
        }
    }

    fn allowed(&self, now: Instant) -> bool {
        let mut allowance = self.allowance.borrow_mut();
        let since = now.saturating_duration_since(allowance.filled);
        let more = u32::try_from(since.as_nanos() / REFILL.as_nanos()).unwrap_or(u32::MAX);
        if more > 0 {
            allowance.left = allowance.left.saturating_add(more).min(BURST);
            allowance.filled = now;
        }
        match allowance.left.checked_sub(1) {
            Some(left) => {
                allowance.left = left;
                let dropped = std::mem::take(&mut allowance.dropped);
                drop(allowance);
                if dropped > 0 {
                    self.print(format!("isakmpd: {dropped} log lines suppressed"));
                }
                true
            }
            None => {
                allowance.dropped = allowance.dropped.saturating_add(1);
                false
            }
        }
    }

    /// A line of the report.
    pub fn report(&self, text: &str) {
        self.line("Report>", Priority::Alert, text);
    }

    /// A line of the report as it stands in a file, with its line feed.
    #[must_use]
    pub fn report_line(&self, text: &str) -> Vec<u8> {
        self.formatted("Report>", text)
    }

    /// The level of a class is to change (`-D`, the FIFO's `D`, `Loglevel`).
    pub fn set_level(&self, class: i32, level: i32) {
        let mut levels = self.levels.borrow_mut();
        let slot = usize::try_from(class)
            .ok()
            .and_then(|class| levels.get_mut(class));
        let Some(slot) = slot else {
            drop(levels);
            self.print(format!("log_debug_cmd: invalid debugging class {class}"));
            return;
        };
        let before = *slot;
        if level >= 0 {
            *slot = level;
        }
        drop(levels);
        self.print(if level < 0 {
            format!("log_debug_cmd: invalid debugging level {level} for class {class}")
        } else if before == level {
            format!("log_debug_cmd: log level unchanged for class {class}")
        } else {
            format!("log_debug_cmd: log level changed from {before} to {level} for class {class}")
        });
    }

    /// As an argument asks for it. False if it is none.
    pub fn apply(&self, level: &Level) -> bool {
        match level {
            Level::One(class, level) => self.set_level(*class, *level),
            Level::All(level) => {
                for class in ALL {
                    self.set_level(class as i32, *level);
                }
            }
            Level::Wrong(_) => return false,
        }
        true
    }

    /// All levels to 0, or back.
    pub fn toggle(&self) {
        match self.saved.take() {
            None => {
                self.debug(Class::Misc, 50, || "log_debug_toggle: debug levels cleared");
                self.saved.set(Some(self.levels.replace([0; CLASSES])));
            }
            Some(saved) => {
                self.levels.replace(saved);
                self.debug(
                    Class::Misc,
                    50,
                    || "log_debug_toggle: debug levels restored",
                );
            }
        }
    }

    fn debug_line(&self, class: Class, level: u8, text: &str) {
        let name = NAMES.get(class as usize).unwrap_or(&"Unkn");
        self.line(&format!("{name} {level:02}"), Priority::Info, text);
    }

    fn line(&self, prefix: &str, priority: Priority, text: &str) {
        match &mut *self.output.borrow_mut() {
            Output::Stderr => {
                // Nobody is left to be told that it is gone.
                let _ = io::stderr().lock().write_all(&self.formatted(prefix, text));
            }
            Output::Syslog(syslog) => {
                let text = printable(text);
                let text = String::from_utf8_lossy(&text);
                let sent = match syslog {
                    Some(syslog) => syslog.send(priority, &text),
                    None => Err(io::ErrorKind::NotConnected.into()),
                };
                // A full queue is no reason to connect again.
                if sent.is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock) {
                    if let Some(mut new) = self.renewed() {
                        let _ = new.send(priority, &text);
                        *syslog = Some(new);
                    }
                }
            }
            #[cfg(test)]
            Output::Memory(memory) => memory.extend_from_slice(&self.formatted(prefix, text)),
        }
    }

    fn formatted(&self, prefix: &str, text: &str) -> Vec<u8> {
        let now = SystemTime::now();
        let micros = now
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .subsec_micros();
        let time = LocalTime::at(now);
        let mut line = format!(
            "{:02}{:02}{:02}.{micros:06} {prefix} ",
            time.hour, time.minute, time.second
        )
        .into_bytes();
        line.extend_from_slice(&printable(text));
        if self.privileged.get() {
            line.extend_from_slice(b" [priv]");
        }
        line.push(b'\n');
        line
    }
}

/// Cut to length, and what could forge another line, or a terminal's command, shown as octal digits.
fn printable(text: &str) -> Vec<u8> {
    let text = match text.chars().any(char::is_control) {
        false => Cow::Borrowed(text),
        true => {
            let mut shown = String::new();
            for character in text.chars() {
                match character {
                    '\t' => shown.push('\t'),
                    control if control.is_control() => {
                        for octet in control.encode_utf8(&mut [0; 4]).bytes() {
                            // Writing to a String does not fail.
                            let _ = write!(shown, "\\{octet:03o}");
                        }
                    }
                    other => shown.push(other),
                }
            }
            Cow::Owned(shown)
        }
    };
    let mut octets = isakmpd_conf::octets(&text);
    octets.truncate(MAX_TEXT);
    octets
}

#[cfg(test)]
impl Log {
    pub(crate) fn memory() -> Log {
        Log::new(Output::Memory(Vec::new()), false)
    }

    /// The texts, each from the class on, without the time.
    pub(crate) fn texts(&self) -> Vec<String> {
        match &mut *self.output.borrow_mut() {
            Output::Memory(memory) => String::from_utf8_lossy(&std::mem::take(memory))
                .lines()
                .map(|line| line.get(14..).unwrap_or_default().to_owned())
                .collect(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: Kind, text: &str) -> Record {
        Record {
            kind,
            text: text.to_owned(),
        }
    }

    #[test]
    fn lines_have_the_originals_forms() {
        let log = Log::memory();
        log.print("isakmpd: starting");
        log.set_privileged(true);
        log.error("a", &io::Error::from_raw_os_error(2));
        log.report("sa_report: x");
        let Output::Memory(memory) = &*log.output.borrow() else {
            panic!("memory");
        };
        let text = String::from_utf8_lossy(memory);
        let lines: Vec<&str> = text.lines().collect();
        let time = lines[0].split_once(' ').expect("time").0;
        let digits: Vec<bool> = time.bytes().map(|octet| octet.is_ascii_digit()).collect();
        assert_eq!((time.len(), time.as_bytes()[6]), (13, b'.'));
        assert_eq!(digits.iter().filter(|digit| **digit).count(), 12);
        assert_eq!(&lines[0][13..], " Default isakmpd: starting");
        assert_eq!(
            &lines[1][13..],
            " Default a: No such file or directory [priv]"
        );
        assert_eq!(&lines[2][13..], " Report> sa_report: x [priv]");
    }

    /// Connects to a socket of the test's, and counts how often.
    struct Connector(std::path::PathBuf, Cell<u32>);

    impl Files for Connector {
        fn open(&self, _: &Path, _: crate::files::Access) -> io::Result<std::fs::File> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn read_directory(&self, _: &Path) -> io::Result<Vec<crate::files::Entry>> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn bind(&self, _: std::net::SocketAddr, _: bool) -> io::Result<kx_sys::udp::Udp> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn default_interfaces(&self) -> [Option<String>; 2] {
            [None, None]
        }

        fn system_log(&self) -> io::Result<std::os::fd::OwnedFd> {
            self.1.set(self.1.get() + 1);
            kx_sys::syslog::connection(&self.0)
        }
    }

    #[test]
    fn a_connection_that_broke_is_asked_for_and_not_too_often() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("log");
        let connector = Rc::new(Connector(path.clone(), Cell::new(0)));
        let log = Log::new(Output::Syslog(None), false);
        log.print("lost");
        log.renew_by(Rc::<Connector>::clone(&connector));
        for _ in 0..5 {
            log.print("lost, too: nobody listens");
        }
        // More would take a second each.
        assert!((1..5).contains(&connector.1.get()));
        let system = std::os::unix::net::UnixDatagram::bind(&path).expect("bound");
        log.renewed.set(None);
        log.print("here again");
        log.print("and goes on");
        for text in ["here again", "and goes on"] {
            let mut buffer = [0; 256];
            let count = system.recv(&mut buffer).expect("a line");
            let line = String::from_utf8_lossy(&buffer[..count]).into_owned();
            assert!(line.contains(" isakmpd[") && line.ends_with(text), "{line}");
        }
    }

    #[test]
    fn debugging_by_class_and_level() {
        let log = Log::memory();
        log.debug(Class::Sa, 10, || "silent");
        log.set_level(6, 20);
        log.debug(Class::Sa, 20, || "shown");
        log.debug(Class::Sa, 21, || "too deep");
        log.set_level(6, 20);
        log.set_level(11, 1);
        log.set_level(-1, 1);
        log.set_level(2, -3);
        assert_eq!(
            log.texts(),
            [
                "Default log_debug_cmd: log level changed from 0 to 20 for class 6",
                "SA   20 shown",
                "Default log_debug_cmd: log level unchanged for class 6",
                "Default log_debug_cmd: invalid debugging class 11",
                "Default log_debug_cmd: invalid debugging class -1",
                "Default log_debug_cmd: invalid debugging level -3 for class 2",
            ]
        );
        assert!(log.apply(&Level::All(50)));
        assert!(!log.apply(&Level::Wrong("x".to_owned())));
        log.texts();
        log.toggle();
        assert!(!log.wants(Class::Misc, 1));
        log.toggle();
        assert!(log.wants(Class::Misc, 50));
        assert_eq!(
            log.texts(),
            [
                "Misc 50 log_debug_toggle: debug levels cleared",
                "Misc 50 log_debug_toggle: debug levels restored"
            ]
        );
    }

    #[test]
    fn long_lines_are_cut_and_no_line_can_be_forged() {
        let log = Log::memory();
        log.print("x".repeat(500));
        log.print("a\nDefault b\u{1b}[2J");
        let texts = log.texts();
        assert_eq!(texts[0].len(), "Default ".len() + 199);
        assert_eq!(texts[1], "Default a\\012Default b\\033[2J");
        assert_eq!(texts.len(), 2);
    }

    #[test]
    fn strangers_lines_are_limited_and_counted() {
        let log = Log::memory();
        let start = Instant::now();
        for _ in 0..BURST + 7 {
            log.record(&record(Kind::Plain, "drop"), start);
        }
        assert_eq!(log.texts().len(), BURST as usize);
        log.record(&record(Kind::Verbose, "not wanted"), start);
        log.set_verbose(true);
        log.record(&record(Kind::Verbose, "done"), start);
        assert_eq!(log.texts(), ["Default done"]);
        log.record(&record(Kind::Error, "later"), start + REFILL * 3);
        assert_eq!(
            log.texts(),
            ["Default isakmpd: 7 log lines suppressed", "Default later"]
        );
    }
}
