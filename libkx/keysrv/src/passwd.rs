//! passwd: changes a secret at a keysrv (keysrv spec 12.1).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use inferno_auth::authinfo::AuthInfo;
use inferno_auth::floor::Floor;
use kx_cli::plan9::{Args, Opt};
use kx_secret::SecretBytes;

use crate::client::{ConnectError, SecretFile};
use crate::keysrv::hash_text;
use crate::program::{Environment, Exit};
use crate::prompt::{self, Echo, LINE_LIMIT};
use crate::{authinfo_file, client, dial, floor_options, secret_text};

const USAGE: &str = "usage: passwd [-u user] [-s signer] [keyfile]";
/// What keysrv says to a hash that is not that of the secret.
const WRONG: &str = "wrong secret";

/// The file `secret` of a keysrv.
pub trait Secrets {
    /// One write.
    ///
    /// # Errors
    /// The server's text, or that of what happened to the connection.
    fn write(&mut self, command: &[u8]) -> Result<(), String>;
}

/// What the command line says.
#[derive(Debug, Default)]
struct Options {
    user: Option<String>,
    signer: Option<String>,
    key_file: Option<OsString>,
    server_name: Option<String>,
    verbose: bool,
    floor: Floor,
}

fn options(words: Vec<OsString>) -> Option<Options> {
    let mut options = Options::default();
    let mut args = Args::new(words);
    while let Some(option) = args.option() {
        match option {
            Opt::Letter('u') => options.user = Some(args.text()?),
            Opt::Letter('s') => options.signer = Some(args.text()?),
            Opt::Letter('v') => options.verbose = true,
            Opt::Long(name) if name == "server-name" => options.server_name = Some(args.text()?),
            Opt::Long(name) => floor_options::take(&mut options.floor, &name, &mut args)?,
            _ => return None,
        }
    }
    options.key_file = args.operands().into_iter().next();
    Some(options)
}

/// The program: `passwd [-u user] [-s signer] [keyfile]`; ours: `-v`, `--server-name`, `--min-bits`,
/// `--allow-weak-cert`.
pub fn run(environment: &mut Environment, words: Vec<OsString>) -> Exit {
    let Some(options) = options(words) else {
        return environment.usage(USAGE);
    };
    let user = match &options.user {
        Some(user) => user.clone(),
        None => environment.paths.user().to_owned(),
    };
    let key_file = key_file(environment, &user, options.key_file.as_deref());
    let own = match authinfo_file::read(&key_file) {
        Ok(own) => own,
        Err(error) => {
            let file = key_file.display();
            return environment.fail(format_args!("can't read certificate from {file}: {error}"));
        }
    };
    let owner = format!("key owner: {}\n", own.public_key().owner());
    if let Err(error) = environment.console.write(owner.as_bytes()) {
        return environment.fail(kx_log::format_errno(&error));
    }
    let mut file = match connect(environment, own, &options) {
        Ok(file) => file,
        Err(text) => return environment.fail(text),
    };
    if options.verbose {
        environment.complain(format_args!("server: {}", file.peer()));
        for warning in file.warnings() {
            environment.complain(format_args!("warning: server's {warning}"));
        }
    }
    dialog(environment, &mut file, &user)
}

fn connect(
    environment: &Environment,
    own: AuthInfo,
    options: &Options,
) -> Result<SecretFile, String> {
    let signer = options.signer.as_deref().unwrap_or("$SIGNER");
    let address = dial::with_service(signer, "net", "infkey");
    let connection = dial::dial(environment, &address)
        .map_err(|error| format!("can't dial {signer}: {error}"))?;
    let wanted = client::Options {
        server_name: options.server_name.clone(),
        floor: options.floor,
        ..client::Options::default()
    };
    let (user, now) = (environment.paths.user(), environment.clock.now());
    SecretFile::connect(connection, own, user, &wanted, now).map_err(|error| match error {
        ConnectError::Mount(text) => format!("can't mount {signer} on /mnt/keysrv: {text}"),
        error => format!("can't authenticate with {signer}: {error}"),
    })
}

impl Secrets for SecretFile {
    fn write(&mut self, command: &[u8]) -> Result<(), String> {
        SecretFile::write(self, command).map_err(|error| error.to_string())
    }
}

