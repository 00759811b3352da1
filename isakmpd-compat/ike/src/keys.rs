//! Keys, hashes and initialization vectors as functions of what was exchanged (RFC 2409 sections 5 and
//! appendix B; isakmpd-wire 3).
//!
//! The PRF is always HMAC of the negotiated hash. Towards an isakmpd of OpenBSD its blocks have 64 octets
//! whatever the hash ([`BlockSize::Octets64`]), else they are the standard's.

use isakmp_proto::header::Cookie;
use kx_crypto::prf::{BlockSize, Hash, Prf, Unavailable};
use kx_secret::SecretBytes;

/// Which HMAC serves as PRF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrfChoice {
    /// The negotiated hash.
    pub hash: Hash,
    /// The block its HMAC has.
    pub block: BlockSize,
}

impl PrfChoice {
    /// prf(key, parts one after the other).
    ///
    /// # Errors
    /// The library has not got the hash.
    pub fn compute(self, key: &[u8], parts: &[&[u8]]) -> Result<SecretBytes, Unavailable> {
        Prf::new(self.hash, self.block, key)?.compute(parts)
    }

    /// SKEYID with a pre-shared key: prf(key, Ni_b | Nr_b).
    ///
    /// # Errors
    /// The library has not got the hash.
    pub fn skeyid_pre_shared(
        self,
        key: &[u8],
        ni: &[u8],
        nr: &[u8],
    ) -> Result<SecretBytes, Unavailable> {
        self.compute(key, &[ni, nr])
    }

    /// SKEYID with signatures: prf(Ni_b | Nr_b, g^xy).
    ///
    /// # Errors
    /// The library has not got the hash.
    pub fn skeyid_signatures(
        self,
        ni: &[u8],
        nr: &[u8],
        g_xy: &[u8],
    ) -> Result<SecretBytes, Unavailable> {
        self.compute(&[ni, nr].concat(), &[g_xy])
    }
}

/// What both sides know of phase 1 before it is authenticated.
#[derive(Clone, Copy)]
pub struct Exchanged<'a> {
    /// The initiator's public value, as in its KE payload.
    pub g_xi: &'a [u8],
    /// The responder's.
    pub g_xr: &'a [u8],
    /// CKY-I.
    pub cky_i: Cookie,
    /// CKY-R.
    pub cky_r: Cookie,
    /// Body of the initiator's SA payload, as sent.
    pub sai_b: &'a [u8],
}

/// SKEYID and the three keys made of it.
pub struct Skeyids {
    choice: PrfChoice,
    skeyid: SecretBytes,
    d: SecretBytes,
    a: SecretBytes,
    e: SecretBytes,
}

impl Skeyids {
    /// SKEYID_d, SKEYID_a and SKEYID_e from SKEYID, g^xy and the cookies.
    ///
    /// # Errors
    /// The library has not got the hash.
    pub fn derive(
        choice: PrfChoice,
        skeyid: SecretBytes,
        g_xy: &[u8],
        cky_i: Cookie,
        cky_r: Cookie,
    ) -> Result<Self, Unavailable> {
        let prf = Prf::new(choice.hash, choice.block, skeyid.as_slice())?;
        let next =
            |before: &[u8], count: u8| prf.compute(&[before, g_xy, &cky_i.0, &cky_r.0, &[count]]);
        let d = next(&[], 0)?;
        let a = next(d.as_slice(), 1)?;
        let e = next(a.as_slice(), 2)?;
        Ok(Self {
            choice,
            skeyid,
            d,
            a,
            e,
        })
    }

    /// The PRF they are for.
    #[must_use]
    pub fn choice(&self) -> PrfChoice {
        self.choice
    }

    /// SKEYID.
    #[must_use]
    pub fn skeyid(&self) -> &SecretBytes {
        &self.skeyid
    }

    /// SKEYID_d, for the keys of phase 2.
    #[must_use]
    pub fn d(&self) -> &SecretBytes {
        &self.d
    }

    /// SKEYID_a, which authenticates phase 2.
    #[must_use]
    pub fn a(&self) -> &SecretBytes {
        &self.a
    }

    /// SKEYID_e, for the encryption of both phases.
    #[must_use]
    pub fn e(&self) -> &SecretBytes {
        &self.e
    }

    /// The encryption key, `len` octets: the head of SKEYID_e, or of a chain of PRFs if that is too short.
    ///
    /// # Errors
    /// The library has not got the hash.
    pub fn encryption_key(&self, len: usize) -> Result<SecretBytes, Unavailable> {
        let mut key = SecretBytes::with_capacity(len);
        if self.e.len() >= len {
            key.extend_from_slice(self.e.as_slice());
        } else {
            let prf = Prf::new(self.choice.hash, self.choice.block, self.e.as_slice())?;
            let mut block = prf.compute(&[&[0]])?;
            key.extend_from_slice(block.as_slice());
            while key.len() < len {
                block = prf.compute(&[block.as_slice()])?;
                key.extend_from_slice(block.as_slice());
            }
        }
        key.truncate(len);
        Ok(key)
    }

