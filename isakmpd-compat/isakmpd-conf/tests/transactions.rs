//! The FIFO's `C` commands against the rules of isakmpd 4, the original's refusals included.

use isakmpd_conf::{Applied, Command, Store};

fn store() -> Store {
    let (store, problems) = Store::parse(
        b"[Phase 2]\nConnections=\ta,b\n[My section]\nTag=\tvalue\nList=\tone , two\nKeep=\t1\n",
    );
    assert!(problems.is_empty());
    store
}

#[track_caller]
fn apply(store: &mut Store, line: &str) -> Applied {
    let command = Command::parse(line.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    store.apply(command)
}

#[track_caller]
fn get(store: &mut Store, what: &str) -> String {
    let applied = apply(store, &format!("C get {what}"));
    assert!(applied.problems.is_empty() && !applied.rebuild_connections);
    applied
        .result
        .map(|result| result.to_string())
        .unwrap_or_default()
}

#[track_caller]
fn quietly(store: &mut Store, line: &str) {
    let applied = apply(store, line);
    assert!(applied.problems.is_empty(), "{:?}", applied.problems);
    assert!(applied.result.is_none());
}

#[test]
fn get_has_the_effective_value() {
    let mut store = store();
    assert_eq!(get(&mut store, "[General]:Retransmits"), "3\n");
    assert_eq!(get(&mut store, "[my SECTION]:TAG"), "value\n");
    assert_eq!(get(&mut store, "[My section]:nothing"), "");
    assert_eq!(get(&mut store, "[My section]:Tag and more"), "value\n");
    assert_eq!(
        get(&mut store, "[qm-ah-md5-suite]:protocols"),
        "QM-AH-MD5\n"
    );
}

#[test]
fn set_refuses_what_is_there_unless_forced() {
    let mut store = store();
    quietly(&mut store, "C set [New]:Tag=value");
    assert_eq!(get(&mut store, "[new]:tag"), "value\n");
    for (line, message) in [
        (
            "C set [New]:TAG=other",
            "conf_set_now: duplicate tag [New]:TAG, ignoring...",
        ),
        // A default is there, too.
        (
            "C set [General]:Retransmits=5",
            "conf_set_now: duplicate tag [General]:Retransmits, ignoring...",
        ),
        (
            "C set [AES-SHA]:life=x",
            "conf_set_now: duplicate tag [AES-SHA]:life, ignoring...",
        ),
    ] {
        let problems = apply(&mut store, line).problems;
        assert_eq!(
            problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [message]
        );
    }
    assert_eq!(get(&mut store, "[new]:tag"), "value\n");
    quietly(&mut store, "C SET [New]:TAG=other force");
    assert_eq!(get(&mut store, "[new]:tag"), "other\n");
    quietly(&mut store, "C set [General]:Retransmits=5 yes");
    assert_eq!(get(&mut store, "[General]:Retransmits"), "5\n");
}

#[test]
fn add_appends_once() {
    let mut store = store();
    quietly(&mut store, "C add [My section]:List=three");
    assert_eq!(get(&mut store, "[My section]:List"), "one , two,three\n");
    quietly(&mut store, "C add [My section]:List=two");
    quietly(&mut store, "C add [My section]:List=one");
    assert_eq!(get(&mut store, "[My section]:List"), "one , two,three\n");
    // Elements compare with case.
    quietly(&mut store, "C add [My section]:List=One");
    assert_eq!(
        get(&mut store, "[My section]:List"),
        "one , two,three,One\n"
    );
    quietly(&mut store, "C add [New]:List=first");
    assert_eq!(get(&mut store, "[New]:List"), "first\n");
    quietly(&mut store, "C set [New]:List=first, force");
    quietly(&mut store, "C add [New]:List=second");
    assert_eq!(get(&mut store, "[New]:List"), "first,second\n");
    // A default is appended to.
    quietly(
        &mut store,
        "C add [Default-phase-1-configuration]:Transforms=AES-SHA",
    );
    assert_eq!(
        get(&mut store, "[Default-phase-1-configuration]:Transforms"),
        "3DES-SHA-RSA_SIG,AES-SHA\n"
    );
}

#[test]
fn rmv_takes_out() {
    let mut store = store();
    quietly(&mut store, "C rmv [My section]:List=none");
    assert_eq!(get(&mut store, "[My section]:List"), "one,two\n");
    quietly(&mut store, "C rmv [My section]:List=one");
    assert_eq!(get(&mut store, "[My section]:List"), "two\n");
    quietly(&mut store, "C rmv [My section]:List=two");
    assert_eq!(get(&mut store, "[My section]:List"), "");
    quietly(&mut store, "C rmv [My section]:List=two");
    assert_eq!(get(&mut store, "[My section]:Keep"), "1\n");
}

#[test]
fn rm_and_rms_also_remove_defaults() {
    let mut store = store();
    quietly(&mut store, "C rm [My section]:tag");
    assert_eq!(get(&mut store, "[My section]:Tag"), "");
    quietly(&mut store, "C rms [my section]");
    assert!(!store.has_section("My section"));
    quietly(&mut store, "C rm [General]:Retransmits");
    assert_eq!(get(&mut store, "[General]:Retransmits"), "");
    assert_eq!(store.number("General", "Retransmits", 10), 10);
    assert_eq!(get(&mut store, "[General]:Exchange-max-time"), "120\n");
    quietly(&mut store, "C set [General]:Retransmits=7");
    assert_eq!(get(&mut store, "[General]:Retransmits"), "7\n");
    quietly(&mut store, "C rms [AES-SHA]");
    assert!(!store.has_section("aes-sha") && store.has_section("AES-SHA-GRP14"));
    quietly(&mut store, "C set [AES-SHA]:Life=other");
    assert_eq!(store.tags("AES-SHA"), ["Life"]);
    // Set over a default and removed: the default does not come back.
    quietly(&mut store, "C set [KeyNote]:Credential-directory=/x force");
    quietly(&mut store, "C rm [KeyNote]:Credential-directory");
    assert_eq!(get(&mut store, "[KeyNote]:Credential-directory"), "");
    // Reading the file again forgets it all.
    assert!(store.reload(Some(b"")).is_empty());
    assert_eq!(
        get(&mut store, "[KeyNote]:Credential-directory"),
        "/etc/isakmpd/keynote/\n"
    );
    assert_eq!(store.tags("AES-SHA").len(), 6);
}

#[test]
fn what_feeds_the_defaults_counts_at_start_only() {
    let mut store = store();
    quietly(&mut store, "C set [General]:Default-phase-1-lifetime=60");
    assert_eq!(
        get(&mut store, "[LIFE_MAIN_MODE]:LIFE_DURATION"),
        "3600,60:86400\n"
    );
}

#[test]
fn the_connection_lists_are_looked_at_again() {
    let mut store = store();
    for (line, expected) in [
        ("C add [Phase 2]:Connections=c", true),
        ("C rmv [phase 2]:connections=c", true),
        ("C set [Phase 2]:Passive-Connections=p", true),
        ("C add [Phase 2]:passive-connections=q", true),
        // Also when refused.
        ("C set [Phase 2]:Connections=c", true),
        ("C rm [Phase 2]:Connections", false),
        ("C rms [Phase 2]", false),
        ("C set [Phase 2]:Other=c", false),
        ("C set [Phase 1]:Connections=c", false),
        ("C get [Phase 2]:Connections", false),
    ] {
        assert_eq!(
            apply(&mut store, line).rebuild_connections,
            expected,
            "{line}"
        );
    }
}

#[test]
fn words_are_read_as_sscanf_reads_them() {
    let mut store = store();
    quietly(&mut store, "C   set\t [A section ]:Tag=v");
    assert_eq!(get(&mut store, "[A section ]:Tag"), "v\n");
    quietly(&mut store, "Cset [S]:T= v");
    assert_eq!(get(&mut store, "[S]:T"), "v\n");
    // A tag goes up to the equal sign, blanks included.
    quietly(&mut store, "C set [S]:T =w");
    assert_eq!(get(&mut store, "[S]:T"), "v\n");
    assert_eq!(store.get("S", "T ").as_deref(), Some("w"));
    quietly(&mut store, "C set [S]:X=a=b");
    assert_eq!(get(&mut store, "[S]:X"), "a=b\n");
    // The bracket at the end may be left out.
    quietly(&mut store, "C rms [S");
    assert!(!store.has_section("S"));
    // A line ends at its first zero octet.
    quietly(&mut store, "C set [S]:T=v\0w");
    assert_eq!(get(&mut store, "[S]:T"), "v\n");
}

#[test]
fn malformed_commands() {
    let long = "x".repeat(201);
    for line in [
        "C",
        "C ",
        "C what [S]:T",
        "C get",
        "C get S:T",
        "C get [S]",
        "C get [S]:",
        "C get []:T",
        "C get [S] :T",
        "C set [S]:T",
        "C set [S]:T=",
        "C set [S]:=v",
        "C set [S]T=v",
        "C set S:T=v",
        "C add [S]:T",
        "C rmv [S]:T",
        "C rm [S]",
        "C rms",
        "C rms []",
        "C rms S",
        &format!("C set [{long}]:T=v"),
        &format!("C set [S]:{long}=v"),
        &format!("C set [S]:T={long}"),
        &format!("C get [S]:{long}"),
    ] {
        let error = Command::parse(line.as_bytes()).err();
        let error = error.unwrap_or_else(|| panic!("{line} is well formed"));
        assert_eq!(
            error.to_string(),
            format!("ui_config: command \"{line}\" malformed")
        );
    }
    let most = "x".repeat(200);
    assert!(Command::parse(format!("C set [{most}]:{most}={most}").as_bytes()).is_ok());
}

#[test]
fn the_report_has_what_is_not_default_in_order() {
    let mut store = store();
    quietly(&mut store, "C set [General]:Retransmits=9 force");
    quietly(&mut store, "C set [my section]:Tag=new force");
    quietly(&mut store, "C set [My Section]:More=x");
    let dump: Vec<String> = store.dump().iter().map(|line| line.to_string()).collect();
    assert_eq!(
        dump,
        [
            "[Phase 2]",
            "Connections=\ta,b",
            "",
            "[My section]",
            "List=\tone , two",
            "Keep=\t1",
            "Tag=\tnew",
            "More=\tx",
            "",
            "[General]",
            "Retransmits=\t9",
        ]
    );
    assert!(Store::new().dump().is_empty());
}
