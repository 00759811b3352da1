//! Smart-card key domains for C: a device or the software device is opened, its domains are managed,
//! keys are moved; share files are opened and made (xkek spec 16).

use std::ffi::c_char;
use std::sync::{Mutex, MutexGuard, PoisonError};

use xkek::chain::Roots;
use xkek::cvc::Certificate;
use xkek::hsm::{DomainState, Error, Hsm, Pin};
use xkek::kdm::Membership;
use xkek::kek::Kek;
use xkek::pka::AttestedKey;
use xkek::rng::System;
use xkek_io::{Limits, Spec, Transport};

use crate::boundary::{c_buffer, c_octets, guarded};
use crate::kx_status::{self, *};
use crate::smart_card_files::Progress;
use crate::{Refused, entry, last_error};

/// One card, opened or not.
///
/// Several threads may use one at the same time; the card does one thing after the other.
pub struct kx_hsm {
    id: u64,
    card: Mutex<Option<Hsm<Transport>>>,
    /// Roots beside the vendor's.
    trusted: Mutex<Vec<Certificate>>,
    progress: Mutex<Progress>,
}

/// What a slot for a key domain holds.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum kx_hsm_domain_kind {
    /// There is no slot of that number.
    KX_HSM_NONE = 0,
    /// A slot without a domain.
    KX_HSM_EMPTY = 1,
    /// A domain whose key comes from shares.
    KX_HSM_DKEK = 2,
    /// A domain whose key comes from an exchange.
    KX_HSM_XKEK = 3,
}

/// The state of a slot.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct kx_hsm_domain {
    /// What it holds.
    pub kind: kx_hsm_domain_kind,
    /// Shares of the key; 0 if it comes from an exchange.
    pub shares: u8,
    /// Shares not yet imported.
    pub missing: u8,
    /// Whether the key is there: 1 or 0.
    pub has_key: u8,
    /// Check value of the key; zeros when it is not there.
    pub check_value: [u8; 8],
}

impl kx_hsm {
    pub(crate) fn refuse(&self, status: kx_status, text: impl ToString) -> Refused {
        last_error::set(self.id, text.to_string(), 0);
        Refused(status)
    }

    pub(crate) fn null(&self) -> Refused {
        self.refuse(KX_ERR_ARGUMENT, "an argument is NULL or too long")
    }

    pub(crate) fn fail(&self, error: Error<xkek_io::Error>) -> Refused {
        let status = match &error {
            Error::Card(xkek_io::Error::TimedOut) => KX_ERR_TIMEOUT,
            Error::Card(_) => KX_ERR_CONNECT,
            Error::Status { .. } => KX_ERR_REFUSED,
            _ => KX_ERR_PROTOCOL,
        };
        self.refuse(status, error)
    }

    pub(crate) fn ask<T>(
        &self,
        question: impl FnOnce(&mut Hsm<Transport>) -> Result<T, Error<xkek_io::Error>>,
    ) -> Result<T, Refused> {
        let mut card = lock(&self.card);
        let Some(card) = card.as_mut() else {
            return Err(self.refuse(KX_ERR_ARGUMENT, "no card is open"));
        };
        question(card).map_err(|error| self.fail(error))
    }

    fn open(&self, spec: &[u8]) -> Result<(), Refused> {
        let spec = String::from_utf8_lossy(spec);
        let spec: Spec = spec
            .parse()
            .map_err(|error| self.refuse(KX_ERR_ARGUMENT, error))?;
        let transport = Transport::open(&spec, Limits::default())
            .map_err(|error| self.fail(Error::Card(error)))?;
        let mut hsm = Hsm::new(transport);
        hsm.select().map_err(|error| self.fail(error))?;
        *lock(&self.card) = Some(hsm);
        Ok(())
    }

    pub(crate) fn progress(&self) -> Progress {
        *lock(&self.progress)
    }

    pub(crate) fn set_progress(&self, progress: Progress) {
        *lock(&self.progress) = progress;
    }

