//! `include/kx.h` is what cbindgen makes of the sources. `KX_BLESS=1` writes it anew.

use std::fs;
use std::path::Path;

#[test]
fn the_header_is_up_to_date() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(dir.join("cbindgen.toml")).unwrap();
    let mut made = Vec::new();
    cbindgen::Builder::new()
        .with_config(config)
        .with_src(dir.join("src/lib.rs"))
        .generate()
        .unwrap()
        .write(&mut made);
    // Rust's headline for what a caller must keep to.
    let made = String::from_utf8(made)
        .unwrap()
        .replace("# Safety", "Rules:");
    let path = dir.join("../../include/kx.h");
    if std::env::var_os("KX_BLESS").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == made,
        "include/kx.h is old: KX_BLESS=1 cargo test -p libkx --test header"
    );
}

/// Each exported name is in symbols.txt and in the header, and nothing else is.
#[test]
fn the_list_of_symbols_is_the_headers() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let header = fs::read_to_string(dir.join("../../include/kx.h")).unwrap();
    let list = fs::read_to_string(dir.join("symbols.txt")).unwrap();
    let mut declared: Vec<&str> = header
        .lines()
        .filter(|line| !line.trim_start().starts_with(['*', '/']))
        .filter_map(|line| line.split_once('(')?.0.rsplit([' ', '*']).next())
        .filter(|name| name.starts_with("kx_"))
        .collect();
    declared.sort_unstable();
    assert_eq!(declared, list.lines().collect::<Vec<_>>());
}
