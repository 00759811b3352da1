//! The dialect of hosts that run the original tcpcrypt ("eno-03 / tcpcrypt-02", tcpcrypt spec 4): messages
//! of the key exchange, key schedule, records.

pub mod init;
pub mod keys;
pub mod record;
