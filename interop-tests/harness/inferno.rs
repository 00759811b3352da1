//! Inferno's authentication service in tests: the original in its emulator (`KX_REF_INFERNO`),
//! our programs as processes, and a client of the tests' own that shares no code with what it
//! judges and can be told to do everything wrong ("keysrv spec 1-8, 10.2").

pub mod database;
pub mod domain;
pub mod framing;
pub mod keys;
pub mod login;
pub mod ninep;
pub mod original;
pub mod ours;
pub mod records;
pub mod sts;
pub mod terminal;
pub mod transcript;
