//! svc-auth: keyfs and the listeners of the service in one tree of processes (keysrv spec 14.1, 19.4).

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use kx_cli::plan9::{Args, Opt};
use kx_sys::notify::Notifier;

use crate::acceptor::{self, Acceptor, Limits, Run, Service};
use crate::accounts::SOCKET_NAME;
use crate::dial::Address;
use crate::program::{Environment, Exit, Program};
use crate::programs;

const USAGE: &str = "usage: svc-auth [-nv] [-k authinfo] [-m mountpoint] [--bind addr] \
                     [--signer] [--nvram file] [--ports login,key[,signer,countersigner]] \
                     [--max-conn n] [--max-per-address n] [keyfile]";
/// The variable in which keyfs finds the number of the svc-auth with which it is to end.
pub const PARENT: &str = "KX_SVC_AUTH";
/// How often to look whether keyfs serves already.
const LOOK: Duration = Duration::from_millis(20);
/// Options without a value that keysrv gets from us.
const KEYSRV_FLAGS: [&str; 4] = [
    "strict",
    "count-failures",
    "allow-weak-alg",
    "allow-weak-cert",
];
/// Options with a value that keysrv gets from us.
const KEYSRV_VALUES: [&str; 2] = ["idle", "min-bits"];
/// Options without a value that logind gets from us.
const LOGIND_FLAGS: [&str; 2] = ["hide-users", "allow-weak-cert"];
/// Options with a value that logind gets from us.
const LOGIND_VALUES: [&str; 1] = ["min-bits"];

/// What the command line says.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    /// `-n`: keyfs runs already.
    no_keyfs: bool,
    /// keysrv's own.
    key_file: Option<OsString>,
    mount_point: Option<OsString>,
    nvram: Option<OsString>,
    /// keyfs' file.
    keys: Option<OsString>,
    bind: Option<IpAddr>,
    signer: bool,
    /// In the order of [`SERVICES`].
    ports: Vec<u16>,
    limits: Limits,
    for_keysrv: Vec<OsString>,
    for_logind: Vec<OsString>,
}

/// Services with their programs: the last two are for `--signer` only.
const SERVICES: [(&str, &Program); 4] = [
    ("inflogin", &programs::LOGIND),
    ("infkey", &programs::KEYSRV),
    ("infsigner", &programs::SIGNER),
    ("infcsigner", &programs::COUNTERSIGNER),
];

fn options(words: Vec<OsString>) -> Option<Options> {
    let mut options = Options {
        no_keyfs: false,
        key_file: None,
        mount_point: None,
        nvram: None,
        keys: None,
        bind: None,
        signer: false,
        ports: Vec::new(),
        limits: Limits {
            total: Some(64),
            per_address: Some(8),
        },
        for_keysrv: Vec::new(),
        for_logind: Vec::new(),
    };
    let mut args = Args::new(words);
    while let Some(option) = args.option() {
        match option {
            Opt::Letter('n') => options.no_keyfs = true,
            Opt::Letter('k') => options.key_file = Some(args.value()?),
            Opt::Letter('m') => options.mount_point = Some(args.value()?),
            // The original's listeners always say who comes.
            Opt::Letter('v') => {
                options.for_keysrv.push("-v".into());
                options.for_logind.push("-v".into());
            }
            Opt::Long(name) => long_option(&mut options, &name, &mut args)?,
            _ => return None,
        }
    }
    let mut operands = args.operands().into_iter();
    options.keys = operands.next();
    operands.next().is_none().then_some(options)
}

fn long_option(options: &mut Options, name: &str, args: &mut Args) -> Option<()> {
    let positive = |text: String| text.parse::<usize>().ok().filter(|&number| number > 0);
    match name {
        "bind" => options.bind = Some(address(&args.text()?)?),
        "signer" => options.signer = true,
        "nvram" => options.nvram = Some(args.value()?),
        "ports" => {
            let ports: Result<Vec<u16>, _> = args.text()?.split(',').map(str::parse).collect();
            options.ports = ports.ok()?;
        }
        "max-conn" => options.limits.total = Some(positive(args.text()?)?),
        "max-per-address" => options.limits.per_address = Some(positive(args.text()?)?),
        name => return hand_on(options, name, args),
    }
    Some(())
}

