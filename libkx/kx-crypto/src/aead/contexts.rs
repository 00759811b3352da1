//! The library's contexts, which are large and dear to make: a thread has a few, and whichever key is used next
//! borrows one.

use std::cell::RefCell;

use openssl::cipher_ctx::CipherCtx;

use super::{Algorithm, Error, MAX_KEY_LEN, NonceLen};

/// Contexts of a thread. They fit into the nearest caches, and as many streams as run at the same time keep theirs.
pub(super) const KEPT: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Seal,
    Open,
}

/// What a context was made for; it can have another key of the same kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) way: Way,
    pub(super) algorithm: Algorithm,
    pub(super) nonce_len: NonceLen,
}

impl Kind {
    fn init(
        self,
        context: &mut CipherCtx,
        key: Option<&[u8]>,
        nonce: Option<&[u8]>,
    ) -> Result<(), Error> {
        match self.way {
            Way::Seal => context.encrypt_init(None, key, nonce)?,
            Way::Open => context.decrypt_init(None, key, nonce)?,
        }
        Ok(())
    }

    fn make(self) -> Result<CipherCtx, Error> {
        let mut context = CipherCtx::new()?;
        let cipher = self.algorithm.cipher();
        match self.way {
            Way::Seal => context.encrypt_init(Some(cipher), None, None)?,
            Way::Open => context.decrypt_init(Some(cipher), None, None)?,
        }
        if self.nonce_len != NonceLen::Twelve {
            context.set_iv_length(self.nonce_len.octets())?;
        }
        Ok(context)
    }
}

struct Kept {
    /// Whose key it has; nobody's has none.
    owner: Option<u64>,
    kind: Kind,
    context: CipherCtx,
}

thread_local! {
    /// The one used last stands at the end.
    static CONTEXTS: RefCell<Vec<Kept>> = const { RefCell::new(Vec::new()) };
}

/// `None` where a thread is at its end.
fn with<T>(run: impl FnOnce(&mut Vec<Kept>) -> T) -> Option<T> {
    let result = CONTEXTS.try_with(|contexts| Some(run(&mut *contexts.try_borrow_mut().ok()?)));
    result.ok().flatten()
}

/// A context under the key of `owner`, ready for `nonce`. It is nobody else's until it is given back; if that does
/// not happen it is freed.
pub(super) fn take(
    owner: u64,
    kind: Kind,
    key: &[u8; MAX_KEY_LEN],
    nonce: &[u8],
) -> Result<CipherCtx, Error> {
    let kept = with(|contexts| {
        let own = contexts.iter().rposition(|it| it.owner == Some(owner));
        let vacant = || {
            contexts
                .iter()
                .position(|it| it.owner.is_none() && it.kind == kind)
        };
        let oldest = || contexts.iter().position(|it| it.kind == kind);
        let at = match own.or_else(vacant) {
            Some(at) => at,
            None if contexts.len() < KEPT => return None,
            // One of another kind makes room.
            None => oldest().unwrap_or(0),
        };
        Some(contexts.remove(at))
    });
    let kept = kept.flatten().filter(|it| it.kind == kind);
    let (mut context, is_own) = match kept {
        Some(kept) => (kept.context, kept.owner == Some(owner)),
        None => (kind.make()?, false),
    };
    kind.init(&mut context, (!is_own).then_some(key), Some(nonce))?;
    Ok(context)
}

/// Keeps a context for the owner of its key.
pub(super) fn give_back(owner: u64, kind: Kind, context: CipherCtx) {
    let owner = Some(owner);
    with(|contexts| {
        if contexts.len() < KEPT {
            contexts.push(Kept {
                owner,
                kind,
                context,
            });
        }
    });
}

/// Wipes the key of `owner` if this thread has a context with it.
pub(super) fn forget(owner: u64) {
    with(|contexts| {
        let Some(at) = contexts.iter().rposition(|it| it.owner == Some(owner)) else {
            return;
        };
        let mut kept = contexts.remove(at);
        // Another key overwrites the schedule of this one, and what follows from it.
        let overwrites = kept.kind.algorithm != Algorithm::ChaCha20Poly1305;
        let zeros = [0; MAX_KEY_LEN];
        if overwrites
            && kept
                .kind
                .init(&mut kept.context, Some(&zeros), None)
                .is_ok()
        {
            kept.owner = None;
            contexts.push(kept);
        }
        // Else the library wipes it when it frees it.
    });
}

/// Frees all contexts of this thread; the library wipes them.
pub(super) fn clear() {
    with(Vec::clear);
}

/// How many contexts this thread has, and how many of them with a key.
#[cfg(test)]
pub(super) fn count() -> (usize, usize) {
    let keyed = |contexts: &mut Vec<Kept>| contexts.iter().filter(|it| it.owner.is_some()).count();
    with(|contexts| (contexts.len(), keyed(contexts))).unwrap_or_default()
}
