//! Addresses as `net!host!service` and how to call them (keysrv spec 12.1, 14, 19.2).

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use crate::ndb::Database;
use crate::program::Environment;

/// How long one address of a host may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long all addresses of a host may take together.
const PATIENCE_IN_ALL: Duration = Duration::from_secs(30);

/// The services of the suite and its neighbours (keysrv spec 14), for those who have no
/// `lib/ndb/inferno`.
const SERVICES: [(&str, u16); 8] = [
    ("inflogin", 6673),
    ("infkey", 6677),
    ("infsigner", 6671),
    ("infcsigner", 6672),
    ("styx", 6666),
    ("rstyx", 6668),
    ("registry", 6675),
    ("secstore", 5356),
];

/// Why an address cannot be called or announced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// It has not the parts it needs.
    #[error("bad dial string")]
    Syntax,
    /// Neither `net` nor `tcp`.
    #[error("unknown network: {0}")]
    Network(String),
    /// `$NAME` stands for nothing.
    #[error("{0} is not set, and not in lib/ndb/local")]
    Variable(String),
    /// No such service.
    #[error("unknown service: {0}")]
    Service(String),
    /// The name of the host has no address.
    #[error("can't translate address: {0}")]
    Host(String),
    /// No answer in time.
    #[error("connection timed out")]
    TimedOut,
    /// The system's.
    #[error("{}", kx_log::format_errno(.0))]
    System(#[from] io::Error),
}

/// The parts of an address, with `$NAME` replaced and the service as a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// A name, an address, or `*`.
    pub host: String,
    /// Of TCP.
    pub port: u16,
}

/// Completes an address as netmkaddr does (dial(2)): `host` becomes `network!host!service`, with two
/// parts it gets the service, with three it stays.
#[must_use]
pub fn with_service(address: &str, network: &str, service: &str) -> String {
    match parts(address).len() {
        0 | 1 => format!("{network}!{address}!{service}"),
        2 => format!("{address}!{service}"),
        _ => address.to_owned(),
    }
}

/// As tokenize(2) does it: empty parts do not count.
fn parts(address: &str) -> Vec<&str> {
    address.split('!').filter(|part| !part.is_empty()).collect()
}

impl Address {
    /// Of `network!host!service`. `$NAME` as host or service is the environment variable or, without
    /// it, the first entry of that name in `lib/ndb/local` below the root; it may be a whole address
    /// (`SIGNER=tcp!host!port`), of which then only the parts that are asked for count.
    ///
    /// # Errors
    /// [`DialError`].
    pub fn resolve(environment: &Environment, address: &str) -> Result<Address, DialError> {
        let [network, host, service] = *parts(address) else {
            return Err(DialError::Syntax);
        };
        if !matches!(network, "net" | "tcp") {
            return Err(DialError::Network(network.to_owned()));
        }
        let database = Database::open(environment.paths.root());
        let host = match host.strip_prefix('$') {
            None => host.to_owned(),
            Some(name) => {
                let value = variable(environment, &database, name)?;
                // A whole address in the variable brings its own service.
                match *parts(&value) {
                    [network @ ("net" | "tcp"), host, service] => {
                        let whole = format!("{network}!{host}!{service}");
                        if whole.contains('$') {
                            return Err(DialError::Syntax);
                        }
                        return Address::resolve(environment, &whole);
                    }
                    ["net" | "tcp", host] => host.to_owned(),
                    [host] => host.to_owned(),
                    _ => return Err(DialError::Syntax),
                }
            }
        };
        Ok(Address {
            host,
            port: port(&database, service)?,
        })
    }

    /// All addresses to listen on; `*` is one for both families.
    ///
    /// # Errors
    /// [`DialError`].
    pub fn addresses(&self) -> Result<Vec<SocketAddr>, DialError> {
        if self.host == "*" {
            return Ok(vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, self.port))]);
        }
        let bare = self.host.strip_prefix('[');
        let bare = bare.and_then(|rest| rest.strip_suffix(']'));
        if let Ok(ip) = bare.unwrap_or(&self.host).parse::<IpAddr>() {
            return Ok(vec![SocketAddr::from((ip, self.port))]);
        }
        let found = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .map_err(|_| DialError::Host(self.host.clone()))?
            .collect::<Vec<_>>();
        match found.is_empty() {
            true => Err(DialError::Host(self.host.clone())),
            false => Ok(found),
        }
    }

    /// Connects to the first address of the host that answers.
    ///
    /// # Errors
    /// [`DialError`]: that of the address tried last.
    pub fn connect(&self) -> Result<TcpStream, DialError> {
        let host = match self.host.as_str() {
            // To call "any" is to call oneself.
            "*" => "localhost",
            host => host,
        };
        let address = Address {
            host: host.to_owned(),
            port: self.port,
        };
        let deadline = Instant::now() + PATIENCE_IN_ALL;
        let mut result = Err(DialError::TimedOut);
        for address in address.addresses()? {
            let left = deadline
                .saturating_duration_since(Instant::now())
                .min(PATIENCE);
            if left.is_zero() {
                break;
            }
            result = match TcpStream::connect_timeout(&address, left) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(DialError::TimedOut),
                Err(error) => Err(error.into()),
            };
        }
        result
    }
}

