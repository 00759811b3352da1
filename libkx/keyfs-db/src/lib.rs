//! The encrypted file that keyfs keeps its users in: its octets, and what may be done with the users
//! (keysrv spec 10.1, 10.2 and 10.4). Files, clocks and random numbers are the caller's business.
//!
//! ```
//! use keyfs_db::{Change, Database, File, Key};
//!
//! let key = Key::from_password(b"master key");
//! let mut database = Database::default();
//! let alice = database.apply(&Change::Create { name: b"alice".to_vec() })?;
//! database.apply(&Change::Write { user: alice, file: File::Secret, data: b"s3cret".to_vec().into() })?;
//!
//! let octets = database.encode(&key, [7; 16])?;
//! let again = Database::decode(&key, &octets)?;
//! let alice = again.find(b"alice").ok_or("not there")?;
//! assert_eq!(again.read(alice, File::Secret, 0)?.as_slice(), b"s3cret");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod change;
mod database;
mod format;

pub use change::{Change, Refused};
pub use database::{Database, File, User, UserId};
pub use format::{Damaged, Key, MAX_FILE_LEN};
