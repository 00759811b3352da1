//! convpasswd: takes over the accounts of a Third Edition password file (keysrv spec 12.4).

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use kx_cli::plan9::{Args, Opt};
use kx_secret::SecretBytes;

use crate::account_store::{self, AccountStore};
use crate::program::{Environment, Exit};

const USAGE: &str = "usage: convpasswd [-f] [-v] [-m /mnt/keys] [passwordfile]";
/// Octets of a line at most; longer ones are no accounts.
const LINE_LIMIT: u64 = 4096;
/// Octets of a SHA-1.
const HASH_LEN: usize = 20;

/// A line of the file.
#[derive(Debug)]
struct Line {
    user: String,
    hash: SecretBytes,
    expire: i64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Flags {
    force: bool,
    verbose: bool,
}

/// The program: `convpasswd [-f] [-v] [-m keydir] [pwfile]`.
pub fn run(environment: &mut Environment, words: Vec<OsString>) -> Exit {
    let mut args = Args::new(words);
    let mut flags = Flags::default();
    let mut keys = environment.paths.mounted_keys();
    while let Some(option) = args.option() {
        match option {
            Opt::Letter('f') => flags.force = true,
            Opt::Letter('v') => flags.verbose = true,
            Opt::Letter('m') => match args.value() {
                Some(directory) => keys = directory.into(),
                None => return environment.usage(USAGE),
            },
            _ => return environment.usage(USAGE),
        }
    }
    let file = match args.operands().into_iter().next() {
        Some(file) => file.into(),
        None => environment.paths.built_in("/keydb/password"),
    };
    let input = match std::fs::File::open(&file) {
        Ok(input) => input,
        Err(error) => {
            let error = kx_log::format_errno(&error);
            return environment.fail(format_args!("{}: {error}", file.display()));
        }
    };
    match account_store::open(&keys) {
        Ok(mut accounts) => convert(environment, input, &file, &mut accounts, flags),
        Err(error) => environment.fail(error),
    }
}

fn convert(
    environment: &mut Environment,
    input: impl Read,
    file: &Path,
    accounts: &mut dyn AccountStore,
    flags: Flags,
) -> Exit {
    let mut input = BufReader::new(input);
    let mut number = 0u64;
    loop {
        // Not `SecretBytes`: it has no reader. It is moved into one below.
        let mut octets = Vec::new();
        number = number.saturating_add(1);
        match input
            .by_ref()
            .take(LINE_LIMIT)
            .read_until(b'\n', &mut octets)
        {
            Ok(0) => return Exit::Success,
            Ok(_) => {}
            Err(error) => {
                let error = kx_log::format_errno(&error);
                return environment.fail(format_args!("{}: {error}", file.display()));
            }
        }
        let octets = SecretBytes::from(octets);
        let Some(line) = parse(octets.as_slice()) else {
            let file = file.display();
            environment.complain(format_args!("{file}:{number}: invalid format"));
            continue;
        };
        if let Err(error) = store(accounts, &line, flags.force) {
            let user = &line.user;
            return environment.fail(format_args!(
                "error writing /mnt/keys entry for {user}: {error}"
            ));
        }
        if flags.verbose && environment.print(format!("{}\n", line.user)).is_err() {
            return Exit::Error;
        }
    }
}

fn store(accounts: &mut dyn AccountStore, line: &Line, force: bool) -> Result<(), String> {
    let user = &line.user;
    if !accounts.exists(user)? {
        let failed = |error| format!("can't create /mnt/keys/{user}: {error}");
        accounts.create(user).map_err(failed)?;
    } else if !force {
        return Ok(());
    }
    accounts
        .set_secret(user, line.hash.as_slice())
        .map_err(|error| format!("error writing /mnt/keys/{user}/secret: {error}"))?;
    accounts
        .set_expire(user, line.expire)
        .map_err(|error| format!("error writing /mnt/keys/{user}/expire: {error}"))
}

/// `id:hash:expire[:other]`; colons side by side count as one, as in the original.
fn parse(octets: &[u8]) -> Option<Line> {
    let mut fields = octets
        .split(|octet| matches!(octet, b':' | b'\n'))
        .filter(|field| !field.is_empty());
    let user = std::str::from_utf8(fields.next()?).ok()?.to_owned();
    let number = inferno_auth::number::read_standalone(fields.next()?).ok()?;
    let expire = integer(std::str::from_utf8(fields.next()?).ok()?);
    let number = number.to_secret_bytes();
    // The original leaves zeros out at the beginning, and such a hash is of no use to logind.
    let mut hash = SecretBytes::zeroed(HASH_LEN.saturating_sub(number.len()));
    hash.extend_from_slice(number.as_slice());
    Some(Line { user, hash, expire })
}

/// Leading digits, after blanks and a sign; 0 without. The data base has 32 bits.
fn integer(text: &str) -> i64 {
    let text = text.trim_start();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = digits.chars().map_while(|letter| letter.to_digit(10));
    let value = digits.fold(0i64, |value, digit| {
        value.saturating_mul(10).saturating_add(digit.into())
    });
    sign * value.min(i64::from(i32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account_store::table::Table;
    use crate::program::fake;

    fn run_on(table: &mut Table, text: &str, flags: Flags) -> (Exit, String, String) {
        let (mut environment, stdout, stderr) =
            fake::environment("convpasswd", Path::new("/r"), b"");
        let file = Path::new("/keydb/password");
        let exit = convert(&mut environment, text.as_bytes(), file, table, flags);
        (exit, stdout.text(), stderr.text())
    }

    /// Base-64 of 20 octets of which the first is 0, and without it.
    const SHORT: &str = "AQIDBAUGBwgJCgsMDQ4PEBES";

    #[test]
    fn accounts_are_taken_over() {
        let mut table = Table::default();
        table.accounts.insert("old".into(), (b"kept".to_vec(), 7));
        let text = format!(
            "alice:{SHORT}EA==:1000000000:Alice: with colons\n\nbad:line\n\
             old:{SHORT}:0\nbob::{SHORT}:0:\n"
        );
        let verbose = Flags {
            verbose: true,
            force: false,
        };
        let (exit, shown, errors) = run_on(&mut table, &text, verbose);
        assert_eq!(exit, Exit::Success);
        assert_eq!(shown, "alice\nold\nbob\n");
        let line = |number: u32| format!("convpasswd: /keydb/password:{number}: invalid format\n");
        assert_eq!(errors, line(2) + &line(3));
        let hash: Vec<u8> = (1..=18).chain([16]).collect();
        assert_eq!(
            table.accounts["alice"],
            ([&[0], &hash[..]].concat(), 1_000_000_000)
        );
        assert_eq!(table.accounts["old"], (b"kept".to_vec(), 7));
        assert_eq!(table.accounts["bob"].0.len(), 20);

        let force = Flags {
            force: true,
            verbose: false,
        };
        let (exit, shown, _) = run_on(&mut table, &text, force);
        assert_eq!((exit, shown.as_str()), (Exit::Success, ""));
        assert_eq!(
            (table.accounts["old"].0.len(), table.accounts["old"].1),
            (20, 0)
        );
    }

    #[test]
    fn the_first_refusal_ends_it() {
        for (refuse, text) in [
            ("create", "can't create /mnt/keys/a"),
            ("secret", "error writing /mnt/keys/a/secret"),
            ("expire", "error writing /mnt/keys/a/expire"),
        ] {
            let mut table = Table {
                refuse: Some(refuse),
                ..Table::default()
            };
            let text = format!(
                "convpasswd: error writing /mnt/keys entry for a: {text}: user has been removed\n"
            );
            let lines = format!("a:{SHORT}:1\nb:{SHORT}:1\n");
            let (exit, _, errors) = run_on(&mut table, &lines, Flags::default());
            assert_eq!((exit, errors), (Exit::Error, text));
            assert!(!table.accounts.contains_key("b"));
        }
    }
}
