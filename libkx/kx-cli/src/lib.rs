//! Argument dialects of the programs kx replaces, each exact. [`goflag`]: Go's `flag` package (kxd, kxc, kxgencert).
#![forbid(unsafe_code)]

pub mod goflag;
