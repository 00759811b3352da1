//! Getting the key of the database: from a file, or from somebody at the terminal (keysrv spec 10.1).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use keyfs_db::Key;
use kx_secret::SecretBytes;

use super::store::open_reason;
use crate::program::{Environment, Exit};
use crate::prompt::{self, KEY_LIMIT};

/// The key for the database `file`; with `nvram` out of that file. Otherwise it is asked for, twice if
/// there is nothing in the database yet. `Err` when the program has to end, and why has been said.
pub(super) fn obtain(
    environment: &mut Environment,
    nvram: Option<&Path>,
    file: &Path,
) -> Result<Key, Exit> {
    if let Some(nvram) = nvram {
        let password = read(nvram).map_err(|error| {
            let reason = open_reason(nvram, &error);
            environment.fail(format_args!("can't read {}: {reason}", nvram.display()))
        })?;
        // To the original an empty text is none; what it says then is left over from before.
        if password.is_empty() {
            let nvram = nvram.display();
            return Err(environment.fail(format_args!("can't read {nvram}: file is empty")));
        }
        return Ok(Key::from_password(password.as_slice()));
    }
    let password = ask(environment, "Key: ")?;
    let first_time = std::fs::metadata(file).map_or(true, |found| found.len() == 0);
    if first_time {
        let again = ask(environment, "Confirm key: ")?;
        if !again.ct_eq(password.as_slice()) {
            return Err(environment.fail("key mismatch"));
        }
    }
    Ok(Key::from_password(password.as_slice()))
}

/// Who gives no key wants nothing, and has it.
fn ask(environment: &mut Environment, question: &str) -> Result<SecretBytes, Exit> {
    let answer = prompt::key(&mut *environment.key_console, question);
    let key =
        answer.map_err(|error| environment.fail(format_args!("couldn't get key: {error}")))?;
    if key.is_empty() {
        return Err(Exit::Success);
    }
    Ok(key)
}

/// The first octets of a file, all of which count: also a line feed at the end.
fn read(path: &Path) -> io::Result<SecretBytes> {
    let mut content = SecretBytes::zeroed(KEY_LIMIT);
    let mut file = File::open(path)?;
    let mut len = 0;
    while let Some(room) = content.as_mut_slice().get_mut(len..) {
        match file.read(room) {
            Ok(0) => break,
            Ok(count) => len += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    content.truncate(len);
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::fake;

    /// What the program says, and whether it has the key of `password`.
    fn outcome(
        answers: &[u8],
        nvram: Option<&[u8]>,
        content: &[u8],
    ) -> (String, String, Option<Key>) {
        let place = tempfile::tempdir().expect("temporary directory");
        let file = place.path().join("keys");
        std::fs::write(&file, content).expect("written");
        let nvram = nvram.map(|content| {
            let path = place.path().join("nvram");
            std::fs::write(&path, content).expect("written");
            path
        });
        let (mut environment, stdout, stderr) = fake::environment("keyfs", place.path(), answers);
        let key = obtain(&mut environment, nvram.as_deref(), &file);
        (stdout.text(), stderr.text(), key.ok())
    }

    /// Keys cannot be looked at; what one can decrypt, the same can.
    fn is_key_of(key: Option<Key>, password: &[u8]) -> bool {
        let mut database = keyfs_db::Database::default();
        let name = b"u".to_vec();
        database
            .apply(&keyfs_db::Change::Create { name })
            .expect("made");
        let octets = database.encode(&Key::from_password(password), [9; 16]);
        key.is_some_and(|key| keyfs_db::Database::decode(&key, &octets.expect("encoded")).is_ok())
    }

    #[test]
    fn the_key_is_asked_for_once_when_there_is_a_database() {
        let (shown, said, key) = outcome(b"master\n", None, b"something");
        assert_eq!(shown, "<hidden>Key: \n</hidden>");
        assert_eq!(said, "");
        assert!(is_key_of(key, b"master"));
    }

    #[test]
    fn the_key_is_asked_for_twice_when_there_is_none() {
        let (shown, said, key) = outcome(b"master\nmaster\n", None, b"");
        assert_eq!(
            shown,
            "<hidden>Key: \n</hidden><hidden>Confirm key: \n</hidden>"
        );
        assert_eq!(said, "");
        assert!(is_key_of(key, b"master"));
        let (_, said, key) = outcome(b"master\nmistress\n", None, b"");
        assert_eq!(said, "keyfs: key mismatch\n");
        assert!(key.is_none());
    }

    #[test]
    fn no_answer_is_no_error() {
        for answers in [&b"\n"[..], b"", b"\x04"] {
            let (_, said, key) = outcome(answers, None, b"something");
            assert_eq!(said, "");
            assert!(key.is_none());
        }
    }

    #[test]
    fn interrupts_and_long_lines_are_said() {
        let (_, said, _) = outcome(b"abc\x7f", None, b"something");
        assert_eq!(said, "keyfs: couldn't get key: interrupt\n");
        let (_, said, _) = outcome(&[b'x'; 300], None, b"something");
        assert_eq!(said, "keyfs: couldn't get key: line too long\n");
    }

    #[test]
    fn a_key_file_is_taken_as_it_is() {
        let (shown, _, key) = outcome(b"", Some(b"master\n"), b"");
        assert_eq!(shown, "");
        assert!(is_key_of(key, b"master\n"));
        let (_, _, key) = outcome(b"", Some(&[b'k'; 300]), b"");
        assert!(is_key_of(key, &[b'k'; 256]));
        let (shown, said, key) = outcome(b"typed\n", Some(b""), b"something");
        assert!(shown.is_empty() && key.is_none());
        assert!(
            said.starts_with("keyfs: can't read ") && said.ends_with("/nvram: file is empty\n")
        );
    }

    #[test]
    fn a_key_file_that_cannot_be_read_is_an_error() {
        let place = tempfile::tempdir().expect("temporary directory");
        let (mut environment, _, stderr) = fake::environment("keyfs", place.path(), b"");
        let missing = place.path().join("nvram");
        let result = obtain(&mut environment, Some(&missing), &missing);
        assert_eq!(result.err(), Some(Exit::Error));
        let missing = missing.display();
        let expected = format!("keyfs: can't read {missing}: '{missing}' does not exist\n");
        assert_eq!(stderr.text(), expected);
    }
}
