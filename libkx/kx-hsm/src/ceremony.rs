//! `kx-hsm ceremony`: a checklist to print, with the exact commands and what each must answer.

use std::fmt::Write;

use crate::arguments::ArgumentError;
use crate::error::Result;
use crate::task::Task;

/// A step: what is done, by whom, the command, what it must answer.
struct Step {
    who: &'static str,
    what: &'static str,
    command: &'static str,
    answer: &'static str,
}

const fn step(
    who: &'static str,
    what: &'static str,
    command: &'static str,
    answer: &'static str,
) -> Step {
    Step {
        who,
        what,
        command,
        answer,
    }
}

const CUSTODIANS: &[Step] = &[
    step(
        "Operator",
        "Use a machine without network. Check the tool.",
        "kx-hsm selftest",
        "Everything is as it should be.",
    ),
    step(
        "Operator, custodians",
        "Make the share. Each custodian alone notes his prime, ID and value, and presses Enter.",
        "kx-hsm share create --threshold T --total M --out dkek.pbe",
        "dkek.pbe is a DKEK share.",
    ),
    step(
        "T custodians",
        "Prove that the notes are right before anything depends on them.",
        "kx-hsm share show-kcv dkek.pbe --prime ask --share ask (T times)",
        "Key check value: write it down here: ________________",
    ),
    step(
        "Operator",
        "Initialize the device. Everything on it is lost.",
        "kx-hsm init --shares 1",
        "... is initialized and empty.",
    ),
    step(
        "T custodians",
        "Import the share.",
        "kx-hsm share import dkek.pbe --prime ask --share ask (T times)",
        "The key check value is the one above.",
    ),
    step(
        "Operator",
        "Store dkek.pbe in two places; the notes stay with their custodians.",
        "openssl base64 -in dkek.pbe",
        "Two lines for the paper copy.",
    ),
];

const EXCHANGE: &[Step] = &[
    step(
        "Operator",
        "Check the tool and both devices.",
        "kx-hsm selftest --card A; kx-hsm selftest --card B",
        "Everything is as it should be.",
    ),
    step(
        "Group officer",
        "Make the group signer on a device that goes into the safe.",
        "kx-hsm group create --card G --out group.pka",
        "Key N is a group signer.",
    ),
    step(
        "Operator",
        "Take the certificates of each member to the group officer.",
        "kx-hsm device export --card A --out A.dev",
        "The certificates are in A.dev.",
    ),
    step(
        "Group officer",
        "Sign each membership. Compare the device's name with the label on the device.",
        "kx-hsm membership sign --card G --group group.pka --group-id N --member A.dev --out A.kdm",
        "A.kdm makes ... a member.",
    ),
    step(
        "Operator",
        "Make the key domain on each device.",
        "kx-hsm membership install A.kdm --card A --domain D",
        "Key domain D: XKEK, no key yet",
    ),
    step(
        "Operator",
        "Make the keys in that domain. A key stays in the domain it was made in.",
        "kx-hsm key generate --card A --domain D --type ec:secp256r1",
        "... has a new key",
    ),
    step(
        "Operator",
        "Move a key.",
        "kx-hsm key move --from A --to B --id N",
        "Key N of A is key M of B.",
    ),
];

const LEAVING: &[Step] = &[
    step(
        "T custodians",
        "Give the file a new password, split anew. The one who leaves is not there.",
        "kx-hsm share rotate old.pbe --prime ask --share ask (T times) --threshold T --total M --out new.pbe",
        "new.pbe has the share of old.pbe under a new password.",
    ),
    step(
        "T new custodians",
        "Prove the new notes.",
        "kx-hsm share show-kcv new.pbe --prime ask --share ask (T times)",
        "The same key check value as before.",
    ),
    step(
        "Operator, witness",
        "Destroy every copy of old.pbe, also in backups, and the old notes. Whoever kept both still has the share.",
        "-",
        "Both sign.",
    ),
    step(
        "Operator",
        "If T or more old custodians have left, or a copy may exist: the DKEK is to be given up. Make new keys \
         under a new DKEK or in an XKEK domain.",
        "kx-hsm ceremony exchange",
        "-",
    ),
];

/// The ceremonies there are.
pub const NAMES: &str = "custodians, exchange, leaving";

/// Shows one.
///
/// # Errors
/// [`crate::error::Error`].
pub fn ceremony(task: &mut Task) -> Result<()> {
    let name = task.files.first().map(|name| name.display().to_string());
    let (title, steps) = match name.as_deref() {
        Some("custodians") => ("A DKEK share for T of M custodians", CUSTODIANS),
        Some("exchange") => ("A group of devices that exchange keys (XKEK)", EXCHANGE),
        Some("leaving") => ("A custodian leaves", LEAVING),
        _ => {
            let text = format!("which ceremony? There are: {NAMES}");
            return Err(ArgumentError::Operands(text).into());
        }
    };
    let mut page = format!("{title}\n\nDate ____________  Place ____________________\n");
    for (number, step) in (1..).zip(steps) {
        let _ = write!(
            page,
            "\n{number:2}. [ ] {}: {}\n        $ {}\n        must answer: {}\n        Time ______  Signed ____________________\n",
            step.who, step.what, step.command, step.answer
        );
    }
    task.report.line(&page);
    task.report.value("page", "", page);
    Ok(())
}
