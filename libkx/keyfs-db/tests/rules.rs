//! What may be done to users and what is said then (keysrv spec 10.4).

use keyfs_db::{Change, Database, File, Key, Refused, UserId};
use proptest::collection::vec;
use proptest::prelude::*;

fn with(names: &[&str]) -> (Database, Vec<UserId>) {
    let mut database = Database::default();
    let ids = names
        .iter()
        .map(|name| create(&mut database, name).expect("made"));
    let ids = ids.collect();
    (database, ids)
}

fn create(database: &mut Database, name: &str) -> Result<UserId, Refused> {
    let name = name.as_bytes().to_vec();
    database.apply(&Change::Create { name })
}

fn write(database: &mut Database, user: UserId, file: File, data: &[u8]) -> Result<(), Refused> {
    let data = data.to_vec().into();
    database
        .apply(&Change::Write { user, file, data })
        .map(|_| ())
}

fn read(database: &Database, user: UserId, file: File, now: u32) -> Result<Vec<u8>, Refused> {
    let content = database.read(user, file, now)?;
    Ok(content.as_slice().to_vec())
}

fn text(database: &Database, user: UserId, file: File) -> String {
    String::from_utf8(read(database, user, file, 1000).expect("readable")).expect("text")
}

/// The file with these records, encrypted; for records that nobody makes by changes.
fn decoded(records: &[(u8, u8, i32, &str, &str)]) -> Database {
    let key = Key::from_password(b"k");
    let mut plain = Vec::new();
    for (status, failed, expire, name, secret) in records {
        plain.extend([*status, *failed]);
        plain.extend(expire.to_le_bytes());
        plain.push(name.len() as u8);
        plain.extend(name.as_bytes());
        plain.push(secret.len() as u8);
        plain.extend(secret.as_bytes());
    }
    plain.extend([b'X'; 16]);
    Database::decode(&key, &encrypted(&plain)).expect("decoded")
}

/// Any plain text as a file under the key of `k`.
fn encrypted(plain: &[u8]) -> Vec<u8> {
    let hash = kx_crypto::digest::sha1(&[b"aescbc file", b"k"]);
    let key: [u8; 16] = *hash.first_chunk().expect("long enough");
    let iv = [3; 16];
    let mut text = plain.to_vec();
    let whole = text.len() / 16 * 16;
    let (blocks, tail) = text.split_at_mut(whole);
    kx_crypto::cbc::aes128_encrypt(&key, &iv, blocks).expect("encrypted");
    let mut mask = *blocks.last_chunk().unwrap_or(&iv);
    kx_crypto::cbc::aes128_block(&key, &mut mask).expect("encrypted");
    tail.iter_mut()
        .zip(mask)
        .for_each(|(octet, mask)| *octet ^= mask);
    [&iv[..], &text].concat()
}

#[test]
fn no_users_are_no_octets() {
    let key = Key::from_password(b"k");
    let (mut database, ids) = with(&["alice"]);
    assert_eq!(
        database.encode(&key, [1; 16]).expect("encoded").len(),
        32 + 8 + 5
    );
    database
        .apply(&Change::Remove { user: ids[0] })
        .expect("removed");
    assert_eq!(database.encode(&key, [1; 16]).expect("encoded"), b"");
    assert!(Database::decode(&key, b"").expect("decoded").is_empty());
    // A file of nothing but the check is no error either.
    assert!(decoded(&[]).is_empty());
}

#[test]
fn secrets() {
    let (mut database, ids) = with(&["alice"]);
    assert_eq!(read(&database, ids[0], File::Secret, 0), Ok(vec![]));
    write(&mut database, ids[0], File::Secret, &[0; 255]).expect("as long as can be");
    assert_eq!(database.user(ids[0]).expect("there").secret_len(), 255);
    let refused = write(&mut database, ids[0], File::Secret, &[0; 256]);
    assert_eq!(refused, Err(Refused::IllegalWrite));
    assert_eq!(refused.expect_err("refused").to_string(), "illegal write");
    write(&mut database, ids[0], File::Secret, b" new\n").expect("replaced");
    assert_eq!(
        read(&database, ids[0], File::Secret, 0),
        Ok(b" new\n".to_vec()),
        "verbatim"
    );
    write(&mut database, ids[0], File::Secret, b"").expect("emptied");
    assert_eq!(read(&database, ids[0], File::Secret, 0), Ok(vec![]));
    write(&mut database, ids[0], File::Secret, b"x").expect("replaced");
    database
        .apply(&Change::ClearSecret { user: ids[0] })
        .expect("emptied");
    assert_eq!(read(&database, ids[0], File::Secret, 0), Ok(vec![]));
}