/// An option of keysrv, logind or both.
fn hand_on(options: &mut Options, name: &str, args: &mut Args) -> Option<()> {
    let with_value = KEYSRV_VALUES.contains(&name) || LOGIND_VALUES.contains(&name);
    let word = match with_value {
        true => format!("--{name}={}", args.text()?),
        false => format!("--{name}"),
    };
    let keysrv = KEYSRV_FLAGS.contains(&name) || KEYSRV_VALUES.contains(&name);
    let logind = LOGIND_FLAGS.contains(&name) || LOGIND_VALUES.contains(&name);
    if keysrv {
        options.for_keysrv.push(word.clone().into());
    }
    if logind {
        options.for_logind.push(word.into());
    }
    (keysrv || logind).then_some(())
}

/// `*` is any.
fn address(text: &str) -> Option<IpAddr> {
    match text {
        "*" => Some(IpAddr::from([0u16; 8])),
        text => text.trim_matches(['[', ']']).parse().ok(),
    }
}

/// The program.
pub fn run(environment: &mut Environment, words: Vec<OsString>) -> Exit {
    let Some(options) = options(words) else {
        return environment.usage(USAGE);
    };
    environment.name = "auth".to_owned();
    serve(environment, &options).unwrap_or_else(|exit| exit)
}

fn serve(environment: &mut Environment, options: &Options) -> Result<Exit, Exit> {
    let _ = rustix::thread::set_no_new_privs(true);
    if !environment.paths.signer_key().is_file() {
        return Err(environment.fail("need to use createsignerkey(8)"));
    }
    let keys = match &options.keys {
        Some(keys) => PathBuf::from(keys),
        None => environment.paths.keys(),
    };
    // With a keyfs that somebody else runs, its file may be anywhere.
    if !options.no_keyfs && !keys.is_file() {
        let keys = match &options.keys {
            Some(keys) => keys.to_string_lossy().into_owned(),
            None => "/keydb/keys".to_owned(),
        };
        return Err(environment.fail(format_args!("need to create {keys}")));
    }
    let mount_point = match &options.mount_point {
        Some(place) => PathBuf::from(place),
        None => environment.paths.mounted_keys(),
    };
    let keyfs = match options.no_keyfs {
        true => None,
        false => Some(start_keyfs(environment, options, &keys, &mount_point)?),
    };
    let mut acceptor = match listeners(environment, options, &mount_point) {
        Ok(acceptor) => acceptor,
        Err(exit) => {
            end(keyfs);
            return Err(exit);
        }
    };
    if let Some(keyfs) = keyfs {
        acceptor.with_partner(keyfs, "keyfs");
    }
    environment.complain(
        "warning: weak transport (sha1, rc4; logins can be guessed offline): use inside a tunnel",
    );
    acceptor::prepare_library();
    let notifier = Notifier::new(environment.variable("NOTIFY_SOCKET"));
    let _ = notifier.ready();
    environment.name = "listen".to_owned();
    Ok(acceptor.run(environment, &notifier))
}

/// Binds everything.
fn listeners(
    environment: &mut Environment,
    options: &Options,
    mount_point: &Path,
) -> Result<Acceptor, Exit> {
    let failed = |environment: &mut Environment, error: std::io::Error| {
        environment.fail(kx_log::format_errno(&error))
    };
    let signals = acceptor::collect_signals().map_err(|error| failed(environment, error))?;
    let count = if options.signer { SERVICES.len() } else { 2 };
    let mut services = Vec::new();
    for (index, &(service, program)) in SERVICES.iter().take(count).enumerate() {
        let port = options.ports.get(index).map(u16::to_string);
        let host = options
            .bind
            .map_or("*".to_owned(), |address| match address {
                address if address.is_unspecified() => "*".to_owned(),
                address => address.to_string(),
            });
        let address = format!("tcp!{host}!{}", port.as_deref().unwrap_or(service));
        let listeners = Address::resolve(environment, &address)
            .and_then(|address| address.addresses())
            .map_err(|error| error.to_string())
            .and_then(|addresses| acceptor::bind(&addresses));
        match listeners {
            Ok(listeners) => services.push(Service {
                address: address.clone(),
                listeners,
                run: session(environment, options, program, mount_point),
            }),
            Err(error) => {
                environment.name = "listen".to_owned();
                let text = format_args!("failed to announce on '{address}': {error}");
                return Err(environment.fail(text));
            }
        }
    }
    let mut acceptor = Acceptor::new(services, options.limits, true, signals);
    acceptor.with_key_files(vec![
        ("server", server_key(environment, options)),
        ("signer", environment.paths.signer_key()),
    ]);
    Ok(acceptor)
}

/// keysrv's own key: any of the domain will do, and the signer's is there.
fn server_key(environment: &Environment, options: &Options) -> PathBuf {
    let own = environment.paths.keyring().join("default");
    match &options.key_file {
        Some(file) => file.into(),
        None if own.exists() => own,
        None => environment.paths.signer_key(),
    }
}

