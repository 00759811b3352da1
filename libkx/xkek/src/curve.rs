//! The curves a card knows, with their domain parameters, told by their prime (xkek spec 4).

use openssl::ec::EcGroup;
use openssl::nid::Nid;

use crate::crypto::Unavailable;

/// Domain parameters, big endian, each as long as the prime; the generator is an uncompressed point.
/// The cofactor is 1 on every curve here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Domain {
    /// The prime of the field.
    pub p: &'static [u8],
    /// First coefficient.
    pub a: &'static [u8],
    /// Second coefficient.
    pub b: &'static [u8],
    /// Base point, 04 and both coordinates.
    pub g: &'static [u8],
    /// Order of the base point.
    pub n: &'static [u8],
}

/// A curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Curve {
    /// secp192r1.
    Secp192r1,
    /// secp224r1.
    Secp224r1,
    /// secp256r1.
    Secp256r1,
    /// secp384r1.
    Secp384r1,
    /// secp521r1.
    Secp521r1,
    /// brainpoolP192r1.
    BrainpoolP192r1,
    /// brainpoolP224r1.
    BrainpoolP224r1,
    /// brainpoolP256r1.
    BrainpoolP256r1,
    /// brainpoolP320r1.
    BrainpoolP320r1,
    /// brainpoolP384r1.
    BrainpoolP384r1,
    /// brainpoolP512r1.
    BrainpoolP512r1,
    /// secp192k1.
    Secp192k1,
    /// secp256k1.
    Secp256k1,
}

/// Octets of hexadecimal digits, at compile time.
const fn hex<const N: usize>(digits: &str) -> [u8; N] {
    let digits = digits.as_bytes();
    assert!(digits.len() == 2 * N);
    let mut octets = [0; N];
    let mut at = 0;
    while at < N {
        octets[at] = digit(digits[2 * at]) << 4 | digit(digits[2 * at + 1]);
        at += 1;
    }
    octets
}

const fn digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => panic!("no hexadecimal digit"),
    }
}

