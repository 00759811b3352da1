//! Numbers, RSA keys, certificates and authinfo files ("keysrv spec 1-3"), over OpenSSL's numbers.

use openssl::base64;
use openssl::bn::{BigNum, BigNumContext, BigNumRef};
use openssl::hash::{MessageDigest, hash};
use openssl::pkey::Private;
use openssl::rsa::Rsa;

use super::framing;

/// Text of a number, with a zero octet where the first bit is set (form Z).
pub fn number_text(number: &BigNumRef) -> String {
    let mut bytes = number.to_vec();
    if bytes.first().is_none_or(|first| first & 0x80 != 0) {
        bytes.insert(0, 0);
    }
    base64::encode_block(&bytes)
}

/// Text of a number without it (form P).
pub fn plain_number_text(number: &BigNumRef) -> String {
    let mut bytes = number.to_vec();
    if bytes.is_empty() {
        bytes.push(0);
    }
    base64::encode_block(&bytes)
}

/// A number from its text.
pub fn number(text: &str) -> BigNum {
    let bytes = base64::decode_block(text.trim()).unwrap_or_else(|e| panic!("{text:?}: {e}"));
    BigNum::from_slice(&bytes).expect("a number")
}

/// `base^exponent mod modulus`
pub fn power(base: &BigNumRef, exponent: &BigNumRef, modulus: &BigNumRef) -> BigNum {
    let mut context = BigNumContext::new().expect("BN_CTX");
    let mut out = BigNum::new().expect("a number");
    out.mod_exp(base, exponent, modulus, &mut context)
        .expect("exponentiation");
    out
}

/// As many random bits as the modulus has.
pub fn random_exponent(modulus: &BigNumRef) -> BigNum {
    let mut out = BigNum::new().expect("a number");
    out.rand(
        modulus.num_bits(),
        openssl::bn::MsbOption::MAYBE_ZERO,
        false,
    )
    .expect("random bits");
    out
}

/// SHA1
pub fn sha1(data: &[u8]) -> [u8; 20] {
    openssl::sha::sha1(data)
}

/// Lower-case hex.
pub fn hex(data: &[u8]) -> String {
    data.iter().map(|b| format!("{b:02x}")).collect()
}

/// An RSA key and its owner.
#[derive(Debug, Clone)]
pub struct Key {
    /// Who owns it.
    pub owner: String,
    rsa: Rsa<Private>,
}

impl Key {
    /// A new one.
    pub fn new(owner: &str, bits: u32) -> Key {
        Key {
            owner: owner.to_owned(),
            rsa: Rsa::generate(bits).expect("an RSA key"),
        }
    }

    /// The same numbers under another name.
    pub fn owned_by(&self, owner: &str) -> Key {
        Key {
            owner: owner.to_owned(),
            rsa: self.rsa.clone(),
        }
    }

    /// Text of the public key.
    pub fn public(&self) -> String {
        let (n, e) = (number_text(self.rsa.n()), number_text(self.rsa.e()));
        format!("rsa\n{}\n{n}\n{e}\n", self.owner)
    }

    /// Text of the private key.
    pub fn private(&self) -> String {
        let (p, q) = (self.rsa.p().expect("p"), self.rsa.q().expect("q"));
        let mut context = BigNumContext::new().expect("BN_CTX");
        let mut inverse = BigNum::new().expect("a number");
        inverse.mod_inverse(p, q, &mut context).expect("p^-1 mod q");
        // OpenSSL's first prime is the larger one or not: the two remainders go with their primes.
        let kp = self.rsa.dmp1().expect("dmp1");
        let kq = self.rsa.dmq1().expect("dmq1");
        let mut text = self.public();
        for field in [self.rsa.d(), p, q, kp, kq, &inverse] {
            text.push_str(&number_text(field));
            text.push('\n');
        }
        text
    }

    /// Text of a certificate by this key over `data`.
    pub fn certify(&self, data: &[u8], expires: i64) -> String {
        self.certify_as(&self.owner, "sha1", data, expires)
    }

