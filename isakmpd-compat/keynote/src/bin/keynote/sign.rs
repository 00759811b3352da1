//! `keynote sign`

use std::ffi::OsString;
use std::process::ExitCode;

use keynote::Assertion;
use keynote::signature::{SignatureError, SigningKey, sign, verify_detached};

use crate::print::Layout;
use crate::{Failure, Outcome, algorithm_name, read, show};

const USAGE: &str = "Arguments:\n\
    \t[-v] <AlgorithmName> <AssertionFile> <PrivateKeyFile> [<print-offset>] [<print-length>]\n";

pub(crate) fn run(arguments: &[OsString]) -> Outcome {
    let (check, arguments) = match arguments {
        [first, rest @ ..] if first == "-v" => (true, rest),
        arguments => (false, arguments),
    };
    let [name, assertion_file, key_file, layout @ ..] = arguments else {
        return Err(Failure::new(USAGE));
    };
    if layout.len() > 2 {
        return Err(Failure::new(USAGE));
    }
    let argument = |index: usize| layout.get(index).map(OsString::as_os_str);
    let layout = Layout::parse(argument(0), argument(1))?;
    let name = algorithm_name(name);
    let text = read(assertion_file.as_ref())?;
    if text.is_empty() {
        return Err(Failure::new("Error: zero-sized assertion-file.\n"));
    }
    let key = read(key_file.as_ref())?;
    if key.is_empty() {
        return Err(Failure::new("Illegal key-file size 0\n"));
    }
    let bad = |why: String| {
        Failure::new(format!(
            "Bad assertion or algorithm format, or unsupported algorithm while creating signature.\n{why}\n"
        ))
    };
    let assertion = Assertion::parse(&text).map_err(|error| bad(error.to_string()))?;
    let key = SigningKey::parse(&key).map_err(|error| bad(error.to_string()))?;
    let signature = sign(&assertion, name.as_bytes(), &key).map_err(|error| match error {
        SignatureError::Library => Failure::new("Unknown error while creating signature.\n"),
        error => bad(error.to_string()),
    })?;
    if check {
        verify_detached(&assertion, &signature).map_err(|error| bad(error.to_string()))?;
    }
    show(&layout.quote("", signature.as_bytes()))?;
    Ok(ExitCode::SUCCESS)
}
