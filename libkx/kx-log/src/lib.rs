//! Log formats and sinks of the programs kx replaces, each exact.
//!
//! * `golog` (feature of that name): lines as Go's `log` package writes them, to a file, stdout or syslog (kxd).
//! * [`goquote`]: Go's `%q`, used in its messages.
//! * [`format_errno`]: Go's texts of operating system errors.
//!
//! ```
//! # #[cfg(feature = "golog")] {
//! use kx_log::golog::{GoLog, Source};
//!
//! let (log, memory) = GoLog::memory();
//! log.line(Source::new("kxd.go", 305), format_args!("Listening on {}", ":19840"));
//! assert!(memory.text().ends_with(" kxd.go:305: Listening on :19840\n"));
//! # }
//! ```
#![forbid(unsafe_code)]

mod errno;
#[cfg(feature = "golog")]
pub mod golog;
pub mod goquote;

pub use errno::{format_errno, format_errno_number};
