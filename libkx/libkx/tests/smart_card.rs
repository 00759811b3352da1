//! Smart-card key domains through the C interface, on a software device (xkek spec 16).
#![allow(
    clippy::multiple_unsafe_ops_per_block,
    reason = "as a C program would call it"
)]

use std::ffi::{CStr, CString};
use std::ptr;

use kx::kx_status::*;
use kx::smart_card::kx_hsm_domain_kind::*;
use kx::smart_card::*;

fn last_error(hsm: *const kx_hsm) -> String {
    // SAFETY: the handle is alive.
    let text = unsafe { kx_hsm_last_error(hsm) };
    // SAFETY: the library's texts are never NULL, and end.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().unwrap().to_owned()
}

fn transmit(hsm: *const kx_hsm, command: &[u8]) -> Vec<u8> {
    let mut answer = vec![0; 4096];
    let mut len = answer.len();
    // SAFETY: buffers of the lengths that are told.
    let status = unsafe {
        kx_hsm_transmit(
            hsm,
            command.as_ptr(),
            command.len(),
            answer.as_mut_ptr(),
            &raw mut len,
        )
    };
    assert_eq!(status, KX_OK, "{}", last_error(hsm));
    answer.truncate(len);
    answer
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
fn a_domain_from_its_making_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let spec = format!("vcard:{}", dir.path().join("card").display());
    let spec = CString::new(spec).unwrap();
    let hsm = kx_hsm_new();
    // SAFETY: handle and text are alive in all that follows; buffers have the lengths told.
    unsafe {
        assert_eq!(kx_hsm_login(hsm, b"648219".as_ptr(), 6), KX_ERR_ARGUMENT);
        assert_eq!(last_error(hsm), "no card is open");
        assert_eq!(
            kx_hsm_open(hsm, spec.as_ptr()),
            KX_OK,
            "{}",
            last_error(hsm)
        );
        // INITIALIZE: PIN 648219, three tries, two slots.
        let mut initialize = b"\x80\x50\0\0\x1c\x80\x02\0\x01\x81\x06648219\x82\x08".to_vec();
        initialize.extend_from_slice(b"\x35\x37\x36\x32\x31\x38\x38\x30\x91\x01\x03\x97\x01\x02");
        assert_eq!(transmit(hsm, &initialize), [0x90, 0]);
        assert_eq!(kx_hsm_login(hsm, b"000000".as_ptr(), 6), KX_ERR_REFUSED);
        assert!(last_error(hsm).contains("2 tries left"));
        assert_eq!(kx_hsm_login(hsm, b"648219".as_ptr(), 6), KX_OK);
        assert_eq!(domain(hsm, 0).kind, KX_HSM_EMPTY);
        assert_eq!(domain(hsm, 9).kind, KX_HSM_NONE);
        assert_eq!(kx_hsm_create_dkek_domain(hsm, 0, 1), KX_OK);
        let state = domain(hsm, 0);
        assert_eq!(
            (state.kind, state.missing, state.has_key),
            (KX_HSM_DKEK, 1, 0)
        );

        let mut file = [0; 64];
        let mut len = 10;
        let password = b"secret-1";
        let make = |file: *mut u8, len: *mut usize| {
            kx_hsm_make_share(hsm, password.as_ptr(), password.len(), file, len)
        };
        assert_eq!(make(file.as_mut_ptr(), &raw mut len), KX_ERR_BUFFER);
        assert_eq!(len, 64);
        assert_eq!(make(file.as_mut_ptr(), &raw mut len), KX_OK);
        assert!(file.starts_with(b"Salted__"));
        let import = |password: &[u8]| {
            kx_hsm_import_share(hsm, 0, file.as_ptr(), 64, password.as_ptr(), password.len())
        };
        assert_eq!(import(b"secret-2"), KX_ERR_AUTH);
        assert_eq!(import(password), KX_OK, "{}", last_error(hsm));
        let state = domain(hsm, 0);
        assert_eq!((state.shares, state.missing, state.has_key), (1, 0, 1));
        assert_ne!(state.check_value, [0; 8]);

        // An AES key in it: made, wrapped, unwrapped as another, once more refused.
        let generate = b"\0\x48\x05\xb2\x09\x91\x04\x10\x11\x18\x92\x92\x01\0";
        assert_eq!(transmit(hsm, generate), [0x90, 0]);
        let mut blob = vec![0; 4096];
        let mut len = blob.len();
        let wrapped = kx_hsm_wrap(hsm, 5, blob.as_mut_ptr(), &raw mut len);
        assert_eq!(wrapped, KX_OK, "{}", last_error(hsm));
        assert_eq!(blob[..8], state.check_value);
        assert_eq!(kx_hsm_unwrap(hsm, 6, blob.as_ptr(), len), KX_OK);
        blob[len - 1] ^= 1;
        assert_eq!(kx_hsm_unwrap(hsm, 7, blob.as_ptr(), len), KX_ERR_REFUSED);
        assert!(
            last_error(hsm).starts_with("unwrap the key: 6A80"),
            "{}",
            last_error(hsm)
        );

        assert_eq!(kx_hsm_delete_domain(hsm, 0), KX_ERR_REFUSED);
        assert_eq!(kx_hsm_clear_domain(hsm, 0), KX_OK);
        assert_eq!(domain(hsm, 0).has_key, 0);
        assert_eq!(kx_hsm_derive(hsm, 1, b"x".as_ptr(), 1), KX_ERR_PROTOCOL);
        assert_eq!(
            kx_hsm_create_xkek_domain(hsm, 1, b"x".as_ptr(), 1),
            KX_ERR_PROTOCOL
        );
        kx_hsm_free(hsm);
    }
}

#[test]
fn misuse_and_files() {
    let hsm = kx_hsm_new();
    let example = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../interop-tests/vectors/xkek/cvc/public-example.kdm"
    );
    let example = std::fs::read(example).unwrap();
    // SAFETY: a handle, NULLs, and buffers of the lengths told.
    unsafe {
        kx_hsm_free(ptr::null_mut());
        assert_eq!(kx_hsm_open(ptr::null(), ptr::null()), KX_ERR_ARGUMENT);
        assert_eq!(kx_hsm_open(hsm, ptr::null()), KX_ERR_ARGUMENT);
        assert_eq!(kx_hsm_open(hsm, c"floppy:".as_ptr()), KX_ERR_ARGUMENT);
        assert_eq!(
            kx_hsm_wrap(hsm, 1, ptr::null_mut(), ptr::null_mut()),
            KX_ERR_ARGUMENT
        );
        assert_eq!(
            kx_hsm_verify_file(hsm, example.as_ptr(), example.len()),
            KX_ERR_UNTRUSTED
        );
        assert!(last_error(hsm).ends_with("which is not a trusted root"));
        assert_eq!(kx_hsm_verify_file(hsm, b"?".as_ptr(), 1), KX_ERR_PROTOCOL);
        kx_hsm_free(hsm);
    }
}
