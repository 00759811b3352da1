//! changelogin: adds an account, or changes its secret and expiry (keysrv spec 12.3).

use std::ffi::OsString;
use std::io;

use kx_cli::plan9::{Args, Opt};
use kx_secret::SecretBytes;

use crate::account_store::{self, AccountStore};
use crate::expiry_date;
use crate::program::{Environment, Exit};
use crate::prompt::{self, Echo, LINE_LIMIT};
use crate::secret_text;

/// Why the dialog ended before it was over.
enum End {
    Exit(Exit),
    Console(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        End::Console(error)
    }
}

/// The program: `changelogin [-m keydir] userid`.
pub fn run(environment: &mut Environment, words: Vec<OsString>) -> Exit {
    let mut args = Args::new(words);
    let mut keys = environment.paths.mounted_keys();
    while let Some(option) = args.option() {
        match (option, args.value()) {
            (Opt::Letter('m'), Some(directory)) => keys = directory.into(),
            _ => return usage(environment),
        }
    }
    let operands = args.operands();
    let Some(user) = operands.first().and_then(|word| word.to_str()) else {
        return usage(environment);
    };
    match account_store::open(&keys) {
        Ok(mut accounts) => dialog(environment, &mut accounts, &keys.to_string_lossy(), user),
        Err(error) => {
            let keys = keys.display();
            environment.fail(format_args!(
                "can't get auth info for {user} in {keys}: can't stat {user}: {error}"
            ))
        }
    }
}

fn usage(environment: &mut Environment) -> Exit {
    let line = format!("usage: {} userid", environment.name);
    environment.usage(&line)
}

/// The dialog about `user`, whose account is in `keys` (for messages).
pub fn dialog(
    environment: &mut Environment,
    accounts: &mut dyn AccountStore,
    keys: &str,
    user: &str,
) -> Exit {
    match converse(environment, accounts, keys, user) {
        Ok(()) => Exit::Success,
        Err(End::Exit(exit)) => exit,
        Err(End::Console(error)) => environment.fail(kx_log::format_errno(&error)),
    }
}

fn converse(
    environment: &mut Environment,
    accounts: &mut dyn AccountStore,
    keys: &str,
    user: &str,
) -> Result<(), End> {
    let account = accounts.get(user).map_err(|error| {
        End::Exit(environment.fail(format_args!(
            "can't get auth info for {user} in {keys}: {error}"
        )))
    })?;
    if account.is_none() {
        environment.console.write(b"new account\n")?;
    }
    let has_secret = account
        .as_ref()
        .is_some_and(|account| !account.secret.is_empty());
    let secret = new_secret(environment, has_secret)?;
    let former = account.as_ref().map(|account| account.expire);
    let expire = new_expiry(environment, former)?;

    if account.is_none() {
        accounts.create(user).map_err(|error| {
            End::Exit(environment.fail(format_args!("can't create account {user}: {error}")))
        })?;
    }
    if let Some(secret) = secret {
        let hash = kx_crypto::digest::sha1(&[secret.as_slice()]);
        accounts
            .set_secret(user, hash.as_slice())
            .map_err(|error| {
                End::Exit(environment.fail(format_args!("can't update secret for {user}: {error}")))
            })?;
    }
    if expire != former.unwrap_or(0) {
        accounts.set_expire(user, expire).map_err(|error| {
            let text = format_args!("can't update expiry time for {user}: {error}");
            End::Exit(environment.fail(text))
        })?;
    }
    environment.console.write(b"change written\n")?;
    Ok(())
}

/// `None`: it stays as it is.
fn new_secret(environment: &mut Environment, has_secret: bool) -> Result<Option<SecretBytes>, End> {
    let question = match has_secret {
        true => "secret [default = don't change]: ",
        false => "secret: ",
    };
    let secret = loop {
        let secret = ask(environment, question, Echo::Hidden)?.ok_or(End::Exit(Exit::Success))?;
        if secret.is_empty() && has_secret {
            return Ok(None);
        }
        if secret_text::is_long_enough(&secret) {
            break secret;
        }
        environment
            .console
            .write(secret_text::TOO_SHORT.as_bytes())?;
    };
    let again = ask(environment, "confirm: ", Echo::Hidden)?;
    if again.is_some_and(|again| again.ct_eq(secret.as_slice())) {
        return Ok(Some(secret));
    }
    environment
        .console
        .write(b"Entries do not match. Authinfo record unchanged.\n")?;
    Err(End::Exit(Exit::Error))
}

/// What return stands for.
struct Default {
    shown: String,
    expire: i64,
}

/// `former` is that of the account, if there is one.
fn new_expiry(environment: &mut Environment, former: Option<i64>) -> Result<i64, End> {
    let clock = environment.clock;
    let expire = former.unwrap_or_else(|| expiry_date::in_a_year(&clock));
    let shown = match expire {
        0 => "permanent".to_owned(),
        expire => expiry_date::day(&clock, expire),
    };
    let mut default = Default { shown, expire };
    loop {
        let question = format!("expires [DDMMYYYY/permanent, return = {}]: ", default.shown);
        let answer = ask(environment, &question, Echo::Shown)?.ok_or(End::Exit(Exit::Success))?;
        let answer = String::from_utf8_lossy(answer.as_slice()).into_owned();
        match answer.as_str() {
            // The original moves the time to the end of the day.
            "" => return Ok(default.expire),
            "permanent" => return Ok(0),
            date => match expiry_date::parse(&clock, date) {
                Ok(expire) => return Ok(expire),
                Err(error) => {
                    environment.console.write(format!("{error}\n").as_bytes())?;
                    // As the original: from here on return stands for today.
                    if let expiry_date::DateError::Range { today, .. } = error {
                        let expire = expiry_date::parse(&clock, &today).unwrap_or(default.expire);
                        let shown = today;
                        default = Default { shown, expire };
                    }
                }
            },
        }
    }
}

