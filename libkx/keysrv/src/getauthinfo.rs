//! getauthinfo: gets a certificate from a logind (keysrv spec 12.2).

use std::ffi::{OsStr, OsString};
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use inferno_auth::authinfo::AuthInfo;
use inferno_auth::floor::Floor;
use kx_cli::plan9::{Args, Opt};
use kx_secret::SecretBytes;

use crate::program::{Environment, Exit};
use crate::prompt::{self, Echo, STRING_LIMIT};
use crate::{authinfo_file, client, dial, floor_options};

const USAGE: &str = "usage: getauthinfo {net!hostname | default | /file}";

/// What the command line says.
#[derive(Debug)]
struct Options {
    key_name: OsString,
    verbose: bool,
    server_name: Option<String>,
    floor: Floor,
}

fn options(words: Vec<OsString>) -> Option<Options> {
    let (mut verbose, mut server_name, mut floor) = (false, None, Floor::default());
    let mut args = Args::new(words);
    while let Some(option) = args.option() {
        match option {
            Opt::Letter('v') => verbose = true,
            Opt::Long(name) if name == "server-name" => server_name = Some(args.text()?),
            Opt::Long(name) => floor_options::take(&mut floor, &name, &mut args)?,
            _ => return None,
        }
    }
    let key_name = args.operands().into_iter().next()?;
    (!key_name.is_empty()).then_some(Options {
        key_name,
        verbose,
        server_name,
        floor,
    })
}

/// Where certificates come from.
pub trait Logins {
    /// Logs in at an address.
    ///
    /// # Errors
    /// What is said after `failed to authenticate: `.
    fn login(&mut self, address: &str, user: &str, password: &[u8]) -> Result<AuthInfo, String>;
}

/// The network.
struct Network<'a> {
    environment: &'a Environment,
    floor: Floor,
}

impl Logins for Network<'_> {
    fn login(&mut self, address: &str, user: &str, password: &[u8]) -> Result<AuthInfo, String> {
        let connection = dial::dial(self.environment, address)
            .map_err(|error| format!("can't contact login service: {address}: {error}"))?;
        client::login(connection, user, password, self.floor).map_err(|error| error.to_string())
    }
}

/// The program: `getauthinfo keyname`; ours: `-v`, `--server-name`, `--min-bits`, `--allow-weak-cert`.
pub fn run(environment: &mut Environment, words: Vec<OsString>) -> Exit {
    let Some(options) = options(words) else {
        return environment.usage(USAGE);
    };
    // The dialog has the console, the network needs the rest.
    let surroundings = environment.for_network();
    let mut network = Network {
        environment: &surroundings,
        floor: options.floor,
    };
    dialog(environment, &mut network, &options)
}

fn dialog(environment: &mut Environment, logins: &mut dyn Logins, options: &Options) -> Exit {
    let mut answers = Answers {
        signer: "$SIGNER".to_owned(),
        user: environment.paths.user().to_owned(),
        password: SecretBytes::default(),
    };
    loop {
        match attempt(environment, logins, options, &mut answers) {
            Ok(Some(exit)) => return exit,
            Ok(None) => {}
            Err(error) => return environment.fail(kx_log::format_errno(&error)),
        }
    }
}

/// What was answered last, which return stands for the next time.
struct Answers {
    signer: String,
    user: String,
    password: SecretBytes,
}

