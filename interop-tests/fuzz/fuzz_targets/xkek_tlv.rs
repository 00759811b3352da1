//! Elements and APDUs: what is read is what was there, and written again it is read as the same.
#![no_main]
use libfuzzer_sys::fuzz_target;
use xkek::apdu::{Command, Response};
use xkek::{pkcs15, tlv};

fuzz_target!(|data: &[u8]| {
    let mut read = 0;
    for element in tlv::elements(data) {
        let Ok(element) = element else { break };
        assert_eq!(element.encoded, &data[read..read + element.encoded.len()]);
        assert!(element.encoded.ends_with(element.value));
        read += element.encoded.len();
        let again = tlv::encode(element.tag, element.value);
        let again = tlv::only(&again, element.tag).expect("written just now");
        assert_eq!(again.value, element.value);
    }
    if let Ok(command) = Command::parse(data) {
        let octets = command.encode().expect("of lengths that were read");
        // A header alone says nothing of its encoding; else the octets are the same.
        assert_eq!(octets[..], *data);
    }
    if let Ok(response) = Response::parse(data) {
        assert_eq!(response.encode(), data);
    }
    if let Ok(description) = pkcs15::KeyDescription::parse(data) {
        let again = pkcs15::KeyDescription::parse(&description.encode());
        assert_eq!(again.as_ref(), Ok(&description));
    }
    if let Ok(description) = pkcs15::CertificateDescription::parse(data) {
        let again = pkcs15::CertificateDescription::parse(&description.encode());
        assert_eq!(again.as_ref(), Ok(&description));
    }
    if let Ok(description) = pkcs15::DataDescription::parse(data) {
        let again = pkcs15::DataDescription::parse(&description.encode());
        assert_eq!(again.as_ref(), Ok(&description));
    }
    if let Ok(token) = pkcs15::TokenInfo::parse(data) {
        assert_eq!(
            pkcs15::TokenInfo::parse(&token.encode()).as_ref(),
            Ok(&token)
        );
    }
});
