//! Lines of the FIFO that begin with C, one after the other, over a small configuration.
#![no_main]
use isakmpd_conf::{Command, MAX_WORD, Store, octets};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (mut store, _) = Store::parse(b"[Phase 2]\nConnections=a,b\n[a]\nPhase=2\n");
    for line in data.split(|octet| *octet == b'\n').take(200) {
        let Ok(command) = Command::parse(line) else {
            continue;
        };
        let applied = store.apply(command);
        assert!(applied.problems.len() <= 1);
    }
    for setting in store.settings() {
        assert!(octets(setting.section).len() <= MAX_WORD && octets(setting.tag).len() <= MAX_WORD);
        assert_eq!(
            store.get(setting.section, setting.tag).as_deref(),
            Some(setting.value)
        );
    }
    let lines = store.dump();
    let file: Vec<u8> = lines
        .iter()
        .flat_map(|line| octets(&format!("{}\n", **line)))
        .collect();
    let (again, problems) = Store::parse(&file);
    // A tag from here may hold what the grammar does not let through; what it reads stays in bounds.
    assert!(again.settings().len() + problems.len() <= lines.len());
});