/// `None`: it failed, and all is asked again.
fn attempt(
    environment: &mut Environment,
    logins: &mut dyn Logins,
    options: &Options,
    answers: &mut Answers,
) -> io::Result<Option<Exit>> {
    let Some(signer) = text(environment, "use signer", &answers.signer)? else {
        return Ok(Some(Exit::Success));
    };
    answers.signer = signer;
    let Some(user) = text(environment, "remote user name", &answers.user)? else {
        return Ok(Some(Exit::Success));
    };
    answers.user = user;
    match ask(environment, "password: ", Echo::Hidden)? {
        None => return Ok(Some(Exit::Success)),
        Some(password) if password.is_empty() => {}
        Some(password) => answers.password = password,
    }
    let address = dial::with_service(&answers.signer, "net", "inflogin");
    let result = logins.login(&address, &answers.user, answers.password.as_slice());
    let info = match result.and_then(|info| check(info, options)) {
        Ok(info) => info,
        Err(error) => {
            environment.complain(format_args!("failed to authenticate: {error}"));
            return Ok(None);
        }
    };
    if options.verbose {
        environment.complain(format_args!("signer: {}", info.signer_key.owner()));
    }
    let Some(save) = text(environment, "save in file", "yes")? else {
        return Ok(Some(Exit::Success));
    };
    let stored = match save.starts_with('y') {
        true => store(environment, &options.key_name, &info),
        false => store_for_session(environment, &options.key_name, &info),
    };
    match stored {
        Ok(()) => Ok(Some(Exit::Success)),
        Err(error) => {
            environment.complain(error);
            Ok(None)
        }
    }
}

fn check(info: AuthInfo, options: &Options) -> Result<AuthInfo, String> {
    let signer = info.signer_key.owner();
    match &options.server_name {
        Some(required) if required != signer => Err(format!("server is {signer}")),
        _ => Ok(info),
    }
}

fn store(environment: &Environment, key_name: &OsStr, info: &AuthInfo) -> Result<(), String> {
    let path = environment.paths.authinfo(key_name);
    let failed = |error: String| format!("can't write certificate to {}: {error}", path.display());
    let keyring = environment.paths.keyring();
    if path.starts_with(&keyring) {
        make_private(&keyring).map_err(|error| failed(kx_log::format_errno(&error)))?;
    }
    authinfo_file::write(&path, info).map_err(|error| failed(error.to_string()))
}

/// Until the user logs out: the original shows such a file in its own name space only.
fn store_for_session(
    environment: &mut Environment,
    key_name: &OsStr,
    info: &AuthInfo,
) -> Result<(), String> {
    let Some(runtime) = environment.variable("XDG_RUNTIME_DIR") else {
        return Err("can't keep it for this session only: XDG_RUNTIME_DIR is not set".into());
    };
    let directory = Path::new(runtime).join("inferno/keyring");
    let name = Path::new(key_name)
        .file_name()
        .unwrap_or(OsStr::new("default"));
    let path: PathBuf = directory.join(name);
    let failed = |error: String| format!("can't write certificate to {}: {error}", path.display());
    make_private(&directory).map_err(|error| failed(kx_log::format_errno(&error)))?;
    authinfo_file::write(&path, info).map_err(|error| failed(error.to_string()))?;
    let line = format!("{}\n", path.display());
    let written = environment.console.write(line.as_bytes());
    written.map_err(|error| kx_log::format_errno(&error))
}

/// The directories above it are as the system makes them: other users have theirs beside it.
fn make_private(directory: &Path) -> io::Result<()> {
    if let Some(above) = directory.parent() {
        std::fs::create_dir_all(above)?;
    }
    // Leaves one that is there as it is.
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(directory)
}

/// A question with what return stands for; `None` at the end of the answers.
fn text(environment: &mut Environment, prompt: &str, default: &str) -> io::Result<Option<String>> {
    let question = match default {
        "" => format!("{prompt}: "),
        default => format!("{prompt} [{default}]: "),
    };
    let Some(answer) = ask(environment, &question, Echo::Shown)? else {
        return Ok(None);
    };
    Ok(Some(match answer.is_empty() {
        true => default.to_owned(),
        false => String::from_utf8_lossy(answer.as_slice()).into_owned(),
    }))
}

