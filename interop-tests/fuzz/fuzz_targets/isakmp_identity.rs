//! Any octets as an identity, the first its type: texts of the log and names of files.
#![no_main]
use isakmp_proto::identity::{Identity, id_text};
use isakmp_proto::payload::Id;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let Some((ty, data)) = octets.split_first() else {
        return;
    };
    let id = Id {
        id_type: (ty % 12 + u8::from(*ty > 250)).into(),
        protocol: 17,
        port: 500,
        data: data.to_vec(),
    };
    let text = id_text(Some(&id));
    assert!(!text.is_empty() || data.is_empty() || data[0] == 0 || id.id_type.0 == 9);
    assert!(!text.contains(char::is_control));
    // 255 octets, each of which may be escaped.
    assert!(text.len() <= 255 * 4);
    match Identity::try_from(&id) {
        Ok(identity) => {
            assert_eq!(identity.to_id(17, 500), id);
            assert_eq!(identity.to_string(), text);
            if let Some(named) = identity.prefixed_text() {
                assert!(named.ends_with(&text), "{named}");
            }
        }
        Err(refused) => assert_eq!(refused.length, data.len()),
    }
});