/// The keyring of the user whose secret it is; unlike elsewhere `./x` lies in it, too.
fn key_file(environment: &Environment, user: &str, given: Option<&OsStr>) -> PathBuf {
    let given = given.unwrap_or(OsStr::new("default"));
    match given.as_bytes().first() {
        Some(b'/') => PathBuf::from(given),
        _ => environment.paths.keyring_of(user).join(given),
    }
}

/// The dialog about the secret of `user`.
pub fn dialog(environment: &mut Environment, file: &mut dyn Secrets, user: &str) -> Exit {
    converse(environment, file, user)
        .unwrap_or_else(|error| environment.fail(kx_log::format_errno(&error)))
}

fn converse(environment: &mut Environment, file: &mut dyn Secrets, user: &str) -> io::Result<Exit> {
    let (old, old_hash) = loop {
        let Some(secret) = ask(environment, "Inferno secret: ")? else {
            return Ok(Exit::Success);
        };
        if secret.is_empty() {
            return Ok(Exit::Success);
        }
        let hash = hash_text(secret.as_slice());
        match file.write(hash.as_slice()) {
            Ok(()) => break (secret, hash),
            Err(text) if text == WRONG => {
                environment.stderr.write_all(b"!wrong secret\n")?;
            }
            Err(text) => return Ok(environment.fail(text)),
        }
    };
    loop {
        let Some(new) = new_secret(environment)? else {
            return Ok(Exit::Success);
        };
        if new.is_empty() {
            return Ok(Exit::Success);
        }
        if ask(environment, "confirm: ")?.is_none_or(|again| !again.ct_eq(new.as_slice())) {
            environment.stderr.write_all(b"!entries didn't match\n")?;
            continue;
        }
        if new.ct_eq(old.as_slice()) {
            return Ok(Exit::Success);
        }
        let mut command = SecretBytes::with_capacity(old_hash.len() + 1 + new.len());
        command.extend_from_slice(old_hash.as_slice());
        command.push(b' ');
        command.extend_from_slice(new.as_slice());
        match file.write(command.as_slice()) {
            Ok(()) => return Ok(Exit::Success),
            Err(text) => {
                environment.complain(format_args!("can't update secret for {user}: {text}"));
            }
        }
    }
}

/// Long enough or empty; `None` at the end of the answers.
fn new_secret(environment: &mut Environment) -> io::Result<Option<SecretBytes>> {
    loop {
        let answer = ask(environment, "new secret [default = don't change]: ")?;
        match answer {
            Some(secret) if !secret.is_empty() && !secret_text::is_long_enough(&secret) => {
                environment
                    .console
                    .write(secret_text::TOO_SHORT.as_bytes())?;
            }
            answer => return Ok(answer),
        }
    }
}

