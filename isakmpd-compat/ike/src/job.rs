//! Public-key work. The engine hands it out and goes on when the result comes back, so that the
//! program can do it in worker threads; nothing else in here takes longer than microseconds.

use std::sync::Arc;

use kx_crypto::key_exchange_group::{Group, KeyPair};
use kx_secret::SecretBytes;

use crate::credentials::{CredentialError, Signer, Verifier};

/// Names a job; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(pub u64);

/// Work for a thread.
pub enum Job {
    /// A key pair for a KE payload.
    Generate(Group),
    /// A key pair, and the shared secret with the peer's public value at once (responder).
    GenerateAndAgree(Group, Vec<u8>),
    /// g^xy of our pair and the peer's public value.
    Agree(Arc<KeyPair>, Vec<u8>),
    /// HASH_I or HASH_R to be signed.
    Sign(Arc<dyn Signer>, Vec<u8>),
    /// HASH_I or HASH_R and the signature that should be one of it.
    Verify(Arc<dyn Verifier>, Vec<u8>, Vec<u8>),
    /// [`Job::Verify`], and if it is one, [`Job::Sign`] of another hash.
    VerifyAndSign {
        /// Of the peer.
        verifier: Arc<dyn Verifier>,
        /// What the peer should have signed.
        theirs: Vec<u8>,
        /// The peer's signature.
        signature: Vec<u8>,
        /// Ours.
        signer: Arc<dyn Signer>,
        /// What we sign.
        ours: Vec<u8>,
    },
}

/// What became of it.
pub enum JobResult {
    /// [`Job::Generate`]: our public value and the pair it is of.
    Generated(Vec<u8>, Box<KeyPair>),
    /// [`Job::GenerateAndAgree`]: our public value, g^xy. `None`: the public value is no good.
    GeneratedAndAgreed(Option<(Vec<u8>, SecretBytes)>),
    /// [`Job::Agree`]. `None`: the public value is no good.
    Agreed(Option<SecretBytes>),
    /// [`Job::Sign`]; [`Job::VerifyAndSign`] of a good signature.
    Signed(Result<Vec<u8>, CredentialError>),
    /// [`Job::Verify`]; `false`, too, of [`Job::VerifyAndSign`].
    Verified(bool),
    /// The library refused to generate.
    Failed,
}

impl Job {
    /// Does the work; takes up to some milliseconds.
    #[must_use]
    pub fn run(self) -> JobResult {
        match self {
            Self::Generate(group) => match KeyPair::generate(group) {
                Ok(pair) => JobResult::Generated(pair.public().to_vec(), Box::new(pair)),
                Err(_) => JobResult::Failed,
            },
            Self::GenerateAndAgree(group, public) => {
                // A bad value is found before a key is made for it.
                if group.check_public(&public).is_err() {
                    return JobResult::GeneratedAndAgreed(None);
                }
                let Ok(pair) = KeyPair::generate(group) else {
                    return JobResult::Failed;
                };
                let shared = pair.agree(&public).ok();
                JobResult::GeneratedAndAgreed(shared.map(|shared| (pair.public().to_vec(), shared)))
            }
            Self::Agree(pair, public) => JobResult::Agreed(pair.agree(&public).ok()),
            Self::Sign(signer, hash) => JobResult::Signed(signer.sign(&hash)),
            Self::Verify(verifier, hash, signature) => {
                JobResult::Verified(verifier.verify(&hash, &signature))
            }
            Self::VerifyAndSign {
                verifier,
                theirs,
                signature,
                signer,
                ours,
            } => match verifier.verify(&theirs, &signature) {
                true => JobResult::Signed(signer.sign(&ours)),
                false => JobResult::Verified(false),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Key;

    impl Signer for Key {
        fn signature_len(&self) -> usize {
            1
        }

        fn sign(&self, hash: &[u8]) -> Result<Vec<u8>, CredentialError> {
            assert_ne!(hash, b"never");
            Ok(hash.to_vec())
        }
    }

    impl Verifier for Key {
        fn signature_len(&self) -> usize {
            1
        }

        fn verify(&self, hash: &[u8], signature: &[u8]) -> bool {
            hash == signature
        }
    }

    #[test]
    fn nothing_is_signed_for_a_peer_that_is_not_the_right_one() {
        let run = |signature: &[u8], ours: &[u8]| {
            let job = Job::VerifyAndSign {
                verifier: Arc::new(Key),
                theirs: b"theirs".to_vec(),
                signature: signature.to_vec(),
                signer: Arc::new(Key),
                ours: ours.to_vec(),
            };
            job.run()
        };
        assert!(matches!(
            run(b"wrong", b"never"),
            JobResult::Verified(false)
        ));
        let JobResult::Signed(Ok(signature)) = run(b"theirs", b"ours") else {
            panic!("signed");
        };
        assert_eq!(signature, b"ours");
    }

    #[test]
    fn both_sides_agree_and_bad_values_are_refused() {
        let group = Group::from_number(19).expect("ECP-256");
        let JobResult::Generated(ours, pair) = Job::Generate(group).run() else {
            panic!("generated");
        };
        let JobResult::GeneratedAndAgreed(Some((theirs, shared))) =
            Job::GenerateAndAgree(group, ours).run()
        else {
            panic!("agreed");
        };
        let JobResult::Agreed(Some(same)) = Job::Agree(pair.into(), theirs).run() else {
            panic!("agreed");
        };
        assert!(shared.ct_eq(same.as_slice()));
        let bad = vec![0; group.public_len()];
        let refused = Job::GenerateAndAgree(group, bad).run();
        assert!(matches!(refused, JobResult::GeneratedAndAgreed(None)));
    }
}
