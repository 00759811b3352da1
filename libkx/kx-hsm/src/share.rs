//! `kx-hsm share`: files of DKEK shares, their passwords, and the custodians who have a part of one
//! (xkek spec 9, 10).

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use kx_secret::SecretBytes;
use serde_json::json;
use xkek::dkek::{self, PASSWORD_MIN, ShareFile};
use xkek::kek::Kek;
use xkek::rng::{Rng, System, Unavailable};
use xkek::shamir::{self, Share};

use crate::arguments::ArgumentError;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::progress::{self, Bar};
use crate::secret_source::{SecretSource, line};
use crate::status::text;
use crate::task::Task;

/// Random octets of this machine, and of a card if there is one: neither alone decides.
struct Random<'a>(Option<&'a mut Device>);

impl Rng for Random<'_> {
    fn fill(&mut self, out: &mut [u8]) -> std::result::Result<(), Unavailable> {
        System.fill(out)?;
        if let Some(device) = &mut self.0 {
            let more = device.hsm.challenge(out.len()).map_err(|_| Unavailable)?;
            let more = SecretBytes::from(more);
            for (octet, more) in out.iter_mut().zip(more.as_slice()) {
                *octet ^= more;
            }
        }
        Ok(())
    }
}

/// How the password of a new file is kept.
enum Keeping {
    Person(SecretBytes),
    Custodians { threshold: u32, total: u32 },
}

/// Makes a share.
///
/// # Errors
/// [`Error`].
pub fn create(task: &mut Task) -> Result<()> {
    let out = task.output()?;
    if task.dry(&format!("make a DKEK share in {}", out.display())) {
        return Ok(());
    }
    let named = task.arguments.has("card") || task.arguments.has("reader");
    let mut device = if named { Some(task.device()?) } else { None };
    let keeping = keeping(task, "password")?;
    let mut random = Random(device.as_mut());
    let share = Kek::generate(&mut random).map_err(|error| Error::Failed(error.to_string()))?;
    seal(task, &out, &share, keeping, &mut random)?;
    let done = format!("{} is a DKEK share.", out.display());
    task.report.step(
        &done,
        "kx-hsm share show-kcv FILE, which needs the password",
    );
    Ok(())
}

fn keeping(task: &Task, option: &'static str) -> Result<Keeping> {
    let numbers = (
        task.arguments.number("threshold")?,
        task.arguments.number("total")?,
    );
    match numbers {
        (None, None) => {
            let what = "New password of the DKEK share";
            let password = task.arguments.secret(option)?.read_new(what)?;
            if password.len() < PASSWORD_MIN {
                let text = format!("the password has {PASSWORD_MIN} characters at least");
                return Err(ArgumentError::Operands(text).into());
            }
            Ok(Keeping::Person(password))
        }
        (Some(threshold), Some(total)) => Ok(Keeping::Custodians { threshold, total }),
        (None, Some(_)) => Err(ArgumentError::Missing("threshold").into()),
        (Some(_), None) => Err(ArgumentError::Missing("total").into()),
    }
}

/// Seals a share into a file, and gives custodians their parts.
fn seal(
    task: &mut Task,
    out: &Path,
    share: &Kek,
    keeping: Keeping,
    random: &mut Random<'_>,
) -> Result<()> {
    let failed = |error: String| Error::Failed(error);
    let (password, parts) = match keeping {
        Keeping::Person(password) => (password, Vec::new()),
        Keeping::Custodians { threshold, total } => {
            let password =
                shamir::generate_password(random).map_err(|error| failed(error.to_string()))?;
            let parts = shamir::split(password.as_slice(), threshold, total, random);
            (password, parts.map_err(|error| failed(error.to_string()))?)
        }
    };
    let mut bar = Bar::new(task.report.progress());
    let sealed = ShareFile::seal(share, password.as_slice(), random, &mut |done| {
        bar.draw(done)
    });
    let sealed = sealed.map_err(|error| Error::file(out, error))?;
    task.write(out, &sealed.encode())?;
    give(task, &parts)
}

/// Shows each custodian his part, or writes his note.
fn give(task: &mut Task, parts: &[Share]) -> Result<()> {
    let Some(first) = parts.first() else {
        return Ok(());
    };
    if let Some(directory) = task.arguments.value("notes").map(PathBuf::from) {
        std::fs::create_dir_all(&directory).map_err(|error| Error::file(&directory, error))?;
        let prime = format!("{}\n", first.prime_text());
        task.write(&directory.join("prime"), prime.as_bytes())?;
        for part in parts {
            let note =
                SecretBytes::from(format!("{}:{}\n", part.id, *part.value_text()).into_bytes());
            let name = directory.join(format!("custodian-{}", part.id));
            task.write(&name, note.as_slice())?;
        }
        let done = format!(
            "{} has a note for each of {} custodians. Give each his own, and delete them there.",
            directory.display(),
            parts.len()
        );
        task.report.step(&done, "ls -l");
        return Ok(());
    }
    let alone = std::io::stdout().is_terminal() && !task.arguments.has("json");
    let mut shown = Vec::new();
    for part in parts {
        if alone {
            wait(&format!(
                "\x1b[H\x1b[2J\x1b[3JCustodian {}: press Enter",
                part.id
            ));
        }
        task.report.line(&format!("Custodian {}", part.id));
        task.report
            .line(&format!("  Prime       : {}", part.prime_text()));
        task.report.line(&format!("  Share ID    : {}", part.id));
        task.report
            .line(&format!("  Share value : {}", *part.value_text()));
        if alone {
            wait("Note it, then press Enter");
        }
        shown.push(json!({
            "prime": part.prime_text(), "id": part.id, "value": part.value_text().as_str()
        }));
    }
    task.report.value("custodians", "", shown);
    Ok(())
}

