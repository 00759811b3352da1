//! `include/tcpcrypt/tcpcrypt.h` is written by hand: no generator makes the original's anonymous
//! enumerations. The C programs of interop-tests pin its numbers and prototypes; here are its names.

use std::fs;
use std::path::Path;

#[test]
fn the_list_of_symbols_is_the_headers_and_the_packages() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
    let header = read("../../include/tcpcrypt/tcpcrypt.h");
    let mut declared: Vec<&str> = header
        .lines()
        .filter(|line| line.starts_with("extern ") && !line.contains('{'))
        .filter_map(|line| line.split_once('(')?.0.rsplit([' ', '*']).next())
        .collect();
    declared.sort_unstable();
    let list = read("symbols.txt");
    assert_eq!(declared, list.lines().collect::<Vec<_>>());
    let packaged = read("../../pkgs/debian/libtcpcrypt0.symbols");
    let packaged: Vec<&str> = packaged
        .lines()
        .filter_map(|line| line.strip_prefix(' ')?.split('@').next())
        .collect();
    assert_eq!(packaged, list.lines().collect::<Vec<_>>());
}
