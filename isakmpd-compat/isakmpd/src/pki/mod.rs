//! Certificates and keys of ourselves and of peers (isakmpd 2; isakmpd-wire 6): what lies in `ca/`, `crls/`,
//! `certs/`, `private/`, `pubkeys/` and `keynote/`.
//!
//! Certificates are read at the start and on HUP. Key files are read when they are needed, so that a new one
//! counts at once. [`Pki::pop_log`] gives the log lines all this caused.

mod authorities;
mod certificate;
mod chain;
mod keys;
mod revocation_list;
mod validity;

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use ike::credentials::{Certificate, CredentialError, Credentials, OwnProof, PeerKey, Signer};
use ike::journal::{Class, Journal, Record};
use isakmp_proto::identity::Identity;
use isakmp_proto::number::CertEncoding;

use crate::files::{Entry, Files, MAX_FILE};
use crate::log::system_text;
use crate::policy::credentials;
use authorities::Authorities;
use certificate::Stored;
use keys::Asked;
use revocation_list::RevocationList;

/// Certificates of one message that are looked at: each costs a chain of signatures, and the sender is not known
/// yet.
const MOST_RECEIVED: usize = 16;

/// Where things are, and what is taken: the sections `X509-certificates`, `KeyNote` and `General` of the
/// configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `[X509-certificates] CA-directory`
    pub ca_directory: PathBuf,
    /// `[X509-certificates] Cert-directory`
    pub cert_directory: PathBuf,
    /// `[X509-certificates] CRL-directory`
    pub crl_directory: PathBuf,
    /// `[X509-certificates] Private-key-directory`
    pub private_key_directory: PathBuf,
    /// `[X509-certificates] Private-key`
    pub private_key: PathBuf,
    /// `[X509-certificates] Accept-self-signed`: there at all, whatever it says.
    pub accept_self_signed: bool,
    /// `[General] Pubkey-directory`
    pub pubkey_directory: PathBuf,
    /// `[KeyNote] Credential-directory`
    pub credential_directory: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self::from_lookup(|_, _| None)
    }
}

impl Settings {
    /// From the configuration: `look_up(section, tag)`. What it has not got is where it always was.
    #[must_use]
    pub fn from_lookup(look_up: impl Fn(&str, &str) -> Option<String>) -> Self {
        let path = |section: &str, tag: &str, default: &str| {
            PathBuf::from(look_up(section, tag).unwrap_or_else(|| default.to_owned()))
        };
        let x509 = |tag: &str, default: &str| path("X509-certificates", tag, default);
        Self {
            ca_directory: x509("CA-directory", "/etc/isakmpd/ca/"),
            cert_directory: x509("Cert-directory", "/etc/isakmpd/certs/"),
            crl_directory: x509("CRL-directory", "/etc/isakmpd/crls/"),
            private_key_directory: x509("Private-key-directory", "/etc/isakmpd/private/"),
            private_key: x509("Private-key", "/etc/isakmpd/private/local.key"),
            accept_self_signed: look_up("X509-certificates", "Accept-self-signed").is_some(),
            pubkey_directory: path("General", "Pubkey-directory", "/etc/isakmpd/pubkeys"),
            credential_directory: look_up("KeyNote", "Credential-directory").map(PathBuf::from),
        }
    }
}

/// What was read of it.
#[derive(Default)]
struct Loaded {
    authorities: Authorities,
    /// By each identity of each: the one read last wins, as in the original.
    certificates: HashMap<Identity, Rc<Stored>>,
    /// All of them, for issuers.
    all: Vec<Rc<Stored>>,
}

/// Certificates and keys.
pub struct Pki {
    settings: Settings,
    files: Rc<dyn Files>,
    loaded: Loaded,
    signers: keys::KnownSigners,
    journal: RefCell<Journal>,
}

impl Pki {
    /// Reads the directories. None of them need be there. Debugging lines of the first load are wanted as
    /// `journal` says.
    #[must_use]
    pub fn load(settings: Settings, files: Rc<dyn Files>, journal: Journal) -> Self {
        let mut pki = Self {
            settings,
            files,
            loaded: Loaded::default(),
            journal: RefCell::new(journal),
            signers: keys::KnownSigners::default(),
        };
        pki.reload(None);
        pki
    }