#[test]
fn status() {
    let (mut database, ids) = with(&["alice"]);
    let user = ids[0];
    assert_eq!(text(&database, user, File::Status), "ok");
    write(&mut database, user, File::Log, b"x").expect("logged");
    write(&mut database, user, File::Status, b"disabled\n").expect("disabled");
    assert_eq!(text(&database, user, File::Status), "disabled");
    assert_eq!(text(&database, user, File::Log), "1", "kept");
    let refused = read(&database, user, File::Secret, 0).expect_err("disabled");
    assert_eq!(refused.to_string(), "user disabled");
    write(&mut database, user, File::Status, b" \tok now").expect("the first word counts");
    assert_eq!(text(&database, user, File::Status), "ok");
    assert_eq!(text(&database, user, File::Log), "0", "forgotten");
    for word in [&b""[..], b"OK", b"expired", b"o", b"okay", b"\n"] {
        let refused = write(&mut database, user, File::Status, word).expect_err("unknown");
        assert_eq!(refused.to_string(), "unknown status");
    }
}

#[test]
fn expiry() {
    let (mut database, ids) = with(&["alice"]);
    let user = ids[0];
    assert_eq!(text(&database, user, File::Expire), "never");
    for (word, shown) in [
        ("1000", "1000"),
        (" 1001 2", "1001"),
        ("2147483647", "2147483647"),
        ("2147483648", "2147483647"),
        ("99999999999999999999", "2147483647"),
        ("0", "never"),
        ("007", "7"),
        ("never\n", "never"),
    ] {
        write(&mut database, user, File::Log, b"bad").expect("logged");
        write(&mut database, user, File::Expire, word.as_bytes()).expect("set");
        assert_eq!(text(&database, user, File::Expire), shown, "{word}");
        assert_eq!(text(&database, user, File::Log), "0", "forgotten");
    }
    for word in ["", "-1", "+1", "1x", "Never", "1.5", "0x10", "\u{663}"] {
        let refused = write(&mut database, user, File::Expire, word.as_bytes());
        assert_eq!(refused.expect_err(word).to_string(), "illegal expiry time");
    }
    write(&mut database, user, File::Expire, b"1000").expect("set");
    for (now, expired) in [(999, false), (1000, false), (1001, true), (u32::MAX, true)] {
        let status = if expired { &b"expired"[..] } else { b"ok" };
        assert_eq!(
            read(&database, user, File::Status, now).expect("readable"),
            status
        );
        let secret = read(&database, user, File::Secret, now);
        assert_eq!(secret == Err(Refused::Expired), expired);
    }
    assert_eq!(Refused::Expired.to_string(), "user expired");
    write(&mut database, user, File::Status, b"disabled").expect("disabled");
    assert_eq!(
        read(&database, user, File::Status, 2000).expect("readable"),
        b"disabled"
    );
}

#[test]
fn fifty_failures_disable() {
    let (mut database, ids) = with(&["alice"]);
    let user = ids[0];
    for count in 1..=49 {
        // Anything is a failure, nothing at all too.
        write(
            &mut database,
            user,
            File::Log,
            if count % 2 == 0 { b"" } else { b"goodbye" },
        )
        .expect("logged");
        assert_eq!(text(&database, user, File::Log), count.to_string());
    }
    assert_eq!(text(&database, user, File::Status), "ok");
    write(&mut database, user, File::Log, b"bad").expect("logged");
    assert_eq!(text(&database, user, File::Status), "disabled");
    for word in [&b"good"[..], b"ok\n", b" good x"] {
        write(&mut database, user, File::Log, word).expect("logged");
        assert_eq!(text(&database, user, File::Log), "0");
        write(&mut database, user, File::Log, b"bad").expect("logged");
    }
    assert_eq!(
        text(&database, user, File::Status),
        "disabled",
        "and it stays so"
    );
}

#[test]
fn the_file_keeps_eight_bits_of_the_failures() {
    let key = Key::from_password(b"k");
    let (mut database, ids) = with(&["alice"]);
    for _ in 0..258 {
        write(&mut database, ids[0], File::Log, b"bad").expect("logged");
    }
    assert_eq!(text(&database, ids[0], File::Log), "258");
    let file = database.encode(&key, [1; 16]).expect("encoded");
    let again = Database::decode(&key, &file).expect("decoded");
    assert_eq!(
        text(&again, again.find(b"alice").expect("there"), File::Log),
        "2"
    );
}

