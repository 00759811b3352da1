//! Files of key domains for C, made and opened without a card: shares, key blobs; and what a card makes
//! for others: group signers, memberships, exchange keys (xkek spec 16).

use std::ffi::c_void;

use xkek::blob::{self, Attributes, Blob, Kind};
use xkek::cvc::Certificate;
use xkek::dkek::ShareFile;
use xkek::group_signer::CURVES;
use xkek::hsm::{Error, certificates_of_file, device_key};
use xkek::kek::{Kek, LEN};
use xkek::key::Key;
use xkek::pka::{AttestedKey, Form};
use xkek::rng::System;

use crate::boundary::c_buffer;
use crate::kx_status::{self, *};
use crate::smart_card::{answer, kx_hsm};
use crate::{Refused, entry};

/// Told from time to time how much of a share's derivation is done, in thousandths, with the context that
/// was given. Anything but 0 ends it with KX_ERR_INTERRUPTED. Called in the thread that called; it must not
/// use the handle.
pub type kx_hsm_progress =
    Option<unsafe extern "C" fn(context: *mut c_void, thousandths: u32) -> i32>;

/// Kind of a wrapped key.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum kx_hsm_key_kind {
    /// A private RSA key.
    KX_HSM_RSA = 5,
    /// A private RSA key with its primes; such blobs are read, not made.
    KX_HSM_RSA_CRT = 6,
    /// A private key on a curve.
    KX_HSM_EC = 12,
    /// An AES key.
    KX_HSM_AES = 15,
}

/// What a key blob tells without its key.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct kx_hsm_blob {
    /// Kind of the key in it.
    pub kind: kx_hsm_key_kind,
    /// Check value of the key that it is wrapped under.
    pub check_value: [u8; 8],
}

/// A callback and its context, to be called in the thread that gave them.
#[derive(Clone, Copy, Default)]
pub(crate) struct Progress {
    call: kx_hsm_progress,
    context: usize,
}

impl Progress {
    pub(crate) fn tell(self, thousandths: u32) -> bool {
        match self.call {
            None => true,
            // SAFETY: kx_hsm_set_progress() asks for a function that can be called with this context.
            Some(call) => unsafe { call(self.context as *mut c_void, thousandths) == 0 },
        }
    }
}

/// The 32 octets of a key-encryption key or of a share.
///
/// # Safety
/// `key` is NULL or points to 32 octets that stay as they are during the call.
unsafe fn kek(key: *const u8) -> Option<Kek> {
    // SAFETY: the caller's promise.
    let octets = unsafe { c_buffer(key, LEN) }?;
    octets.first_chunk().map(Kek::from_bytes)
}

/// Writes 32 octets.
///
/// # Safety
/// `out` is NULL or has room for 32 octets that nobody else uses during the call.
unsafe fn give_kek(hsm: &kx_hsm, key: &Kek, out: *mut u8) -> Result<(), Refused> {
    if out.is_null() {
        return Err(hsm.null());
    }
    // SAFETY: not NULL; the caller's promise; a key is 32 octets long.
    unsafe { std::ptr::copy_nonoverlapping(key.as_slice().as_ptr(), out, LEN) };
    Ok(())
}

fn share_failed(hsm: &kx_hsm, error: xkek::dkek::Error) -> Refused {
    use xkek::dkek::Error as E;
    let status = match error {
        E::NotAShare => KX_ERR_PROTOCOL,
        E::Password => KX_ERR_AUTH,
        E::Interrupted => KX_ERR_INTERRUPTED,
        _ => KX_ERR_INTERNAL,
    };
    hsm.refuse(status, error)
}

fn blob_failed(hsm: &kx_hsm, error: blob::Error) -> Refused {
    use blob::Error as E;
    let status = match error {
        E::Kcv { .. } | E::Mac => KX_ERR_AUTH,
        E::Unavailable(_) => KX_ERR_INTERNAL,
        _ => KX_ERR_PROTOCOL,
    };
    hsm.refuse(status, error)
}

