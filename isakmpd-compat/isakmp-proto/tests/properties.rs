//! Round trips of made-up messages, and hostile ones.

use isakmp_proto::attribute::Attribute;
use isakmp_proto::header::{Cookie, HEADER_LENGTH, Header};
use isakmp_proto::identity::{Identity, id_text};
use isakmp_proto::malformed::{Malformed, Reaction};
use isakmp_proto::message::{BuildError, Builder, MAX_PAYLOADS, Message};
use isakmp_proto::number::{
    CertEncoding, CfgType, Doi, ExchangeType, IdType, NotifyType, PayloadType, Protocol,
};
use isakmp_proto::outline::{Item, outline};
use isakmp_proto::payload::{
    Cert, CertReq, Delete, Id, MAX_SPIS, ModeConfig, NatD, NatForm, NatOa, Notify, Payload,
};
use isakmp_proto::sa::{MAX_PROPOSALS, Proposal, Sa, Transform};
use proptest::collection::vec;
use proptest::prelude::*;

fn octets(most: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=most)
}

fn attribute() -> impl Strategy<Value = Attribute> {
    prop_oneof![
        (0_u16..0x8000, any::<u16>()).prop_map(|(ty, value)| Attribute::basic(ty, value)),
        (0_u16..0x8000, octets(40)).prop_map(|(ty, value)| Attribute::variable(ty, value)),
    ]
}

fn transform() -> impl Strategy<Value = Transform> {
    (any::<u8>(), any::<u8>(), vec(attribute(), 0..8)).prop_map(|(number, id, attributes)| {
        Transform {
            number,
            id,
            attributes,
        }
    })
}

fn proposal() -> impl Strategy<Value = Proposal> {
    (any::<u8>(), any::<u8>(), octets(16), vec(transform(), 1..5)).prop_map(
        |(number, protocol, spi, transforms)| Proposal {
            number,
            protocol: Protocol(protocol),
            spi,
            transforms,
        },
    )
}

fn payload() -> impl Strategy<Value = Payload> {
    let form = || prop_oneof![Just(NatForm::Rfc), Just(NatForm::Draft)];
    prop_oneof![
        vec(proposal(), 1..4).prop_map(|proposals| Payload::Sa(Sa::new(proposals))),
        vec(proposal(), 1..2).prop_map(|proposals| {
            Payload::Sa(Sa {
                doi: Doi::ISAKMP,
                situation: 0,
                proposals,
            })
        }),
        octets(64).prop_map(Payload::KeyExchange),
        (any::<u8>(), any::<u8>(), any::<u16>(), octets(40)).prop_map(
            |(ty, protocol, port, data)| Payload::Id(Id {
                id_type: IdType(ty),
                protocol,
                port,
                data
            })
        ),
        (any::<u8>(), octets(40)).prop_map(|(e, data)| Payload::Cert(Cert {
            encoding: CertEncoding(e),
            data
        })),
        (any::<u8>(), octets(40)).prop_map(|(e, authority)| Payload::CertReq(CertReq {
            encoding: CertEncoding(e),
            authority
        })),
        octets(64).prop_map(Payload::Hash),
        octets(64).prop_map(Payload::Signature),
        octets(64).prop_map(Payload::Nonce),
        octets(64).prop_map(Payload::VendorId),
        (
            any::<u32>(),
            any::<u8>(),
            octets(16),
            any::<u16>(),
            octets(20)
        )
            .prop_map(|(doi, protocol, spi, ty, data)| Payload::Notify(Notify {
                doi: Doi(doi),
                protocol: Protocol(protocol),
                spi,
                notify_type: NotifyType(ty),
                data,
            })),
        (any::<u32>(), any::<u8>(), 1_usize..20, 0_usize..5).prop_map(
            |(doi, protocol, size, count)| Payload::Delete(Delete {
                doi: Doi(doi),
                protocol: Protocol(protocol),
                spi_size: u8::try_from(size).unwrap(),
                spis: vec![vec![7; size]; count],
            })
        ),
        (any::<u8>(), any::<u16>(), vec(attribute(), 0..8)).prop_map(
            |(kind, identifier, attributes)| Payload::ModeConfig(ModeConfig {
                kind: CfgType(kind),
                identifier,
                attributes,
            })
        ),
        (form(), octets(64)).prop_map(|(form, hash)| Payload::NatD(NatD { form, hash })),
        (form(), any::<u8>(), octets(16)).prop_map(|(form, ty, address)| Payload::NatOa(NatOa {
            form,
            id_type: IdType(ty),
            address
        })),
    ]
}

