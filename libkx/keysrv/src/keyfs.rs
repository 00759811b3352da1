//! keyfs: the encrypted database of secrets as a tree of files (keysrv spec 10 and 19.3).
//!
//! [`store`] keeps the database on disk, [`tree`] shows it, [`serve`] speaks 9P2000 over a Unix
//! socket, [`watch`] tells of changes, and [`run`] is the program.

pub mod serve;
pub mod store;
pub mod tree;
pub mod watch;

mod master_key;
mod program;

pub use program::run;