#[test]
fn names() {
    let (mut database, ids) = with(&["alice"]);
    for (name, said) in [
        ("alice", "user already exists"),
        (".", ". and .. are illegal names"),
        ("..", ". and .. are illegal names"),
        ("", "bad character in file name"),
        ("a/b", "bad character in file name"),
        ("a\0", "bad character in file name"),
        (&"x".repeat(256), "user name too long"),
        // 128 characters: the original lets it in, and dies of it.
        (&"ж".repeat(128), "user name too long"),
    ] {
        let refused = create(&mut database, name).expect_err(name);
        assert_eq!(refused.to_string(), said);
        let renamed = Change::Rename {
            user: ids[0],
            name: name.as_bytes().to_vec(),
        };
        assert_eq!(database.apply(&renamed), Err(refused));
    }
    create(&mut database, &"x".repeat(255)).expect("as long as can be");
    create(&mut database, &"ж".repeat(127)).expect("254 octets");
    create(&mut database, " a b\t").expect("blanks are characters");
}

#[test]
fn slots_and_generations() {
    let (mut database, ids) = with(&["a", "b", "c"]);
    let at = |slot, generation| UserId { slot, generation };
    assert_eq!(ids, [at(0, 0), at(1, 1), at(2, 2)]);
    database
        .apply(&Change::Remove { user: ids[1] })
        .expect("removed");
    database
        .apply(&Change::Remove { user: ids[0] })
        .expect("removed");
    let order = |database: &Database| -> Vec<Vec<u8>> {
        database
            .users()
            .map(|(_, user)| user.name().to_vec())
            .collect()
    };
    assert_eq!(order(&database), [b"c"]);
    assert_eq!(
        create(&mut database, "d"),
        Ok(at(0, 3)),
        "the first free one"
    );
    assert_eq!(create(&mut database, "e"), Ok(at(1, 4)));
    assert_eq!(create(&mut database, "f"), Ok(at(3, 5)));
    assert_eq!(order(&database), [b"d", b"e", b"c", b"f"]);
    // Who was there before is not who is there now.
    for file in File::ALL {
        let removed = read(&database, ids[0], file, 0).expect_err("gone");
        assert_eq!(removed.to_string(), "user has been removed");
        assert_eq!(
            write(&mut database, ids[0], file, b"ok"),
            Err(Refused::Removed)
        );
    }
    for change in [
        Change::Remove { user: ids[0] },
        Change::ClearSecret { user: ids[0] },
        Change::Rename {
            user: ids[0],
            name: b"x".to_vec(),
        },
    ] {
        assert_eq!(database.apply(&change), Err(Refused::Removed));
    }
    assert_eq!(database.len(), 4);
}

#[test]
fn renaming() {
    let (mut database, ids) = with(&["a", "b"]);
    write(&mut database, ids[0], File::Secret, b"s").expect("set");
    let rename = |user, name: &str| Change::Rename {
        user,
        name: name.as_bytes().to_vec(),
    };
    assert_eq!(
        database.apply(&rename(ids[0], "a")),
        Err(Refused::Exists),
        "its own too"
    );
    assert_eq!(database.apply(&rename(ids[0], "c")), Ok(ids[0]));
    assert_eq!(database.find(b"a"), None);
    assert_eq!(database.find(b"c"), Some(ids[0]));
    assert_eq!(read(&database, ids[0], File::Secret, 0), Ok(b"s".to_vec()));
    create(&mut database, "a").expect("free again");
}

#[test]
fn the_first_of_two_of_one_name_counts() {
    let mut database = decoded(&[(0, 0, 0, "twin", "one"), (0, 0, 0, "twin", "two")]);
    let secret = |database: &Database| {
        let first = database.find(b"twin").expect("there");
        (
            first,
            read(database, first, File::Secret, 0).expect("readable"),
        )
    };
    let (first, content) = secret(&database);
    assert_eq!((first.slot, content), (0, b"one".to_vec()));
    database
        .apply(&Change::Remove { user: first })
        .expect("removed");
    let (second, content) = secret(&database);
    assert_eq!((second.slot, content), (1, b"two".to_vec()));
    let other = create(&mut database, "x").expect("made");
    assert_eq!(other.slot, 0);
    let renamed = Change::Rename {
        user: second,
        name: b"y".to_vec(),
    };
    database.apply(&renamed).expect("renamed");
    assert_eq!(database.find(b"twin"), None);
}

