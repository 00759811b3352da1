//! The client believes no nonsense: any octets instead of replies.
#![no_main]
use kx_secret::SecretBytes;
use libfuzzer_sys::fuzz_target;
use styx::client::{Call, Client};

/// Says the next piece of what it has.
struct Liar<'a>(&'a [u8]);

impl Call for Liar<'_> {
    type Error = ();

    fn call(&mut self, _: &[u8], reply: &mut SecretBytes) -> Result<(), ()> {
        let len = styx::client::message_len(self.0, u32::MAX)
            .map_err(|_| ())?
            .ok_or(())?;
        let (message, rest) = self.0.split_at_checked(len).ok_or(())?;
        reply.extend_from_slice(message);
        self.0 = rest;
        Ok(())
    }
}

fuzz_target!(|octets: &[u8]| {
    let Ok(mut client) = Client::new(Liar(octets), 8216) else {
        return;
    };
    let Ok(root) = client.attach(b"u", b"") else {
        return;
    };
    if let Ok(content) = client.read_file(&root, &[b"a", b"b"], 20_000) {
        assert!(content.len() <= 20_000);
    }
    if let Ok(entries) = client.list(&root, &[], 100) {
        assert!(entries.len() <= 100);
    }
    let _ = client.write_file(&root, &[b"a"], b"x");
});
