//! How a user names a card: `pcsc:READER`, `vcard:DIR`, `vpcd:HOST:PORT` (xkek spec 12).

use std::path::PathBuf;

/// A card, named but not opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spec {
    /// `pcsc:NAME`: the first PC/SC reader whose name begins with NAME, or the reader with that number.
    /// `pcsc:` is the first reader with a card.
    Pcsc(String),
    /// `vcard:DIR[,ca=DIR]`: a software card in this process, with its state in the directory.
    Vcard {
        /// Where its state is.
        state: PathBuf,
        /// The certification authority it is made under, if it is not its own.
        authority: Option<PathBuf>,
    },
    /// `vpcd:HOST:PORT`: a software card that listens there (`kx-vcard --listen`).
    Vpcd(String),
    /// `vpcd-listen:HOST:PORT`: wait there for a software card, as pcscd's driver does.
    VpcdListen(String),
    /// `transcript:FILE`: answers from a recording; any other command than the next recorded one is an
    /// error.
    Transcript(PathBuf),
}

/// A SPEC that names no card.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Nothing before a colon that is known.
    #[error("{0}: no card. Use pcsc:READER, vcard:DIRECTORY or vpcd:HOST:PORT")]
    Unknown(String),
    /// Nothing after the colon.
    #[error("{0}: what follows the colon is missing")]
    Empty(&'static str),
    /// No port after the host.
    #[error("{0}: not HOST:PORT")]
    NoPort(String),
}

fn host_port(kind: &'static str, rest: &str) -> Result<String, SpecError> {
    if rest.is_empty() {
        return Err(SpecError::Empty(kind));
    }
    let port = rest.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    match port.map(|(_, port)| port.parse::<u16>()) {
        Some(Ok(port)) if port != 0 => Ok(rest.to_owned()),
        _ => Err(SpecError::NoPort(rest.to_owned())),
    }
}

fn path(kind: &'static str, rest: &str) -> Result<PathBuf, SpecError> {
    if rest.is_empty() {
        return Err(SpecError::Empty(kind));
    }
    Ok(PathBuf::from(rest))
}

impl std::str::FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let unknown = || SpecError::Unknown(text.to_owned());
        let (kind, rest) = text.split_once(':').ok_or_else(unknown)?;
        match kind {
            "pcsc" => Ok(Spec::Pcsc(rest.to_owned())),
            "vcard" => {
                let (state, authority) = match rest.split_once(",ca=") {
                    Some((state, authority)) => (state, Some(path("vcard", authority)?)),
                    None => (rest, None),
                };
                let state = path("vcard", state)?;
                Ok(Spec::Vcard { state, authority })
            }
            "vpcd" => host_port("vpcd", rest).map(Spec::Vpcd),
            "vpcd-listen" => host_port("vpcd-listen", rest).map(Spec::VpcdListen),
            "transcript" => path("transcript", rest).map(Spec::Transcript),
            _ => Err(unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Spec, SpecError};

    #[test]
    fn each_kind_is_read() {
        let read = |text: &str| text.parse::<Spec>();
        assert_eq!(
            read("pcsc:Nitrokey: HSM"),
            Ok(Spec::Pcsc("Nitrokey: HSM".into()))
        );
        assert_eq!(read("pcsc:"), Ok(Spec::Pcsc(String::new())));
        let state = "/tmp/a".into();
        let authority = None;
        assert_eq!(read("vcard:/tmp/a"), Ok(Spec::Vcard { state, authority }));
        let state = "a".into();
        let authority = Some("b".into());
        assert_eq!(read("vcard:a,ca=b"), Ok(Spec::Vcard { state, authority }));
        assert_eq!(
            read("vpcd:[::1]:35963"),
            Ok(Spec::Vpcd("[::1]:35963".into()))
        );
        assert_eq!(
            read("vpcd-listen:localhost:1"),
            Ok(Spec::VpcdListen("localhost:1".into()))
        );
        assert_eq!(
            read("transcript:x.apdu"),
            Ok(Spec::Transcript("x.apdu".into()))
        );
    }

    #[test]
    fn what_names_no_card_is_said() {
        let read = |text: &str| text.parse::<Spec>();
        assert_eq!(read("reader"), Err(SpecError::Unknown("reader".into())));
        assert_eq!(read("usb:1"), Err(SpecError::Unknown("usb:1".into())));
        assert_eq!(read("vcard:"), Err(SpecError::Empty("vcard")));
        assert_eq!(read("vcard:a,ca="), Err(SpecError::Empty("vcard")));
        assert_eq!(read("vpcd:"), Err(SpecError::Empty("vpcd")));
        for wrong in ["host", "host:", ":1", "host:0", "host:65536", "host:x"] {
            let error = Err(SpecError::NoPort(wrong.into()));
            assert_eq!(read(&format!("vpcd:{wrong}")), error);
        }
    }
}
