//! The client's side of station-to-station authentication ("keysrv spec 5"), honest or not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::framing::{Heard, receive, send};
use super::keys::{AuthInfo, number, number_text, power, random_exponent, verifies};
use super::records::Records;

/// What is sent in place of the right thing.
#[derive(Debug, Default, Clone)]
pub struct Bent {
    /// Version.
    pub version: Option<Vec<u8>>,
    /// Text of the exponential.
    pub exponential: Option<Vec<u8>>,
    /// Certificate.
    pub certificate: Option<Vec<u8>>,
    /// Public key.
    pub public_key: Option<Vec<u8>>,
    /// Message 3.
    pub signature: Option<Vec<u8>>,
    /// Message 4.
    pub status: Option<Vec<u8>>,
    /// The server's own exponential is sent back to it.
    pub reflect: bool,
}

/// A finished exchange.
#[derive(Debug)]
pub struct Authenticated {
    /// Owner of the peer's key.
    pub peer: String,
    /// What both know now.
    pub secret: Vec<u8>,
}

/// A connection to a server, with a limit on every wait.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap_or_else(|e| panic!("{address}: {e}"));
    let limit = Some(Duration::from_secs(30));
    stream.set_read_timeout(limit).expect("a limit");
    stream.set_write_timeout(limit).expect("a limit");
    stream.set_nodelay(true).expect("TCP_NODELAY");
    stream
}

/// Everything up to the record layer.
///
/// # Errors
///
/// What the server said was wrong, or `hungup`. What the server itself does wrong panics.
pub fn authenticate(
    stream: &mut (impl Read + Write),
    mine: &AuthInfo,
    bent: &Bent,
) -> Result<Authenticated, String> {
    let or = |bent: &Option<Vec<u8>>, right: &str| bent.clone().unwrap_or(right.into());
    // A server that has already refused may be gone: what it said is still to be read.
    let say = |stream: &mut _, text: &[u8]| drop(send(stream, text));
    say(stream, &or(&bent.version, "1"));
    assert_eq!(receive(stream).text()?, b"1", "the server's version");

    let r = random_exponent(&mine.p);
    let my_text = number_text(&power(&mine.alpha, &r, &mine.p));
    let mut his_first = None;
    if bent.reflect {
        let theirs = receive(stream).text()?;
        say(stream, &theirs);
        his_first = Some(theirs);
    } else {
        say(stream, &or(&bent.exponential, &my_text));
    }
    say(stream, &or(&bent.certificate, &mine.certificate));
    say(stream, &or(&bent.public_key, &mine.key.public()));
    let mut part = || {
        let text = his_first
            .take()
            .map_or_else(|| receive(stream).text(), Ok)?;
        Ok::<_, String>(String::from_utf8(text).expect("UTF-8"))
    };
    let (his_text, certificate, public_key) = (part()?, part()?, part()?);
    assert!(
        verifies(&mine.signer, &certificate, public_key.as_bytes()),
        "the server's certificate"
    );

    let signed = format!("{my_text}{his_text}");
    let signature = mine.key.certify(signed.as_bytes(), 0);
    say(stream, &or(&bent.signature, &signature));
    let theirs = String::from_utf8(receive(stream).text()?).expect("UTF-8");
    let signed = format!("{his_text}{my_text}");
    if bent.exponential.is_none() && !bent.reflect {
        assert!(
            verifies(&public_key, &theirs, signed.as_bytes()),
            "the server's signature"
        );
    }
    say(stream, &or(&bent.status, "OK"));
    assert_eq!(receive(stream).text()?, b"OK", "the server's last word");
    Ok(Authenticated {
        peer: public_key.lines().nth(1).unwrap_or_default().to_owned(),
        secret: power(&number(&his_text), &r, &mine.p).to_vec(),
    })
}

/// The same, then the line that names the algorithms, then records by it.
///
/// # Errors
///
/// As `authenticate`.
pub fn session(
    mut stream: TcpStream,
    mine: &AuthInfo,
    algorithms: &str,
) -> Result<Records<TcpStream>, String> {
    let done = authenticate(&mut stream, mine, &Bent::default())?;
    send(&mut stream, algorithms.as_bytes()).map_err(|e| e.to_string())?;
    let mut records = Records::new(stream);
    let rc4 = algorithms.contains("rc4_256").then_some(&done.secret[..]);
    records.protect(&done.secret, algorithms.contains("sha1"), rc4);
    Ok(records)
}

/// Reads until the server says what was wrong or hangs up.
pub fn verdict(stream: &mut impl Read) -> Heard {
    loop {
        match receive(stream) {
            Heard::Text(_) => {}
            other => return other,
        }
    }
}
