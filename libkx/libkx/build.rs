//! The soname of the shared library. It changes only when the C interface breaks.

fn main() {
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libkx.so.0");
    println!("cargo::rerun-if-changed=build.rs");
}
