//! DERIVE KEY: another key on the same curve (xkek spec 5, algorithm 98).

use kx_secret::SecretBytes;
use openssl::bn::{BigNum, BigNumContext};
use openssl::error::ErrorStack;

use super::state::Key;
use super::{Answer, DONE, Device};
use crate::algorithm::EC_DERIVE;
use crate::apdu::{Command, StatusWord};
use crate::curve::Curve;
use crate::cvc::KeyAttributes;
use crate::key::{EcPrivate, Key as Material};

/// The sum of two numbers modulo the order of the curve.
fn sum(curve: Curve, scalar: &SecretBytes, offset: &[u8]) -> Result<SecretBytes, ErrorStack> {
    let mut context = BigNumContext::new_secure()?;
    let mut first = BigNum::new_secure()?;
    first.copy_from_slice(scalar.as_slice())?;
    let second = BigNum::from_slice(offset)?;
    let order = BigNum::from_slice(curve.domain().n)?;
    let mut sum = BigNum::new_secure()?;
    sum.mod_add(&first, &second, &order, &mut context)?;
    Ok(SecretBytes::from(sum.to_vec()))
}

impl Device {
    pub(super) fn derive_key(&mut self, command: &Command) -> Answer {
        let (id, new_id) = (command.p1, command.p2);
        let Some((&EC_DERIVE, offset)) = command.data.split_first() else {
            return Err(StatusWord::WRONG_DATA);
        };
        let key = self.usable_key(id, EC_DERIVE)?;
        let Material::Ec(private) = &key.material else {
            return Err(StatusWord::CONDITIONS);
        };
        let curve = private.curve();
        if offset.is_empty() || offset.len() > curve.len() {
            return Err(StatusWord::LENGTH);
        }
        self.free_place(new_id)?;
        let execution = |_| StatusWord::EXECUTION;
        let scalar = private.scalar().map_err(execution)?;
        let scalar = sum(curve, &scalar, offset).map_err(|_| StatusWord::EXECUTION)?;
        // Zero is no key.
        let private = EcPrivate::from_scalar(curve, scalar.as_slice());
        let private = private.map_err(|_| StatusWord::WRONG_DATA)?;
        let derived = Key {
            material: Material::Ec(private),
            attributes: KeyAttributes {
                use_counter: None,
                ..key.attributes.clone()
            },
            blob_extras: key.blob_extras.clone(),
        };
        let car = self.state.identity.chr.clone();
        let request = self.attest(car, self.own_name(new_id)?, &derived)?;
        self.keep(new_id, derived, Some(request));
        self.count_use(id);
        DONE
    }
}