const SECP192R1: Domain = Domain {
    p: &hex::<24>("fffffffffffffffffffffffffffffffeffffffffffffffff"),
    a: &hex::<24>("fffffffffffffffffffffffffffffffefffffffffffffffc"),
    b: &hex::<24>("64210519e59c80e70fa7e9ab72243049feb8deecc146b9b1"),
    g: &hex::<49>(
        "04188da80eb03090f67cbf20eb43a18800f4ff0afd82ff101207192b95ffc8da78631011ed6b24cd\
            d573f977a11e794811",
    ),
    n: &hex::<24>("ffffffffffffffffffffffff99def836146bc9b1b4d22831"),
};
const SECP224R1: Domain = Domain {
    p: &hex::<28>("ffffffffffffffffffffffffffffffff000000000000000000000001"),
    a: &hex::<28>("fffffffffffffffffffffffffffffffefffffffffffffffffffffffe"),
    b: &hex::<28>("b4050a850c04b3abf54132565044b0b7d7bfd8ba270b39432355ffb4"),
    g: &hex::<57>(
        "04b70e0cbd6bb4bf7f321390b94a03c1d356c21122343280d6115c1d21bd376388b5f723fb4c22df\
            e6cd4375a05a07476444d5819985007e34",
    ),
    n: &hex::<28>("ffffffffffffffffffffffffffff16a2e0b8f03e13dd29455c5c2a3d"),
};
const SECP256R1: Domain = Domain {
    p: &hex::<32>("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff"),
    a: &hex::<32>("ffffffff00000001000000000000000000000000fffffffffffffffffffffffc"),
    b: &hex::<32>("5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b"),
    g: &hex::<65>(
        "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f\
            9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
    ),
    n: &hex::<32>("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"),
};
const SECP384R1: Domain = Domain {
    p: &hex::<48>(
        "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff00000000\
            00000000ffffffff",
    ),
    a: &hex::<48>(
        "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff00000000\
            00000000fffffffc",
    ),
    b: &hex::<48>(
        "b3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d\
            2a85c8edd3ec2aef",
    ),
    g: &hex::<97>(
        "04aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf5529\
            6c3a545e3872760ab73617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8\
            c00a60b1ce1d7e819d7a431d7c90ea0e5f",
    ),
    n: &hex::<48>(
        "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77a\
            ecec196accc52973",
    ),
};
const SECP521R1: Domain = Domain {
    p: &hex::<66>(
        "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\
            ffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ),
    a: &hex::<66>(
        "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\
            fffffffffffffffffffffffffffffffffffffffffffffffffffc",
    ),
    b: &hex::<66>(
        "0051953eb9618e1c9a1f929a21a0b68540eea2da725b99b315f3b8b489918ef109e156193951ec7e\
            937b1652c0bd3bb1bf073573df883d2c34f1ef451fd46b503f00",
    ),
    g: &hex::<133>(
        "0400c6858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3dbaa14b5e77ef\
            e75928fe1dc127a2ffa8de3348b3c1856a429bf97e7e31c2e5bd66011839296a789a3bc0045c8a5f\
            b42c7d1bd998f54449579b446817afbd17273e662c97ee72995ef42640c550b9013fad0761353c70\
            86a272c24088be94769fd16650",
    ),
    n: &hex::<66>(
        "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f\
            966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
    ),
};
const BRAINPOOLP192R1: Domain = Domain {
    p: &hex::<24>("c302f41d932a36cda7a3463093d18db78fce476de1a86297"),
    a: &hex::<24>("6a91174076b1e0e19c39c031fe8685c1cae040e5c69a28ef"),
    b: &hex::<24>("469a28ef7c28cca3dc721d044f4496bcca7ef4146fbf25c9"),
    g: &hex::<49>(
        "04c0a0647eaab6a48753b033c56cb0f0900a2f5c4853375fd614b690866abd5bb88b5f4828c14900\
            02e6773fa2fa299b8f",
    ),
    n: &hex::<24>("c302f41d932a36cda7a3462f9e9e916b5be8f1029ac4acc1"),
};
const BRAINPOOLP224R1: Domain = Domain {
    p: &hex::<28>("d7c134aa264366862a18302575d1d787b09f075797da89f57ec8c0ff"),
    a: &hex::<28>("68a5e62ca9ce6c1c299803a6c1530b514e182ad8b0042a59cad29f43"),
    b: &hex::<28>("2580f63ccfe44138870713b1a92369e33e2135d266dbb372386c400b"),
    g: &hex::<57>(
        "040d9029ad2c7e5cf4340823b2a87dc68c9e4ce3174c1e6efdee12c07d58aa56f772c0726f24c6b8\
            9e4ecdac24354b9e99caa3f6d3761402cd",
    ),
    n: &hex::<28>("d7c134aa264366862a18302575d0fb98d116bc4b6ddebca3a5a7939f"),
};
const BRAINPOOLP256R1: Domain = Domain {
    p: &hex::<32>("a9fb57dba1eea9bc3e660a909d838d726e3bf623d52620282013481d1f6e5377"),
    a: &hex::<32>("7d5a0975fc2c3057eef67530417affe7fb8055c126dc5c6ce94a4b44f330b5d9"),
    b: &hex::<32>("26dc5c6ce94a4b44f330b5d9bbd77cbf958416295cf7e1ce6bccdc18ff8c07b6"),
    g: &hex::<65>(
        "048bd2aeb9cb7e57cb2c4b482ffc81b7afb9de27e1e3bd23c23a4453bd9ace3262547ef835c3dac4\
            fd97f8461a14611dc9c27745132ded8e545c1d54c72f046997",
    ),
    n: &hex::<32>("a9fb57dba1eea9bc3e660a909d838d718c397aa3b561a6f7901e0e82974856a7"),
};
const BRAINPOOLP320R1: Domain = Domain {
    p: &hex::<40>(
        "d35e472036bc4fb7e13c785ed201e065f98fcfa6f6f40def4f92b9ec7893ec28fcd412b1f1b32e27",
    ),
    a: &hex::<40>(
        "3ee30b568fbab0f883ccebd46d3f3bb8a2a73513f5eb79da66190eb085ffa9f492f375a97d860eb4",
    ),
    b: &hex::<40>(
        "520883949dfdbc42d3ad198640688a6fe13f41349554b49acc31dccd884539816f5eb4ac8fb1f1a6",
    ),
    g: &hex::<81>(
        "0443bd7e9afb53d8b85289bcc48ee5bfe6f20137d10a087eb6e7871e2a10a599c710af8d0d39e206\
            1114fdd05545ec1cc8ab4093247f77275e0743ffed117182eaa9c77877aaac6ac7d35245d1692e8e\
            e1",
    ),
    n: &hex::<40>(
        "d35e472036bc4fb7e13c785ed201e065f98fcfa5b68f12a32d482ec7ee8658e98691555b44c59311",
    ),
};
const BRAINPOOLP384R1: Domain = Domain {
    p: &hex::<48>(
        "8cb91e82a3386d280f5d6f7e50e641df152f7109ed5456b412b1da197fb71123acd3a729901d1a71\
            874700133107ec53",
    ),
    a: &hex::<48>(
        "7bc382c63d8c150c3c72080ace05afa0c2bea28e4fb22787139165efba91f90f8aa5814a503ad4eb\
            04a8c7dd22ce2826",
    ),
    b: &hex::<48>(
        "04a8c7dd22ce28268b39b55416f0447c2fb77de107dcd2a62e880ea53eeb62d57cb4390295dbc994\
            3ab78696fa504c11",
    ),
    g: &hex::<97>(
        "041d1c64f068cf45ffa2a63a81b7c13f6b8847a3e77ef14fe3db7fcafe0cbd10e8e826e03436d646\
            aaef87b2e247d4af1e8abe1d7520f9c2a45cb1eb8e95cfd55262b70b29feec5864e19c054ff99129\
            280e4646217791811142820341263c5315",
    ),
    n: &hex::<48>(
        "8cb91e82a3386d280f5d6f7e50e641df152f7109ed5456b31f166e6cac0425a7cf3ab6af6b7fc310\
            3b883202e9046565",
    ),
};
const BRAINPOOLP512R1: Domain = Domain {
    p: &hex::<64>(
        "aadd9db8dbe9c48b3fd4e6ae33c9fc07cb308db3b3c9d20ed6639cca703308717d4d9b009bc66842\
            aecda12ae6a380e62881ff2f2d82c68528aa6056583a48f3",
    ),
    a: &hex::<64>(
        "7830a3318b603b89e2327145ac234cc594cbdd8d3df91610a83441caea9863bc2ded5d5aa8253aa1\
            0a2ef1c98b9ac8b57f1117a72bf2c7b9e7c1ac4d77fc94ca",
    ),
    b: &hex::<64>(
        "3df91610a83441caea9863bc2ded5d5aa8253aa10a2ef1c98b9ac8b57f1117a72bf2c7b9e7c1ac4d\
            77fc94cadc083e67984050b75ebae5dd2809bd638016f723",
    ),
    g: &hex::<129>(
        "0481aee4bdd82ed9645a21322e9c4c6a9385ed9f70b5d916c1b43b62eef4d0098eff3b1f78e2d0d4\
            8d50d1687b93b97d5f7c6d5047406a5e688b352209bcb9f8227dde385d566332ecc0eabfa9cf7822\
            fdf209f70024a57b1aa000c55b881f8111b2dcde494a5f485e5bca4bd88a2763aed1ca2b2fa8f054\
            0678cd1e0f3ad80892",
    ),
    n: &hex::<64>(
        "aadd9db8dbe9c48b3fd4e6ae33c9fc07cb308db3b3c9d20ed6639cca70330870553e5c414ca92619\
            418661197fac10471db1d381085ddaddb58796829ca90069",
    ),
};
const SECP192K1: Domain = Domain {
    p: &hex::<24>("fffffffffffffffffffffffffffffffffffffffeffffee37"),
    a: &hex::<24>("000000000000000000000000000000000000000000000000"),
    b: &hex::<24>("000000000000000000000000000000000000000000000003"),
    g: &hex::<49>(
        "04db4ff10ec057e9ae26b07d0280b7f4341da5d1b1eae06c7d9b2f2f6d9c5628a7844163d015be86\
            344082aa88d95e2f9d",
    ),
    n: &hex::<24>("fffffffffffffffffffffffe26f2fc170f69466a74defd8d"),
};
const SECP256K1: Domain = Domain {
    p: &hex::<32>("fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f"),
    a: &hex::<32>("0000000000000000000000000000000000000000000000000000000000000000"),
    b: &hex::<32>("0000000000000000000000000000000000000000000000000000000000000007"),
    g: &hex::<65>(
        "0479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798483ada7726a3c4\
            655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8",
    ),
    n: &hex::<32>("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"),
};

impl Curve {
    /// Every curve.
    pub const ALL: [Self; 13] = [
        Self::Secp192r1,
        Self::Secp224r1,
        Self::Secp256r1,
        Self::Secp384r1,
        Self::Secp521r1,
        Self::BrainpoolP192r1,
        Self::BrainpoolP224r1,
        Self::BrainpoolP256r1,
        Self::BrainpoolP320r1,
        Self::BrainpoolP384r1,
        Self::BrainpoolP512r1,
        Self::Secp192k1,
        Self::Secp256k1,
    ];

    /// Its name, as in "brainpoolP256r1".
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Secp192r1 => "secp192r1",
            Self::Secp224r1 => "secp224r1",
            Self::Secp256r1 => "secp256r1",
            Self::Secp384r1 => "secp384r1",
            Self::Secp521r1 => "secp521r1",
            Self::BrainpoolP192r1 => "brainpoolP192r1",
            Self::BrainpoolP224r1 => "brainpoolP224r1",
            Self::BrainpoolP256r1 => "brainpoolP256r1",
            Self::BrainpoolP320r1 => "brainpoolP320r1",
            Self::BrainpoolP384r1 => "brainpoolP384r1",
            Self::BrainpoolP512r1 => "brainpoolP512r1",
            Self::Secp192k1 => "secp192k1",
            Self::Secp256k1 => "secp256k1",
        }
    }

    /// Its domain parameters.
    #[must_use]
    pub fn domain(self) -> &'static Domain {
        match self {
            Self::Secp192r1 => &SECP192R1,
            Self::Secp224r1 => &SECP224R1,
            Self::Secp256r1 => &SECP256R1,
            Self::Secp384r1 => &SECP384R1,
            Self::Secp521r1 => &SECP521R1,
            Self::BrainpoolP192r1 => &BRAINPOOLP192R1,
            Self::BrainpoolP224r1 => &BRAINPOOLP224R1,
            Self::BrainpoolP256r1 => &BRAINPOOLP256R1,
            Self::BrainpoolP320r1 => &BRAINPOOLP320R1,
            Self::BrainpoolP384r1 => &BRAINPOOLP384R1,
            Self::BrainpoolP512r1 => &BRAINPOOLP512R1,
            Self::Secp192k1 => &SECP192K1,
            Self::Secp256k1 => &SECP256K1,
        }
    }

    fn nid(self) -> Nid {
        match self {
            Self::Secp192r1 => Nid::X9_62_PRIME192V1,
            Self::Secp224r1 => Nid::SECP224R1,
            Self::Secp256r1 => Nid::X9_62_PRIME256V1,
            Self::Secp384r1 => Nid::SECP384R1,
            Self::Secp521r1 => Nid::SECP521R1,
            Self::BrainpoolP192r1 => Nid::BRAINPOOL_P192R1,
            Self::BrainpoolP224r1 => Nid::BRAINPOOL_P224R1,
            Self::BrainpoolP256r1 => Nid::BRAINPOOL_P256R1,
            Self::BrainpoolP320r1 => Nid::BRAINPOOL_P320R1,
            Self::BrainpoolP384r1 => Nid::BRAINPOOL_P384R1,
            Self::BrainpoolP512r1 => Nid::BRAINPOOL_P512R1,
            Self::Secp192k1 => Nid::SECP192K1,
            Self::Secp256k1 => Nid::SECP256K1,
        }
    }

    /// The curve with that name; OpenSSL's and NIST's names of the common ones too.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let name = match name {
            "prime192v1" | "P-192" => "secp192r1",
            "P-224" => "secp224r1",
            "prime256v1" | "P-256" => "secp256r1",
            "P-384" => "secp384r1",
            "P-521" => "secp521r1",
            name => name,
        };
        Self::ALL
            .into_iter()
            .find(|curve| curve.name().eq_ignore_ascii_case(name))
    }

    /// The curve over that prime field, leading zeros allowed.
    #[must_use]
    pub fn from_prime(p: &[u8]) -> Option<Self> {
        let p = crate::crypto::significant(p);
        Self::ALL.into_iter().find(|curve| curve.domain().p == p)
    }

    /// Octets of a field element, 66 for secp521r1.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(self) -> usize {
        self.domain().p.len()
    }

    /// Octets of an uncompressed point.
    #[must_use]
    pub fn point_len(self) -> usize {
        self.len().saturating_mul(2).saturating_add(1)
    }

    /// Bits of the prime.
    #[must_use]
    pub fn bits(self) -> usize {
        match self {
            Self::Secp521r1 => 521,
            _ => self.len().saturating_mul(8),
        }
    }

    /// The group, as the cryptographic library has it.
    ///
    /// # Errors
    /// [`Unavailable`] if the library was built without the curve.
    pub fn group(self) -> Result<EcGroup, Unavailable> {
        Ok(EcGroup::from_curve_name(self.nid())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::bn::{BigNum, BigNumContext};
    use openssl::ec::PointConversionForm;

    #[test]
    fn the_parameters_are_the_librarys() {
        let mut context = BigNumContext::new().unwrap();
        for curve in Curve::ALL {
            let group = curve.group().unwrap();
            let new = || BigNum::new().unwrap();
            let (mut p, mut a, mut b, mut n) = (new(), new(), new(), new());
            group
                .components_gfp(&mut p, &mut a, &mut b, &mut context)
                .unwrap();
            group.order(&mut n, &mut context).unwrap();
            let g = group
                .generator_opt()
                .unwrap()
                .to_bytes(&group, PointConversionForm::UNCOMPRESSED, &mut context)
                .unwrap();
            let pad = |number: &BigNum| number.to_vec_padded(curve.len() as i32).unwrap();
            let domain = curve.domain();
            assert_eq!(domain.p, pad(&p), "{}", curve.name());
            assert_eq!(domain.a, pad(&a));
            assert_eq!(domain.b, pad(&b));
            assert_eq!(domain.n, pad(&n));
            assert_eq!(domain.g, g);
            assert_eq!(curve.bits(), p.num_bits() as usize);
            assert_eq!(Curve::from_prime(domain.p), Some(curve));
            assert_eq!(Curve::from_name(curve.name()), Some(curve));
        }
        assert_eq!(Curve::from_name("P-256"), Some(Curve::Secp256r1));
        assert_eq!(Curve::from_name("curve25519"), None);
        assert_eq!(Curve::from_prime(&[0; 32]), None);
    }
}
