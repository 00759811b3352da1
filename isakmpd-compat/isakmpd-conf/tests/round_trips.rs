//! What is dumped reads the same again, and nothing that is read does harm.

use isakmpd_conf::{Command, Store, octets};
use proptest::collection::vec;
use proptest::prelude::*;

/// The dump as a file. The report has no way to write a value that begins with a blank, and needs none.
fn file(store: &Store) -> Vec<u8> {
    store
        .dump()
        .iter()
        .flat_map(|line| octets(&format!("{}\n", **line)))
        .collect()
}

fn settings(store: &Store) -> Vec<(String, String, String)> {
    let settings = store.settings();
    settings
        .iter()
        .map(|one| {
            (
                one.section.to_owned(),
                one.tag.to_owned(),
                one.value.to_owned(),
            )
        })
        .collect()
}

fn name() -> impl Strategy<Value = String> {
    "[A-Za-z0-9 ._/@:é-]{1,20}".prop_filter("dumped first", |name| !name.starts_with([' ']))
}

fn tag() -> impl Strategy<Value = String> {
    "[A-Za-z0-9][A-Za-z0-9._:-]{0,20}"
}

fn value() -> impl Strategy<Value = String> {
    "([!-~é][ -~é]{0,30}[!-\\[\\]-~é])?"
}

/// Lines as people write them, with what goes wrong.
fn line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (name(), value()).prop_map(|(name, rest)| format!("[{name}]{rest}\n").into_bytes()),
        (tag(), "[ \t]{0,2}", value())
            .prop_map(|(tag, space, value)| format!("{tag}{space}={space}{value}\n").into_bytes()),
        Just(b"[General]\n".to_vec()),
        Just(b"Retransmits=\t1\n".to_vec()),
        Just(b"\\\n".to_vec()),
        Just(b"#comment\\\n".to_vec()),
        Just(b" indented=\t1\n".to_vec()),
        vec(any::<u8>(), 0..30),
    ]
}

proptest! {
    #[test]
    fn what_was_set_is_dumped_and_read_again(all in vec((name(), tag(), value()), 0..30)) {
        let mut written = Vec::new();
        for (section, tag, value) in &all {
            written.extend_from_slice(format!("[{section}]\n{tag}={value}\n").as_bytes());
        }
        let (store, problems) = Store::parse(&written);
        let (again, none) = Store::parse(&file(&store));
        prop_assert!(none.is_empty());
        prop_assert_eq!(settings(&again), settings(&store));
        prop_assert_eq!(all.len(), settings(&store).len() + problems.len());
        for (section, tag, _) in &all {
            prop_assert_eq!(again.get(&section.to_uppercase(), tag), store.get(&section.to_uppercase(), tag));
        }
    }

    #[test]
    fn hostile_files(lines in vec(line(), 0..60)) {
        let written = lines.concat();
        let (store, _) = Store::parse(&written);
        let settings = settings(&store);
        prop_assert!(settings.len() <= written.len());
        for (section, tag, value) in &settings {
            prop_assert_eq!(store.get(section, tag), Some(value.as_str().into()));
            prop_assert!(octets(value).len() <= written.len());
        }
        // Once more: nothing of the first reading is left but the section that was open.
        let mut store = store;
        let _ = store.reload(Some(b"[x]\n"));
        prop_assert!(store.settings().is_empty());
    }

    #[test]
    fn any_octets(file in vec(any::<u8>(), 0..4000)) {
        let (store, problems) = Store::parse(&file);
        prop_assert!(problems.len() + store.settings().len() <= file.len());
    }

    #[test]
    fn any_command(line in vec(any::<u8>(), 0..300), words in "C (get|set|add|rmv|rm|rms) \\[[a-c ]{0,3}\\]?:[a-c]{0,2}=?[a-c,]{0,4}( force)?") {
        let mut store = Store::new();
        for line in [line.as_slice(), words.as_bytes()] {
            if let Ok(command) = Command::parse(line) {
                let _ = store.apply(command);
            }
        }
        let (again, problems) = Store::parse(&file(&store));
        prop_assert!(problems.is_empty());
        // A tag out of the FIFO may end in a blank, which the grammar takes off.
        prop_assert_eq!(settings(&again).len(), settings(&store).len());
    }
}

#[test]
fn megabytes() {
    for pattern in [
        &b"a"[..],
        b"\n",
        b"\\\n",
        b"[",
        b"[x]\n",
        b"=\n",
        b"[a]\nb=\n",
        b"\0",
        b"\xff\n",
        b"#\n",
    ] {
        let file: Vec<u8> = pattern.iter().copied().cycle().take(4 << 20).collect();
        let (store, problems) = Store::parse(&file);
        assert!(store.settings().len() <= 1);
        assert!(problems.len() <= file.len());
    }
    let mut file = b"[Phase 1]\n".to_vec();
    for number in 0..200_000_u32 {
        file.extend_from_slice(
            format!("{}= peer-{number}\n", std::net::Ipv4Addr::from(number)).as_bytes(),
        );
    }
    let (store, problems) = Store::parse(&file);
    assert!(problems.is_empty());
    assert_eq!(store.settings().len(), 200_000);
    assert_eq!(
        store.get("phase 1", "0.1.134.160").as_deref(),
        Some("peer-100000")
    );
}