/// What runs for a connection.
fn session(
    environment: &Environment,
    options: &Options,
    program: &'static Program,
    mount_point: &Path,
) -> Run {
    let mut words: Vec<OsString> = Vec::new();
    match program.name {
        "keysrv" => {
            words.extend(["-m".into(), mount_point.into()]);
            let key = server_key(environment, options);
            words.extend(["-k".into(), key.into_os_string()]);
            words.extend(options.for_keysrv.iter().cloned());
        }
        "logind" => {
            words.extend(["-m".into(), mount_point.into()]);
            words.extend(options.for_logind.iter().cloned());
        }
        _ => {}
    }
    Run::Ourselves(program, words)
}

/// Starts keyfs, which asks for its key, and waits until it serves.
fn start_keyfs(
    environment: &mut Environment,
    options: &Options,
    keys: &Path,
    mount_point: &Path,
) -> Result<Child, Exit> {
    let mut command = std::process::Command::new("/proc/self/exe");
    command.arg0("keyfs").arg("-F").arg("-m").arg(mount_point);
    if let Some(nvram) = &options.nvram {
        command.arg("-n").arg(nvram);
    }
    // Its word that it is ready is not ours.
    command.env_remove("NOTIFY_SOCKET").arg(keys);
    command.env(PARENT, std::process::id().to_string());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Err(environment.fail(kx_log::format_errno(&error))),
    };
    // The prompt may take any time.
    loop {
        match child.try_wait() {
            Ok(None) if serves(mount_point) => return Ok(child),
            Ok(None) => std::thread::sleep(LOOK),
            // No key was given: the original's script ends there, too.
            Ok(Some(status)) if status.success() => return Err(Exit::Success),
            Ok(Some(status)) => {
                return Err(match status.code() {
                    Some(2) => Exit::Usage,
                    _ => Exit::Error,
                });
            }
            Err(error) => return Err(environment.fail(kx_log::format_errno(&error))),
        }
    }
}

fn serves(mount_point: &Path) -> bool {
    [
        mount_point.join(OsStr::new(SOCKET_NAME)),
        mount_point.to_path_buf(),
    ]
    .iter()
    .any(|place| UnixStream::connect(place).is_ok())
}

/// Takes back a keyfs that nobody needs.
fn end(keyfs: Option<Child>) {
    if let Some(mut child) = keyfs {
        let _ = child.kill();
        let _ = child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Option<Options> {
        options(words.iter().map(OsString::from).collect())
    }

    #[test]
    fn options_go_to_whom_they_concern() {
        let parsed = parse(&[
            "-n",
            "-kfile",
            "--bind",
            "127.0.0.1",
            "--ports=1,2",
            "--strict",
            "--idle=5",
            "--hide-users",
            "--min-bits=99",
            "--max-conn",
            "7",
            "keys",
        ]);
        let parsed = parsed.expect("options");
        assert!(parsed.no_keyfs && !parsed.signer);
        assert_eq!(parsed.key_file.as_deref(), Some(OsStr::new("file")));
        assert_eq!(parsed.bind, Some(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(parsed.ports, [1, 2]);
        assert_eq!(parsed.for_keysrv, ["--strict", "--idle=5", "--min-bits=99"]);
        assert_eq!(parsed.for_logind, ["--hide-users", "--min-bits=99"]);
        assert_eq!(
            (parsed.limits.total, parsed.limits.per_address),
            (Some(7), Some(8))
        );
        assert_eq!(parsed.keys.as_deref(), Some(OsStr::new("keys")));
        for wrong in [
            &["--bind=name"][..],
            &["--ports=x"],
            &["-x"],
            &["a", "b"],
            &["--idle"],
        ] {
            assert!(parse(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_not_set_up_is_said_as_the_original_says_it() {
        let root = tempfile::tempdir().expect("directory");
        let talk = || {
            let (mut environment, _, stderr) =
                crate::program::fake::environment("svc-auth", root.path(), b"");
            let exit = run(&mut environment, Vec::new());
            (exit, stderr.text())
        };
        let text = "auth: need to use createsignerkey(8)\n";
        assert_eq!(talk(), (Exit::Error, text.to_owned()));
        std::fs::create_dir(root.path().join("keydb")).expect("directory");
        std::fs::write(root.path().join("keydb/signerkey"), "").expect("file");
        let text = "auth: need to create /keydb/keys\n";
        assert_eq!(talk(), (Exit::Error, text.to_owned()));
    }
}
