//! Records ("keysrv spec 6"): SSL version 2's frame, a digest, RC4.

use std::io::{Read, Write};

use openssl::sha::Sha1;

/// RC4 whose key may have any length.
#[derive(Debug, Clone)]
pub struct Rc4 {
    box_: [u8; 256],
    x: u8,
    y: u8,
}

impl Rc4 {
    /// A fresh state.
    pub fn new(key: &[u8]) -> Rc4 {
        let mut box_: [u8; 256] = std::array::from_fn(|i| i as u8);
        let mut y = 0u8;
        for x in 0..256 {
            y = y.wrapping_add(box_[x]).wrapping_add(key[x % key.len()]);
            box_.swap(x, usize::from(y));
        }
        Rc4 { box_, x: 0, y: 0 }
    }

    /// Encrypts or decrypts in place.
    pub fn apply(&mut self, data: &mut [u8]) {
        for octet in data {
            self.x = self.x.wrapping_add(1);
            let a = self.box_[usize::from(self.x)];
            self.y = self.y.wrapping_add(a);
            let b = self.box_[usize::from(self.y)];
            self.box_.swap(usize::from(self.x), usize::from(self.y));
            *octet ^= self.box_[usize::from(a.wrapping_add(b))];
        }
    }
}

/// SHA1 over secret, data and the record's number.
pub fn digest(secret: &[u8], data: &[u8], number: u32) -> [u8; 20] {
    let mut sha1 = Sha1::new();
    sha1.update(secret);
    sha1.update(data);
    sha1.update(&number.to_be_bytes());
    sha1.finish()
}

/// One end of a connection that carries records.
#[derive(Debug)]
pub struct Records<S> {
    /// What is below.
    pub stream: S,
    secret: Vec<u8>,
    digests: bool,
    ciphers: Option<(Rc4, Rc4)>,
    sent: u32,
    received: u32,
}

impl<S: Read + Write> Records<S> {
    /// In clear.
    pub fn new(stream: S) -> Records<S> {
        Records {
            stream,
            secret: Vec::new(),
            digests: false,
            ciphers: None,
            sent: 0,
            received: 0,
        }
    }

    /// The same over something else.
    pub fn over<T>(self, change: impl FnOnce(S) -> T) -> Records<T> {
        Records {
            stream: change(self.stream),
            secret: self.secret,
            digests: self.digests,
            ciphers: self.ciphers,
            sent: self.sent,
            received: self.received,
        }
    }

    /// From the next record on: digests under this secret or not, RC4 under a key or not.
    pub fn protect(&mut self, secret: &[u8], digests: bool, rc4: Option<&[u8]>) {
        self.secret = secret.to_vec();
        self.digests = digests;
        self.ciphers = rc4.map(|key| (Rc4::new(key), Rc4::new(key)));
    }

    /// The record for this data; the next one has the next number.
    pub fn seal(&mut self, data: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        if self.digests {
            body.extend(digest(&self.secret, data, self.sent));
        }
        body.extend_from_slice(data);
        if let Some((out, _)) = &mut self.ciphers {
            out.apply(&mut body);
        }
        self.sent = self.sent.wrapping_add(1);
        let length = u16::try_from(body.len()).expect("a record's length");
        let mut record = (0x8000 | length).to_be_bytes().to_vec();
        record.extend(body);
        record
    }

    /// Sends data as one record.
    pub fn send(&mut self, data: &[u8]) -> std::io::Result<()> {
        let record = self.seal(data);
        self.stream.write_all(&record)
    }

    /// The data of the next record; none at the end of the connection. A wrong digest panics:
    /// the other side must never send one.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        let mut header = [0; 2];
        self.stream.read_exact(&mut header).ok()?;
        let length = u16::from_be_bytes(header);
        assert!(length & 0x8000 != 0, "a padded record arrived");
        let mut body = vec![0; usize::from(length & 0x7fff)];
        self.stream.read_exact(&mut body).ok()?;
        if let Some((_, arriving)) = &mut self.ciphers {
            arriving.apply(&mut body);
        }
        let number = self.received;
        self.received = self.received.wrapping_add(1);
        if !self.digests {
            return Some(body);
        }
        assert!(body.len() >= 20, "a record without a digest arrived");
        let data = body.split_off(20);
        assert_eq!(body, digest(&self.secret, &data, number), "a bad digest");
        Some(data)
    }
}
