//! Tests of `adversarial` by two daemons as they come: in the standard, under the kind of the original.

mod model;

#[path = "adversarial/closing.rs"]
mod closing;
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