    /// Reads the directories again, with other settings if there are some: for HUP.
    pub fn reload(&mut self, settings: Option<Settings>) {
        if let Some(settings) = settings {
            self.settings = settings;
        }
        let mut loaded = Loaded::default();
        let authorities = self.read_certificates(&self.settings.ca_directory);
        if authorities.is_none() {
            self.plain("x509_cert_init: x509_read_from_dir failed");
        }
        let authorities = authorities.unwrap_or_default();
        let certificates = self.read_certificates(&self.settings.cert_directory);
        if certificates.is_none() && !authorities.is_empty() {
            self.plain("x509_cert_init: x509_read_from_dir failed");
        }
        for (path, stored) in certificates.unwrap_or_default() {
            let stored = Rc::new(stored);
            match stored.identities() {
                Ok(identities) => {
                    if identities.len() < 2 {
                        self.plain(certificate::NO_ALTERNATIVE_NAME);
                    }
                    for identity in identities {
                        loaded.certificates.insert(identity, Rc::clone(&stored));
                    }
                }
                Err(refused) => {
                    self.plain(refused.to_string());
                    self.plain("x509_hash_enter: cannot retrieve subjects");
                    let path = path.display();
                    self.plain(format!(
                        "x509_read_from_dir: x509_hash_enter ({path}) failed"
                    ));
                }
            }
            loaded.all.push(stored);
        }
        let crls = self.read_crls();
        loaded.authorities = Authorities::new(authorities.into_iter().map(|(_, ca)| ca), crls);
        self.loaded = loaded;
    }

    /// The next line for the log.
    pub fn pop_log(&self) -> Option<Record> {
        self.journal.borrow_mut().pop()
    }

    /// Which debugging lines are wanted.
    pub fn set_level(&self, class: Class, level: u8) {
        self.journal.borrow_mut().set_level(class, level);
    }

    fn plain(&self, text: impl Into<String>) {
        self.journal.borrow_mut().plain(text);
    }

    fn debug(&self, class: Class, level: u8, text: impl FnOnce() -> String) {
        self.journal.borrow_mut().debug(class, level, text);
    }

    fn entries(&self, function: &str, directory: &Path) -> Option<Vec<Entry>> {
        match self.files.read_directory(directory) {
            Ok(entries) => Some(entries),
            Err(error) => {
                self.debug(Class::Crypto, 10, || {
                    let (directory, text) = (directory.display(), system_text(&error));
                    format!("{function}: opendir (\"{directory}\") failed: {text}")
                });
                None
            }
        }
    }

    /// The certificates of a directory with their files; `None` if it cannot be read.
    fn read_certificates(&self, directory: &Path) -> Option<Vec<(PathBuf, Stored)>> {
        let mut found = Vec::new();
        self.debug(Class::Crypto, 40, || {
            let directory = directory.display();
            format!("x509_read_from_dir: reading certs from {directory}")
        });
        for (path, file) in self.entries("x509_read_from_dir", directory)? {
            self.debug(Class::Crypto, 60, || {
                format!("x509_read_from_dir: reading certificate {}", path.display())
            });
            let Ok(file) = file else { continue };
            match keys::content(file).and_then(|pem| Stored::from_pem(&pem)) {
                Some(stored) => found.push((path, stored)),
                None => {
                    let path = path.display();
                    self.plain(format!(
                        "x509_read_from_dir: PEM_read_X509 failed for {path}"
                    ));
                }
            }
        }
        Some(found)
    }

    fn read_crls(&self) -> Vec<RevocationList> {
        let mut found = Vec::new();
        let directory = &self.settings.crl_directory;
        self.debug(Class::Crypto, 40, || {
            let directory = directory.display();
            format!("x509_read_crls_from_dir: reading CRLs from {directory}")
        });
        for (path, file) in self
            .entries("x509_read_crls_from_dir", directory)
            .unwrap_or_default()
        {
            self.debug(Class::Crypto, 60, || {
                format!("x509_read_crls_from_dir: reading CRL {}", path.display())
            });
            let Ok(file) = file else { continue };
            let crl = keys::content(file);
            match crl.and_then(|pem| RevocationList::from_pem(&pem)) {
                Some(crl) => {
                    if let Err(why) = &crl.understood {
                        let path = path.display();
                        self.plain(format!(
                            "x509_read_crls_from_dir: CRL {path} is not used: {why}"
                        ));
                    }
                    found.push(crl);
                }
                None => {
                    let path = path.display();
                    self.plain(format!(
                        "x509_read_crls_from_dir: PEM_read_X509_CRL failed for {path}"
                    ));
                }
            }
        }
        found
    }