    /// HASH_I over the body of the initiator's ID payload.
    ///
    /// # Errors
    /// The library has not got the hash.
    pub fn hash_i(
        &self,
        exchanged: &Exchanged<'_>,
        idii_b: &[u8],
    ) -> Result<SecretBytes, Unavailable> {
        let e = exchanged;
        let parts = [e.g_xi, e.g_xr, &e.cky_i.0, &e.cky_r.0, e.sai_b, idii_b];
        self.choice.compute(self.skeyid.as_slice(), &parts)
    }

    /// HASH_R over the body of the responder's ID payload.
    ///
    /// # Errors
    /// The library has not got the hash.
    pub fn hash_r(
        &self,
        exchanged: &Exchanged<'_>,
        idir_b: &[u8],
    ) -> Result<SecretBytes, Unavailable> {
        let e = exchanged;
        let parts = [e.g_xr, e.g_xi, &e.cky_r.0, &e.cky_i.0, e.sai_b, idir_b];
        self.choice.compute(self.skeyid.as_slice(), &parts)
    }

    /// HASH(1) of Quick Mode, and the HASH of INFORMATIONAL and Transaction: over the rest of the message
    /// after the HASH payload, padding excluded.
    ///
    /// # Errors
    /// The library has not got the hash.
    pub fn hash_1(&self, message_id: u32, rest: &[u8]) -> Result<SecretBytes, Unavailable> {
        self.choice
            .compute(self.a.as_slice(), &[&message_id.to_be_bytes(), rest])
    }

    /// HASH(2) of Quick Mode.
    ///
    /// # Errors
    /// The library has not got the hash.
    pub fn hash_2(
        &self,
        message_id: u32,
        ni: &[u8],
        rest: &[u8],
    ) -> Result<SecretBytes, Unavailable> {
        self.choice
            .compute(self.a.as_slice(), &[&message_id.to_be_bytes(), ni, rest])
    }

    /// HASH(3) of Quick Mode.
    ///
    /// # Errors
    /// The library has not got the hash.
    pub fn hash_3(
        &self,
        message_id: u32,
        ni: &[u8],
        nr: &[u8],
    ) -> Result<SecretBytes, Unavailable> {
        self.choice.compute(
            self.a.as_slice(),
            &[&[0], &message_id.to_be_bytes(), ni, nr],
        )
    }

    /// `len` octets of KEYMAT for one SA.
    ///
    /// # Errors
    /// The library has not got the hash.
    pub fn keymat(&self, input: &KeymatInput<'_>, len: usize) -> Result<SecretBytes, Unavailable> {
        let prf = Prf::new(self.choice.hash, self.choice.block, self.d.as_slice())?;
        let next = |before: &[u8]| {
            let g_xy = input.g_xy.unwrap_or_default();
            prf.compute(&[
                before,
                g_xy,
                &[input.protocol],
                input.spi,
                input.ni,
                input.nr,
            ])
        };
        let mut keymat = SecretBytes::with_capacity(len);
        let mut block = SecretBytes::zeroed(0);
        while keymat.len() < len {
            block = next(block.as_slice())?;
            keymat.extend_from_slice(block.as_slice());
        }
        keymat.truncate(len);
        Ok(keymat)
    }
}

/// What KEYMAT of one SA is made of, besides SKEYID_d.
#[derive(Clone, Copy)]
pub struct KeymatInput<'a> {
    /// g(qm)^xy, with PFS.
    pub g_xy: Option<&'a [u8]>,
    /// Protocol number of the proposal.
    pub protocol: u8,
    /// The SPI its receiver chose.
    pub spi: &'a [u8],
    /// Nonce of the initiator of Quick Mode.
    pub ni: &'a [u8],
    /// Nonce of its responder.
    pub nr: &'a [u8],
}

/// IV of the first encrypted message of phase 1: the head of hash(g^xi | g^xr). A `block_len` above the
/// digest's length gives the digest.
///
/// # Errors
/// The library has not got the hash.
pub fn phase_1_iv(
    hash: Hash,
    g_xi: &[u8],
    g_xr: &[u8],
    block_len: usize,
) -> Result<Vec<u8>, Unavailable> {
    let mut iv = hash.digest(&[g_xi, g_xr])?;
    iv.truncate(block_len);
    Ok(iv)
}

/// IV of the first message with this ID: the head of hash(last ciphertext block of phase 1 | M-ID).
///
/// # Errors
/// The library has not got the hash.
pub fn phase_2_iv(
    hash: Hash,
    phase_1_last_block: &[u8],
    message_id: u32,
    block_len: usize,
) -> Result<Vec<u8>, Unavailable> {
    let mut iv = hash.digest(&[phase_1_last_block, &message_id.to_be_bytes()])?;
    iv.truncate(block_len);
    Ok(iv)
}
