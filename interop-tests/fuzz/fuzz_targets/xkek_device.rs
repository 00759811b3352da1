//! Commands of a stranger, and of a user, to the software device: each is answered, whatever it is, an
//! answer never exceeds what was asked for, and the state can be written down and read at any time.
#![no_main]
use std::sync::LazyLock;

use kx_secret::SecretBytes;
use libfuzzer_sys::fuzz_target;
use xkek::apdu::Command;
use xkek::device::{Authority, Config, Device, DeviceCurve, State, SystemRandom};

/// A device that is initialised, with a DKEK, a key on a curve and one of AES. Making it takes long.
static STATE: LazyLock<SecretBytes> = LazyLock::new(|| {
    let rng = &mut SystemRandom;
    let mut authority = Authority::create(DeviceCurve::Secp256r1, rng).expect("authority");
    let state = State::personalise(&mut authority, DeviceCurve::Secp256r1, rng).expect("state");
    let mut device = Device::new(state, Config::default());
    for command in [
        SELECT,
        b"\x80\x50\x00\x00\x1f\x80\x02\x00\x01\x81\x06648219\x82\x0857621880\x91\x01\x03\x92\x01\x00\x97\x01\x02",
        LOGIN,
        b"\x00\x48\x02\xb2\x00",
    ] {
        let answer = device.transmit(rng, command);
        assert!(answer.ends_with(&[0x90, 0]), "{answer:02x?}");
    }
    device.poll_save().expect("it changed")
});
const SELECT: &[u8] = b"\x00\xa4\x04\x00\x0b\xe8\x2b\x06\x01\x04\x01\x81\xc3\x1f\x02\x01";
const LOGIN: &[u8] = b"\x00\x20\x00\x81\x06648219";

fuzz_target!(|data: &[u8]| {
    let Some((&first, mut rest)) = data.split_first() else {
        return;
    };
    let state = State::decode(STATE.as_slice()).expect("a state");
    let mut device = Device::new(state, Config::default());
    device.power_on();
    let rng = &mut SystemRandom;
    if first & 1 != 0 {
        device.transmit(rng, SELECT);
    }
    if first & 2 != 0 {
        device.transmit(rng, LOGIN);
    }
    // Commands one after the other, each with its length before it.
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        let (command, next) = after.split_at(length);
        rest = next;
        // RSA keys take seconds.
        if matches!(command, [_, 0x46, ..]) && command.windows(5).any(|w| w == [7, 2, 2, 2, 1]) {
            continue;
        }
        let answer = device.transmit(rng, command);
        assert!(answer.len() >= 2);
        if let Ok(command) = Command::parse(command) {
            let most = command.le.unwrap_or(65_536) as usize;
            assert!(answer.len() <= most + 2);
        }
        if let Some(changed) = device.poll_save() {
            let again = State::decode(changed.as_slice()).expect("what was written");
            assert!(again.encode().ct_eq(changed.as_slice()));
        }
    }
    let _ = State::decode(data);
    let _ = Authority::decode(data);
});
