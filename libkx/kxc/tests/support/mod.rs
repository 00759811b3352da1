//! Certificates and a scripted server for the client's tests (also for interop-tests/tests/c_abi.rs).
#![allow(dead_code, unreachable_pub)]

pub mod test_certs;
pub mod tls_server;
