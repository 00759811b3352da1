//! SmartCard-HSM key domains (DKEK and XKEK): commands, certificates, key blobs, shares; no reader in
//! sight. Whatever reads or writes here takes octets and gives octets; a card is a [`card::Card`].
#![forbid(unsafe_code)]

pub mod algorithm;
pub mod apdu;
pub mod blob;
pub mod card;
pub mod chain;
pub mod crypto;
pub mod curve;
pub mod cvc;
pub mod device;
pub mod dkek;
pub mod exchange;
pub mod file;
pub mod group_signer;
pub mod hsm;
pub mod kdm;
pub mod kek;
pub mod key;
pub mod pka;
pub mod pkcs15;
pub mod rng;
pub mod rotation;
pub mod shamir;
pub mod tlv;
pub mod wky;
