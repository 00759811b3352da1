//! Keys and policy: read at start and again with the configuration.

use std::cell::RefCell;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use ike::credentials::{Certificate, CredentialError, Credentials, OwnProof, PeerKey, Signer};
use ike::journal::Journal;
use ike::policy::Policy;
use isakmp_proto::identity::Identity;
use isakmpd_conf::Running;

use crate::files::{Files, SecretError, read_secret};
use crate::log::{ALL, Log, system_text};
use crate::pki::{Pki, Settings};
use crate::policy::KeynotePolicy;

/// Where the policy is unless `Policy-file` says otherwise.
const POLICY: &str = "/etc/isakmpd/isakmpd.policy";

/// Why there is no policy although one is to be used. The text is the original's.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It cannot be opened.
    #[error("policy_init: open (\"{}\", O_RDONLY) failed: {}", path.display(), system_text(source))]
    Open {
        /// Where.
        path: PathBuf,
        /// The system's.
        source: io::Error,
    },
    /// Owner or mode, which the line before says; or it cannot be read.
    #[error("policy_init: cannot read {}: {}", path.display(), system_text(source))]
    Refused {
        /// Where.
        path: PathBuf,
        /// The system's.
        source: io::Error,
    },
}

/// Certificates and keys that can be read again while the engine has them.
pub struct Keys(RefCell<Pki>);

impl Keys {
    /// Lines for the log that using them caused.
    pub fn drain_log(&self, mut each: impl FnMut(ike::journal::Record)) {
        while let Some(record) = self.0.borrow().pop_log() {
            each(record);
        }
    }

    /// Makes the lines that the log wants.
    pub fn synchronize(&self, log: &Log) {
        for (class, level) in ALL.into_iter().zip(log.levels_for_engine()) {
            self.0.borrow().set_level(class, level);
        }
    }
}

impl Credentials for Keys {
    fn has_ca(&self) -> bool {
        self.0.borrow().has_ca()
    }

    fn certificate_of(&self, own: &Identity, requests: &[Vec<u8>]) -> Option<Certificate> {
        self.0.borrow().certificate_of(own, requests)
    }

    fn signer_of(&self, own: &Identity) -> Result<Arc<dyn Signer>, CredentialError> {
        self.0.borrow().signer_of(own)
    }

    fn key_of(
        &self,
        peer: &Identity,
        received: &[Certificate],
    ) -> Result<PeerKey, CredentialError> {
        self.0.borrow().key_of(peer, received)
    }

    fn own_proof(&self, own: &Identity, requests: &[Vec<u8>]) -> Result<OwnProof, CredentialError> {
        self.0.borrow().own_proof(own, requests)
    }

    fn both_proofs(
        &self,
        own: (&Identity, &[Vec<u8>]),
        peer: (&Identity, &[Certificate]),
    ) -> Result<(PeerKey, Option<OwnProof>), CredentialError> {
        self.0.borrow().both_proofs(own, peer)
    }
}

/// What is read again.
pub struct Reloadable {
    /// `-K`
    no_policy: bool,
    keys: Rc<Keys>,
}

fn settings(configuration: &Running) -> Settings {
    let store = configuration.store();
    Settings::from_lookup(|section, tag| {
        let value = store.get(section, tag);
        value.map(std::borrow::Cow::into_owned)
    })
}