    pub(crate) fn trust(&self, root: Certificate) -> Result<(), Refused> {
        // What is no root is refused now, not when a file is looked at.
        Roots::none()
            .add(root.clone())
            .map_err(|error| self.refuse(KX_ERR_UNTRUSTED, error))?;
        lock(&self.trusted).push(root);
        Ok(())
    }

    /// The vendor's root and those that were added.
    pub(crate) fn roots(&self) -> Result<Roots, Refused> {
        let added = lock(&self.trusted).clone();
        let all = Roots::production().and_then(|mut roots| {
            added.into_iter().try_for_each(|root| roots.add(root))?;
            Ok(roots)
        });
        all.map_err(|error| self.refuse(KX_ERR_INTERNAL, error))
    }

    fn give(&self, octets: &[u8], out: &mut Buffer<'_>) -> Result<(), Refused> {
        if out.put(octets) {
            Ok(())
        } else {
            Err(self.refuse(KX_ERR_BUFFER, "the buffer is too small"))
        }
    }
}

/// Whatever another thread did with it, each of these is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where an answer goes.
struct Buffer<'a> {
    octets: &'a mut [u8],
    len: &'a mut usize,
}

impl Buffer<'_> {
    /// # Safety
    /// `len` is NULL or can be read and written; `octets` is NULL or has room for `*len` octets. Nobody
    /// else uses either during the call.
    unsafe fn new(octets: *mut u8, len: *mut usize) -> Option<Self> {
        // SAFETY: the caller's promise.
        let len = unsafe { len.as_mut() }?;
        if octets.is_null() {
            *len = 0;
        }
        let room = if octets.is_null() || isize::try_from(*len).is_err() {
            &mut []
        } else {
            // SAFETY: not NULL, not longer than isize::MAX; the caller's promise.
            unsafe { std::slice::from_raw_parts_mut(octets, *len) }
        };
        Some(Self { octets: room, len })
    }

    /// Tells the length in any case; whether there was room.
    fn put(&mut self, octets: &[u8]) -> bool {
        *self.len = octets.len();
        match self.octets.get_mut(..octets.len()) {
            Some(room) => {
                room.copy_from_slice(octets);
                true
            }
            None => false,
        }
    }
}

/// A call whose answer goes to a buffer. Nothing is done when there is none.
///
/// # Safety
/// `hsm` is NULL or a handle; `octets` and `len` are as for [`Buffer::new`].
pub(crate) unsafe fn answer<T: AsRef<[u8]>>(
    hsm: *const kx_hsm,
    octets: *mut u8,
    len: *mut usize,
    make: impl FnOnce(&kx_hsm) -> Result<T, Refused>,
) -> kx_status {
    // SAFETY: the caller's promise.
    let out = unsafe { Buffer::new(octets, len) };
    // SAFETY: the caller's promise.
    entry(unsafe { hsm.as_ref() }, |hsm| {
        let mut out = out.ok_or_else(|| hsm.null())?;
        let made = make(hsm)?;
        hsm.give(made.as_ref(), &mut out)
    })
}

/// Makes a handle without a card. Free it with kx_hsm_free().
///
/// Returns NULL when there is no memory.
#[unsafe(no_mangle)]
pub extern "C" fn kx_hsm_new() -> *mut kx_hsm {
    guarded(std::ptr::null_mut(), || {
        Box::into_raw(Box::new(kx_hsm {
            id: last_error::new_id(),
            card: Mutex::default(),
            trusted: Mutex::default(),
            progress: Mutex::default(),
        }))
    })
}

/// Frees a handle and closes its card. NULL does nothing.
///
/// No other thread may be using the handle.
///
/// # Safety
/// `hsm` is NULL or came from kx_hsm_new() and was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_hsm_free(hsm: *mut kx_hsm) {
    guarded((), || {
        if !hsm.is_null() {
            // SAFETY: from Box::into_raw in kx_hsm_new, and given back once.
            drop(unsafe { Box::from_raw(hsm) });
        }
    });
}

