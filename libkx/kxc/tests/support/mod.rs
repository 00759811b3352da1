//! Certificates and a scripted server for the client's tests (also for interop-tests/tests/c_abi.rs).
// interop-tests has no feature of this name.
#![allow(dead_code, unreachable_pub, unexpected_cfgs)]

pub mod test_certs;
pub mod tls_server;
