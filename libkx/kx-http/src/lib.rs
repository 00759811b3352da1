//! HTTP/1.1 without sockets: the server's side and the client's side as machines that take bytes and give
//! bytes, the router of kxd, and URLs with the grammar of Go's `net/url` (kxd spec sections 7 and 8).
#![forbid(unsafe_code)]

pub mod client;
pub mod router;
pub mod server;
pub mod url;
