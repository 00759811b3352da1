//! Messages of a stranger: cut anywhere they are the same, and what is read is written back the same.
#![no_main]
use inferno_auth::framing::{self, CONNECTION_LIMIT, FramingError, HEADER, Message, Reader};
use kx_fuzz::pieces;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut whole = Vec::new();
    let mut rest = data;
    let end = loop {
        match framing::split(rest, CONNECTION_LIMIT) {
            Ok(Some((message, after))) => {
                let (is_error, content) = match message {
                    Message::Text(content) => (false, content),
                    Message::Error(content) => (true, content),
                };
                assert_eq!(rest.len(), HEADER + content.len() + after.len());
                assert!(content.len() <= CONNECTION_LIMIT);
                assert!(!is_error || !content.is_empty());
                if rest[0] != b'!' {
                    let mut written = Vec::new();
                    framing::write(&mut written, content).expect("short enough");
                    assert!(rest.starts_with(&written));
                }
                whole.push((is_error, content.to_vec()));
                rest = after;
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    assert!(matches!(end, None | Some(FramingError::Format)));

    let mut reader = Reader::new(CONNECTION_LIMIT);
    let mut taken = Vec::new();
    'pieces: for piece in pieces(data) {
        reader.receive(piece);
        loop {
            match reader.next_message() {
                Ok(Some(Message::Text(content))) => taken.push((false, content.to_vec())),
                Ok(Some(Message::Error(content))) => taken.push((true, content.to_vec())),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(Some(error), end, "changed its mind");
                    break 'pieces;
                }
            }
        }
    }
    assert_eq!(taken, whole);
    if end.is_none() {
        assert_eq!(reader.at_end(), framing::at_end(rest));
        assert_eq!(reader.into_rest(), rest);
    }
});