impl kx_hsm {
    pub(crate) fn open_share(&self, file: &[u8], password: &[u8]) -> Result<Kek, Refused> {
        let progress = self.progress();
        ShareFile::parse(file)
            .and_then(|file| file.open(password, &mut |done| progress.tell(done)))
            .map_err(|error| share_failed(self, error))
    }

    pub(crate) fn seal_share(&self, share: &Kek, password: &[u8]) -> Result<ShareFile, Refused> {
        let progress = self.progress();
        ShareFile::seal(share, password, &mut System, &mut |done| {
            progress.tell(done)
        })
        .map_err(|error| share_failed(self, error))
    }
}

/// Has `progress` told how far the derivation of a share's key is, by all later calls with this handle that
/// take seconds. NULL: nobody is told any more.
///
/// # Safety
/// `hsm` is NULL or a handle; `progress` is NULL or a function that can be called with `context` by every
/// thread that uses the handle, until another is given here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_hsm_set_progress(
    hsm: *const kx_hsm,
    progress: kx_hsm_progress,
    context: *mut c_void,
) -> kx_status {
    // SAFETY: the caller's promise.
    entry(unsafe { hsm.as_ref() }, |hsm| {
        hsm.set_progress(Progress {
            call: progress,
            context: context as usize,
        });
        Ok(())
    })
}

/// Trusts another root beside the vendor's in kx_hsm_verify_file(): a card verifiable certificate that signs
/// itself, `len` octets at `root`. For test devices and software.
///
/// # Safety
/// `hsm` is NULL or a handle; `root` is NULL or points to `len` octets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_hsm_trust_root(
    hsm: *const kx_hsm,
    root: *const u8,
    len: usize,
) -> kx_status {
    // SAFETY: the caller's promise.
    let root = unsafe { c_buffer(root, len) };
    // SAFETY: the caller's promise.
    entry(unsafe { hsm.as_ref() }, |hsm| {
        let root = Certificate::parse(root.ok_or_else(|| hsm.null())?)
            .map_err(|error| hsm.refuse(KX_ERR_PROTOCOL, error))?;
        hsm.trust(root)
    })
}

/// Opens a share file, `len` octets at `file`, with a password: the 32 octets of the share, which the caller
/// wipes. Takes seconds. KX_ERR_AUTH for a wrong password.
///
/// # Safety
/// `hsm` is NULL or a handle, with or without a card; `file` is NULL or points to `len` octets, `password` to
/// `password_len`; `share` is NULL or has room for 32 octets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_hsm_open_share(
    hsm: *const kx_hsm,
    file: *const u8,
    len: usize,
    password: *const u8,
    password_len: usize,
    share: *mut u8,
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
        let opened = hsm.open_share(file, password)?;
        // SAFETY: the caller's promise.
        unsafe { give_kek(hsm, &opened, share) }
    })
}

/// Makes a share file of the 32 octets at `share` under a password. Takes seconds. 64 octets; `*len` is the
/// room at `file`, and afterwards the length.
///
/// # Safety
/// `hsm` is NULL or a handle, with or without a card; `share` is NULL or points to 32 octets, `password` to
/// `password_len`; `len` is NULL or can be written; `file` is NULL or has room for `*len` octets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_hsm_seal_share(
    hsm: *const kx_hsm,
    share: *const u8,
    password: *const u8,
    password_len: usize,
    file: *mut u8,
    len: *mut usize,
) -> kx_status {
    // SAFETY: the caller's promise.
    let share = unsafe { kek(share) };
    // SAFETY: the caller's promise.
    let password = unsafe { c_buffer(password, password_len) };
    let make = |hsm: &kx_hsm| {
        let (Some(share), Some(password)) = (share, password) else {
            return Err(hsm.null());
        };
        Ok(hsm.seal_share(&share, password)?.encode())
    };
    // SAFETY: the caller's promise.
    unsafe { answer(hsm, file, len, make) }
}

