//! The tests of `adversarial` in the standard's dialect, with keys that change often.

mod model;

#[path = "adversarial/closing.rs"]
mod closing;
#[path = "adversarial/crossed.rs"]
mod crossed;
#[path = "adversarial/downgrade.rs"]
mod downgrade;
#[path = "adversarial/forgery.rs"]
mod forgery;
#[path = "adversarial/path.rs"]
mod path;
#[path = "adversarial/promises.rs"]
mod promises;
#[path = "adversarial/resumption.rs"]
mod resumption;
#[path = "adversarial/transfer.rs"]
mod transfer;
#[path = "adversarial/windows.rs"]
mod windows;