fn wait(text: &str) {
    if let Ok(mut terminal) = kx_sys::terminal::Terminal::controlling() {
        let _ = terminal.write(text.as_bytes());
        let _ = line(&mut terminal);
    }
}

/// The passwords that custodians' parts can mean, or the one that a person knows.
fn passwords(task: &Task, file: &Path) -> Result<Vec<SecretBytes>> {
    let given = task.arguments.all("share");
    if given.is_empty() {
        let what = format!("Password of {}", file.display());
        return Ok(vec![task.arguments.secret("password")?.read(&what)?]);
    }
    let prime = task.arguments.secret("prime")?.read("Prime")?;
    let mut parts = Vec::new();
    for (number, word) in (1..).zip(given) {
        let what = format!("Share of custodian {number} (ID:VALUE)");
        let note = SecretSource::parse(word)?.read(&what)?;
        let text = |octets| std::str::from_utf8(octets).unwrap_or("?");
        let note = text(note.as_slice());
        let (id, value) = note.split_once(':').unwrap_or((note, ""));
        let part = Share::parse(text(prime.as_slice()), id, value);
        parts.push(part.map_err(|error| Error::Failed(format!("share {number}: {error}")))?);
    }
    shamir::candidates(&parts).map_err(|error| Error::Failed(error.to_string()))
}

fn parse(task: &Task, file: &Path) -> Result<ShareFile> {
    let content = task.read(file)?;
    ShareFile::parse(&content).map_err(|error| Error::file(file, error))
}

fn open(task: &Task, file: &Path) -> Result<Kek> {
    let sealed = parse(task, file)?;
    let passwords = passwords(task, file)?;
    progress::open(&sealed, &passwords, task.report.progress())
        .map_err(|error| Error::file(file, error))
}

/// Imports shares into a key domain.
///
/// # Errors
/// [`Error`].
pub fn import(task: &mut Task) -> Result<()> {
    let domain = task.domain()?;
    let files = several(task)?;
    // All are opened before the first goes to the card: half of them would be of no use there.
    let mut shares = Vec::new();
    for file in &files {
        parse(task, file)?;
    }
    if task.dry(&format!(
        "import {} share(s) into key domain {domain}",
        files.len()
    )) {
        return Ok(());
    }
    for file in &files {
        shares.push(open(task, file)?);
    }
    dkek::combine(&shares).map_err(|error| Error::Failed(error.to_string()))?;
    let mut device = task.device()?;
    let mut state = device.ask(|hsm| hsm.domain(domain))?;
    for (file, share) in files.iter().zip(&shares) {
        state = device.ask(|hsm| hsm.import_share(domain, share))?;
        let done = format!("{} is imported into {}.", file.display(), device.name);
        task.report.step(&done, "");
    }
    if let Some(kcv) = state.kcv() {
        task.report.value("kcv", "Key check value", kcv.to_string());
    }
    let done = format!("Key domain {domain} of {}: {}.", device.name, text(&state));
    task.report.step(
        &done,
        "kx-hsm share show-kcv with all share files shows the same value",
    );
    Ok(())
}

fn several(task: &Task) -> Result<Vec<PathBuf>> {
    if task.files.is_empty() {
        return Err(ArgumentError::Operands("which file?".to_owned()).into());
    }
    Ok(task.files.clone())
}

/// Gives a file a new password: one that is split between custodians, or a person's. The old password (or
/// the old custodians) still opens a copy of the old file.
///
/// # Errors
/// [`Error`].
pub fn rotate(task: &mut Task) -> Result<()> {
    let (file, out) = (task.file()?, task.output()?);
    parse(task, &file)?;
    if task.dry(&format!(
        "write the share of {} anew into {}",
        file.display(),
        out.display()
    )) {
        return Ok(());
    }
    let share = open(task, &file)?;
    let keeping = keeping(task, "new-password")?;
    seal(task, &out, &share, keeping, &mut Random(None))?;
    let done = format!(
        "{} has the share of {} under a new password.",
        out.display(),
        file.display()
    );
    task.report
        .step(&done, "kx-hsm share show-kcv shows the same value for both");
    task.report.warn(&format!(
        "whoever has a copy of {} and its old password, or enough of its old custodians, still has the share",
        file.display()
    ));
    Ok(())
}

/// As [`rotate`], for custodians only.
///
/// # Errors
/// [`Error`].
pub fn split(task: &mut Task) -> Result<()> {
    for option in ["threshold", "total"] {
        if !task.arguments.has(option) {
            return Err(ArgumentError::Missing(option).into());
        }
    }
    rotate(task)
}

/// Shows the key check value that shares give together.
///
/// # Errors
/// [`Error`].
pub fn show_kcv(task: &mut Task) -> Result<()> {
    let files = several(task)?;
    let mut shares = Vec::new();
    for file in &files {
        shares.push(open(task, file)?);
    }
    let sum = dkek::combine(&shares).map_err(|error| Error::Failed(error.to_string()))?;
    task.report
        .value("kcv", "Key check value", sum.kcv().to_string());
    Ok(())
}
