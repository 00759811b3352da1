//! Who may open what: the bits of a file's mode against a user's name.

use crate::message::{OTRUNC, Stat};

/// The bits that each of the four modes needs, as the owner's.
const fn needed(mode: u8) -> u32 {
    match mode & 3 {
        0 => 0o400,
        1 => 0o200,
        2 => 0o600,
        _ => 0o100,
    }
}

/// Whether `user` may open a file with this entry in this mode. Emptying a file is writing, and a
/// directory cannot be emptied.
pub(super) fn allows(user: &[u8], mode: u8, file: &Stat) -> bool {
    let mut bits = needed(mode);
    if mode & OTRUNC != 0 {
        if file.mode & crate::message::DMDIR != 0 {
            return false;
        }
        bits |= 0o200;
    }
    let granted = |shift: u32| {
        let wanted = bits >> shift;
        file.mode & wanted == wanted
    };
    (user == file.uid && granted(0)) || (user == file.gid && granted(3)) || granted(6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{DMDIR, OEXEC, ORDWR, OREAD, OWRITE};

    fn file(mode: u32) -> Stat {
        Stat {
            mode,
            uid: b"owner".to_vec(),
            gid: b"group".to_vec(),
            ..Stat::default()
        }
    }

    #[test]
    fn owner_group_and_others_are_told_apart() {
        for (mode, user, allowed) in [
            (0o600, "owner", [true, true, true, false]),
            (0o600, "group", [false; 4]),
            (0o660, "group", [true, true, true, false]),
            (0o660, "other", [false; 4]),
            (0o666, "other", [true, true, true, false]),
            (0o444, "other", [true, false, false, false]),
            (0o500, "owner", [true, false, false, true]),
            (0o755, "other", [true, false, false, true]),
            (0o005, "owner", [true, false, false, true]),
        ] {
            for (open, expected) in [OREAD, OWRITE, ORDWR, OEXEC].into_iter().zip(allowed) {
                assert_eq!(
                    allows(user.as_bytes(), open, &file(mode)),
                    expected,
                    "{mode:o} {user} {open}"
                );
            }
        }
    }

    #[test]
    fn emptying_is_writing() {
        assert!(allows(b"owner", OREAD | OTRUNC, &file(0o600)));
        assert!(!allows(b"owner", OREAD | OTRUNC, &file(0o400)));
        assert!(!allows(b"owner", OREAD | OTRUNC, &file(DMDIR | 0o777)));
    }
}
