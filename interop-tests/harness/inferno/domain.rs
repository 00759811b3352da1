//! A whole domain of ours: a signer, a database, keyfs, logind and keysrv on free ports.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Deref;
use std::process::Stdio;

use super::database::{self, User};
use super::keys::{AuthInfo, Key, Signer, hex, sha1};
use super::ninep::NineP;
use super::original::{Machine, Original, Ports, Running};
use super::ours::{Root, Service};
use super::records::Records;
use super::sts::{self, connect};
use super::transcript::Transcript;
use crate::program::Guarded;

/// Password of the database.
pub const MASTER: &str = "the master's password";

/// A 9P session with keysrv, attached.
#[derive(Debug)]
pub struct Session {
    /// The client.
    pub client: NineP<Records<TcpStream>>,
    /// Fid of the root.
    pub root: u32,
}

impl Session {
    /// Attaches over a connection that carries records.
    ///
    /// # Errors
    ///
    /// What the server said, or `hungup`.
    pub fn start(records: Records<TcpStream>) -> Result<Session, String> {
        let mut client = NineP::new(records);
        client.version(8216, "9P2000")?;
        let root = client.attach("test")?;
        Ok(Session { client, root })
    }

    /// Writes to `secret` as it stands.
    ///
    /// # Errors
    ///
    /// As `start`.
    pub fn write(&mut self, data: &[u8]) -> Result<u32, String> {
        self.client.store(self.root, &["secret"], data)
    }

    /// Checks a secret.
    ///
    /// # Errors
    ///
    /// As `start`.
    pub fn check(&mut self, secret: &[u8]) -> Result<u32, String> {
        self.write(hex(&sha1(secret)).as_bytes())
    }

    /// Changes a secret.
    ///
    /// # Errors
    ///
    /// As `start`.
    pub fn change(&mut self, old: &[u8], new: &[u8]) -> Result<u32, String> {
        let hash = hex(&sha1(old)) + " ";
        self.write(&[hash.as_bytes(), new].concat())
    }
}

/// A domain as its clients see it.
#[derive(Debug)]
pub struct Place {
    /// Who certifies.
    pub signer: Signer,
    /// Where keysrv is.
    pub key: SocketAddr,
    /// Where logind is.
    pub login: SocketAddr,
}

impl Place {
    fn new(ports: Ports) -> Place {
        Place {
            signer: Signer::new("signer.example"),
            key: (Ipv4Addr::LOCALHOST, ports.key).into(),
            login: (Ipv4Addr::LOCALHOST, ports.login).into(),
        }
    }

    /// A certified key for a user.
    pub fn issue(&self, user: &str) -> AuthInfo {
        self.signer.issue(user)
    }

    /// A certified key that is not new: many users share its numbers, which saves their making.
    pub fn issue_quickly(&self, user: &str) -> AuthInfo {
        self.signer.issue_for(self.signer.key.owned_by(user), 0)
    }

    /// A session as this user.
    ///
    /// # Errors
    ///
    /// What the server said, or `hungup`.
    pub fn session(&self, info: &AuthInfo) -> Result<Session, String> {
        Session::start(sts::session(connect(self.key), info, "sha1/rc4_256")?)
    }

    /// A session as a user with a new key; panics if there is none.
    pub fn session_of(&self, user: &str) -> Session {
        let session = self.session(&self.issue_quickly(user));
        session.unwrap_or_else(|e| panic!("{user}: {e}"))
    }

    /// A login.
    ///
    /// # Errors
    ///
    /// What the server said, or `hungup`.
    pub fn login(&self, user: &str, password: &str) -> Result<AuthInfo, String> {
        self.login_with(Key::new(user, 1024), password)
    }

    /// A login for a certificate of this key.
    ///
    /// # Errors
    ///
    /// As `login`.
    pub fn login_with(&self, key: Key, password: &str) -> Result<AuthInfo, String> {
        let bent = super::login::Bent::default();
        super::login::login(connect(self.login), key, password.as_bytes(), &bent)
    }
}

/// A domain served by our programs.
#[derive(Debug)]
pub struct Domain {
    place: Place,
    /// The tree of the programs.
    pub root: Root,
    /// keyfs
    pub keyfs: Service,
    /// svc-auth
    pub service: Service,
}

impl Deref for Domain {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Domain {
    /// With these users.
    pub fn new(users: &[User]) -> Domain {
        Domain::with(users, &[])
    }

    /// With these users and more options for svc-auth.
    pub fn with(users: &[User], options: &[&str]) -> Domain {
        Domain::on(Root::new(), users, options)
    }

    /// On a root of one's choice.
    pub fn on(root: Root, users: &[User], options: &[&str]) -> Domain {
        let ports = Ports::free();
        let place = Place::new(ports);
        root.install(&place.signer.own(), &place.signer.issue("server"));
        root.fill(users, MASTER);
        let keyfs = root.keyfs();
        let service = root.serve_on(ports, options);
        Domain {
            place,
            root,
            keyfs,
            service,
        }
    }
}

/// A domain served by the original.
#[derive(Debug)]
pub struct Inferno {
    place: Place,
    /// The machine.
    pub machine: Machine,
    /// Its services.
    pub running: Running,
}

impl Deref for Inferno {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Inferno {
    /// With these users.
    pub fn new(original: &'static Original, users: &[User]) -> Inferno {
        let ports = Ports::free();
        let place = Place::new(ports);
        let machine = Machine::new(original, ports);
        machine.put("keydb/signerkey", place.signer.own().file());
        machine.put(
            "usr/root/keyring/default",
            place.signer.issue("server").file(),
        );
        let running = machine.serve(&database::write(users, MASTER), MASTER);
        Inferno {
            place,
            machine,
            running,
        }
    }
}

/// Starts a program as inetd does, on a connection of its own; gives the other end, the process
/// and its stderr.
pub fn as_inetd(root: &Root, program: &str, args: &[&str]) -> (TcpStream, Guarded, Transcript) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address: SocketAddr = listener.local_addr().expect("its number");
    let client = connect(address);
    let (server, _) = listener.accept().expect("a connection");
    let copy = server.try_clone().expect("a copy");
    let mut child = root
        .command(program, args)
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(server)))
        .stdout(Stdio::from(std::os::fd::OwnedFd::from(copy)))
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    let log = Transcript::default();
    log.follow(child.stderr.take().expect("stderr"));
    (client, Guarded(child), log)
}

/// A domain whoever serves it.
pub trait Served: Deref<Target = Place> {
    /// The entry of a user in the database.
    fn stored(&self, name: &str) -> User;
    /// Served by the original.
    fn is_original(&self) -> bool;
}

impl Served for Domain {
    fn stored(&self, name: &str) -> User {
        self.root.user(name, MASTER)
    }

    fn is_original(&self) -> bool {
        false
    }
}

impl Served for Inferno {
    fn stored(&self, name: &str) -> User {
        let all = database::read(&self.machine.get("keydb/keys"), MASTER);
        let found = all.into_iter().find(|user| user.name == name);
        found.unwrap_or_else(|| panic!("no {name}"))
    }

    fn is_original(&self) -> bool {
        true
    }
}

/// Calls `test` with ours, and with the original where there is one: what is demanded of ours is
/// what the original does.
pub fn everywhere(users: &[User], test: impl Fn(&dyn Served)) {
    if let Some(original) = super::original::original() {
        eprintln!("the original:");
        test(&Inferno::new(original, users));
        eprintln!("ours:");
    }
    test(&Domain::new(users));
}
