//! Powers of 2 modulo the primes of the MODP groups, from tables that are made at the first use: four times as fast as
//! an exponentiation that knows nothing of its base (Lim and Lee, "More flexible exponentiation with
//! precomputation", CRYPTO '94). The exponent is a secret: each step does the same for every value of its bits, and
//! looks at all of a table.

use std::sync::OnceLock;

use crypto_bigint::modular::{MontyForm, MontyParams};
use crypto_bigint::subtle::{ConditionallySelectable, ConstantTimeEq};
use crypto_bigint::{Encoding, Odd, U1024, U1536, U2048, U3072, U4096, Uint};
use openssl::bn::BigNumRef;
use zeroize::{Zeroize, Zeroizing};

use crate::key_exchange_group::{Group, Kind};

/// Bits of the exponent that one look at a table takes.
const TEETH: usize = 5;
/// Numbers in a table.
const TABLE: usize = 1 << TEETH;
/// Tables. More of them save squarings: 5 by 5 by 9 bits are the 225 of group 14.
const BLOCKS: usize = 5;

/// What is worked out beforehand for a prime: 40 KiB with 2048 bits.
struct Comb<const LIMBS: usize> {
    params: MontyParams<LIMBS>,
    /// Bits between a tooth's bits in one table and those in the next: squarings and one more.
    columns: usize,
    /// Table n has the products of 2^(2^((t * BLOCKS + n) * columns)) for every set of teeth t, in Montgomery's form.
    tables: Vec<[Uint<LIMBS>; TABLE]>,
}

impl<const LIMBS: usize> Comb<LIMBS>
where
    Uint<LIMBS>: Encoding,
{
    /// For exponents of so many bits. `prime` is odd.
    fn new(prime: &Uint<LIMBS>, bits: usize) -> Option<Self> {
        let prime = Option::from(Odd::new(*prime))?;
        let params = MontyParams::new_vartime(prime);
        let columns = bits.div_ceil(TEETH.checked_mul(BLOCKS)?);
        let one = MontyForm::one(params);
        let mut base = MontyForm::new(&Uint::from(2u8), params);
        let mut bases = Vec::new();
        for _ in 0..TEETH.checked_mul(BLOCKS)? {
            bases.push(base);
            for _ in 0..columns {
                base = base.square();
            }
        }
        let product = |block: usize, set: usize| {
            let teeth = bases.iter().skip(block).step_by(BLOCKS).enumerate();
            let chosen = teeth.filter(|(tooth, _)| (set >> tooth) & 1 == 1);
            chosen.fold(one, |product, (_, base)| product.mul(base))
        };
        let table = |block| std::array::from_fn(|set| product(block, set).to_montgomery());
        Some(Self {
            params,
            columns,
            tables: (0..BLOCKS).map(table).collect(),
        })
    }

    /// Bits that an exponent may have.
    fn most(&self) -> usize {
        self.columns.saturating_mul(TEETH * BLOCKS)
    }

    /// 2 to this power, big-endian and padded. The time it takes depends on the length of `exponent` alone.
    fn power(&self, exponent: &[u8]) -> Vec<u8> {
        let bit = |number: usize| -> u32 {
            let octet = exponent.iter().rev().nth(number / 8);
            octet.map_or(0, |octet| u32::from((octet >> (number % 8)) & 1))
        };
        let mut power = MontyForm::one(self.params);
        for column in (0..self.columns).rev() {
            power = power.square();
            for (block, table) in self.tables.iter().enumerate() {
                let teeth = (0..TEETH).map(|tooth| {
                    let row = tooth * BLOCKS + block;
                    bit(row * self.columns + column) << tooth
                });
                let mut set: u32 = teeth.sum();
                let mut chosen = Zeroizing::new(select(table, set));
                power = power.mul(&MontyForm::from_montgomery(*chosen, self.params));
                chosen.zeroize();
                set.zeroize();
            }
        }
        let octets = power.retrieve().to_be_bytes().as_ref().to_vec();
        power.zeroize();
        octets
    }
}

/// The number at this place. All of them are read.
fn select<const LIMBS: usize>(table: &[Uint<LIMBS>; TABLE], place: u32) -> Uint<LIMBS> {
    let mut chosen = Uint::ZERO;
    for (number, candidate) in (0u32..).zip(table) {
        chosen.conditional_assign(candidate, number.ct_eq(&place));
    }
    chosen
}

