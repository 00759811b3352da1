//! Shares, key blobs and the files of a group through the C interface (xkek spec 16).
#![allow(
    clippy::multiple_unsafe_ops_per_block,
    reason = "as a C program would call it"
)]

use std::ffi::{CStr, CString, c_void};
use std::path::{Path, PathBuf};
use std::ptr;

use kx::kx_status::{self, *};
use kx::smart_card::kx_hsm_domain_kind::*;
use kx::smart_card::*;
use kx::smart_card_files::kx_hsm_key_kind::*;
use kx::smart_card_files::*;

fn last_error(hsm: *const kx_hsm) -> String {
    // SAFETY: the handle is alive.
    let text = unsafe { kx_hsm_last_error(hsm) };
    // SAFETY: the library's texts are never NULL, and end.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().unwrap().to_owned()
}

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop-tests/vectors/xkek")
}

fn json(name: &str) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(vectors().join(name)).unwrap()).unwrap()
}

/// The octets that a string of digits names.
fn octets(value: &serde_json::Value) -> Vec<u8> {
    let digits = value.as_str().unwrap();
    (0..digits.len() / 2)
        .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

/// What a call writes to a buffer that is long enough.
fn written(
    hsm: *const kx_hsm,
    call: impl FnOnce(*mut u8, *mut usize) -> kx_status,
) -> Result<Vec<u8>, kx_status> {
    let mut out = vec![0; 4096];
    let mut len = out.len();
    match call(out.as_mut_ptr(), &raw mut len) {
        KX_OK => {
            out.truncate(len);
            Ok(out)
        }
        status => {
            assert_ne!(last_error(hsm), "");
            Err(status)
        }
    }
}

/// A card with two slots, its user logged in.
fn card(dir: &Path, name: &str) -> *mut kx_hsm {
    let spec = format!(
        "vcard:{},ca={}",
        dir.join(name).display(),
        dir.join("ca").display()
    );
    let spec = CString::new(spec).unwrap();
    let hsm = kx_hsm_new();
    let mut initialize = b"\x80\x50\0\0\x1c\x80\x02\0\x01\x81\x06648219\x82\x08".to_vec();
    initialize.extend_from_slice(b"\x35\x37\x36\x32\x31\x38\x38\x30\x91\x01\x03\x97\x01\x02");
    // SAFETY: handle, text and buffers are alive and as long as told.
    unsafe {
        assert_eq!(
            kx_hsm_open(hsm, spec.as_ptr()),
            KX_OK,
            "{}",
            last_error(hsm)
        );
        let done = written(hsm, |out, len| {
            kx_hsm_transmit(hsm, initialize.as_ptr(), initialize.len(), out, len)
        });
        assert_eq!(done.unwrap(), [0x90, 0]);
        assert_eq!(kx_hsm_login(hsm, b"648219".as_ptr(), 6), KX_OK);
    }
    hsm
}

fn domain(hsm: *const kx_hsm, number: u8) -> kx_hsm_domain {
    let mut state = kx_hsm_domain {
        kind: KX_HSM_NONE,
        shares: 0,
        missing: 0,
        has_key: 0,
        check_value: [0; 8],
    };
    // SAFETY: a handle and a place.
    let status = unsafe { kx_hsm_domain_state(hsm, number, &raw mut state) };
    assert_eq!(status, KX_OK, "{}", last_error(hsm));
    state
}

#[test]
fn shares_are_opened_made_and_combined() {
    let values = json("dkek/dkek.json");
    let recorded = std::fs::read(vectors().join("dkek/s1.pbe")).unwrap();
    let password = values["s1.pbe"]["password"].as_str().unwrap().as_bytes();
    let hsm = kx_hsm_new();
    // SAFETY: a handle, and buffers of the lengths told.
    unsafe {
        let open = |file: &[u8], password: &[u8], share: *mut u8| {
            kx_hsm_open_share(
                hsm,
                file.as_ptr(),
                file.len(),
                password.as_ptr(),
                password.len(),
                share,
            )
        };
        let mut share = [0; 32];
        let status = open(&recorded, password, share.as_mut_ptr());
        assert_eq!(status, KX_OK, "{}", last_error(hsm));
        assert_eq!(share[..], octets(&values["s1.pbe"]["share"]));
        assert_eq!(open(&recorded, b"another", share.as_mut_ptr()), KX_ERR_AUTH);
        assert_eq!(open(&recorded, password, ptr::null_mut()), KX_ERR_ARGUMENT);
        assert_eq!(open(b"Salted__", b"x", share.as_mut_ptr()), KX_ERR_PROTOCOL);

        // What was told to the callback, and how the callback ends it.
        unsafe extern "C" fn stop_half_way(context: *mut c_void, thousandths: u32) -> i32 {
            // SAFETY: the test gives the address of a u32 that outlives the calls.
            unsafe { context.cast::<u32>().write(thousandths) };
            i32::from(thousandths >= 500)
        }
        let mut seen = 0u32;
        let context = (&raw mut seen).cast();
        assert_eq!(
            kx_hsm_set_progress(hsm, Some(stop_half_way), context),
            KX_OK
        );
        let seal = |share: &[u8; 32], file, len| {
            kx_hsm_seal_share(hsm, share.as_ptr(), b"secret".as_ptr(), 6, file, len)
        };
        let ended = written(hsm, |file, len| seal(&share, file, len));
        assert_eq!(ended, Err(KX_ERR_INTERRUPTED));
        assert!((500..600).contains(&seen), "{seen}");
        assert_eq!(kx_hsm_set_progress(hsm, None, ptr::null_mut()), KX_OK);
        let file = written(hsm, |file, len| seal(&share, file, len)).unwrap();
        let mut again = [0; 32];
        assert_eq!(open(&file, b"secret", again.as_mut_ptr()), KX_OK);
        assert_eq!(again, share);

        let mut sum = [0; 32];
        let three = [[1; 32], [2; 32], [0xF0; 32]].concat();
        let combine = |count, key| kx_hsm_combine_shares(hsm, three.as_ptr(), count, key);
        assert_eq!(combine(3, sum.as_mut_ptr()), KX_OK);
        assert_eq!(sum, [0xF3; 32]);
        assert_eq!(combine(1, sum.as_mut_ptr()), KX_OK);
        assert_eq!(sum, [1; 32]);
        let twice = [[1; 32], [1; 32]].concat();
        let same = kx_hsm_combine_shares(hsm, twice.as_ptr(), 2, sum.as_mut_ptr());
        assert_eq!(same, KX_ERR_ARGUMENT);
        assert_eq!(combine(0, sum.as_mut_ptr()), KX_ERR_ARGUMENT);
        assert_eq!(combine(usize::MAX, sum.as_mut_ptr()), KX_ERR_ARGUMENT);
        assert_eq!(combine(3, ptr::null_mut()), KX_ERR_ARGUMENT);
        kx_hsm_free(hsm);
    }
}

#[test]
fn blobs_are_inspected_opened_and_made() {
    let values = json("blobs/values.json");
    let kek = octets(&values["kek"]);
    let hsm = kx_hsm_new();
    // SAFETY: a handle, and buffers of the lengths told.
    unsafe {
        for (name, case) in values["cases"].as_object().unwrap() {
            let blob = std::fs::read(vectors().join(format!("blobs/{name}.blob"))).unwrap();
            let mut info = kx_hsm_blob {
                kind: KX_HSM_RSA_CRT,
                check_value: [0; 8],
            };
            let told = kx_hsm_inspect_blob(hsm, blob.as_ptr(), blob.len(), &raw mut info);
            assert_eq!(told, KX_OK, "{name}: {}", last_error(hsm));
            assert_eq!(info.check_value, blob[..8], "{name}");
            let kind = match name.split(['-', '1', '2']).next() {
                Some("rsa") => KX_HSM_RSA,
                Some("aes") => KX_HSM_AES,
                _ => KX_HSM_EC,
            };
            assert_eq!(info.kind, kind, "{name}");

            let open = |kek: &[u8], blob: &[u8]| {
                written(hsm, |key, len| {
                    kx_hsm_open_blob(hsm, kek.as_ptr(), blob.as_ptr(), blob.len(), key, len)
                })
            };
            let key = open(&kek, &blob).unwrap();
            let secret = octets(&case["secret"]);
            let is_aes = i32::from(kind == KX_HSM_AES);
            if is_aes == 1 {
                assert_eq!(key, secret, "{name}");
            } else {
                // Within its PKCS#8.
                let bare = &secret[secret.iter().take_while(|octet| **octet == 0).count()..];
                assert!(key.windows(bare.len()).any(|part| part == bare), "{name}");
            }
            assert_eq!(open(&[9; 32], &blob), Err(KX_ERR_AUTH), "{name}");
            let mut changed = blob.clone();
            *changed.last_mut().unwrap() ^= 1;
            assert_eq!(open(&kek, &changed), Err(KX_ERR_AUTH), "{name}");
            assert!(last_error(hsm).contains("authentication code"));
            assert_eq!(open(&kek, &blob[..20]), Err(KX_ERR_PROTOCOL), "{name}");

            // Made of what came out, it opens to the same.
            let algorithms = [0x10, 0x92];
            let make = |key: &[u8], is_aes| {
                written(hsm, |out, len| {
                    kx_hsm_make_blob(
                        hsm,
                        kek.as_ptr(),
                        is_aes,
                        key.as_ptr(),
                        key.len(),
                        algorithms.as_ptr(),
                        2,
                        out,
                        len,
                    )
                })
            };
            let made = make(&key, is_aes).unwrap();
            assert_eq!(open(&kek, &made).unwrap(), key, "{name}");
            assert!(made.windows(4).any(|part| part == [0, 2, 0x10, 0x92]));
            assert_eq!(make(&key[1..], is_aes), Err(KX_ERR_PROTOCOL), "{name}");
        }
        let mut len = 0;
        let small = kx_hsm_make_blob(
            hsm,
            kek.as_ptr(),
            1,
            [7; 16].as_ptr(),
            16,
            ptr::null(),
            0,
            ptr::null_mut(),
            &raw mut len,
        );
        assert_eq!(small, KX_ERR_BUFFER);
        assert!((60..100).contains(&len), "{len}");
        kx_hsm_free(hsm);
    }
}

#[test]
fn a_group_is_founded_joined_and_its_key_agreed_on() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (card(dir.path(), "a"), card(dir.path(), "b"));
    let stranger = {
        let elsewhere = dir.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        card(&elsewhere, "c")
    };
    let root = std::fs::read(dir.path().join("ca/root.cvc")).unwrap();
    // SAFETY: handles, and buffers of the lengths told.
    unsafe {
        let signer = written(a, |out, len| kx_hsm_create_group_signer(a, 1, out, len)).unwrap();
        let again = written(a, |out, len| kx_hsm_export_key(a, 1, out, len)).unwrap();
        assert_eq!(signer, again);
        assert_eq!(signer[0], 0x30);
        let taken = written(a, |out, len| kx_hsm_create_group_signer(a, 1, out, len));
        assert_eq!(taken, Err(KX_ERR_REFUSED));
        let none = written(a, |out, len| kx_hsm_export_key(a, 9, out, len));
        assert_eq!(none, Err(KX_ERR_PROTOCOL));

        let member = |device: &[u8]| {
            written(a, |out, len| {
                kx_hsm_sign_membership(a, 1, device.as_ptr(), device.len(), out, len)
            })
        };
        let own = written(a, |out, len| kx_hsm_export_device(a, out, len)).unwrap();
        // Nobody vouches for a software device until its root is trusted.
        assert_eq!(member(&own), Err(KX_ERR_UNTRUSTED));
        let trust = |root: &[u8]| kx_hsm_trust_root(a, root.as_ptr(), root.len());
        assert_eq!(trust(b"none"), KX_ERR_PROTOCOL);
        // A device's certificate does not sign itself.
        let certificate = &own[..own.len() - root_len(&own)];
        assert_eq!(trust(certificate), KX_ERR_UNTRUSTED);
        let verify = |file: &[u8]| kx_hsm_verify_file(a, file.as_ptr(), file.len());
        assert_eq!(verify(&signer), KX_ERR_UNTRUSTED);
        assert_eq!(trust(&root), KX_OK, "{}", last_error(a));
        assert_eq!(verify(&signer), KX_OK, "{}", last_error(a));
        let foreign = written(stranger, |out, len| {
            kx_hsm_export_device(stranger, out, len)
        })
        .unwrap();
        assert_eq!(member(&foreign), Err(KX_ERR_UNTRUSTED));
        assert_eq!(member(b"x"), Err(KX_ERR_PROTOCOL));

        let mut exchange = Vec::new();
        for hsm in [a, b] {
            let device = written(hsm, |out, len| kx_hsm_export_device(hsm, out, len)).unwrap();
            let file = member(&device).unwrap();
            assert_eq!(verify(&file), KX_OK);
            let join = kx_hsm_create_xkek_domain(hsm, 1, file.as_ptr(), file.len());
            assert_eq!(join, KX_OK, "{}", last_error(hsm));
            assert_eq!(domain(hsm, 1).kind, KX_HSM_XKEK);
            let key = written(hsm, |out, len| {
                kx_hsm_create_exchange_key(hsm, 1, 2, out, len)
            })
            .unwrap();
            assert_eq!(verify(&key), KX_OK, "{}", last_error(a));
            exchange.push(key);
        }
        // Without a domain there is no exchange key.
        let none = written(a, |out, len| kx_hsm_create_exchange_key(a, 0, 3, out, len));
        assert_eq!(none, Err(KX_ERR_REFUSED));
        for (hsm, peer) in [(a, &exchange[1]), (b, &exchange[0])] {
            let agreed = kx_hsm_derive(hsm, 2, peer.as_ptr(), peer.len());
            assert_eq!(agreed, KX_OK, "{}", last_error(hsm));
        }
        assert_eq!(domain(a, 1).has_key, 1);
        assert_eq!(domain(a, 1).check_value, domain(b, 1).check_value);
        // An exchange key signs no members.
        let device = written(b, |out, len| kx_hsm_export_device(b, out, len)).unwrap();
        let signed = written(a, |out, len| {
            kx_hsm_sign_membership(a, 2, device.as_ptr(), device.len(), out, len)
        });
        assert_eq!(signed, Err(KX_ERR_REFUSED));
        for hsm in [a, b, stranger] {
            kx_hsm_free(hsm);
        }
    }
}

/// Length of the second of two certificates.
fn root_len(two: &[u8]) -> usize {
    let (_, rest) = xkek::tlv::expect(two, 0x7f21).unwrap();
    rest.len()
}
