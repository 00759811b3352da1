//! The mail that tells a key's owner about an access (kxd spec 6).
//!
//! * [`message`]: the mail's octets, a pure function.
//! * [`smtp`]: the client's side of the dialogue as a machine: octets in, octets out.
//! * [`send`]: moves octets between the machine and a socket; limits of time, STARTTLS.
//! * [`address`]: `host:port` as the original reads it.

pub mod address;
pub mod message;
pub mod send;
pub mod smtp;
mod tls;

pub use message::{Notification, recipients};
pub use send::{MailServer, SendError, Timeouts};

#[cfg(test)]
mod tests;
