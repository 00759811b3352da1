//! Why the kernel's TCP cannot be made to carry our options.

use std::io;
use std::path::PathBuf;

/// What is missing.
#[derive(Debug, thiserror::Error)]
pub enum SockOpsError {
    /// The kernel has no bpf(2), or a sandbox hides it.
    #[error("this kernel has no bpf(2)")]
    NoBpf,
    /// `CAP_BPF` (before it, `CAP_SYS_ADMIN`) or `CAP_NET_ADMIN` is missing, a container forbids it,
    /// or a program stands in the cgroup that allows none beside it.
    #[error("{step}: not permitted")]
    NotPermitted {
        /// What was being done.
        step: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The verifier does not want the program: a kernel before 5.10, which has no TCP options for
    /// programs, or a mistake of ours.
    #[error("the kernel refuses the program: {}", last_words(log))]
    Verifier {
        /// The system's error.
        source: io::Error,
        /// All it said.
        log: String,
    },
    /// There is no mounted cgroup2 hierarchy that this process is in.
    #[error("no cgroup of version 2")]
    NoCgroup,
    /// The directory of the cgroup cannot be opened.
    #[error("{}", path.display())]
    Cgroup {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another step failed.
    #[error("{step}")]
    System {
        /// What was being done.
        step: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The octets are not one whole TCP option.
    #[error("not a TCP option")]
    NotAnOption,
}

impl SockOpsError {
    /// An error of bpf(2).
    pub(super) fn new(step: &'static str, source: io::Error) -> SockOpsError {
        match source.raw_os_error() {
            Some(libc::ENOSYS) => SockOpsError::NoBpf,
            Some(libc::EPERM | libc::EACCES) => SockOpsError::NotPermitted { step, source },
            _ => SockOpsError::System { step, source },
        }
    }
}

/// The verifier's own conclusion: what stands in front of its statistics.
fn last_words(log: &str) -> &str {
    let mut lines = log.lines().rev();
    let words = lines.find(|line| !line.is_empty() && !line.starts_with("processed "));
    words.unwrap_or("it does not say why")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_is_missing() {
        let error = |number| SockOpsError::new("link", io::Error::from_raw_os_error(number));
        assert_eq!(error(libc::ENOSYS).to_string(), "this kernel has no bpf(2)");
        assert_eq!(error(libc::EPERM).to_string(), "link: not permitted");
        assert!(matches!(error(libc::EINVAL), SockOpsError::System { .. }));
        let log = "0: (85) call 142\ninvalid func unknown#142\nprocessed 1 insns\n";
        let error = SockOpsError::Verifier {
            source: io::Error::from_raw_os_error(libc::EINVAL),
            log: log.into(),
        };
        let text = "the kernel refuses the program: invalid func unknown#142";
        assert_eq!(error.to_string(), text);
        assert_eq!(last_words(""), "it does not say why");
    }
}