impl Reloadable {
    /// Reads the keys. `no_policy`: `-K`
    #[must_use]
    pub fn load(
        no_policy: bool,
        configuration: &Running,
        files: &Rc<dyn Files>,
        log: &Log,
    ) -> Reloadable {
        let mut journal = Journal::default();
        for (class, level) in ALL.into_iter().zip(log.levels_for_engine()) {
            journal.set_level(class, level);
        }
        let pki = Pki::load(settings(configuration), Rc::clone(files), journal);
        Reloadable {
            no_policy,
            keys: Rc::new(Keys(RefCell::new(pki))),
        }
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &Rc<Keys> {
        &self.keys
    }

    /// The policy in force; none with `-K` or unless `Use-Keynote` begins with `yes`.
    ///
    /// # Errors
    /// One is to be used and cannot be.
    pub fn policy(
        &self,
        configuration: &Running,
        files: &dyn Files,
        log: &Log,
    ) -> Result<Option<Rc<dyn Policy>>, PolicyError> {
        let store = configuration.store();
        let wanted = store.get("General", "Use-Keynote");
        if self.no_policy || !wanted.is_some_and(|wanted| wanted.starts_with("yes")) {
            return Ok(None);
        }
        let path = store.get("General", "Policy-file");
        let path = path.map_or_else(|| POLICY.to_owned(), std::borrow::Cow::into_owned);
        let path = PathBuf::from(path);
        let content = match read_secret(files, &path) {
            Ok(content) => content,
            Err(SecretError::Open(source)) => return Err(PolicyError::Open { path, source }),
            Err(refused @ SecretError::Refused(_)) => {
                log.print(refused.to_string());
                let source = io::Error::from_raw_os_error(libc::EPERM);
                return Err(PolicyError::Refused { path, source });
            }
            Err(SecretError::Read(source)) => return Err(PolicyError::Refused { path, source }),
        };
        let (policy, findings) = KeynotePolicy::from_text(content.as_slice());
        for finding in findings {
            log.print(format!("policy_init: {}: {finding}", path.display()));
        }
        if policy.is_empty() {
            log.print("policy_init: all policies flushed");
        }
        Ok(Some(Rc::new(policy)))
    }

    /// Reads all again. None: the policy stays, since the new one cannot be read.
    pub fn reload(
        &self,
        configuration: &Running,
        files: &dyn Files,
        log: &Log,
    ) -> Option<Option<Rc<dyn Policy>>> {
        let policy = match self.policy(configuration, files, log) {
            Ok(policy) => Some(policy),
            Err(error) => {
                log.complain(error.to_string());
                log.complain("policy_init: the former policy stays in force");
                None
            }
        };
        self.keys
            .0
            .borrow_mut()
            .reload(Some(settings(configuration)));
        policy
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use isakmpd_conf::Store;
    use isakmpd_conf::host::Host;

    use super::*;
    use crate::daemon::{apply_levels, read_configuration};
    use crate::files::{Direct, Rules};

    struct Place {
        directory: tempfile::TempDir,
        log: Rc<Log>,
        files: Rc<dyn Files>,
    }

    impl Place {
        fn new() -> Place {
            let directory = tempfile::tempdir().expect("directory");
            let log = Rc::new(Log::memory());
            let rules = Rules::new(directory.path().to_owned(), "/none".into());
            let files: Rc<dyn Files> = Rc::new(Direct::new(rules, Rc::clone(&log)));
            Place {
                directory,
                log,
                files,
            }
        }

        fn put(&self, name: &str, text: &str, mode: u32) -> PathBuf {
            let path = self.directory.path().join(name);
            std::fs::write(&path, text).expect("written");
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, permissions).expect("mode");
            path
        }

        fn configuration(&self, path: &Path) -> Rc<Running> {
            let configuration = Rc::new(Running::new(Store::new(), Host::default()));
            read_configuration(&configuration, path, &*self.files, &self.log);
            configuration
        }
    }

    #[test]
    fn a_configuration_that_is_not_kept_is_left_out() {
        let place = Place::new();
        let text = "[General]\nRetransmits= 7\nRetransmits= 8\n";
        let path = place.put("conf", text, 0o600);
        let configuration = place.configuration(&path);
        assert_eq!(configuration.store().number("General", "Retransmits", 0), 7);
        let expected = "Default conf_set_now: duplicate tag [General]:Retransmits, ignoring...";
        assert_eq!(place.log.texts(), [expected]);
        let path = place.put("conf", text, 0o644);
        let configuration = place.configuration(&path);
        assert_eq!(configuration.store().number("General", "Retransmits", 0), 3);
        let expected = format!(
            "Default check_file_secrecy_fd: not loading {} - too open permissions",
            path.display()
        );
        assert_eq!(place.log.texts(), [expected]);
        place.configuration(&place.directory.path().join("none"));
        assert!(place.log.texts().is_empty());
    }

    #[test]
    fn levels_come_from_the_configuration() {
        let place = Place::new();
        let text = "[General]\nLoglevel= 2=40,x,A=3\nLogverbose= 1\n";
        let path = place.put("conf", text, 0o600);
        apply_levels(&place.configuration(&path), &place.log);
        assert!(place.log.is_verbose());
        assert_eq!(place.log.levels(), [3; ike::journal::CLASSES]);
        let texts = place.log.texts();
        let first = "Default log_debug_cmd: log level changed from 0 to 40 for class 2";
        assert_eq!(texts[0], first);
        assert_eq!(texts[1], "Default init: invalid logging class or level: x");
    }

    #[test]
    fn a_policy_is_there_and_kept_or_the_daemon_does_not_start() {
        let place = Place::new();
        let policy = place.directory.path().join("policy");
        let text = format!("[General]\nPolicy-file= {}\n", policy.display());
        let path = place.put("conf", &text, 0o600);
        let configuration = place.configuration(&path);
        let reloadable = Reloadable::load(false, &configuration, &place.files, &place.log);
        let result = |reloadable: &Reloadable| {
            reloadable
                .policy(&configuration, &*place.files, &place.log)
                .map(|policy| policy.is_some())
                .map_err(|error| error.to_string())
        };
        let shown = policy.display();
        assert_eq!(
            result(&reloadable),
            Err(format!(
                "policy_init: open (\"{shown}\", O_RDONLY) failed: No such file or directory"
            ))
        );
        place.put("policy", "Authorizer: \"POLICY\"\n", 0o640);
        assert_eq!(
            result(&reloadable),
            Err(format!(
                "policy_init: cannot read {shown}: Operation not permitted"
            ))
        );
        let without = Reloadable::load(true, &configuration, &place.files, &place.log);
        assert_eq!(result(&without), Ok(false));
        place.log.texts();
        let kept = reloadable.reload(&configuration, &*place.files, &place.log);
        assert!(kept.is_none());
        let texts = place.log.texts();
        let stays = "Default policy_init: the former policy stays in force";
        assert!(texts.iter().any(|line| line == stays), "{texts:?}");
        place.put("policy", "Authorizer: \"POLICY\"\n", 0o600);
        assert_eq!(result(&reloadable), Ok(true));
        place.put("policy", "", 0o600);
        place.log.texts();
        assert_eq!(result(&reloadable), Ok(true));
        assert_eq!(
            place.log.texts(),
            ["Default policy_init: all policies flushed"]
        );
    }

    #[test]
    fn use_keynote_must_begin_with_yes() {
        let place = Place::new();
        let path = place.put("conf", "[General]\nUse-Keynote= no\n", 0o600);
        let configuration = place.configuration(&path);
        let reloadable = Reloadable::load(false, &configuration, &place.files, &place.log);
        let policy = reloadable.policy(&configuration, &*place.files, &place.log);
        assert!(policy.expect("none wanted").is_none());
    }
}