    /// Where the KeyNote credentials for an identity would be.
    fn credentials_path(&self, identity: &Identity) -> Option<PathBuf> {
        let directory = self.settings.credential_directory.as_ref()?;
        let name = keys::file_name(identity)?;
        Some(directory.join(name).join("credentials"))
    }

    /// The KeyNote credentials in our directory for an identity.
    fn credentials_of(&self, identity: &Identity, asked: &mut Asked) -> Option<Vec<u8>> {
        let path = self.credentials_path(identity)?;
        let file = asked.open(&*self.files, &path);
        if file.is_err() {
            self.debug(Class::Policy, 30, || {
                format!("keynote_cert_obtain: failed to open \"{}\"", path.display())
            });
        }
        keys::content(file.ok()?)
    }

    fn stored_key(&self, peer: &Identity) -> Option<PeerKey> {
        let stored = self.loaded.certificates.get(peer)?;
        let key = stored.rsa_key();
        if key.is_none() {
            self.plain("rsa_sig_decode_hash: decoding certificate failed");
        }
        let key = key?;
        self.debug(Class::Crypto, 40, || {
            "rsa_sig_decode_hash: using cert of type 4".to_owned()
        });
        Some(self.peer_key(stored, key))
    }

    fn received_key(&self, peer: &Identity, received: &Certificate) -> Option<PeerKey> {
        let Some(certificate) = Stored::from_der(&received.data) else {
            self.plain("rsa_sig_decode_hash: can not get data from CERT");
            return None;
        };
        if let Err(refused) = self
            .loaded
            .authorities
            .verify(&certificate, self.settings.accept_self_signed)
        {
            self.plain(refused.to_string());
            self.plain("rsa_sig_decode_hash: received CERT can't be validated");
            return None;
        }
        let identities = match certificate.identities() {
            Ok(identities) => identities,
            Err(refused) => {
                self.plain(refused.to_string());
                self.plain("rsa_sig_decode_hash: can not get subject from CERT");
                return None;
            }
        };
        if identities.len() < 2 {
            self.plain(certificate::NO_ALTERNATIVE_NAME);
        }
        if !identities.contains(peer) {
            self.plain("rsa_sig_decode_hash: no CERT subject match the ID");
            return None;
        }
        let Some(key) = certificate.rsa_key() else {
            self.plain("rsa_sig_decode_hash: decoding payload CERT failed");
            return None;
        };
        Some(self.peer_key(&certificate, key))
    }

    /// KeyNote credentials that all verify: the key they license last.
    fn licensed_key(&self, received: &[u8]) -> Option<PeerKey> {
        match credentials::keynote(received) {
            Ok(found) => Some(PeerKey {
                verifier: Arc::new(keys::RsaVerifier::from_numbers(&found.key.n, &found.key.e)?),
                principals: found.texts,
            }),
            Err(refused) => {
                self.plain(format!("keynote_cert_validate: {refused}"));
                self.plain("rsa_sig_decode_hash: received CERT can't be validated");
                None
            }
        }
    }

    /// The key of a certificate that was looked at; the policy hears who issued it.
    fn peer_key(&self, certificate: &Stored, key: keys::RsaVerifier) -> PeerKey {
        let known = self
            .loaded
            .authorities
            .all()
            .chain(self.loaded.all.iter().map(Rc::as_ref));
        let chain = chain::chain(certificate, known);
        let chain: Vec<_> = chain.iter().map(Stored::library).collect();
        PeerKey {
            verifier: Arc::new(key),
            principals: credentials::x509(&chain),
        }
    }

    fn raw_key(&self, peer: &Identity, asked: &mut Asked) -> Option<PeerKey> {
        let path = keys::raw_key_path(&self.settings.pubkey_directory, peer)?;
        let key = match keys::read_raw_key(asked.open(&*self.files, &path), &path) {
            Ok(Some(key)) => key,
            Ok(None) => {
                self.debug(Class::Negotiation, 50, || {
                    format!("get_raw_key_from_file: file {} not found", path.display())
                });
                return None;
            }
            Err(refused) => {
                self.plain(refused.to_string());
                return None;
            }
        };
        let principals = vec![key.principal()];
        Some(PeerKey {
            verifier: Arc::new(key),
            principals,
        })
    }

    /// Where things of our own may be.
    fn own_paths(&self, own: &Identity) -> Vec<Vec<PathBuf>> {
        let credentials = self.credentials_path(own).map(|path| vec![path]);
        let private_key = keys::private_key_paths(&self.settings, own);
        credentials.into_iter().chain(private_key).collect()
    }

