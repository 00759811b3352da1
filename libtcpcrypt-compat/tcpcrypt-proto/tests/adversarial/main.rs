//! Two endpoints with a kernel's TCP behind each and everything bad between them. What must hold:
//! an application gets what the other one sent or a piece of its beginning, never anything else;
//! without an attacker it gets all of it; and a listener never sees it.

#[path = "../model/mod.rs"]
mod model;

mod closing;
mod downgrade;
mod forgery;
mod path;
mod promises;
mod resumption;
mod transfer;
mod windows;