/// 2 to the secret power, padded to the length of the prime. `None`: not with this group, or the exponent is longer
/// than those that it is given.
pub(crate) fn power_of_two(group: Group, secret: &BigNumRef) -> Option<Vec<u8>> {
    static MODP_1024: OnceLock<Option<Comb<{ U1024::LIMBS }>>> = OnceLock::new();
    static MODP_1536: OnceLock<Option<Comb<{ U1536::LIMBS }>>> = OnceLock::new();
    static MODP_2048: OnceLock<Option<Comb<{ U2048::LIMBS }>>> = OnceLock::new();
    static MODP_3072: OnceLock<Option<Comb<{ U3072::LIMBS }>>> = OnceLock::new();
    static MODP_4096: OnceLock<Option<Comb<{ U4096::LIMBS }>>> = OnceLock::new();
    match group {
        Group::Modp1024 => with(&MODP_1024, group, secret),
        Group::Modp1536 => with(&MODP_1536, group, secret),
        Group::Modp2048 => with(&MODP_2048, group, secret),
        Group::Modp3072 => with(&MODP_3072, group, secret),
        Group::Modp4096 => with(&MODP_4096, group, secret),
        _ => None,
    }
}

fn with<const LIMBS: usize>(
    comb: &OnceLock<Option<Comb<LIMBS>>>,
    group: Group,
    secret: &BigNumRef,
) -> Option<Vec<u8>>
where
    Uint<LIMBS>: Encoding,
{
    let comb = comb.get_or_init(|| {
        let Kind::Modp(prime, bits) = group.kind() else {
            return None;
        };
        let prime = prime().ok()?.to_vec();
        let fits = prime.len() == Uint::<LIMBS>::BYTES;
        fits.then(|| Comb::new(&Uint::from_be_slice(&prime), bits))?
    });
    let comb = comb.as_ref()?;
    let most = comb.most();
    // How long the exponents of a group are is no secret; those of replayed exchanges are longer.
    if usize::try_from(secret.num_bits()).ok()? > most {
        return None;
    }
    let len = i32::try_from(most.div_ceil(8)).ok()?;
    let exponent = Zeroizing::new(secret.to_vec_padded(len).ok()?);
    Some(comb.power(&exponent))
}

#[cfg(test)]
mod tests {
    use super::power_of_two;
    use crate::bignum::BigNum;
    use crate::key_exchange_group::{Group, Kind};

    #[test]
    fn the_same_as_the_library() {
        for group in [
            Group::Modp1024,
            Group::Modp1536,
            Group::Modp2048,
            Group::Modp3072,
            Group::Modp4096,
        ] {
            let Kind::Modp(prime, bits) = group.kind() else {
                panic!("a prime");
            };
            let prime = BigNum::from_library(prime().unwrap());
            let two = BigNum::from_u32(2).unwrap();
            let compare = |secret: BigNum| {
                let ours = power_of_two(group, secret.library_ref()).expect("a power");
                assert_eq!(ours.len(), group.secret_len());
                let theirs = two.mod_exp(&secret, &prime).unwrap();
                assert_eq!(BigNum::from_bytes(&ours).unwrap(), theirs, "{group:?}");
            };
            // Every bit by itself, none, all, and some.
            for bit in 0..bits {
                let mut octets = vec![0; bits.div_ceil(8)];
                let at = octets.len() - 1 - bit / 8;
                octets[at] = 1 << (bit % 8);
                compare(BigNum::secret_from_bytes(&octets).unwrap());
            }
            compare(BigNum::secret_from_bytes(&[0]).unwrap());
            let mut all = vec![0xff; bits.div_ceil(8)];
            if bits % 8 != 0 {
                all[0] = (1 << (bits % 8)) - 1;
            }
            compare(BigNum::secret_from_bytes(&all).unwrap());
            for _ in 0..20 {
                compare(BigNum::random_bits(bits).unwrap());
            }
        }
    }

    #[test]
    fn what_it_has_no_table_for() {
        let long = BigNum::secret_from_bytes(&[0xff; 256]).unwrap();
        assert!(power_of_two(Group::Modp2048, long.library_ref()).is_none());
        let short = BigNum::secret_from_bytes(&[3]).unwrap();
        assert!(power_of_two(Group::Ecp256, short.library_ref()).is_none());
        assert!(power_of_two(Group::Modp8192, short.library_ref()).is_none());
    }
}
