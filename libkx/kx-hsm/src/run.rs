//! `kx-hsm`: which verb is meant, and which options it has.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::arguments::{Arguments, OPTIONS};
use crate::error::Result;
use crate::report::Report;
use crate::task::Task;
use crate::{
    ceremony, domain, exchange_key, file, group, init, key, membership, move_key, pin, pka,
    selftest, share, status,
};

/// A verb.
pub struct Verb {
    /// Its words.
    pub words: &'static str,
    /// What follows them.
    pub operands: &'static str,
    /// Its options beside the common ones.
    pub options: &'static [&'static str],
    /// What it does, in a line.
    pub text: &'static str,
    run: fn(&mut Task) -> Result<()>,
}

/// What every verb has.
const COMMON: [&str; 5] = ["card", "reader", "json", "dry-run", "yes"];

macro_rules! verbs {
    ($($words:literal $operands:literal [$($option:literal)*] $run:path, $text:literal;)*) => {
        /// All verbs.
        pub const VERBS: &[Verb] = &[$(Verb {
            words: $words,
            operands: $operands,
            options: &[$($option),*],
            text: $text,
            run: $run,
        }),*];
    };
}

verbs! {
    "status" "" ["domain"] status::status, "what the device is, its PINs and key domains";
    "init" "" ["so-pin" "pin" "label" "shares" "domains" "retries" "public-keys" "required" "transport-pin"
        "no-pin-reset"] init::init, "delete everything and set the PINs";
    "pin change" "" ["pin" "new-pin"] pin::change, "another user PIN";
    "pin unblock" "" ["so-pin" "new-pin"] pin::unblock, "set the tries of the user PIN back";
    "device export" "" ["out" "force"] group::export_device, "the certificates of a device, for its membership";
    "domain create-dkek" "" ["domain" "shares" "pin"] domain::create_dkek, "a key domain whose key comes from shares";
    "domain create-xkek" "" ["domain" "membership" "pin"] domain::create_xkek, "a key domain of a group";
    "domain delete" "" ["domain" "pin"] domain::delete, "delete a key domain that has no keys";
    "domain clear-kek" "" ["domain" "pin"] domain::clear_kek, "delete the key encryption key of a key domain";
    "share create" "" ["out" "force" "password" "threshold" "total" "notes"] share::create, "a DKEK share under a password";
    "share import" "FILE..." ["domain" "password" "prime" "share"] share::import, "import DKEK shares";
    "share split" "FILE" ["out" "force" "password" "prime" "share" "threshold" "total" "notes"] share::split,
        "a share's password in parts, so many of which are needed";
    "share rotate" "FILE" ["out" "force" "password" "new-password" "prime" "share" "threshold" "total" "notes"]
        share::rotate, "a share under a new password or new parts";
    "share show-kcv" "FILE..." ["password" "prime" "share"] share::show_kcv, "the key check value of shares together";
    "group create" "" ["out" "force" "id" "label" "type" "pin"] group::create, "make a group signer";
    "group export" "" ["out" "force" "id"] group::export, "write a group signer's file again";
    "membership sign" "" ["group" "group-id" "member" "out" "force" "pin" "trust-root" "trust-test-root"]
        membership::sign, "make a device a member";
    "membership show" "FILE" [] membership::show, "what a membership file says";
    "membership install" "FILE" ["domain" "pin"] membership::install, "a key domain of the group";
    "exchange-key create" "" ["domain" "id" "out" "force" "pin"] exchange_key::create, "make an exchange key";
    "exchange-key export" "" ["id" "out" "force"] exchange_key::export, "write an exchange key's file again";
    "derive" "" ["peer" "id" "pin"] exchange_key::derive, "agree on the key of the key domain with a peer";
    "key generate" "" ["type" "id" "label" "domain" "algorithms" "use-counter" "pin"] key::generate, "make a key";
    "key list" "" [] key::list, "the keys on the device";
    "key wrap" "" ["id" "out" "force" "pin"] key::wrap, "a key into a file";
    "key unwrap" "FILE" ["id" "force" "pin"] key::unwrap, "a key from a file";
    "key move" "" ["from" "to" "id" "to-id" "domain" "to-domain" "from-pin" "to-pin" "delete-source"]
        move_key::move_key, "a key from one device to another";
    "key public" "" ["id" "out" "force"] key::export_public, "the public part of a key";
    "key sign" "FILE" ["id" "out" "force" "pin"] key::sign, "sign a file";
    "key delete" "" ["id" "pin"] key::delete, "delete a key";
    "file show" "FILE..." [] file::show, "what a file is";
    "file verify" "FILE..." ["trust-root" "trust-test-root"] file::verify, "whether a file is sound";
    "pka status" "" [] pka::status, "public key authentication";
    "pka export" "" ["id" "out" "force"] pka::export, "a key to be registered";
    "pka register" "FILE" ["index" "pin"] pka::register, "register a public key";
    "pka login" "" ["key" "key-password" "label"] pka::login, "authenticate with a private key";
    "selftest" "" ["trust-root" "trust-test-root"] selftest::selftest, "known answers, and a card's";
    "ceremony" "NAME" [] ceremony::ceremony, "a checklist to print";
}

