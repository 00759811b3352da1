//! `keynote sigver`

use std::ffi::OsString;
use std::process::ExitCode;

use keynote::signature::{SignatureError, verify};
use keynote::{Assertion, split};

use crate::{Failure, Outcome, read, show};

const USAGE: &str = "Arguments:\n\t<AssertionFile>\n";

pub(crate) fn run(arguments: &[OsString]) -> Outcome {
    let [file] = arguments else {
        return Err(Failure::new(USAGE));
    };
    let text = read(file.as_ref())?;
    if text.is_empty() {
        return Err(Failure::new("Illegal assertion-file size 0\n"));
    }
    let bad = |why: String| {
        Failure::new(format!(
            "Syntax error while parsing the assertion.\n{why}\n"
        ))
    };
    let pieces = split(&text);
    if pieces.is_empty() {
        return Err(bad(keynote::Malformed::Empty.to_string()));
    }
    let mut status = ExitCode::SUCCESS;
    for piece in pieces {
        let assertion = Assertion::parse(piece).map_err(|error| bad(error.to_string()))?;
        let line = match verify(&assertion) {
            Ok(()) => "Signature verified.\n".to_owned(),
            Err(error) => {
                status = ExitCode::FAILURE;
                match error {
                    SignatureError::Encoding | SignatureError::Library => {
                        format!("Signature could not be verified ({error}).\n")
                    }
                    _ => "Signature did not verify!\n".to_owned(),
                }
            }
        };
        show(line.as_bytes())?;
    }
    Ok(status)
}