fn header(message_id: u32) -> Header {
    Header::new(
        Cookie([1; 8]),
        Cookie([2; 8]),
        ExchangeType::INFORMATIONAL,
        message_id,
    )
}

/// Payloads as a message; the first may not have one of the drafts' numbers, which no header names.
fn message(payloads: Vec<Payload>) -> Option<Vec<u8>> {
    let mut builder = Builder::new(header(7));
    for payload in payloads {
        builder.push(payload);
    }
    let built = builder.build().unwrap();
    (built.header.next_payload.0 < 22).then(|| built.into_octets())
}

fn refusal(octets: &[u8]) -> (String, Option<String>) {
    let refused = Message::parse(octets)
        .and_then(|message| message.check())
        .unwrap_err();
    (
        refused.to_string(),
        refused.notify().map(|notify| notify.to_string()),
    )
}

proptest! {
    #[test]
    fn written_and_read(payloads in vec(payload(), 1..8)) {
        if let Some(octets) = message(payloads.clone()) {
            let read = Message::parse(&octets).unwrap();
            let found: Vec<Payload> = read.payloads.iter().map(|p| p.payload.clone()).collect();
            prop_assert_eq!(&found, &payloads);
            prop_assert_eq!(read.octets(), &octets[..]);
            let _ = read.check();
            // The outline has the same payloads in the same places, then those inside SA.
            let places = outline(&read.header, &octets, usize::MAX);
            let placed = read.payloads.iter().map(|placed| Item::Payload {
                offset: placed.offset,
                ty: placed.payload.payload_type(),
            });
            prop_assert!(placed.eq(places.iter().copied().take(read.payloads.len())));
            let transforms = |item: &&Item| matches!(item, Item::Transform { .. });
            let inside = read.payloads.iter().map(|placed| match &placed.payload {
                Payload::Sa(sa) => sa.proposals.iter().map(|p| p.transforms.len()).sum(),
                _ => 0,
            });
            prop_assert_eq!(places.iter().filter(transforms).count(), inside.sum::<usize>());
            // Padding of the block changes nothing but the length field.
            let mut padded = octets.clone();
            padded.resize(octets.len().next_multiple_of(16), 0);
            let length = u32::try_from(padded.len()).unwrap();
            padded[24..28].copy_from_slice(&length.to_be_bytes());
            let read = Message::parse(&padded).unwrap();
            prop_assert_eq!(read.octets().len(), octets.len());
        }
    }

    #[test]
    fn broken_messages_never_panic(
        payloads in vec(payload(), 1..6),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        if let Some(mut octets) = message(payloads) {
            for (place, value) in changes {
                let place = place.index(octets.len() - HEADER_LENGTH) + HEADER_LENGTH;
                octets[place] = value;
            }
            octets.truncate(HEADER_LENGTH + cut.index(octets.len() - HEADER_LENGTH));
            let length = u32::try_from(octets.len()).unwrap();
            octets[24..28].copy_from_slice(&length.to_be_bytes());
            look(&octets);
        }
    }

    #[test]
    fn any_octets_never_panic(first in 0_u8..22, body in octets(200)) {
        let mut head = header(7);
        head.next_payload = PayloadType(first);
        head.length = u32::try_from(HEADER_LENGTH + body.len()).unwrap();
        look(&[&head.encode()[..], &body].concat());
    }

    #[test]
    fn identities_and_back(ty in any::<u8>(), data in octets(40)) {
        let id = Id { id_type: IdType(ty), protocol: 17, port: 500, data };
        prop_assert_eq!(Id::from_body(&id.body()), Some(id.clone()));
        prop_assert!(id_text(Some(&id)).len() <= 2000);
        if let Ok(identity) = Identity::try_from(&id) {
            prop_assert_eq!(identity.to_id(17, 500), id);
            let _ = identity.prefixed_text();
        }
    }
}

fn look(octets: &[u8]) {
    if let Ok(header) = Header::parse(octets) {
        assert!(outline(&header, octets, 20).len() <= 20);
    }
    match Message::parse(octets) {
        Ok(message) => {
            for (index, placed) in message.payloads.iter().enumerate() {
                assert_eq!(message.whole(index).len(), placed.length);
                assert_eq!(message.body(index).len() + 4, placed.length);
            }
            let _ = message.check();
        }
        Err(refused) => {
            let _ = (refused.log_lines(), refused.reaction());
        }
    }
}