/// Runs a command line (without the program's name). Returns the exit status: 0, 1 refused or wrong,
/// 2 command line, 3 not confirmed, 4 PIN, 5 no card.
pub fn run(words: impl IntoIterator<Item = OsString>) -> u8 {
    let mut arguments = match Arguments::read(words) {
        Ok(arguments) => arguments,
        Err(error) => return complain(&error.to_string(), 2),
    };
    let text = |word: &OsString| word.to_string_lossy().into_owned();
    let typed: Vec<String> = arguments.words.iter().map(text).collect();
    let is_it = |verb: &&Verb| {
        let words: Vec<&str> = verb.words.split(' ').collect();
        typed.len() >= words.len() && words.iter().zip(&typed).all(|(word, typed)| word == typed)
    };
    let verb = VERBS.iter().find(is_it);
    if arguments.has("version") {
        return say(concat!("kx-hsm ", env!("CARGO_PKG_VERSION"), "\n"));
    }
    if arguments.has("help") {
        return say(&verb.map_or_else(usage, help));
    }
    let Some(verb) = verb else {
        let what = typed.join(" ");
        let text = if what.is_empty() {
            "what is to be done?".to_owned()
        } else {
            format!("{what}: no such verb")
        };
        return complain(&text, 2);
    };
    let mut allowed = COMMON.to_vec();
    allowed.extend_from_slice(verb.options);
    if let Err(error) = arguments.allow(verb.words, &allowed) {
        return complain(&error.to_string(), 2);
    }
    let operands = arguments.words.split_off(verb.words.split(' ').count());
    if verb.operands.is_empty() && !operands.is_empty() {
        return complain(&format!("{}: too many words", verb.words), 2);
    }
    let mut task = Task {
        report: Report::new(verb.words, arguments.has("json")),
        arguments,
        files: operands.into_iter().map(PathBuf::from).collect(),
    };
    match (verb.run)(&mut task) {
        Ok(()) => {
            task.report.finish(None);
            0
        }
        Err(error) => {
            let text = error.to_string();
            task.report.finish(Some(&text));
            complain(&text, error.status())
        }
    }
}

fn complain(text: &str, status: u8) -> u8 {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "kx-hsm: {text}");
    if status == 2 {
        let _ = writeln!(std::io::stderr(), "kx-hsm --help says how it is used");
    }
    status
}

fn say(text: &str) -> u8 {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
    0
}

/// All verbs.
#[must_use]
pub fn usage() -> String {
    let mut page = String::from("usage: kx-hsm VERB [OPTION...]\n\n");
    for verb in VERBS {
        let words = format!("{} {}", verb.words, verb.operands);
        page.push_str(&format!("  {words:<30} {}\n", verb.text));
    }
    page.push_str(
        "\nkx-hsm VERB --help shows its options; kx-hsm(1) and kx-hsm(7) explain them.\n",
    );
    page
}

fn help(verb: &Verb) -> String {
    let mut page = format!(
        "usage: kx-hsm {} {} [OPTION...]\n{}\n\n",
        verb.words, verb.operands, verb.text
    );
    for option in OPTIONS {
        if !verb.options.contains(&option.name) && !COMMON.contains(&option.name) {
            continue;
        }
        let argument = option
            .argument
            .map(|name| format!(" {name}"))
            .unwrap_or_default();
        let left = format!("--{}{argument}", option.name);
        page.push_str(&format!("  {left:<24} {}\n", option.text));
    }
    page.push_str("\nA SECRET is env:NAME, fd:N, file:PATH, pinentry, ask (the terminal), or the word itself.\n");
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_of_a_verb_exists_and_every_option_has_a_verb() {
        let known = |name: &str| OPTIONS.iter().any(|option| option.name == name);
        for verb in VERBS {
            for option in verb.options {
                assert!(known(option), "{}: --{option}", verb.words);
            }
        }
        for option in OPTIONS {
            let used = VERBS.iter().any(|verb| verb.options.contains(&option.name));
            let common =
                COMMON.contains(&option.name) || ["help", "version"].contains(&option.name);
            assert!(used || common, "--{}", option.name);
        }
    }
}
