//! Messages under an ISAKMP SA: HASH first, then encrypted (isakmpd-wire 3).

use std::rc::Rc;

use isakmp_proto::message::{Builder, Message};
use isakmp_proto::number::PayloadType;
use isakmp_proto::payload::Payload;
use kx_crypto::prf::Unavailable;
use kx_secret::SecretBytes;

use crate::engine::Engine;
use crate::exchange::Exchange;
use crate::keys::Skeyids;
use crate::sa::SaId;

/// Place of the HASH payload: always the first one.
const HASH: usize = 0;

/// The keys of an ISAKMP SA.
pub(crate) fn keys(engine: &Engine, sa: Option<SaId>) -> Option<&Skeyids> {
    Some(&engine.sas.phase1(sa?)?.protection.keys)
}

/// Which HASH a message has.
#[derive(Clone, Copy)]
pub(crate) enum Which<'a> {
    /// HASH(1), also of INFORMATIONAL and Transaction.
    One,
    /// HASH(2), with the initiator's nonce.
    Two(&'a [u8]),
    /// HASH(3), with both nonces.
    Three(&'a [u8], &'a [u8]),
}

impl Which<'_> {
    fn compute(self, keys: &Skeyids, id: u32, rest: &[u8]) -> Result<SecretBytes, Unavailable> {
        match self {
            Self::One => keys.hash_1(id, rest),
            Self::Two(nonce_i) => keys.hash_2(id, nonce_i, rest),
            Self::Three(nonce_i, nonce_r) => keys.hash_3(id, nonce_i, nonce_r),
        }
    }
}

/// A message in the making, with place for its HASH. `None`: the ISAKMP SA is gone.
pub(crate) fn begin(engine: &Engine, exchange: &Exchange) -> Option<Builder> {
    let length = keys(engine, exchange.sa)?.choice().hash.len();
    let mut builder = Builder::new(exchange.header());
    builder.push(Payload::Hash(vec![0; length]));
    Some(builder)
}

/// Fills in the HASH and encrypts: the octets to send.
pub(crate) fn seal(
    engine: &mut Engine,
    exchange: &mut Exchange,
    builder: Builder,
    which: Which<'_>,
) -> Option<Vec<u8>> {
    let mut built = builder.build().ok()?;
    let protection = &engine.sas.phase1(exchange.sa?)?.protection;
    let hash = which
        .compute(
            &protection.keys,
            exchange.message_id,
            built.rest_after(HASH),
        )
        .ok()?;
    built.fill(HASH, hash.as_slice()).ok()?;
    let cipher = Rc::clone(&protection.cipher);
    Some(engine.seal(exchange, &cipher, built))
}

/// Whether the first payload is that HASH, made with the keys of `sa`.
pub(crate) fn is_authentic(
    engine: &Engine,
    sa: Option<SaId>,
    message: &Message,
    which: Which<'_>,
) -> bool {
    if message.index_of(PayloadType::HASH) != Some(HASH) {
        return false;
    }
    let expected = keys(engine, sa).and_then(|keys| {
        which
            .compute(keys, message.header.message_id, message.rest_after(HASH))
            .ok()
    });
    expected.is_some_and(|expected| expected.ct_eq(message.body(HASH)))
}