/// Puts `count` shares of 32 octets each, one after another at `shares`, together to the 32 octets of the
/// key-encryption key, which the caller wipes. The order does not matter; KX_ERR_ARGUMENT if one is there twice.
///
/// # Safety
/// `hsm` is NULL or a handle, with or without a card; `shares` is NULL or points to 32 times `count` octets;
/// `key` is NULL or has room for 32 octets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_hsm_combine_shares(
    hsm: *const kx_hsm,
    shares: *const u8,
    count: usize,
    key: *mut u8,
) -> kx_status {
    let len = count.saturating_mul(LEN);
    // SAFETY: the caller's promise.
    let shares = unsafe { c_buffer(shares, len) };
    // SAFETY: the caller's promise.
    entry(unsafe { hsm.as_ref() }, |hsm| {
        let shares = shares.ok_or_else(|| hsm.null())?;
        if !(1..=255).contains(&count) {
            return Err(hsm.refuse(KX_ERR_ARGUMENT, "a key has 1 to 255 shares"));
        }
        let shares: Vec<Kek> = shares
            .chunks_exact(LEN)
            .filter_map(|share| share.first_chunk().map(Kek::from_bytes))
            .collect();
        let sum =
            xkek::dkek::combine(&shares).map_err(|error| hsm.refuse(KX_ERR_ARGUMENT, error))?;
        // SAFETY: the caller's promise.
        unsafe { give_kek(hsm, &sum, key) }
    })
}

/// Tells what a key blob, `len` octets at `blob`, holds, as far as that goes without its key.
///
/// # Safety
/// `hsm` is NULL or a handle, with or without a card; `blob` is NULL or points to `len` octets; `info` is NULL
/// or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_hsm_inspect_blob(
    hsm: *const kx_hsm,
    blob: *const u8,
    len: usize,
    info: *mut kx_hsm_blob,
) -> kx_status {
    // SAFETY: the caller's promise.
    let blob = unsafe { c_buffer(blob, len) };
    // SAFETY: the caller's promise.
    entry(unsafe { hsm.as_ref() }, |hsm| {
        let (Some(blob), false) = (blob, info.is_null()) else {
            return Err(hsm.null());
        };
        let blob = Blob::parse(blob).map_err(|error| blob_failed(hsm, error))?;
        let answer = kx_hsm_blob {
            kind: match blob.kind {
                Kind::Rsa => kx_hsm_key_kind::KX_HSM_RSA,
                Kind::RsaCrt => kx_hsm_key_kind::KX_HSM_RSA_CRT,
                Kind::Ec => kx_hsm_key_kind::KX_HSM_EC,
                Kind::Aes => kx_hsm_key_kind::KX_HSM_AES,
            },
            check_value: blob.kcv.0,
        };
        // SAFETY: not NULL; the caller's promise.
        unsafe { info.write(answer) };
        Ok(())
    })
}

/// Opens a key blob with the key-encryption key, 32 octets at `kek`: a key pair comes as DER of PKCS#8, an
/// AES key as its octets. `*key_len` is the room at `key`, and afterwards the length; the caller wipes it.
/// KX_ERR_AUTH if it was wrapped under another key or changed.
///
/// # Safety
/// `hsm` is NULL or a handle, with or without a card; `kek` is NULL or points to 32 octets, `blob` to `len`;
/// `key_len` is NULL or can be written; `key` is NULL or has room for `*key_len` octets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_hsm_open_blob(
    hsm: *const kx_hsm,
    kek: *const u8,
    blob: *const u8,
    len: usize,
    key: *mut u8,
    key_len: *mut usize,
) -> kx_status {
    // SAFETY: the caller's promise.
    let kek = unsafe { self::kek(kek) };
    // SAFETY: the caller's promise.
    let blob = unsafe { c_buffer(blob, len) };
    let open = |hsm: &kx_hsm| {
        let (Some(kek), Some(blob)) = (kek, blob) else {
            return Err(hsm.null());
        };
        let opened = Blob::parse(blob)
            .and_then(|blob| blob.open(&kek, &mut System))
            .map_err(|error| blob_failed(hsm, error))?;
        opened
            .key
            .to_octets()
            .map_err(|error| hsm.refuse(KX_ERR_INTERNAL, error))
    };
    // SAFETY: the caller's promise.
    unsafe { answer(hsm, key, key_len, open) }
}