#[test]
fn an_unknown_status_counts_as_disabled_and_stays() {
    let database = decoded(&[(7, 3, -5, "alice", "s")]);
    let user = database.find(b"alice").expect("there");
    assert_eq!(text(&database, user, File::Status), "disabled");
    assert_eq!(
        read(&database, user, File::Secret, 0),
        Err(Refused::Disabled)
    );
    assert_eq!(text(&database, user, File::Log), "3");
    // Signed when compared, unsigned when shown.
    assert_eq!(text(&database, user, File::Expire), "4294967291");
    assert!(database.user(user).expect("there").is_expired(0));
    let key = Key::from_password(b"k");
    let file = database.encode(&key, [1; 16]).expect("encoded");
    let again = Database::decode(&key, &file).expect("decoded");
    assert_eq!(again.users().next().expect("one").1.status(), 7);
}

#[test]
fn records_must_end_where_the_check_begins() {
    let key = Key::from_password(b"k");
    let record = [0u8, 0, 0, 0, 0, 0, 1, b'a', 2, b's', b's'];
    let check = [b'X'; 16];
    assert!(Database::decode(&key, &encrypted(&[&record[..], &check].concat())).is_ok());
    for cut in 1..record.len() {
        let plain = [record.get(..cut).expect("shorter"), &check].concat();
        assert!(Database::decode(&key, &encrypted(&plain)).is_err(), "{cut}");
    }
}

#[test]
fn a_copy_does_not_follow() {
    let (mut database, ids) = with(&["a"]);
    let copy = database.clone();
    write(&mut database, ids[0], File::Secret, b"x").expect("set");
    create(&mut database, "b").expect("made");
    assert_eq!(read(&copy, ids[0], File::Secret, 0), Ok(vec![]));
    assert_eq!((copy.len(), copy.find(b"b")), (1, None));
}

fn any_user() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, u8, u32)> {
    let name = vec(any::<u8>(), 1..30);
    let name = name.prop_filter("a name", |name| {
        name != b"." && name != b".." && !name.iter().any(|octet| matches!(octet, 0 | b'/'))
    });
    (name, vec(any::<u8>(), 0..=255), any::<u8>(), any::<u32>())
}

proptest! {
    #[test]
    fn databases_come_back(users in vec(any_user(), 0..12), iv in any::<[u8; 16]>(), password in vec(any::<u8>(), 0..40)) {
        let key = Key::from_password(&password);
        let mut database = Database::default();
        for (name, secret, failures, expire) in &users {
            let Ok(user) = database.apply(&Change::Create { name: name.clone() }) else { continue };
            write(&mut database, user, File::Secret, secret).expect("set");
            write(&mut database, user, File::Expire, expire.to_string().as_bytes()).expect("set");
            for _ in 0..failures % 60 {
                write(&mut database, user, File::Log, b"bad").expect("logged");
            }
        }
        let file = database.encode(&key, iv).expect("encoded");
        let again = Database::decode(&key, &file).expect("decoded");
        prop_assert_eq!(again.encode(&key, iv).expect("encoded"), file);
        prop_assert_eq!(again.len(), database.len());
        for ((_, one), (_, other)) in database.users().zip(again.users()) {
            prop_assert_eq!(one.name(), other.name());
            prop_assert_eq!(one.secret_len(), other.secret_len());
            prop_assert_eq!((one.status(), one.failed(), one.expire()), (other.status(), other.failed(), other.expire()));
        }
    }

    /// Any plain text that ends in the check is a database, and the same one again, or is refused.
    #[test]
    fn any_records(records in vec(any::<u8>(), 0..300)) {
        let plain = [&records[..], &[b'X'; 16]].concat();
        let file = encrypted(&plain);
        let key = Key::from_password(b"k");
        if let Ok(database) = Database::decode(&key, &file) {
            let again = database.encode(&key, [3; 16]).expect("encoded");
            if database.is_empty() {
                prop_assert!(again.is_empty());
            } else {
                prop_assert_eq!(again, file);
            }
        }
    }

    #[test]
    fn any_file(octets in vec(any::<u8>(), 0..400)) {
        let _ = Database::decode(&Key::from_password(b"k"), &octets);
    }
}
