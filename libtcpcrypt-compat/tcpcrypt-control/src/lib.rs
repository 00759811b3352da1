//! The control socket of tcpcryptd: request and reply datagrams, the syntax of socket addresses,
//! session ids as text.
//!
//! Bytes in, values out; no socket is opened here. The daemon, the C library and the programs
//! share it.
#![forbid(unsafe_code)]