fn phase_2(proposals: Vec<Proposal>) -> Vec<u8> {
    message(vec![Payload::Sa(Sa::new(proposals))]).unwrap()
}

fn esp(number: u8, transforms: &[(u8, u8)]) -> Proposal {
    let transforms = transforms
        .iter()
        .map(|(number, id)| Transform {
            number: *number,
            id: *id,
            attributes: Vec::new(),
        })
        .collect();
    Proposal {
        number,
        protocol: Protocol::ESP,
        spi: vec![0, 0, 1, 0],
        transforms,
    }
}

#[test]
fn proposals_are_checked_as_the_original_does() {
    let check = |proposals: Vec<Proposal>| {
        let octets = phase_2(proposals);
        match Message::parse(&octets).and_then(|message| message.check()) {
            Ok(()) => "fine".to_owned(),
            Err(refused) => {
                assert!(refused.log_lines().is_empty(), "{refused}");
                refused.notify().unwrap().to_string()
            }
        }
    };
    assert_eq!(
        check(vec![esp(1, &[(1, 12), (2, 3)]), esp(1, &[(1, 11)])]),
        "fine"
    );
    assert_eq!(
        check(vec![esp(2, &[(1, 12)]), esp(1, &[(1, 12)])]),
        "BAD_PROPOSAL_SYNTAX"
    );
    assert_eq!(
        check(vec![esp(1, &[(1, 12), (1, 12)])]),
        "BAD_PROPOSAL_SYNTAX"
    );
    assert_eq!(check(vec![esp(1, &[(1, 24)])]), "INVALID_TRANSFORM_ID");
    assert_eq!(check(vec![esp(1, &[(1, 0)])]), "INVALID_TRANSFORM_ID");
    // The last one of each range, and the next.
    for (protocol, id, verdict) in [
        (Protocol::AH, 8, "fine"),
        (Protocol::AH, 9, "INVALID_TRANSFORM_ID"),
        (Protocol::AH, 1, "INVALID_TRANSFORM_ID"),
        (Protocol::ESP, 1, "fine"),
        (Protocol::ESP, 23, "fine"),
        (Protocol::ESP, 248, "INVALID_TRANSFORM_ID"),
        (Protocol::ESP, 249, "fine"),
        (Protocol::ESP, 253, "fine"),
        (Protocol::ESP, 254, "INVALID_TRANSFORM_ID"),
        (Protocol::IPCOMP, 4, "fine"),
        (Protocol::IPCOMP, 5, "INVALID_TRANSFORM_ID"),
        (Protocol::ISAKMP, 1, "fine"),
        (Protocol::ISAKMP, 2, "INVALID_TRANSFORM_ID"),
    ] {
        let mut proposal = esp(1, &[(1, id)]);
        proposal.protocol = protocol;
        assert_eq!(check(vec![proposal]), verdict, "{protocol} {id}");
    }
    let mut odd = esp(1, &[(1, 12)]);
    odd.protocol = Protocol(5);
    assert_eq!(check(vec![odd]), "INVALID_PROTOCOL_ID");
    let mut odd = esp(1, &[(1, 12)]);
    odd.transforms[0]
        .attributes
        .push(Attribute::basic(11_u16, 1));
    assert_eq!(check(vec![odd]), "ATTRIBUTES_NOT_SUPPORTED");
}

#[test]
fn sa_payloads_that_are_refused() {
    let octets = phase_2(vec![esp(1, &[(1, 12)])]);
    let changed = |place: usize, value: u8| {
        let mut octets = octets.clone();
        octets[place] = value;
        refusal(&octets)
    };
    assert_eq!(
        changed(35, 2),
        (
            "message_validate_sa: DOI not supported".into(),
            Some("DOI_NOT_SUPPORTED".into())
        )
    );
    assert_eq!(
        changed(39, 3),
        (
            "message_validate_sa: situation not supported".into(),
            Some("SITUATION_NOT_SUPPORTED".into())
        )
    );
    // The proposal says that it is longer than the SA payload.
    assert_eq!(
        changed(42, 1),
        (
            "message_parse_payloads: payload too long: 276".into(),
            Some("PAYLOAD_MALFORMED".into())
        )
    );
    // Its SPI is longer than itself.
    assert_eq!(changed(46, 255).1.as_deref(), Some("PAYLOAD_MALFORMED"));
    // A transform's reserved octets.
    assert_eq!(changed(58, 1).1.as_deref(), Some("PAYLOAD_MALFORMED"));
    // What follows a proposal can be a proposal only.
    assert_eq!(changed(40, 13).0, "message_parse_payloads: short message");
}

