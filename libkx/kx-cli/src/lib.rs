//! Argument dialects of the programs kx replaces, each exact. [`goflag`]: Go's `flag` package (kxd, kxc, kxgencert).
//! [`getopt`]: the C library's `getopt` (tcpcryptd).
#![forbid(unsafe_code)]

pub mod getopt;
pub mod goflag;