    /// The same with a signer and a digest of one's choice.
    pub fn certify_as(&self, signer: &str, digest: &str, data: &[u8], expires: i64) -> String {
        let kind = match digest {
            "md5" => MessageDigest::md5(),
            _ => MessageDigest::sha1(),
        };
        let mut signed = data.to_vec();
        signed.extend_from_slice(format!("{signer} {expires}").as_bytes());
        let digested = hash(kind, &signed).expect("a digest");
        let digested = BigNum::from_slice(&digested).expect("a number");
        let value = number_text(&power(&digested, self.rsa.d(), self.rsa.n()));
        format!("rsa\n{digest}\n{signer}\n{expires}\n{value}\n")
    }
}

/// True if `certificate` is a signature by the public RSA key in `signer` over `data`.
pub fn verifies(signer: &str, certificate: &str, data: &[u8]) -> bool {
    let key: Vec<&str> = signer.lines().collect();
    let certificate: Vec<&str> = certificate.lines().collect();
    let (["rsa", _, n, e, ..], ["rsa", digest, name, expires, value, ..]) =
        (key.as_slice(), certificate.as_slice())
    else {
        panic!("not RSA: {signer:?} {certificate:?}");
    };
    assert!(["sha", "sha1"].contains(digest), "{digest}");
    let mut signed = data.to_vec();
    signed.extend_from_slice(format!("{name} {expires}").as_bytes());
    let digested = BigNum::from_slice(&sha1(&signed)).expect("a number");
    power(&number(value), &number(e), &number(n)) == digested
}

/// What an authinfo file says.
#[derive(Debug)]
pub struct AuthInfo {
    /// Public key of the signer.
    pub signer: String,
    /// His certificate of `key`.
    pub certificate: String,
    /// The key.
    pub key: Key,
    /// Base of the exchange.
    pub alpha: BigNum,
    /// Its modulus.
    pub p: BigNum,
}

impl AuthInfo {
    /// The file.
    pub fn file(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for text in [
            &self.signer,
            &self.certificate,
            &self.key.private(),
            &number_text(&self.alpha),
            &number_text(&self.p),
        ] {
            framing::send(&mut out, text.as_bytes()).expect("memory");
        }
        out
    }

    /// The file read; RSA keys only.
    pub fn read(file: &[u8]) -> AuthInfo {
        let parts = framing::messages(file);
        let text = |i: usize| String::from_utf8(parts[i].clone()).expect("UTF-8");
        let private = text(2);
        let lines: Vec<&str> = private.lines().collect();
        assert_eq!(lines[0], "rsa", "an RSA key");
        let numbers: Vec<BigNum> = lines[2..].iter().map(|line| number(line)).collect();
        let [n, e, d, p, q, kp, kq, c2] = <[BigNum; 8]>::try_from(numbers).expect("8 numbers");
        // c2 is p^-1 mod q, OpenSSL wants q^-1 mod p; nothing here uses either.
        let mut context = BigNumContext::new().expect("BN_CTX");
        let mut inverse = BigNum::new().expect("a number");
        inverse.mod_inverse(&q, &p, &mut context).expect("q^-1");
        drop(c2);
        let rsa = Rsa::from_private_components(n, e, d, p, q, kp, kq, inverse).expect("a key");
        AuthInfo {
            signer: text(0),
            certificate: text(1),
            key: Key {
                owner: lines[1].to_owned(),
                rsa,
            },
            alpha: number(&text(3)),
            p: number(&text(4)),
        }
    }
}

/// A signer with its group: whoever can make certificates for a whole domain.
#[derive(Debug)]
pub struct Signer {
    /// The signing key.
    pub key: Key,
    alpha: BigNum,
    p: BigNum,
}

impl Signer {
    /// A new one with keys and group of 1024 bits.
    pub fn new(name: &str) -> Signer {
        Signer {
            key: Key::new(name, 1024),
            alpha: BigNum::from_u32(2).expect("a number"),
            p: BigNum::get_rfc2409_prime_1024().expect("a number"),
        }
    }

    /// Its own authinfo, the signer key file.
    pub fn own(&self) -> AuthInfo {
        self.issue_for(self.key.clone(), 0)
    }

    /// A certified new key.
    pub fn issue(&self, user: &str) -> AuthInfo {
        self.issue_for(Key::new(user, 1024), 0)
    }

    /// A certificate for a key.
    pub fn issue_for(&self, key: Key, expires: i64) -> AuthInfo {
        AuthInfo {
            signer: self.key.public(),
            certificate: self.key.certify(key.public().as_bytes(), expires),
            key,
            alpha: self.alpha.to_owned().expect("a number"),
            p: self.p.to_owned().expect("a number"),
        }
    }
}
