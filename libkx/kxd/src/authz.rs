//! Which client may have a key: a pure function of what was sent and of `allowed_clients`.
//!
//! Rule V(c) itself is [`kx_cert::verify`]; here stands deviation D1. The original runs V on every
//! certificate that the client *sends*, but TLS proves the key of the first one only, so anybody
//! with a copy of an allowed certificate gets the key. Here only the first one is judged.

use chrono::{DateTime, FixedOffset};
use kx_cert::anchors::{Anchors, NoCertificate};
use kx_cert::verify::{Chain, VerifyError};

use crate::key_store::ClientsFile;
use crate::tls::ClientCerts;

/// `allowed_clients` of one key, read for one client.
#[derive(Debug)]
pub struct AllowedClients<'a> {
    client: &'a ClientCerts,
    anchors: Anchors,
}

impl<'a> AllowedClients<'a> {
    /// Reads the file. `None`: there is no such file, so nobody is allowed.
    ///
    /// # Errors
    /// When it holds no certificate (kxd spec 3, row 4).
    pub fn load(
        file: Option<&ClientsFile>,
        client: &'a ClientCerts,
    ) -> Result<Self, NoCertificate> {
        let anchors = match file {
            None => Anchors::Others(Vec::new()),
            Some(file) => file.anchors(&client.leaf)?,
        };
        Ok(AllowedClients { client, anchors })
    }

    /// The chains that authorise the client (kxd spec 4.2).
    ///
    /// # Errors
    /// Why the client's own certificate is not allowed.
    pub fn authorise(&self, now: &DateTime<FixedOffset>) -> Result<Vec<Chain>, VerifyError> {
        self.anchors
            .verify(&self.client.leaf, &self.client.intermediates, now)
    }
}
