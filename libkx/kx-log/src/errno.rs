//! Texts of operating system errors as the Go programs print them.

use std::io;

/// Texts of the Linux error numbers 1 to 132, empty where there is none. They are part of the log format, and the C
/// library's own texts drifted from them (ESTALE), so they are not asked of the C library.
#[rustfmt::skip]
static TEXTS: [&str; 132] = [
    "operation not permitted",
    "no such file or directory",
    "no such process",
    "interrupted system call",
    "input/output error",
    "no such device or address",
    "argument list too long",
    "exec format error",
    "bad file descriptor",
    "no child processes",
    "resource temporarily unavailable",
    "cannot allocate memory",
    "permission denied",
    "bad address",
    "block device required",
    "device or resource busy",
    "file exists",
    "invalid cross-device link",
    "no such device",
    "not a directory",
    "is a directory",
    "invalid argument",
    "too many open files in system",
    "too many open files",
    "inappropriate ioctl for device",
    "text file busy",
    "file too large",
    "no space left on device",
    "illegal seek",
    "read-only file system",
    "too many links",
    "broken pipe",
    "numerical argument out of domain",
    "numerical result out of range",
    "resource deadlock avoided",
    "file name too long",
    "no locks available",
    "function not implemented",
    "directory not empty",
    "too many levels of symbolic links",
    "",
    "no message of desired type",
    "identifier removed",
    "channel number out of range",
    "level 2 not synchronized",
    "level 3 halted",
    "level 3 reset",
    "link number out of range",
    "protocol driver not attached",
    "no CSI structure available",
    "level 2 halted",
    "invalid exchange",
    "invalid request descriptor",
    "exchange full",
    "no anode",
    "invalid request code",
    "invalid slot",
    "",
    "bad font file format",
    "device not a stream",
    "no data available",
    "timer expired",
    "out of streams resources",
    "machine is not on the network",
    "package not installed",
    "object is remote",
    "link has been severed",
    "advertise error",
    "srmount error",
    "communication error on send",
    "protocol error",
    "multihop attempted",
    "RFS specific error",
    "bad message",
    "value too large for defined data type",
    "name not unique on network",
    "file descriptor in bad state",
    "remote address changed",
    "can not access a needed shared library",
    "accessing a corrupted shared library",
    ".lib section in a.out corrupted",
    "attempting to link in too many shared libraries",
    "cannot exec a shared library directly",
    "invalid or incomplete multibyte or wide character",
    "interrupted system call should be restarted",
    "streams pipe error",
    "too many users",
    "socket operation on non-socket",
    "destination address required",
    "message too long",
    "protocol wrong type for socket",
    "protocol not available",
    "protocol not supported",
    "socket type not supported",
    "operation not supported",
    "protocol family not supported",
    "address family not supported by protocol",
    "address already in use",
    "cannot assign requested address",
    "network is down",
    "network is unreachable",
    "network dropped connection on reset",
    "software caused connection abort",
    "connection reset by peer",
    "no buffer space available",
    "transport endpoint is already connected",
    "transport endpoint is not connected",
    "cannot send after transport endpoint shutdown",
    "too many references: cannot splice",
    "connection timed out",
    "connection refused",
    "host is down",
    "no route to host",
    "operation already in progress",
    "operation now in progress",
    "stale NFS file handle",
    "structure needs cleaning",
    "not a XENIX named type file",
    "no XENIX semaphores available",
    "is a named type file",
    "remote I/O error",
    "disk quota exceeded",
    "no medium found",
    "wrong medium type",
    "operation canceled",
    "required key not available",
    "key has expired",
    "key has been revoked",
    "key was rejected by service",
    "owner died",
    "state not recoverable",
    "operation not possible due to RF-kill",
];

/// Go's text of an error: `no such file or directory` for ENOENT, `errno 41` for a number without text.
///
/// Errors that carry no number give their own text.
#[must_use]
pub fn format_errno(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => format_errno_number(number),
        None => error.to_string(),
    }
}

/// As [`format_errno`], from the number itself.
#[must_use]
pub fn format_errno_number(number: i32) -> String {
    let text = usize::try_from(number)
        .ok()
        .and_then(|number| TEXTS.get(number.checked_sub(1)?));
    match text {
        Some(text) if !text.is_empty() => (*text).to_owned(),
        _ => format!("errno {number}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::{format_errno, format_errno_number};

    /// The table has no gap: for nearly all numbers the C library says the same but for the first letter.
    #[test]
    fn table_is_in_step_with_the_c_library() {
        let mut same = 0;
        for number in 1..=132 {
            let ours = format_errno_number(number);
            let theirs = io::Error::from_raw_os_error(number).to_string();
            let theirs = theirs.replace(&format!(" (os error {number})"), "");
            if ours.eq_ignore_ascii_case(&theirs) {
                same += 1;
            }
        }
        assert!(same > 120, "{same}");
    }

    #[test]
    fn texts() {
        for (number, text) in [
            (2, "no such file or directory"),
            (13, "permission denied"),
            (21, "is a directory"),
            (22, "invalid argument"),
            (36, "file name too long"),
            (40, "too many levels of symbolic links"),
            (41, "errno 41"),
            (116, "stale NFS file handle"),
            (132, "operation not possible due to RF-kill"),
            (133, "errno 133"),
            (0, "errno 0"),
            (-1, "errno -1"),
        ] {
            assert_eq!(format_errno_number(number), text);
            assert_eq!(format_errno(&io::Error::from_raw_os_error(number)), text);
        }
        assert_eq!(format_errno(&io::Error::other("odd")), "odd");
    }
}
