//! HTTP/1.1 without sockets: the server's side and the client's side as machines that take bytes and give
//! bytes, the router of kxd, and URLs with the grammar of Go's `net/url` (kxd spec sections 7 and 8).
//!
//! ```
//! use kx_http::router::{Route, route};
//! use kx_http::server::{Connection, Limits, Response, Step};
//! use kx_secret::SecretBytes;
//!
//! let mut connection = Connection::new(Limits::default());
//! connection.handle_input(b"GET /v1/k HTTP/1.1\r\nHost: h\r\n\r\n")?;
//! let Step::Request(request) = connection.poll() else { panic!() };
//! let response = match route(&request) {
//!     Route::Response(response) => response,
//!     Route::V1 { .. } => Response::key(b"secret".to_vec()),
//! };
//! let mut out = SecretBytes::default();
//! connection.respond(&response, "Sun, 06 Nov 1994 08:49:37 GMT", &mut out);
//! assert!(out.as_slice().starts_with(b"HTTP/1.1 200 OK\r\n") && connection.keep_alive());
//! # Ok::<(), kx_http::server::InputOverflow>(())
//! ```
#![forbid(unsafe_code)]

mod chunked;
pub mod client;
mod lines;
pub mod router;
pub mod server;
mod token;
pub mod url;