#[test]
fn generic_headers_that_are_refused() {
    let octets = message(vec![
        Payload::Hash(vec![0; 16]),
        Payload::Nonce(vec![0; 16]),
    ])
    .unwrap();
    let changed = |place: usize, value: u8| {
        let mut octets = octets.clone();
        octets[place] = value;
        refusal(&octets)
    };
    assert_eq!(
        changed(28, 22),
        (
            "message_parse_payloads: invalid next payload type RESERVED_MIN in payload of type 8"
                .into(),
            Some("INVALID_PAYLOAD_TYPE".into())
        )
    );
    for (next, notify) in [(127, "INVALID_PAYLOAD_TYPE"), (129, ""), (130, "")] {
        let mut octets = octets.clone();
        octets[28] = next;
        let refused = Message::parse(&octets)
            .err()
            .and_then(|refused| refused.notify());
        assert_eq!(
            refused.map(|n| n.to_string()).unwrap_or_default(),
            notify,
            "{next}"
        );
    }
    assert_eq!(
        changed(29, 0x1f),
        (
            "message_parse_payloads: reserved field non-zero: 1f".into(),
            Some("PAYLOAD_MALFORMED".into())
        )
    );
    assert_eq!(
        changed(31, 3),
        (
            "message_parse_payloads: payload too short: 3".into(),
            Some("PAYLOAD_MALFORMED".into())
        )
    );
    assert_eq!(
        changed(31, 200),
        (
            "message_parse_payloads: payload too long: 200".into(),
            Some("PAYLOAD_MALFORMED".into())
        )
    );
    assert_eq!(
        changed(28, 15),
        (
            "message_parse_payloads: unknown minimum payload size for payload type SAK".into(),
            Some("PAYLOAD_MALFORMED".into())
        )
    );
    assert_eq!(
        changed(28, 2),
        (
            "message_parse_payloads: payload type PROPOSAL unexpected".into(),
            Some("INVALID_PAYLOAD_TYPE".into())
        )
    );
    assert_eq!(
        changed(48, 8),
        (
            "message_parse_payloads: short message".into(),
            Some("UNEQUAL_PAYLOAD_LENGTHS".into())
        )
    );
    // A private payload is passed over: what follows it is not, and neither is what it follows.
    let mut private = octets.clone();
    private[28] = 200;
    let read = Message::parse(&private).unwrap();
    assert_eq!(read.payloads.len(), 1);
    assert_eq!(read.payloads[0].payload, Payload::Hash(vec![0; 16]));
}

#[test]
fn notifications_and_deletes() {
    let notify = |doi: u32, protocol: u8, ty: u16| {
        let payload = Payload::Notify(Notify {
            doi: Doi(doi),
            protocol: Protocol(protocol),
            spi: Vec::new(),
            notify_type: NotifyType(ty),
            data: Vec::new(),
        });
        let octets = message(vec![payload]).unwrap();
        Message::parse(&octets).unwrap().check()
    };
    for ty in [1, 30, 8192, 16384, 24576, 24578, 36136, 36137] {
        assert_eq!(notify(1, 1, ty), Ok(()), "{ty}");
    }
    for ty in [0, 31, 8191, 16385, 24575, 24579, 32767, 40960, 65535] {
        let refused = notify(1, 1, ty).unwrap_err();
        assert_eq!(refused.reaction(), Reaction::Ignore);
        assert_eq!(
            refused.to_string(),
            "message_validate_notify: message type not supported"
        );
    }
    assert_eq!(notify(2, 1, 14), Err(Malformed::NotifyDoi(2)));
    assert_eq!(notify(0, 1, 14), Ok(()));
    assert_eq!(notify(0, 3, 14), Err(Malformed::NotifyProtocol(3)));
    assert_eq!(notify(0, 1, 24578), Err(Malformed::NotifyType(24578)));

    let mut delete = Delete {
        doi: Doi::IPSEC,
        protocol: Protocol::ESP,
        spi_size: 4,
        spis: vec![vec![1; 4], vec![2; 4]],
    };
    let octets = message(vec![Payload::Delete(delete.clone())]).unwrap();
    assert_eq!(Message::parse(&octets).unwrap().check(), Ok(()));
    // More SPIs promised than there are; SPIs of no octets.
    for (place, value) in [(39, 3), (37, 0), (38, 1)] {
        let mut broken = octets.clone();
        broken[place] = value;
        assert_eq!(refusal(&broken).1.as_deref(), Some("PAYLOAD_MALFORMED"));
    }
    delete.spis[1].pop();
    let mut builder = Builder::new(header(7));
    builder.push(Payload::Delete(delete));
    assert_eq!(
        builder.build().unwrap_err(),
        BuildError::Payload(PayloadType::DELETE)
    );
}

