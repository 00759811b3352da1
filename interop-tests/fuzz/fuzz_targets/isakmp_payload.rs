//! Any octets as the body of any payload: the first says which. What is read can be written, into a message of
//! its own, and reads the same.
#![no_main]
use isakmp_proto::header::{Cookie, Header};
use isakmp_proto::message::{Builder, Message};
use isakmp_proto::number::{ExchangeType, PayloadType};
use isakmp_proto::payload::{Id, NatForm, Payload};
use isakmp_proto::sa::{MAX_PROPOSALS, MAX_TRANSFORMS};
use isakmp_proto::vendor_id;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let Some((ty, body)) = octets.split_first() else {
        return;
    };
    // Mostly one that exists.
    let ty = match ty {
        0..=13 => PayloadType(ty + 1),
        14 => PayloadType::NAT_D,
        15 => PayloadType::NAT_OA,
        16 => PayloadType::NAT_D_DRAFT,
        17 => PayloadType::NAT_OA_DRAFT,
        _ => PayloadType(*ty),
    };
    let payload = match Payload::parse(ty, body) {
        Ok(payload) => payload,
        Err(refused) => {
            let _ = (refused.log_lines(), refused.reaction());
            return;
        }
    };
    assert_eq!(payload.payload_type(), ty);
    match &payload {
        Payload::Sa(sa) => {
            assert!((1..=MAX_PROPOSALS).contains(&sa.proposals.len()));
            for proposal in &sa.proposals {
                assert!((1..=MAX_TRANSFORMS).contains(&proposal.transforms.len()));
                for transform in &proposal.transforms {
                    for attribute in &transform.attributes {
                        assert!(attribute.says_the_same(attribute));
                        let same = transform.attribute(attribute.ty);
                        assert!(same.is_some());
                    }
                }
            }
        }
        Payload::Id(id) => assert_eq!(Id::from_body(body).as_ref(), Some(id)),
        Payload::VendorId(octets) => {
            let _ = vendor_id::recognize(octets);
        }
        Payload::Delete(delete) => {
            assert!(
                delete
                    .spis
                    .iter()
                    .all(|spi| spi.len() == usize::from(delete.spi_size))
            );
        }
        Payload::NatD(nat_d) => {
            assert_eq!(nat_d.form == NatForm::Rfc, ty == PayloadType::NAT_D);
        }
        _ => {}
    }
    for message_id in [0, 1] {
        let header = Header::new(
            Cookie([1; 8]),
            Cookie([2; 8]),
            ExchangeType::INFORMATIONAL,
            message_id,
        );
        let mut builder = Builder::new(header);
        let place = builder.push(payload.clone());
        // Only what is longer than a message can hold has no way back.
        let Ok(mut built) = builder.build() else {
            assert!(body.len() > 65_000);
            return;
        };
        let again = Message::parse_payloads(built.header, built.octets()).expect("was built");
        assert_eq!(again.payloads[place].payload, payload);
        let _ = again.check();
        let body = built.body(place).to_vec();
        built.fill(place, &body).expect("the same again");
        assert_eq!(built.payloads[place].payload, payload);
    }
});
