//! Any octets as a message of ISAKMP: what is read keeps to its bounds, and reads the same once it is written.
#![no_main]
use isakmp_proto::header::{HEADER_LENGTH, Header};
use isakmp_proto::message::{Builder, MAX_PAYLOADS, Message};
use isakmp_proto::nat_t::{Encapsulated, classify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    if let Encapsulated::Ike(message) = classify(octets) {
        assert_eq!(message.len() + 4, octets.len());
    }
    // The length field is right on one half of the way, so that something comes after it.
    let mut octets = octets.to_vec();
    let length = u32::try_from(octets.len()).unwrap_or(u32::MAX);
    if let Some(place) = octets.get_mut(HEADER_LENGTH - 4..HEADER_LENGTH) {
        if place[0] == 0 {
            place.copy_from_slice(&length.to_be_bytes());
        }
    }
    let Ok(header) = Header::parse(&octets) else {
        return;
    };
    assert_eq!(header.encode(), octets[..HEADER_LENGTH]);
    let checked = header.check();
    // What comes out of decryption, with whatever header.
    let message = match Message::parse_payloads(header, &octets) {
        Ok(message) => message,
        Err(refused) => {
            assert!(refused.log_lines().iter().all(|line| line.len() < 200));
            let _ = refused.reaction();
            return;
        }
    };
    assert_eq!(Message::parse(&octets).is_ok(), checked.is_ok());
    if let Err(refused) = message.check() {
        let _ = (refused.log_lines(), refused.notify());
    }
    assert!(message.payloads.len() <= MAX_PAYLOADS);
    assert!(octets.starts_with(message.octets()));
    let mut builder = Builder::new(header);
    for (index, placed) in message.payloads.iter().enumerate() {
        assert_eq!(message.whole(index).len(), placed.length);
        assert_eq!(message.body(index).len() + 4, placed.length);
        assert!(message.octets().ends_with(message.rest_after(index)));
        assert_eq!(
            message
                .index_of(placed.payload.payload_type())
                .map(|first| first <= index),
            Some(true)
        );
        builder.push(placed.payload.clone());
    }
    let built = builder.build().expect("came out of a message");
    let again = Message::parse_payloads(built.header, built.octets()).expect("was built");
    let payloads = |message: &Message| -> Vec<_> {
        message
            .payloads
            .iter()
            .map(|placed| placed.payload.clone())
            .collect()
    };
    assert_eq!(payloads(&again), payloads(&message));
    assert_eq!(again.octets(), built.octets());
});