fn ask(
    environment: &mut Environment,
    question: &str,
    echo: Echo,
) -> io::Result<Option<SecretBytes>> {
    prompt::line(environment.console.as_mut(), question, echo, STRING_LIMIT)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::program::fake;

    const ALICE: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../interop-tests/vectors/keysrv/authinfo/alice.rsa.authinfo"
    );

    /// A logind where `alice` has the password `correct horse`.
    #[derive(Default)]
    struct Logind(Vec<String>);

    impl Logins for Logind {
        fn login(
            &mut self,
            address: &str,
            user: &str,
            password: &[u8],
        ) -> Result<AuthInfo, String> {
            self.0.push(format!("{address} {user}"));
            match (user, password) {
                ("alice", b"correct horse") => {
                    authinfo_file::read(Path::new(ALICE)).map_err(|error| error.to_string())
                }
                _ => Err("name or secret incorrect (alpha**r0 mod p)".into()),
            }
        }
    }

    fn talk(root: &Path, words: &[&str], answers: &str) -> (Exit, String, String, Vec<String>) {
        let options = options(words.iter().map(OsString::from).collect()).expect("options");
        let (mut environment, stdout, stderr) =
            fake::environment("getauthinfo", root, answers.as_bytes());
        let runtime = root.join("run").into_os_string();
        environment
            .variables
            .insert("XDG_RUNTIME_DIR".into(), runtime);
        let mut logind = Logind::default();
        let exit = dialog(&mut environment, &mut logind, &options);
        (exit, stdout.text(), stderr.text(), logind.0)
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("there").permissions().mode() & 0o777
    }

    const FAILED: &str =
        "getauthinfo: failed to authenticate: name or secret incorrect (alpha**r0 mod p)\n";

    #[test]
    fn what_fails_is_asked_again_with_the_former_answers() {
        let root = tempfile::tempdir().expect("directory");
        let answers = "sign.example\nbob\ncorrect horse\n\nalice\n\nyes\n";
        let (exit, shown, errors, logins) = talk(root.path(), &["default"], answers);
        assert_eq!(
            shown,
            "use signer [$SIGNER]: remote user name [alice]: <hidden>password: \n</hidden>\
             use signer [sign.example]: remote user name [bob]: <hidden>password: \n</hidden>\
             save in file [yes]: "
        );
        assert_eq!((exit, errors.as_str()), (Exit::Success, FAILED));
        let address = "net!sign.example!inflogin";
        assert_eq!(
            logins,
            [format!("{address} bob"), format!("{address} alice")]
        );
        let file = root.path().join("usr/alice/keyring/default");
        assert_eq!(
            (mode(&file), mode(file.parent().expect("keyring"))),
            (0o600, 0o700)
        );
        authinfo_file::read(&file).expect("written");
    }

    #[test]
    fn without_saving_it_lasts_as_long_as_the_session() {
        let root = tempfile::tempdir().expect("directory");
        let answers = "tcp!h!1\n\ncorrect horse\nno\n";
        let (exit, shown, errors, logins) = talk(root.path(), &["-v", "net!h"], answers);
        let file = root.path().join("run/inferno/keyring/net!h");
        assert!(
            shown.ends_with(&format!("save in file [yes]: {}\n", file.display())),
            "{shown}"
        );
        assert_eq!(errors, "getauthinfo: signer: signer.rsa.example\n");
        assert_eq!((exit, mode(&file)), (Exit::Success, 0o600));
        assert_eq!(logins, ["tcp!h!1 alice"]);
    }

    #[test]
    fn a_file_that_cannot_be_written_begins_it_again() {
        let root = tempfile::tempdir().expect("directory");
        let file = root.path().join("nowhere/key");
        let words = [file.to_str().expect("text")];
        let (exit, shown, errors, _) = talk(root.path(), &words, "s\n\ncorrect horse\n\n");
        assert!(
            shown.ends_with("save in file [yes]: use signer [s]: "),
            "{shown}"
        );
        let text = format!(
            "getauthinfo: can't write certificate to {}: no such file or directory\n",
            file.display()
        );
        assert_eq!((exit, errors), (Exit::Success, text));
    }

    #[test]
    fn another_signer_than_required_is_refused() {
        let root = tempfile::tempdir().expect("directory");
        let words = ["--server-name=other", "default"];
        let (_, _, errors, _) = talk(root.path(), &words, "s\n\ncorrect horse\n");
        let text = "getauthinfo: failed to authenticate: server is signer.rsa.example\n";
        assert_eq!(errors, text);
    }

    #[test]
    fn a_name_is_needed() {
        for words in [
            &[][..],
            &[""],
            &["-x", "default"],
            &["--min-bits=x", "default"],
        ] {
            assert!(options(words.iter().map(OsString::from).collect()).is_none());
        }
    }
}
