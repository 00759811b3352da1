//! tcnetstat: lists the session ids of encrypted connections (tcpcrypt spec 2.2).
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::ExitCode;

use tcpcrypt::{Client, Ends, Error, Hex, Row};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match list(&arguments) {
        Ok(table) => {
            // Whoever does not read it to its end does not want it; the original exits 0 too.
            let _ = io::stdout().write_all(&table);
            ExitCode::SUCCESS
        }
        Err(error) => {
            let program = arguments
                .first()
                .map_or(OsStr::new(""), OsString::as_os_str);
            let program = Path::new(program).file_name().unwrap_or(program);
            let _ = writeln!(io::stderr(), "{}", message(program, &error));
            ExitCode::FAILURE
        }
    }
}

/// What the original says before it exits.
fn message(program: &OsStr, error: &Error) -> String {
    let program = program.to_string_lossy();
    match error {
        Error::Address { .. } => format!("{program}: {error}"),
        _ => format!("{program}: tcpcrypt_getsockopt(): {error}"),
    }
}

/// `-u ADDRESS`, which is an option only in front of everything else; the rest means nothing.
fn control_address(arguments: &[OsString]) -> Option<&OsStr> {
    match arguments {
        [_, option, address, ..] if option == "-u" => Some(address),
        _ => None,
    }
}

fn list(arguments: &[OsString]) -> Result<Vec<u8>, Error> {
    let mut client = match control_address(arguments) {
        Some(address) => Client::at(address.as_bytes())?,
        None => Client::of_process()?,
    };
    let mut table = Vec::new();
    // Into memory: it does not fail.
    let _ = table.write_all(b"Local address\t\tForeign address\t\tSID\n");
    client.connections(Ends::NONE, |row| {
        let _ = write_row(&mut table, row);
        ControlFlow::Continue(())
    })?;
    Ok(table)
}

fn write_row(to: &mut impl Write, row: &Row<'_>) -> io::Result<()> {
    let (local, remote) = (row.local.to_string(), row.remote.to_string());
    writeln!(to, "{local:<21}\t{remote:<21}\t{}", Hex(row.session_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_address_is_the_first_option_or_none() {
        assert_eq!(
            control_address(&words("tcnetstat -u /x y")),
            Some(OsStr::new("/x"))
        );
        for line in [
            "tcnetstat",
            "tcnetstat -u",
            "tcnetstat -h",
            "tcnetstat -v -u /x",
            "tcnetstat -u/x",
        ] {
            assert_eq!(control_address(&words(line)), None, "{line}");
        }
    }

    #[test]
    fn a_recorded_row() {
        let mut line = Vec::new();
        let row = Row {
            local: "10.77.0.1:39026".parse().unwrap(),
            remote: "10.77.0.2:8080".parse().unwrap(),
            session_id: &[0x21, 0x25, 0xef],
        };
        write_row(&mut line, &row).unwrap();
        assert_eq!(
            line,
            b"10.77.0.1:39026      \t10.77.0.2:8080       \t2125EF\n"
        );
    }

    #[test]
    fn a_row_of_ipv6() {
        let mut line = Vec::new();
        let row = Row {
            local: "[fe80::1%2]:39026".parse().unwrap(),
            remote: "[2001:db8:1111:2222::2]:80".parse().unwrap(),
            session_id: &[0x21],
        };
        write_row(&mut line, &row).unwrap();
        assert_eq!(
            line,
            b"[fe80::1%2]:39026    \t[2001:db8:1111:2222::2]:80\t21\n"
        );
    }

    #[test]
    fn messages() {
        let error = list(&words("x/tcnetstat -u nonsense")).unwrap_err();
        assert_eq!(
            message(OsStr::new("tcnetstat"), &error),
            "tcnetstat: opening control socket 'nonsense': couldn't understand socket description"
        );
        let error = list(&words("tcnetstat -u /does/not/exist")).unwrap_err();
        assert_eq!(
            message(OsStr::new("tcnetstat"), &error),
            "tcnetstat: tcpcrypt_getsockopt(): No such file or directory"
        );
    }
}