#[test]
fn phases_have_their_payloads() {
    let vendor = message(vec![Payload::VendorId(vec![1; 16])]).unwrap();
    assert_eq!(refusal(&vendor).1.as_deref(), Some("INVALID_PAYLOAD_TYPE"));
    let nat_d = Payload::NatD(NatD {
        form: NatForm::Rfc,
        hash: vec![1; 20],
    });
    assert_eq!(
        refusal(&message(vec![nat_d]).unwrap()).0,
        "message_validate_nat_d: NAT-D payload must be in phase 1"
    );
    for (encoding, notify) in [
        (4, None),
        (11, None),
        (1, Some("CERT_TYPE_UNSUPPORTED")),
        (14, Some("INVALID_CERT_ENCODING")),
    ] {
        let request = CertReq {
            encoding: CertEncoding(encoding),
            authority: Vec::new(),
        };
        let octets = message(vec![Payload::CertReq(request)]).unwrap();
        let refused = Message::parse(&octets).unwrap().check().err();
        let found = refused
            .and_then(|refused| refused.notify())
            .map(|notify| notify.to_string());
        assert_eq!(found.as_deref(), notify);
    }
}

#[test]
fn numbers_of_payloads_are_bounded() {
    let nonces = |count| message(vec![Payload::Nonce(Vec::new()); count]).unwrap();
    assert!(Message::parse(&nonces(MAX_PAYLOADS)).is_ok());
    assert_eq!(
        refusal(&nonces(MAX_PAYLOADS + 1)).0,
        "message_parse_payloads: more than 256 payloads"
    );
    let proposals = |count| phase_2(vec![esp(1, &[(1, 12)]); count]);
    assert!(Message::parse(&proposals(MAX_PROPOSALS)).is_ok());
    assert_eq!(
        refusal(&proposals(MAX_PROPOSALS + 1)).0,
        "message_parse_payloads: more than 256 proposals"
    );
    let spis = |count| {
        message(vec![Payload::Delete(Delete {
            doi: Doi::IPSEC,
            protocol: Protocol::ESP,
            spi_size: 4,
            spis: vec![vec![7; 4]; count],
        })])
        .unwrap()
    };
    assert!(Message::parse(&spis(MAX_SPIS)).is_ok());
    assert_eq!(
        refusal(&spis(MAX_SPIS + 1)).0,
        "message_parse_payloads: more than 1024 SPIs"
    );
}

#[test]
fn a_hash_is_filled_in_afterwards() {
    let mut builder = Builder::new(header(7));
    let hash = builder.push(Payload::Hash(vec![0; 20]));
    builder.push(Payload::Nonce(vec![9; 16]));
    let mut built = builder.build().unwrap();
    assert_eq!(
        built.rest_after(hash),
        [&[0, 0, 0, 20][..], &[9; 16]].concat()
    );
    assert_eq!(built.fill(hash, &[1; 19]), Err(BuildError::Fill));
    assert_eq!(built.fill(9, &[1; 20]), Err(BuildError::Fill));
    built.fill(hash, &[1; 20]).unwrap();
    assert_eq!(built.body(hash), [1; 20]);
    let read = Message::parse(&built.into_octets()).unwrap();
    assert_eq!(read.payloads[0].payload, Payload::Hash(vec![1; 20]));
}

#[test]
fn too_long_to_be_built() {
    let mut builder = Builder::new(header(7));
    builder.push(Payload::Nonce(vec![0; 65_532]));
    assert_eq!(
        builder.build().unwrap_err(),
        BuildError::Payload(PayloadType::NONCE)
    );
    let mut builder = Builder::new(header(7));
    builder.push(Payload::Nonce(vec![0; 65_504]));
    assert_eq!(builder.build().unwrap_err(), BuildError::Message);
    let mut builder = Builder::new(header(7));
    builder.push(Payload::Nonce(vec![0; 65_503]));
    assert_eq!(builder.build().unwrap().into_octets().len(), 65_535);
}
