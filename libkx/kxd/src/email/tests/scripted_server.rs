//! A mail server for one connection that follows a script, on a thread of its own.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslAcceptor, SslMethod};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Name};

/// What the server does next.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Sends these octets.
    Say(Vec<u8>),
    /// Reads a line.
    Line,
    /// Reads to the line with one dot.
    Data,
    /// Waits.
    Pause(Duration),
    /// Shakes hands as the TLS server.
    Tls,
}

/// The server's identity for TLS: good for 127.0.0.1, signed by itself.
pub(super) struct Identity {
    pub(super) certificate: X509,
    key: PKey<Private>,
}

impl Identity {
    pub(super) fn new(ip: &str) -> Identity {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let mut name = X509Name::builder().unwrap();
        name.append_entry_by_nid(Nid::COMMONNAME, "sink").unwrap();
        let name = name.build();
        let mut b = X509::builder().unwrap();
        b.set_version(2).unwrap();
        b.set_serial_number(&BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap())
            .unwrap();
        b.set_subject_name(&name).unwrap();
        b.set_issuer_name(&name).unwrap();
        b.set_not_before(&Asn1Time::from_unix(0).unwrap()).unwrap();
        b.set_not_after(&Asn1Time::days_from_now(3650).unwrap())
            .unwrap();
        b.set_pubkey(&key).unwrap();
        b.append_extension(BasicConstraints::new().critical().ca().build().unwrap())
            .unwrap();
        let san = SubjectAlternativeName::new()
            .ip(ip)
            .build(&b.x509v3_context(None, None));
        b.append_extension(san.unwrap()).unwrap();
        b.sign(&key, MessageDigest::sha256()).unwrap();
        Identity {
            certificate: b.build(),
            key,
        }
    }
}

/// A running server.
pub(super) struct Sink {
    pub(super) addr: SocketAddr,
    thread: JoinHandle<Vec<u8>>,
}

impl Sink {
    /// Starts; `identity` is for [`Step::Tls`].
    pub(super) fn start(script: Vec<Step>, identity: Option<Identity>) -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let (tcp, _) = listener.accept().unwrap();
            tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let mut heard = Vec::new();
            // A client that goes away in the middle ends the script; what it said is the result.
            let _ = follow(tcp, &script, identity.as_ref(), &mut heard);
            heard
        });
        Sink { addr, thread }
    }

    /// All that the client said, in the clear or over TLS.
    pub(super) fn heard(self) -> Vec<u8> {
        self.thread.join().unwrap()
    }
}

fn follow(
    tcp: TcpStream,
    script: &[Step],
    identity: Option<&Identity>,
    heard: &mut Vec<u8>,
) -> io::Result<()> {
    let at = script
        .iter()
        .position(|s| matches!(s, Step::Tls))
        .unwrap_or(script.len());
    let (clear, rest) = script.split_at(at);
    let mut clear_stream = Unbuffered(tcp);
    talk(&mut clear_stream, clear, heard)?;
    let (Some(_), Some(identity)) = (rest.first(), identity) else {
        return Ok(());
    };
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    acceptor.set_certificate(&identity.certificate).unwrap();
    acceptor.set_private_key(&identity.key).unwrap();
    let tls = acceptor
        .build()
        .accept(clear_stream.0)
        .map_err(io::Error::other)?;
    talk(tls, &rest[1..], heard)
}

/// Reads octet by octet: nothing of what belongs to TLS must be swallowed.
struct Unbuffered(TcpStream);

impl Read for Unbuffered {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(&mut buf[..1])
    }
}

impl Write for Unbuffered {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn talk(stream: impl Read + Write, steps: &[Step], heard: &mut Vec<u8>) -> io::Result<()> {
    let mut stream = BufReader::with_capacity(1, stream);
    for step in steps {
        match step {
            Step::Say(bytes) => stream.get_mut().write_all(bytes)?,
            Step::Line => drop(stream.read_until(b'\n', heard)?),
            Step::Data => {
                let mut line = Vec::new();
                while line != b".\r\n" {
                    line.clear();
                    if stream.read_until(b'\n', &mut line)? == 0 {
                        break;
                    }
                    heard.extend_from_slice(&line);
                }
            }
            Step::Pause(time) => std::thread::sleep(*time),
            Step::Tls => unreachable!("split off"),
        }
    }
    Ok(())
}