/// Opens a card and selects its applet: `pcsc:READER`, `vcard:DIRECTORY` (the software device, in this
/// process) or `vpcd:HOST:PORT`. A card that was open is closed.
///
/// # Safety
/// `hsm` is NULL or a handle; `spec` is NULL or a C string. Both are not kept.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_hsm_open(hsm: *const kx_hsm, spec: *const c_char) -> kx_status {
    // SAFETY: the caller's promise.
    let spec = unsafe { c_octets(spec) };
    // SAFETY: the caller's promise.
    entry(unsafe { hsm.as_ref() }, |hsm| {
        hsm.open(spec.ok_or_else(|| hsm.null())?)
    })
}

/// Sends a command APDU and gives the answer, status word included. `*len` is the room at `answer`, and
/// afterwards the length of the answer; with KX_ERR_BUFFER the card has done the command.
///
/// # Safety
/// `hsm` is NULL or a handle; `command` is NULL or points to `command_len` octets; `len` is NULL or can
/// be written; `answer` is NULL or has room for `*len` octets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_hsm_transmit(
    hsm: *const kx_hsm,
    command: *const u8,
    command_len: usize,
    answer: *mut u8,
    len: *mut usize,
) -> kx_status {
    // SAFETY: the caller's promise.
    let command = unsafe { c_buffer(command, command_len) };
    let transmit = |hsm: &kx_hsm| {
        let command = command.ok_or_else(|| hsm.null())?;
        hsm.ask(|card| {
            let mut octets = Vec::new();
            xkek::card::Card::transmit(card.card_mut(), command, &mut octets)
                .map_err(Error::Card)?;
            Ok(zeroize::Zeroizing::new(octets))
        })
    };
    // SAFETY: the caller's promise.
    unsafe { self::answer(hsm, answer, len, transmit) }
}

/// Verifies the user PIN, `len` octets. KX_ERR_REFUSED for a wrong one; the text tells how many tries
/// are left.
///
/// # Safety
/// `hsm` is NULL or a handle; `pin` is NULL or points to `len` octets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_hsm_login(hsm: *const kx_hsm, pin: *const u8, len: usize) -> kx_status {
    // SAFETY: the caller's promise.
    let pin = unsafe { c_buffer(pin, len) };
    // SAFETY: the caller's promise.
    entry(unsafe { hsm.as_ref() }, |hsm| {
        let pin = pin.ok_or_else(|| hsm.null())?;
        hsm.ask(|card| card.verify(Pin::User, pin))
    })
}

/// Tells what slot `domain` holds.
///
/// # Safety
/// `hsm` is NULL or a handle; `state` is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_hsm_domain_state(
    hsm: *const kx_hsm,
    domain: u8,
    state: *mut kx_hsm_domain,
) -> kx_status {
    // SAFETY: the caller's promise.
    entry(unsafe { hsm.as_ref() }, |hsm| {
        if state.is_null() {
            return Err(hsm.null());
        }
        let told = hsm.ask(|card| card.domain(domain))?;
        let (kind, shares, missing) = match &told {
            DomainState::Unsupported | DomainState::NotAllocated => {
                (kx_hsm_domain_kind::KX_HSM_NONE, 0, 0)
            }
            DomainState::Empty => (kx_hsm_domain_kind::KX_HSM_EMPTY, 0, 0),
            DomainState::Dkek { total, missing, .. } => {
                (kx_hsm_domain_kind::KX_HSM_DKEK, *total, *missing)
            }
            DomainState::Xkek { .. } => (kx_hsm_domain_kind::KX_HSM_XKEK, 0, 0),
        };
        let key = told.kcv();
        let answer = kx_hsm_domain {
            kind,
            shares,
            missing,
            has_key: u8::from(key.is_some()),
            check_value: key.unwrap_or_default().0,
        };
        // SAFETY: not NULL; the caller's promise.
        unsafe { state.write(answer) };
        Ok(())
    })
}

/// Makes the empty slot `domain` one whose key has `shares` shares.
///
/// # Safety
/// `hsm` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_hsm_create_dkek_domain(
    hsm: *const kx_hsm,
    domain: u8,
    shares: u8,
) -> kx_status {
    // SAFETY: the caller's promise.
    entry(unsafe { hsm.as_ref() }, |hsm| {
        hsm.ask(|card| card.create_dkek_domain(domain, shares))
    })
}

