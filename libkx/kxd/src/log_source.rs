//! Where a log line says that it comes from.
//!
//! The original prints the position in its own source; log filters key on the file name (kxd spec
//! 2.1). The numbers are ours, one per kind of message, and stay as they are from release to release
//! so that a filter can use them too.

use kx_log::golog::Source;

const fn kxd(line: u32) -> Source {
    Source::new("kxd.go", line)
}
const fn server(line: u32) -> Source {
    Source::new("server.go", line)
}

/// Start: version, warning about mail, listening.
pub const START: Source = kxd(10);
/// The last line before exit 1.
pub const FATAL: Source = kxd(11);
/// A signal that ends the daemon or makes it reload.
pub const SIGNAL: Source = kxd(12);
/// Outcome of a reload.
pub const RELOAD: Source = kxd(13);
/// A request was refused (kxd spec 3).
pub const REFUSED: Source = kxd(20);
/// Why each certificate was refused.
pub const REFUSED_CERTIFICATE: Source = kxd(21);
/// A request is allowed.
pub const ALLOWED: Source = kxd(22);
/// The hook does not exist.
pub const HOOK_ABSENT: Source = Source::new("hook.go", 30);
/// No mail is wanted.
pub const MAIL_SKIPPED: Source = Source::new("email.go", 40);
/// A connection could not be accepted, or was over a limit.
pub const ACCEPT: Source = server(50);
/// A TLS handshake failed.
pub const TLS_HANDSHAKE: Source = server(51);
/// A bug of ours in a request.
pub const PANIC: Source = server(52);
