//! A legacy tcpcrypt endpoint of the tests' own, written only from "tcpcrypt spec 4 and 5"
//! over the `openssl` crate. It shares no code with what it judges, has a TCP of its own in
//! place of the kernel's, and can be told to do everything wrong.

pub mod keys;
pub mod session;
pub mod stage;
pub mod wire;