fn ask(
    environment: &mut Environment,
    question: &str,
    echo: Echo,
) -> io::Result<Option<SecretBytes>> {
    let answer = prompt::line(environment.console.as_mut(), question, echo, LINE_LIMIT)?;
    if answer.is_none() {
        prompt::complain_of_end(environment);
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::account_store::table::Table;
    use crate::program::fake;

    /// 2026-11-21 12:00:00, as the made-up surroundings have it.
    const NOW: i64 = 1_795_262_400;
    const IN_A_YEAR: i64 = NOW + 365 * 86_400 + 12 * 3600 - 1;

    fn talk(table: &mut Table, answers: &str) -> (Exit, String, String) {
        let root = Path::new("/r");
        let (mut environment, stdout, stderr) =
            fake::environment("changelogin", root, answers.as_bytes());
        let exit = dialog(&mut environment, table, "/mnt/keys", "bob");
        (exit, stdout.text(), stderr.text())
    }

    fn hash(text: &str) -> Vec<u8> {
        kx_crypto::digest::sha1(&[text.as_bytes()]).to_vec()
    }

    const SECRET: &str = "<hidden>secret: \n</hidden>";
    const CHANGE: &str = "<hidden>secret [default = don't change]: \n</hidden>";
    const CONFIRM: &str = "<hidden>confirm: \n</hidden>";

    #[test]
    fn a_new_account_expires_in_a_year() {
        let mut table = Table::default();
        let (exit, shown, errors) = talk(&mut table, "short\npassword\npassword\n\n");
        assert_eq!(
            shown,
            format!(
                "new account\n{SECRET}!secret must be at least 8 characters\n{SECRET}{CONFIRM}\
                 expires [DDMMYYYY/permanent, return = 21112027]: change written\n"
            )
        );
        assert_eq!((exit, errors.as_str()), (Exit::Success, ""));
        assert_eq!(table.accounts["bob"], (hash("password"), IN_A_YEAR));
    }

    #[test]
    fn return_changes_nothing() {
        let mut table = Table::default();
        let before = (hash("password"), 2_000_000_000);
        table.accounts.insert("bob".into(), before.clone());
        let (exit, shown, errors) = talk(&mut table, "\n\n");
        assert_eq!(
            shown,
            format!("{CHANGE}expires [DDMMYYYY/permanent, return = 18052033]: change written\n")
        );
        assert_eq!((exit, errors.as_str()), (Exit::Success, ""));
        assert_eq!((&table.accounts["bob"], table.writes), (&before, 0));
    }

    #[test]
    fn dates_are_asked_for_again_until_one_will_do() {
        let mut table = Table::default();
        table.accounts.insert("bob".into(), (hash("password"), 0));
        let (exit, shown, _) = talk(&mut table, "\ntomorrow\n01012000\n01012027\n");
        assert_eq!(
            shown,
            format!(
                "{CHANGE}expires [DDMMYYYY/permanent, return = permanent]: \
                 !bad day of month 0\n\
                 expires [DDMMYYYY/permanent, return = permanent]: \
                 !bad expiration date 01012000 (must be between 21112026 and 17012038)\n\
                 expires [DDMMYYYY/permanent, return = 21112026]: change written\n"
            )
        );
        assert_eq!(exit, Exit::Success);
        assert_eq!(table.accounts["bob"].1, 1_798_847_999);
        // And back to permanent, which is 0.
        talk(&mut table, "\npermanent\n");
        assert_eq!(table.accounts["bob"], (hash("password"), 0));
    }

    #[test]
    fn different_entries_change_nothing() {
        let mut table = Table::default();
        table.accounts.insert("bob".into(), (Vec::new(), 0));
        for answers in ["password\npassword2\n", "password\n"] {
            let (exit, shown, _) = talk(&mut table, answers);
            let end = "Entries do not match. Authinfo record unchanged.\n";
            assert!(shown.starts_with(SECRET) && shown.ends_with(end), "{shown}");
            assert_eq!((exit, table.writes), (Exit::Error, 0));
        }
    }

    #[test]
    fn the_end_of_the_answers_is_the_end() {
        for answers in ["", "password\npassword\n"] {
            let (exit, _, errors) = talk(&mut Table::default(), answers);
            assert_eq!(errors, "error read from console mode");
            assert_eq!(exit, Exit::Success);
        }
    }

    #[test]
    fn refusals_say_what_was_refused() {
        for (refuse, text) in [
            ("create", "can't create account bob: user has been removed"),
            (
                "secret",
                "can't update secret for bob: user has been removed",
            ),
            (
                "expire",
                "can't update expiry time for bob: user has been removed",
            ),
            (
                "get",
                "can't get auth info for bob in /mnt/keys: error reading bob/secret: user expired",
            ),
        ] {
            let refuse = Some(refuse);
            let mut table = Table {
                refuse,
                ..Table::default()
            };
            let (exit, _, errors) = talk(&mut table, "password\npassword\n\n");
            assert_eq!(errors, format!("changelogin: {text}\n"));
            assert_eq!(exit, Exit::Error);
        }
    }
}