    fn certificate(&self, own: &Identity, asked: &mut Asked) -> Option<Certificate> {
        if let Some(credentials) = self.credentials_of(own, asked) {
            return Some(Certificate {
                encoding: CertEncoding::KEYNOTE.0,
                data: credentials,
            });
        }
        let stored = self.loaded.certificates.get(own);
        if stored.is_none() {
            self.debug(Class::Misc, 10, || {
                let id = own.prefixed_text().unwrap_or_default();
                format!("rsa_sig_encode_hash: no certificate to send for id {id}")
            });
        }
        let data = stored?.to_der()?;
        Some(Certificate {
            encoding: CertEncoding::X509_SIG.0,
            data,
        })
    }

    /// Our private key, or the lines of the log that say why there is none.
    fn signer(&self, own: &Identity, asked: &mut Asked) -> Result<Arc<dyn Signer>, Vec<String>> {
        let (files, settings) = (&*self.files, &self.settings);
        let key = keys::find_private_key(files, settings, &self.signers, own, asked)?;
        Ok(key)
    }

    fn no_signer(&self, lines: Vec<String>) -> CredentialError {
        lines.into_iter().for_each(|line| self.plain(line));
        CredentialError("rsa_sig_encode_hash: could not get private key".to_owned())
    }

    fn key(
        &self,
        peer: &Identity,
        received: &[Certificate],
        asked: &mut Asked,
    ) -> Result<PeerKey, CredentialError> {
        let from_received = || {
            received.iter().take(MOST_RECEIVED).find_map(|certificate| {
                if certificate.data.len() as u64 > MAX_FILE {
                    return None;
                }
                match CertEncoding(certificate.encoding) {
                    CertEncoding::X509_SIG => self.received_key(peer, certificate),
                    CertEncoding::KEYNOTE => self.licensed_key(&certificate.data),
                    other => {
                        self.debug(Class::Misc, 30, || {
                            format!("rsa_sig_decode_hash: no handler for {other} CERT encoding")
                        });
                        None
                    }
                }
            })
        };
        self.stored_key(peer)
            .or_else(from_received)
            .or_else(|| self.raw_key(peer, asked))
            .ok_or_else(|| CredentialError("rsa_sig_decode_hash: no public key found".to_owned()))
    }
}

impl Credentials for Pki {
    fn has_ca(&self) -> bool {
        self.loaded.authorities.count() > 0
    }

    /// The requests are not looked at: as in the original there is one certificate for an identity.
    fn certificate_of(&self, own: &Identity, _requests: &[Vec<u8>]) -> Option<Certificate> {
        self.certificate(own, &mut Asked::default())
    }

    fn signer_of(&self, own: &Identity) -> Result<Arc<dyn Signer>, CredentialError> {
        let signer = self.signer(own, &mut Asked::default());
        signer.map_err(|lines| self.no_signer(lines))
    }

    fn key_of(
        &self,
        peer: &Identity,
        received: &[Certificate],
    ) -> Result<PeerKey, CredentialError> {
        self.key(peer, received, &mut Asked::default())
    }

    fn own_proof(
        &self,
        own: &Identity,
        _requests: &[Vec<u8>],
    ) -> Result<OwnProof, CredentialError> {
        let mut asked = Asked::of(&*self.files, self.own_paths(own));
        let certificate = self.certificate(own, &mut asked);
        let signer = self.signer(own, &mut asked);
        Ok(OwnProof {
            signer: signer.map_err(|lines| self.no_signer(lines))?,
            certificate,
        })
    }

    fn both_proofs(
        &self,
        (own, _requests): (&Identity, &[Vec<u8>]),
        (peer, received): (&Identity, &[Certificate]),
    ) -> Result<(PeerKey, Option<OwnProof>), CredentialError> {
        let mut choices = self.own_paths(own);
        // A peer that we have a certificate of, or that sends some, hardly ever has a raw key, too.
        if received.is_empty() && !self.loaded.certificates.contains_key(peer) {
            let raw_key = keys::raw_key_path(&self.settings.pubkey_directory, peer);
            choices.extend(raw_key.map(|path| vec![path]));
        }
        let mut asked = Asked::of(&*self.files, choices);
        let key = self.key(peer, received, &mut asked)?;
        let own_proof = self.signer(own, &mut asked).ok().map(|signer| OwnProof {
            signer,
            certificate: self.certificate(own, &mut asked),
        });
        Ok((key, own_proof))
    }
}

#[cfg(test)]
mod tests;