/// Makes the empty slot `domain` one of the group whose membership file for this card is given: `len`
/// octets at `membership`.
///
/// # Safety
/// `hsm` is NULL or a handle; `membership` is NULL or points to `len` octets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_hsm_create_xkek_domain(
    hsm: *const kx_hsm,
    domain: u8,
    membership: *const u8,
    len: usize,
) -> kx_status {
    // SAFETY: the caller's promise.
    let membership = unsafe { c_buffer(membership, len) };
    // SAFETY: the caller's promise.
    entry(unsafe { hsm.as_ref() }, |hsm| {
        let membership = Membership::parse(membership.ok_or_else(|| hsm.null())?)
            .map_err(|error| hsm.refuse(KX_ERR_PROTOCOL, error))?;
        hsm.ask(|card| {
            card.show_chain(&membership.issuer, &membership.holder)?;
            card.create_xkek_domain(domain, &membership.group_signer, &membership.signature)
        })?;
        Ok(())
    })
}

/// Deletes the domain of slot `domain`, which must hold no keys.
///
/// # Safety
/// `hsm` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_hsm_delete_domain(hsm: *const kx_hsm, domain: u8) -> kx_status {
    // SAFETY: the caller's promise.
    entry(unsafe { hsm.as_ref() }, |hsm| {
        hsm.ask(|card| card.delete_domain(domain))
    })
}

/// Deletes the key of slot `domain`, under which others are wrapped. Keys in the domain stay.
///
/// # Safety
/// `hsm` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_hsm_clear_domain(hsm: *const kx_hsm, domain: u8) -> kx_status {
    // SAFETY: the caller's promise.
    entry(unsafe { hsm.as_ref() }, |hsm| {
        hsm.ask(|card| card.clear_kek(domain))
    })
}

/// Opens a share file, `len` octets at `file`, with a password and imports the share in slot `domain`.
/// Takes seconds. KX_ERR_AUTH for a wrong password.
///
/// # Safety
/// `hsm` is NULL or a handle; `file` is NULL or points to `len` octets, `password` to `password_len`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_hsm_import_share(
    hsm: *const kx_hsm,
    domain: u8,
    file: *const u8,
    len: usize,
    password: *const u8,
    password_len: usize,
) -> kx_status {
    // SAFETY: the caller's promise.
    let file = unsafe { c_buffer(file, len) };
    // SAFETY: the caller's promise.
    let password = unsafe { c_buffer(password, password_len) };
    // SAFETY: the caller's promise.
    entry(unsafe { hsm.as_ref() }, |hsm| {
        let (Some(file), Some(password)) = (file, password) else {
            return Err(hsm.null());
        };
        let share = hsm.open_share(file, password)?;
        hsm.ask(|card| card.import_share(domain, &share)).map(drop)
    })
}

/// Makes a share file of a new random share under a password. Takes seconds. 64 octets; `*len` is the
/// room at `file`, and afterwards the length.
///
/// # Safety
/// `hsm` is NULL or a handle, with or without a card; `password` is NULL or points to `password_len`
/// octets; `len` is NULL or can be written; `file` is NULL or has room for `*len` octets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_hsm_make_share(
    hsm: *const kx_hsm,
    password: *const u8,
    password_len: usize,
    file: *mut u8,
    len: *mut usize,
) -> kx_status {
    // SAFETY: the caller's promise.
    let password = unsafe { c_buffer(password, password_len) };
    let make = |hsm: &kx_hsm| {
        let password = password.ok_or_else(|| hsm.null())?;
        let share =
            Kek::generate(&mut System).map_err(|error| hsm.refuse(KX_ERR_INTERNAL, error))?;
        Ok(hsm.seal_share(&share, password)?.encode())
    };
    // SAFETY: the caller's promise.
    unsafe { answer(hsm, file, len, make) }
}

