//! The soname of the shared library: the original's, so that compiled programs find it.

fn main() {
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libtcpcrypt.so.0");
    println!("cargo::rerun-if-changed=build.rs");
}
