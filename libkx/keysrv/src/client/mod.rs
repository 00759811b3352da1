//! The clients' ends: of a keysrv, to check and change a secret, and of a logind.

mod login;
mod secret;

pub use login::login;
pub use secret::{ConnectError, Options, SecretError, SecretFile};
