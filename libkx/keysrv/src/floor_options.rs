//! Options that all programs have which judge keys of others (keysrv spec 18): `--min-bits N`,
//! `--allow-weak-cert`.

use inferno_auth::floor::Floor;
use kx_cli::plan9::Args;

/// Takes the option `name` if it is one of them; `None` if it is not, or its value is wrong.
pub fn take(floor: &mut Floor, name: &str, args: &mut Args) -> Option<()> {
    match name {
        "min-bits" => floor.min_bits = args.text()?.parse().ok()?,
        "allow-weak-cert" => floor.allow_weak_certificate = true,
        _ => return None,
    }
    Some(())
}
