//! Prints what `isakmpd --check` prints for the files named: `cargo run -p isakmpd-conf --example check -- FILE...`

use isakmpd_conf::check::check;
use isakmpd_conf::host::Host;

fn main() -> std::io::Result<()> {
    for path in std::env::args().skip(1) {
        print!(
            "{}",
            check(&std::fs::read(&path)?, &Host::default()).text(&path)
        );
    }
    Ok(())
}
