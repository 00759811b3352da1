//! What the process does to itself at start: no core dumps, no tracing by others, as many
//! descriptors as it may have.
//!
//! `PR_SET_NO_NEW_PRIVS` is *not* among it: a hook may be, or may call, a set-uid program
//! (sendmail), and the flag would be inherited (kxd spec 5).

use std::io;
use std::sync::OnceLock;

use rustix::process::{DumpableBehavior, Pid, Resource, Rlimit};

/// The limits the process was started with, for the programs it starts.
static INHERITED: OnceLock<Inherited> = OnceLock::new();

#[derive(Clone)]
struct Inherited {
    descriptors: Rlimit,
    core: Rlimit,
}

fn inherited() -> &'static Inherited {
    INHERITED.get_or_init(|| Inherited {
        descriptors: rustix::process::getrlimit(Resource::Nofile),
        core: rustix::process::getrlimit(Resource::Core),
    })
}

/// Keeps memory out of core dumps and away from other processes of the same user.
///
/// The soft limit goes to 0 for dumps to a file; marking the process as not dumpable stops the
/// rest, since dumps into a pipe (`core_pattern` with `|`) do not ask for the limit. The mark
/// falls away by itself in a program that is executed.
///
/// # Errors
/// The system's.
pub fn forbid_core_dumps() -> io::Result<()> {
    let before = inherited().core;
    rustix::process::setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: before.maximum,
        },
    )?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Raises the soft limit of open descriptors to the hard one. Returns the number now allowed;
/// `None` is no limit. Programs started by [`crate::spawn`] get the former limit back.
///
/// # Errors
/// The system's.
pub fn raise_descriptor_limit() -> io::Result<Option<u64>> {
    let before = inherited().descriptors;
    if before.current != before.maximum {
        let new = Rlimit {
            current: before.maximum,
            maximum: before.maximum,
        };
        rustix::process::setrlimit(Resource::Nofile, new)?;
    }
    Ok(before.maximum)
}

/// Gives a child the limits back that this process was started with. Best effort: by the time of
/// the call the child runs already, and a set-uid program may not be touched.
pub(crate) fn restore_limits(child: Pid) {
    let Some(inherited) = INHERITED.get() else {
        return;
    };
    let _ = rustix::process::prlimit(Some(child), Resource::Nofile, inherited.descriptors);
    let _ = rustix::process::prlimit(Some(child), Resource::Core, inherited.core);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_dumps_are_off_and_descriptors_at_the_hard_limit() {
        forbid_core_dumps().expect("allowed to everybody");
        let limit = raise_descriptor_limit().expect("allowed to everybody");
        assert_eq!(rustix::process::getrlimit(Resource::Core).current, Some(0));
        assert_eq!(rustix::process::getrlimit(Resource::Nofile).current, limit);
        let behavior = rustix::process::dumpable_behavior().expect("PR_GET_DUMPABLE");
        assert_eq!(behavior, DumpableBehavior::NotDumpable);
    }
}
