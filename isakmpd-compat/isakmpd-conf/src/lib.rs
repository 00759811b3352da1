//! isakmpd.conf(5): what it says, what it leaves to defaults, and what is wrong with it.
//!
//! ```
//! use isakmpd_conf::{Command, Store};
//!
//! let (mut store, problems) = Store::parse(b"[General]\nListen-on=\t192.0.2.1\n");
//! assert!(problems.is_empty());
//! assert_eq!(store.get("general", "listen-on").as_deref(), Some("192.0.2.1"));
//! assert_eq!(store.number("General", "Retransmits", 10), 3);
//! assert_eq!(store.get("AES-SHA2-256-GRP14", "GROUP_DESCRIPTION").as_deref(), Some("MODP_2048"));
//!
//! let applied = store.apply(Command::parse(b"C add [Phase 2]:Connections=east-west")?);
//! assert!(applied.rebuild_connections);
//! # Ok::<(), isakmpd_conf::MalformedCommand>(())
//! ```
#![forbid(unsafe_code)]

pub mod check;
pub mod defaults;
mod generated_name;
pub mod grammar;
pub mod host;
mod problem;
mod running;
mod section;
mod store;
mod text;
mod transaction;
mod value;

pub use problem::Problem;
pub use running::{Running, acquire};
pub use store::{Change, SettingRef, Store};
pub use text::{octets, text};
pub use transaction::{Applied, Command, MAX_WORD, MalformedCommand};
pub use value::{EMPTY_FIELD, InvalidNumber, List, OfferAccept, list, number};
