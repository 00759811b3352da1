//! KeyNote (RFC 2704): assertions read, evaluated and signed.
//!
//! Text, keys and attributes go in, a compliance value comes out; there are no files, clocks or global
//! state. Strings are octets: nothing requires them to be UTF-8.
//!
//! ```
//! use keynote::{Assertion, Attributes, Query, Session};
//! let policy = "Authorizer: \"POLICY\"\nLicensees: \"alice\"\nConditions: @amount < 100 -> \"yes\";\n";
//! let mut session = Session::default();
//! session.add_policy(Assertion::parse(policy.as_bytes())?);
//! let mut attributes = Attributes::default();
//! attributes.set("amount", "42");
//! let query = Query { values: &["no", "yes"], authorizers: &["alice"], attributes: &attributes };
//! assert_eq!(session.evaluate(&query).value, 1);
//! # Ok::<(), keynote::Malformed>(())
//! ```
#![forbid(unsafe_code)]

mod assertion;
mod der;
mod environment;
mod error;
mod evaluate;
mod expression;
mod lexer;
mod principal;
mod query;
pub mod regex;
pub mod signature;

pub use assertion::{Assertion, MOST_ASSERTION, split};
pub use environment::{BadLine, environment, quoted_string};
pub use error::{Malformed, SyntaxError};
pub use principal::{BadKey, DsaKey, Encoding, Principal, RsaKey, hex_digits};
pub use query::{Answer, Attributes, Query, Session, Verdict};