/// Agrees with a peer on the key of an XKEK domain: `exchange_key` is this card's exchange key, the
/// `len` octets at `peer` are the peer's exchange key with its chain. The card checks the chain.
///
/// # Safety
/// `hsm` is NULL or a handle; `peer` is NULL or points to `len` octets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_hsm_derive(
    hsm: *const kx_hsm,
    exchange_key: u8,
    peer: *const u8,
    len: usize,
) -> kx_status {
    // SAFETY: the caller's promise.
    let peer = unsafe { c_buffer(peer, len) };
    // SAFETY: the caller's promise.
    entry(unsafe { hsm.as_ref() }, |hsm| {
        let (peer, _) = AttestedKey::parse(peer.ok_or_else(|| hsm.null())?)
            .map_err(|error| hsm.refuse(KX_ERR_PROTOCOL, error))?;
        hsm.ask(|card| {
            card.show_chain(&peer.issuer, &peer.device)?;
            card.derive_kek(exchange_key, &peer.request)
        })
    })
}

/// Wraps key `key` under the key of its domain. `*len` is the room at `blob`, and afterwards the length
/// of the blob; 4096 octets are enough.
///
/// # Safety
/// `hsm` is NULL or a handle; `len` is NULL or can be written; `blob` is NULL or has room for `*len`
/// octets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_hsm_wrap(
    hsm: *const kx_hsm,
    key: u8,
    blob: *mut u8,
    len: *mut usize,
) -> kx_status {
    // SAFETY: the caller's promise.
    unsafe { answer(hsm, blob, len, |hsm| hsm.ask(|card| card.wrap(key))) }
}

/// Unwraps a key, `len` octets at `blob`, as key `key`, which must be free. The card finds the domain.
///
/// # Safety
/// `hsm` is NULL or a handle; `blob` is NULL or points to `len` octets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_hsm_unwrap(
    hsm: *const kx_hsm,
    key: u8,
    blob: *const u8,
    len: usize,
) -> kx_status {
    // SAFETY: the caller's promise.
    let blob = unsafe { c_buffer(blob, len) };
    // SAFETY: the caller's promise.
    entry(unsafe { hsm.as_ref() }, |hsm| {
        let blob = blob.ok_or_else(|| hsm.null())?;
        hsm.ask(|card| card.unwrap(key, blob))
    })
}

/// Checks a membership file or a file of an attested key, `len` octets at `file`: chain to the vendor's
/// root or one of kx_hsm_trust_root(), attestation, signatures. KX_ERR_UNTRUSTED if anything is wrong.
///
/// # Safety
/// `hsm` is NULL or a handle, with or without a card; `file` is NULL or points to `len` octets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_hsm_verify_file(
    hsm: *const kx_hsm,
    file: *const u8,
    len: usize,
) -> kx_status {
    // SAFETY: the caller's promise.
    let file = unsafe { c_buffer(file, len) };
    // SAFETY: the caller's promise.
    entry(unsafe { hsm.as_ref() }, |hsm| {
        use xkek::file::File;
        let file = File::parse(file.ok_or_else(|| hsm.null())?)
            .map_err(|error| hsm.refuse(KX_ERR_PROTOCOL, error))?;
        let roots = hsm.roots()?;
        match file {
            File::Membership(membership) => membership
                .verify_signer(&roots, None)
                .map(drop)
                .map_err(|error| hsm.refuse(KX_ERR_UNTRUSTED, error)),
            File::PublicKey(key) | File::AttestedKey(key) => key
                .verify(&roots, None)
                .map(drop)
                .map_err(|error| hsm.refuse(KX_ERR_UNTRUSTED, error)),
            other => Err(hsm.refuse(KX_ERR_PROTOCOL, format!("a {} has no chain", other.kind()))),
        }
    })
}

/// What went wrong in this thread's last call with this handle; the empty text when nothing did. Never
/// NULL.
///
/// The text belongs to the library. It stays until this thread's next call that returns a
/// kx_status, or until the thread ends.
///
/// # Safety
/// `hsm` is NULL or a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_hsm_last_error(hsm: *const kx_hsm) -> *const c_char {
    // SAFETY: the caller's promise.
    let hsm = unsafe { hsm.as_ref() };
    guarded(c"".as_ptr(), || {
        last_error::text(hsm.map_or(0, |hsm| hsm.id))
    })
}
