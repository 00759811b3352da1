//! The control socket of tcpcryptd: request and reply datagrams, the syntax of socket addresses,
//! session ids as text.
//!
//! Bytes in, values out; no socket is opened here. The daemon, the C library and the programs
//! share it.
#![forbid(unsafe_code)]

mod address;
mod datagram;
mod details;
mod int_value;
pub mod netstat;
mod option;
mod session_id;
pub mod wide;

pub use address::{Address, AddressError, Sockaddr};
pub use datagram::{Datagram, DatagramError, GENERIC_FAILURE, HEADER_LEN, Header, SET};
pub use details::{Details, Dialect, Role};
pub use int_value::{int_bytes, int_value};
pub use option::OptionName;
pub use session_id::{Hex, SESSION_ID_LEN};

/// Longest request that a daemon takes, header and value together, in octets (tcpcrypt spec 3.3).
pub const REQUEST_MAX: usize = 4096;

/// Most octets of a value that the library sends or offers room for (tcpcrypt spec 3.2).
pub const VALUE_MAX: usize = 1200;

/// The control socket of the original's default build. `KX_TCPCRYPT_CONTROL_SOCKET` in the
/// environment of the build sets another one.
pub const DEFAULT_CONTROL_SOCKET: &str = match option_env!("KX_TCPCRYPT_CONTROL_SOCKET") {
    Some(path) => path,
    None => "/var/run/tcpcryptd.control",
};
