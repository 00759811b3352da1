//! logind: certifies the key of a user who knows the password (keysrv spec 11).

mod program;
mod serve;

pub(crate) use program::keep_errors_off_the_connection;
pub use program::run;
pub use serve::{Options, serve};
