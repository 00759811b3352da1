//! Argument dialects of the programs kx replaces, each exact. [`goflag`]: Go's `flag` package (kxd, kxc, kxgencert).
//! [`getopt`]: the C library's `getopt` (tcpcryptd). [`getopt_long`]: its sister with long names
//! (kx-sc-hsm-tool). [`plan9`]: arg(2) of Plan 9 and Inferno (keysrv and its company).
#![forbid(unsafe_code)]

pub mod getopt;
pub mod getopt_long;
pub mod goflag;
pub mod plan9;
