//! `--check`: what the configuration means, and what is wrong with it. Nothing is started or changed.

use std::io::Write;

use isakmpd_conf::check::check;

use crate::files::{Access, Entry, Files, SecretError, read_secret};
use crate::host::{Surveyed, names};
use crate::log::system_text;
use crate::options::Options;
use crate::sockets::port;

/// Opens whatever the user may read.
struct AnyFile;

impl Files for AnyFile {
    fn open(&self, path: &std::path::Path, _: Access) -> std::io::Result<std::fs::File> {
        std::fs::File::open(path)
    }

    fn read_directory(&self, _: &std::path::Path) -> std::io::Result<Vec<Entry>> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn bind(&self, _: std::net::SocketAddr, _: bool) -> std::io::Result<kx_sys::udp::Udp> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn default_interfaces(&self) -> [Option<String>; 2] {
        [
            kx_sys::interface_addresses::default_interface_ipv4(),
            kx_sys::interface_addresses::default_interface_ipv6(),
        ]
    }
}

/// Checks the file of `-c`. Returns 0 if the daemon would do what it says, 1 if not.
#[must_use]
pub fn run(options: &Options) -> u8 {
    let path = &options.configuration;
    let shown = path.display().to_string();
    let names = names();
    let listen = port(&options.port, &names).unwrap_or(0);
    let mut host = Surveyed::new(names, listen);
    let _ = host.look(&AnyFile);
    let mut out = std::io::stdout().lock();
    let mut say = |text: &str| {
        let _ = out
            .write_all(&isakmpd_conf::octets(text))
            .and_then(|()| out.flush());
    };
    let (content, mut status) = match read_secret(&AnyFile, path) {
        Ok(content) => (content, 0),
        Err(SecretError::Refused(text)) => {
            say(&format!(
                "{shown}: error: the daemon goes on with its defaults: {text}\n"
            ));
            match std::fs::read(path) {
                Ok(content) => (content.into(), 1),
                Err(_) => return 1,
            }
        }
        Err(SecretError::Open(error) | SecretError::Read(error)) => {
            say(&format!("{shown}: error: {}\n", system_text(&error)));
            return 1;
        }
    };
    let report = check(content.as_slice(), &host.host());
    say(&report.text(&shown));
    if report.severity() == Some(isakmpd_conf::check::Severity::Error) {
        status = 1;
    }
    status
}