/// Wraps a key under the key-encryption key, 32 octets at `kek`, for a card of that domain: with `is_aes` the
/// octets of an AES key, else a key pair as DER of PKCS#8. `algorithms` are the numbers of those that the card
/// shall allow; none of them: all. `*len` is the room at `blob`, and afterwards the length.
///
/// # Safety
/// `hsm` is NULL or a handle, with or without a card; `kek` is NULL or points to 32 octets, `key` to `key_len`,
/// `algorithms` to `algorithms_len` octets, and may be NULL if that is 0; `len` is NULL or can be written;
/// `blob` is NULL or has room for `*len` octets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_hsm_make_blob(
    hsm: *const kx_hsm,
    kek: *const u8,
    is_aes: i32,
    key: *const u8,
    key_len: usize,
    algorithms: *const u8,
    algorithms_len: usize,
    blob: *mut u8,
    len: *mut usize,
) -> kx_status {
    // SAFETY: the caller's promise.
    let kek = unsafe { self::kek(kek) };
    // SAFETY: the caller's promise.
    let key = unsafe { c_buffer(key, key_len) };
    let algorithms = if algorithms_len == 0 {
        Some(&[][..])
    } else {
        // SAFETY: the caller's promise.
        unsafe { c_buffer(algorithms, algorithms_len) }
    };
    let make = |hsm: &kx_hsm| {
        let (Some(kek), Some(key), Some(algorithms)) = (kek, key, algorithms) else {
            return Err(hsm.null());
        };
        let key = if is_aes == 0 {
            Key::from_pkcs8(key)
        } else {
            Key::from_aes(key)
        }
        .map_err(|error| hsm.refuse(KX_ERR_PROTOCOL, error))?;
        let attributes = Attributes {
            algorithms: algorithms.to_vec(),
            ..Attributes::default()
        };
        blob::seal(&kek, &key, &attributes, &mut System).map_err(|error| blob_failed(hsm, error))
    };
    // SAFETY: the caller's promise.
    unsafe { answer(hsm, blob, len, make) }
}

/// Writes the certificate of the device and of its issuer, one after another, for who is to make it a member
/// of a group. `*len` is the room at `file`, and afterwards the length; 4096 octets are enough.
///
/// # Safety
/// `hsm` is NULL or a handle; `len` is NULL or can be written; `file` is NULL or has room for `*len` octets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_hsm_export_device(
    hsm: *const kx_hsm,
    file: *mut u8,
    len: *mut usize,
) -> kx_status {
    let make = |hsm: &kx_hsm| {
        let (device, issuer) = hsm.ask(xkek::hsm::Hsm::certificate_pair)?;
        Ok([device.encoded(), issuer.encoded()].concat())
    };
    // SAFETY: the caller's promise.
    unsafe { answer(hsm, file, len, make) }
}

/// Makes a group signer on brainpoolP256r1 as key `key`, which must be free, and writes its file. `*len` is the
/// room at `file`, and afterwards the length; 4096 octets are enough. With KX_ERR_BUFFER the key is made;
/// kx_hsm_export_key() writes the file again.
///
/// # Safety
/// `hsm` is NULL or a handle; `len` is NULL or can be written; `file` is NULL or has room for `*len` octets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_hsm_create_group_signer(
    hsm: *const kx_hsm,
    key: u8,
    file: *mut u8,
    len: *mut usize,
) -> kx_status {
    let make = |hsm: &kx_hsm| {
        let [curve, ..] = CURVES;
        let made = hsm.ask(|card| card.create_group_signer(key, curve, "group signer"))?;
        Ok(file_of(&made))
    };
    // SAFETY: the caller's promise.
    unsafe { answer(hsm, file, len, make) }
}

