//! Every step of a handshake and every way in which it can fail, with packets made by hand.

mod active;
mod bounds;
mod crossed;
mod fallback;
mod host;
mod passive;
mod reopened;
mod resumed;
mod rules;
mod standard;
mod standard_data;
mod standard_refused;
