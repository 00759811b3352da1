//! Databases that the original has written (interop-tests/vectors/keysrv/keyfs).

use std::path::PathBuf;

use keyfs_db::{Damaged, Database, File, Key, User};
use serde_json::Value;

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../interop-tests/vectors/keysrv/keyfs")
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("text").as_bytes();
    let octet = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("ASCII");
        u8::from_str_radix(pair, 16).expect("hex")
    };
    text.chunks(2).map(octet).collect()
}

/// What the description says, the password's key, and the file's octets.
fn vectors() -> Vec<(Value, Key, Vec<u8>)> {
    let text = std::fs::read_to_string(directory().join("keyfs.json")).expect("vectors");
    let Value::Array(vectors) = serde_json::from_str(&text).expect("JSON") else {
        panic!("a list is expected");
    };
    assert_eq!(vectors.len(), 4);
    let whole = |vector: Value| {
        let password = vector["password"].as_str().expect("password");
        let key = Key::from_password(password.as_bytes());
        let file = directory().join(vector["file"].as_str().expect("name"));
        let octets = std::fs::read(file).expect("file");
        (vector, key, octets)
    };
    vectors.into_iter().map(whole).collect()
}

#[test]
fn the_users_are_those_that_were_there() {
    for (vector, key, octets) in vectors() {
        let database = Database::decode(&key, &octets).expect("decoded");
        let expected = vector["users"].as_array().expect("users");
        let users: Vec<_> = database.users().collect();
        assert_eq!(users.len(), expected.len());
        for (slot, ((id, user), expected)) in users.iter().zip(expected).enumerate() {
            assert_eq!((id.slot as usize, id.generation as usize), (slot, slot));
            assert_eq!(
                user.name(),
                expected["name"].as_str().expect("name").as_bytes()
            );
            assert_eq!(Value::from(user.status()), expected["status"]);
            assert_eq!(Value::from(user.failed()), expected["failed"]);
            assert_eq!(Value::from(user.expire()), expected["expire"]);
            let secret = database.read(*id, File::Secret, 0).expect("readable");
            assert_eq!(secret.as_slice(), hex(&expected["secret_hex"]));
            assert_eq!(database.find(user.name()), Some(*id));
        }
    }
}

#[test]
fn the_same_iv_gives_the_same_octets() {
    for (vector, key, octets) in vectors() {
        let database = Database::decode(&key, &octets).expect("decoded");
        let iv = hex(&vector["iv_hex"]).try_into().expect("16 octets");
        let encoded = database.encode(&key, iv).expect("encoded");
        assert!(encoded == octets, "{}", vector["file"]);
        let other = database.encode(&key, [0; 16]).expect("encoded");
        assert_ne!(other, octets);
    }
}

#[test]
fn another_key_says_so() {
    for (_, _, octets) in vectors() {
        for password in [&b"Vector master kex"[..], b"", b"master one\n"] {
            let decoded = Database::decode(&Key::from_password(password), &octets);
            assert_eq!(decoded.expect_err("refused"), Damaged);
        }
    }
    let text = Damaged.to_string();
    assert_eq!(text, "incorrect key or corrupt/damaged keyfile");
}

#[test]
fn truncated_files_say_so() {
    for (_, key, octets) in vectors() {
        for len in 1..octets.len() {
            let cut = octets.get(..len).expect("shorter");
            assert_eq!(Database::decode(&key, cut).err(), Some(Damaged), "{len}");
        }
        let mut longer = octets.clone();
        longer.push(0);
        assert_eq!(Database::decode(&key, &longer).err(), Some(Damaged));
    }
}

/// The file has no digest. Damage of the check is noticed; damage elsewhere may give nonsense, but
/// nothing worse, and never another number of octets.
#[test]
fn damaged_files_are_refused_or_give_nonsense() {
    let mut unnoticed = 0;
    for (_, key, octets) in vectors() {
        for at in 0..octets.len() {
            let mut damaged = octets.clone();
            if let Some(octet) = damaged.get_mut(at) {
                *octet ^= 0x40;
            }
            let Ok(database) = Database::decode(&key, &damaged) else {
                continue;
            };
            unnoticed += 1;
            let sizes = database
                .users()
                .map(|(_, user): (_, &User)| 8 + user.name().len() + user.secret_len());
            assert_eq!(sizes.sum::<usize>() + 32, octets.len());
            assert!(at + 17 < octets.len(), "the check was damaged");
        }
    }
    assert!(unnoticed > 0, "as the format has it");
}