/// Makes an exchange key in the XKEK domain of slot `domain` as key `key`, which must be free, and writes the
/// file for the peers' kx_hsm_derive(). `*len` and KX_ERR_BUFFER are as for kx_hsm_create_group_signer().
///
/// # Safety
/// `hsm` is NULL or a handle; `len` is NULL or can be written; `file` is NULL or has room for `*len` octets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_hsm_create_exchange_key(
    hsm: *const kx_hsm,
    domain: u8,
    key: u8,
    file: *mut u8,
    len: *mut usize,
) -> kx_status {
    let make = |hsm: &kx_hsm| {
        let made = hsm.ask(|card| card.create_exchange_key(key, domain))?;
        Ok(file_of(&made))
    };
    // SAFETY: the caller's promise.
    unsafe { answer(hsm, file, len, make) }
}

/// Writes the file of group signer or exchange key `key` once more. `*len` is the room at `file`, and
/// afterwards the length.
///
/// # Safety
/// `hsm` is NULL or a handle; `len` is NULL or can be written; `file` is NULL or has room for `*len` octets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_hsm_export_key(
    hsm: *const kx_hsm,
    key: u8,
    file: *mut u8,
    len: *mut usize,
) -> kx_status {
    let make = |hsm: &kx_hsm| stored(hsm, key).map(|stored| file_of(&stored));
    // SAFETY: the caller's promise.
    unsafe { answer(hsm, file, len, make) }
}

/// Signs with group signer `key` of this card that a device is a member, and writes the membership file for
/// its kx_hsm_create_xkek_domain(): `device_len` octets at `device` are that device's certificates
/// (kx_hsm_export_device()). They must lead to the vendor's root or one of kx_hsm_trust_root(), or it is
/// KX_ERR_UNTRUSTED and nothing is signed. `*len` is the room at `file`, and afterwards the length.
///
/// # Safety
/// `hsm` is NULL or a handle; `device` is NULL or points to `device_len` octets; `len` is NULL or can be
/// written; `file` is NULL or has room for `*len` octets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kx_hsm_sign_membership(
    hsm: *const kx_hsm,
    key: u8,
    device: *const u8,
    device_len: usize,
    file: *mut u8,
    len: *mut usize,
) -> kx_status {
    // SAFETY: the caller's promise.
    let device = unsafe { c_buffer(device, device_len) };
    let make = |hsm: &kx_hsm| {
        let device = device.ok_or_else(|| hsm.null())?;
        let (certificate, issuer) =
            certificates_of_file(device).map_err(|error| hsm.refuse(KX_ERR_PROTOCOL, error))?;
        xkek::chain::verify_device(&certificate, &issuer, &hsm.roots()?, None)
            .map_err(|error| hsm.refuse(KX_ERR_UNTRUSTED, error))?;
        let member = device_key(&certificate, &issuer)
            .ok_or_else(|| hsm.refuse(KX_ERR_PROTOCOL, "the device's key is on no curve"))?;
        let signer = stored(hsm, key)?;
        let made = hsm.ask(|card| card.sign_membership(key, &signer, &member))?;
        let made = made.ok_or_else(|| {
            hsm.refuse(KX_ERR_REFUSED, format!("key {key} is not a group signer"))
        })?;
        Ok(made.encode())
    };
    // SAFETY: the caller's promise.
    unsafe { answer(hsm, file, len, make) }
}

fn stored(hsm: &kx_hsm, key: u8) -> Result<AttestedKey, Refused> {
    hsm.ask(|card| card.stored_key(key)).and_then(|stored| {
        stored.ok_or_else(|| hsm.fail(Error::Answer("read the request of that key")))
    })
}

/// The file: exchange keys have no element around, group signers do (xkek spec 8).
fn file_of(key: &AttestedKey) -> Vec<u8> {
    key.encode(match key.request.body().key_domain_uid() {
        Some(_) => Form::Plain,
        None => Form::Sequence,
    })
}