/// Calls a complete address.
///
/// # Errors
/// [`DialError`].
pub fn dial(environment: &Environment, address: &str) -> Result<TcpStream, DialError> {
    Address::resolve(environment, address)?.connect()
}

fn variable(
    environment: &Environment,
    database: &Database,
    name: &str,
) -> Result<String, DialError> {
    environment
        .variable(name)
        .and_then(|value| value.to_str())
        .or_else(|| database.value(name))
        .map(str::to_owned)
        .ok_or_else(|| DialError::Variable(format!("${name}")))
}

fn port(database: &Database, service: &str) -> Result<u16, DialError> {
    let table = || {
        let mut table = SERVICES.iter();
        table
            .find(|(name, _)| *name == service)
            .map(|&(_, port)| port)
    };
    service
        .parse()
        .ok()
        .or_else(|| database.tcp_port(service))
        .or_else(table)
        .ok_or_else(|| DialError::Service(service.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::program::fake;

    fn resolve(text: &str, signer: Option<&str>, local: &str) -> Result<(String, u16), String> {
        let root = tempfile::tempdir().expect("directory");
        std::fs::create_dir_all(root.path().join("lib/ndb")).expect("directory");
        std::fs::write(root.path().join("lib/ndb/local"), local).expect("file");
        let (mut environment, _, _) = fake::environment("passwd", root.path(), b"");
        if let Some(signer) = signer {
            environment.variables.insert("SIGNER".into(), signer.into());
        }
        match Address::resolve(&environment, text) {
            Ok(address) => Ok((address.host, address.port)),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn addresses_are_completed() {
        for (given, expected) in [
            ("host", "net!host!infkey"),
            ("$SIGNER", "net!$SIGNER!infkey"),
            ("tcp!host", "tcp!host!infkey"),
            ("tcp!host!77", "tcp!host!77"),
            ("", "net!!infkey"),
            ("host!", "net!host!!infkey"),
        ] {
            assert_eq!(with_service(given, "net", "infkey"), expected);
        }
    }

    #[test]
    fn services_have_names_and_numbers() {
        for (text, expected) in [
            ("net!h!infkey", Ok(("h".to_owned(), 6677))),
            ("tcp!::1!inflogin", Ok(("::1".to_owned(), 6673))),
            ("net!h!!infsigner", Ok(("h".to_owned(), 6671))),
            ("tcp!*!80", Ok(("*".to_owned(), 80))),
            ("tcp!h!65536", Err("unknown service: 65536".to_owned())),
            ("udp!h!1", Err("unknown network: udp".to_owned())),
            ("h", Err("bad dial string".to_owned())),
            ("net!!infkey", Err("bad dial string".to_owned())),
            ("net!a!b!c", Err("bad dial string".to_owned())),
        ] {
            assert_eq!(resolve(text, None, ""), expected, "{text}");
        }
        let local = "tcp=infkey port=16677\n";
        assert_eq!(
            resolve("net!h!infkey", None, local),
            Ok(("h".into(), 16_677))
        );
    }

    #[test]
    fn the_signer_is_a_variable_or_in_the_data_base() {
        let local = "site=\n SIGNER=local.example\n";
        let ask = |signer, local| resolve("net!$SIGNER!infkey", signer, local);
        assert_eq!(
            ask(Some("env.example"), local),
            Ok(("env.example".into(), 6677))
        );
        assert_eq!(ask(None, local), Ok(("local.example".into(), 6677)));
        assert_eq!(ask(Some("tcp!h!9"), local), Ok(("h".into(), 9)));
        assert_eq!(ask(Some("tcp!h"), local), Ok(("h".into(), 6677)));
        assert_eq!(
            ask(Some("tcp!$SIGNER!9"), local),
            Err("bad dial string".into())
        );
        let nobody = "$SIGNER is not set, and not in lib/ndb/local";
        assert_eq!(ask(None, ""), Err(nobody.into()));
    }

    #[test]
    fn calls_reach_both_families_and_failures_say_why() {
        let (environment, _, _) = fake::environment("passwd", std::path::Path::new("/"), b"");
        for host in ["127.0.0.1", "::1"] {
            let Ok(listener) = TcpListener::bind((host, 0)) else {
                continue; // no IPv6 here
            };
            let port = listener.local_addr().expect("address").port();
            dial(&environment, &format!("tcp!{host}!{port}")).expect("connected");
            dial(&environment, &format!("tcp![{host}]!{port}")).expect("connected");
            drop(listener);
            let error = dial(&environment, &format!("tcp!{host}!{port}")).expect_err("closed");
            assert_eq!(error.to_string(), "connection refused");
        }
        let error = dial(&environment, "tcp!no-such-host.invalid!1").expect_err("no such host");
        let text = "can't translate address: no-such-host.invalid";
        assert_eq!(error.to_string(), text);
    }
}