fn ask(environment: &mut Environment, question: &str) -> io::Result<Option<SecretBytes>> {
    let console = environment.console.as_mut();
    let answer = prompt::line(console, question, Echo::Hidden, LINE_LIMIT)?;
    if answer.is_none() {
        prompt::complain_of_end(environment);
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::program::fake;

    /// A keysrv whose secret is `password`.
    #[derive(Default)]
    struct Server {
        commands: Vec<String>,
        refusals: Vec<&'static str>,
        broken: Option<&'static str>,
    }

    const PASSWORD: &str = "5baa61e4c9b93f3f0682250b6cf8331b7ee68fd8";

    impl Secrets for Server {
        fn write(&mut self, command: &[u8]) -> Result<(), String> {
            if let Some(text) = self.broken {
                return Err(text.into());
            }
            let command = String::from_utf8_lossy(command).into_owned();
            self.commands.push(command.clone());
            match command.split_once(' ') {
                _ if !command.starts_with(PASSWORD) => Err(WRONG.into()),
                Some(_) => match self.refusals.pop() {
                    Some(text) => Err(text.into()),
                    None => Ok(()),
                },
                None => Ok(()),
            }
        }
    }

    fn talk(server: &mut Server, answers: &str) -> (Exit, String, String) {
        let (mut environment, stdout, stderr) =
            fake::environment("passwd", Path::new("/r"), answers.as_bytes());
        let exit = dialog(&mut environment, server, "alice");
        (exit, stdout.text(), stderr.text())
    }

    const OLD: &str = "<hidden>Inferno secret: \n</hidden>";
    const NEW: &str = "<hidden>new secret [default = don't change]: \n</hidden>";
    const CONFIRM: &str = "<hidden>confirm: \n</hidden>";

    #[test]
    fn the_old_secret_is_checked_then_the_new_one_sent() {
        let mut server = Server::default();
        let answers = "wrong one\npassword\nshort\nnew secret\nother\nnew secret\nnew secret\n";
        let (exit, shown, errors) = talk(&mut server, answers);
        assert_eq!(
            shown,
            format!(
                "{OLD}{OLD}{NEW}!secret must be at least 8 characters\n\
                 {NEW}{CONFIRM}{NEW}{CONFIRM}"
            )
        );
        assert_eq!(errors, "!wrong secret\n!entries didn't match\n");
        assert_eq!(exit, Exit::Success);
        let change = format!("{PASSWORD} new secret");
        assert_eq!(server.commands[1..], [PASSWORD.to_owned(), change]);
    }

    #[test]
    fn nothing_new_is_not_sent() {
        for (answers, writes) in [
            ("\n", 0),
            ("password\n\n", 1),
            ("password\npassword\npassword\n", 1),
        ] {
            let mut server = Server::default();
            let (exit, _, errors) = talk(&mut server, answers);
            assert_eq!((exit, errors.as_str()), (Exit::Success, ""), "{answers}");
            assert_eq!(server.commands.len(), writes);
        }
    }

    #[test]
    fn a_refused_change_is_asked_for_again() {
        let mut server = Server {
            refusals: vec!["can't update secret: illegal write"],
            ..Server::default()
        };
        let (exit, shown, errors) = talk(&mut server, "password\nlong long\nlong long\n\n");
        assert_eq!(shown, format!("{OLD}{NEW}{CONFIRM}{NEW}"));
        let text = "passwd: can't update secret for alice: can't update secret: illegal write\n";
        assert_eq!(errors, text);
        assert_eq!(exit, Exit::Success);
        assert_eq!(
            server.commands.len(),
            2,
            "what was refused is not sent again"
        );
    }

    #[test]
    fn other_errors_end_it() {
        let mut server = Server {
            broken: Some("user not registered: ghost"),
            ..Server::default()
        };
        let (exit, _, errors) = talk(&mut server, "password\n");
        assert_eq!(errors, "passwd: user not registered: ghost\n");
        assert_eq!(exit, Exit::Error);
    }

    #[test]
    fn the_end_of_the_answers_is_the_end() {
        for answers in ["", "password\n", "password\nnew secret"] {
            let (exit, _, errors) = talk(&mut Server::default(), answers);
            assert_eq!(errors, "error read from console mode");
            assert_eq!(exit, Exit::Success);
        }
    }

    #[test]
    fn options_have_their_values_behind_them_or_next() {
        let words = |words: &[&str]| options(words.iter().map(OsString::from).collect());
        let parsed = words(&["-ubob", "-s", "tcp!h", "-v", "--server-name=s", "k", "x"]);
        let parsed = parsed.expect("options");
        assert_eq!(parsed.user.as_deref(), Some("bob"));
        assert_eq!(parsed.signer.as_deref(), Some("tcp!h"));
        assert_eq!(parsed.server_name.as_deref(), Some("s"));
        assert_eq!(parsed.key_file.as_deref(), Some(OsStr::new("k")));
        assert!(parsed.verbose);
        for wrong in [&["-x"][..], &["-u"], &["--strict"]] {
            assert!(words(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn key_files_lie_in_the_keyring_of_the_user() {
        let (environment, _, _) = fake::environment("passwd", Path::new("/r"), b"");
        for (given, expected) in [
            (None, "/r/usr/bob/keyring/default"),
            (Some("k"), "/r/usr/bob/keyring/k"),
            (Some("./k"), "/r/usr/bob/keyring/./k"),
            (Some("/k"), "/k"),
        ] {
            let file = key_file(&environment, "bob", given.map(OsStr::new));
            assert_eq!(file, PathBuf::from(expected));
        }
    }
}
