use super::*;
use crate::config::{Protocol as ProtocolSection, Suite, Transform as TransformSection};

fn number(offer: u32) -> Amount {
    Amount::Number {
        offer,
        accept: offer..=offer,
    }
}

fn esp(name: &str, id: u8, group: Option<u16>) -> TransformSection {
    TransformSection {
        name: name.into(),
        id,
        encapsulation: Some(Value::Is(1)),
        authentication: Some(Value::Is(5)),
        group: group.map(Value::Is),
        key_length: Some(number(128)),
        key_rounds: None,
        compress_dictionary_size: None,
        compress_private_algorithm: None,
        ecn_tunnel: None,
        lives: Lives::These(vec![Life {
            life_type: Value::Is(1),
            duration: number(86_400),
        }]),
    }
}

fn protocol(protocol: u8, transforms: Vec<TransformSection>) -> ProtocolSection {
    ProtocolSection {
        name: "p".into(),
        protocol,
        replay_window: 16,
        transforms,
    }
}

fn configuration(suites: Vec<Vec<ProtocolSection>>) -> QuickMode {
    let suites = suites
        .into_iter()
        .map(|protocols| Suite {
            name: "s".into(),
            protocols,
        })
        .collect();
    QuickMode {
        name: "qm".into(),
        suites,
    }
}

fn ah() -> TransformSection {
    TransformSection {
        key_length: None,
        ..esp("ah", 5, None)
    }
}

fn ipcomp() -> TransformSection {
    TransformSection {
        authentication: None,
        group: None,
        key_length: None,
        ..esp("comp", 2, None)
    }
}

fn with_spis(offer: &Offer) -> Sa {
    let mut proposals = offer.proposals.clone();
    for (spi, proposal) in (0x1000..).zip(&mut proposals) {
        proposal.spi = spi_octets(proposal.protocol.0, spi);
    }
    Sa::new(proposals)
}

fn any(_: &[Proposal], _: &[Agreed]) -> bool {
    true
}

const NAT: NatState = NatState {
    traversal: NatTraversal::Rfc3947,
    we_are_behind: true,
    peer_is_behind: false,
};

#[test]
fn attributes_have_the_originals_order() {
    let configuration = configuration(vec![vec![protocol(3, vec![esp("t", 12, Some(14))])]]);
    let offer = offer(&configuration, NatState::default()).unwrap();
    assert_eq!(offer.group, 14);
    let transform = &offer.proposals[0].transforms[0];
    assert_eq!((offer.proposals[0].number, transform.number), (1, 1));
    let types: Vec<u16> = transform.attributes.iter().map(|a| a.ty).collect();
    assert_eq!(types, [1, 2, 4, 5, 3, 6]);
    assert_eq!(
        transform.attributes[1],
        Attribute::variable(2_u16, [0, 1, 0x51, 0x80])
    );
}

#[test]
fn behind_a_nat_esp_goes_in_udp_and_ah_does_not() {
    let suites = vec![vec![
        protocol(3, vec![esp("t", 12, None)]),
        protocol(2, vec![ah()]),
    ]];
    let mode = |nat| {
        offer(&configuration(suites.clone()), nat)
            .unwrap()
            .proposals
            .iter()
            .map(|p| Agreed::read(p.protocol, &p.transforms[0]).encapsulation)
            .collect::<Vec<_>>()
    };
    assert_eq!(mode(NAT), [3, 1]);
    assert_eq!(
        mode(NatState {
            traversal: NatTraversal::Draft,
            ..NAT
        }),
        [61443, 1]
    );
    assert_eq!(
        mode(NatState {
            we_are_behind: false,
            ..NAT
        }),
        [1, 1]
    );
}

#[test]
fn all_transforms_name_one_group() {
    let configuration = configuration(vec![vec![protocol(
        3,
        vec![esp("a", 12, Some(14)), esp("b", 12, None)],
    )]]);
    let refused = offer(&configuration, NatState::default()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "initiator_send_HASH_SA_NONCE: differing group descriptions in a proposal"
    );
}

#[test]
fn a_bundle_is_taken_as_a_whole() {
    let suites = vec![vec![
        protocol(4, vec![ipcomp()]),
        protocol(3, vec![esp("t", 12, Some(14))]),
        protocol(
            2,
            vec![TransformSection {
                group: Some(Value::Is(14)),
                ..ah()
            }],
        ),
    ]];
    let offer = offer(&configuration(suites), NatState::default()).unwrap();
    let sa = with_spis(&offer);
    assert_eq!(sa.proposals[0].spi.len(), 2);
    let choice = choose(&sa, true, any).unwrap();
    assert_eq!(choice.agreed.len(), 3);
    assert_eq!(group_of(&choice.agreed), 14);
    assert_eq!(taken_of(&offer, &choice.proposals), Some(vec![0, 1, 2]));
    assert_eq!(taken_of(&offer, &choice.proposals[..2]), None);
    assert_eq!(lifetime_of(&choice.agreed).seconds, Some(86_400));
}

#[test]
fn only_the_innermost_protocol_may_differ_by_a_tunnel() {
    let in_mode = |mode: Option<u16>, section: TransformSection| TransformSection {
        encapsulation: mode.map(Value::Is),
        ..section
    };
    let of = |esp_mode, ah_mode, comp_mode: Option<Option<u16>>| {
        let mut protocols = vec![
            protocol(2, vec![in_mode(Some(ah_mode), ah())]),
            protocol(3, vec![in_mode(Some(esp_mode), esp("t", 12, None))]),
        ];
        if let Some(mode) = comp_mode {
            protocols.push(protocol(4, vec![in_mode(mode, ipcomp())]));
        }
        let configuration = configuration(vec![protocols]);
        choose(
            &with_spis(&offer(&configuration, NatState::default()).unwrap()),
            false,
            any,
        )
        .is_ok()
    };
    // 1 is tunnel, 2 is transport mode.
    assert!(of(1, 1, None) && of(1, 2, None) && of(2, 2, None));
    assert!(!of(2, 1, None));
    assert!(of(1, 2, Some(None)) && of(1, 2, Some(Some(1))) && of(2, 2, Some(Some(1))));
    assert!(!of(1, 2, Some(Some(2))) && !of(2, 1, Some(Some(1))));
}

#[test]
fn the_policy_sees_one_alternative_after_the_other() {
    let transforms = vec![esp("a", 3, None), esp("b", 12, None), esp("rc4", 10, None)];
    let suites = vec![
        vec![
            protocol(3, transforms.clone()),
            protocol(2, vec![ah(), ah()]),
        ],
        vec![protocol(3, vec![esp("c", 13, None)])],
    ];
    let offer = offer(&configuration(suites), NatState::default()).unwrap();
    let mut seen = Vec::new();
    let choice = choose(&with_spis(&offer), false, |proposals, agreed| {
        seen.push(
            proposals
                .iter()
                .map(|p| p.transforms[0].number)
                .collect::<Vec<_>>(),
        );
        agreed[0].transform == 13
    })
    .unwrap();
    assert_eq!(
        seen,
        [vec![1, 1], vec![1, 2], vec![2, 1], vec![2, 2], vec![1]]
    );
    assert_eq!(choice.proposals[0].number, 2);
    let none = choose(&with_spis(&offer), false, |_, _| false);
    assert_eq!(none, Err(NoChoice::Incompatible));
}

#[test]
fn ke_and_group_belong_together() {
    let of = |group| {
        let suites = vec![vec![protocol(3, vec![esp("t", 12, group)])]];
        with_spis(&offer(&configuration(suites), NatState::default()).unwrap())
    };
    assert_eq!(choose(&of(None), true, any), Err(NoChoice::KeWithoutGroup));
    assert_eq!(
        choose(&of(Some(14)), false, any),
        Err(NoChoice::GroupWithoutKe)
    );
    assert!(choose(&of(Some(14)), true, any).is_ok());
    assert_eq!(
        choose(&of(Some(3)), false, any),
        Err(NoChoice::GroupWithoutKe)
    );
    assert_eq!(choose(&of(Some(6)), true, any), Err(NoChoice::Incompatible));
}

#[test]
fn ah_needs_its_algorithm() {
    let of = |authentication| {
        let section = TransformSection {
            authentication,
            ..ah()
        };
        let suites = vec![vec![protocol(2, vec![section])]];
        with_spis(&offer(&configuration(suites), NatState::default()).unwrap())
    };
    assert!(choose(&of(Some(Value::Is(5))), false, any).is_ok());
    assert_eq!(
        choose(&of(None), false, any),
        Err(NoChoice::AhWithoutAlgorithm)
    );
    assert_eq!(
        choose(&of(Some(Value::Is(2))), false, any),
        Err(NoChoice::Incompatible)
    );
}

#[test]
fn impossible_keys_are_not_agreed_on() {
    let lengths = |transform, key_length, authentication| {
        keymat::lengths(&Agreed {
            protocol: 3,
            transform,
            key_length,
            authentication,
            ..Agreed::default()
        })
        .map(|lengths| (lengths.encryption, lengths.authentication))
    };
    assert_eq!(lengths(12, 0, 2), Some((16, 20)));
    assert_eq!(lengths(12, 256, 7), Some((32, 64)));
    assert_eq!(lengths(12, 129, 2), None);
    assert_eq!(lengths(20, 256, 0), Some((36, 0)));
    assert_eq!(lengths(23, 0, 0), Some((20, 0)));
    assert_eq!(lengths(3, 0, 1), Some((24, 16)));
    assert_eq!(lengths(6, 0, 8), Some((16, 20)));
    assert_eq!(lengths(7, 0, 2), None);
    assert_eq!(lengths(11, 0, 2), Some((0, 20)));
    assert_eq!(lengths(11, 0, 0), None);
    assert_eq!(lengths(12, 128, 4), None);
}

#[test]
fn an_answer_is_one_of_our_transforms_value_for_value() {
    let suites = vec![
        vec![protocol(3, vec![esp("a", 3, None), esp("b", 12, None)])],
        vec![protocol(3, vec![esp("c", 13, None)])],
    ];
    let offer = offer(&configuration(suites), NatState::default()).unwrap();
    let sa = with_spis(&offer);
    let answer = |proposal: usize, transform: usize, number: u8| {
        let mut taken = sa.proposals[proposal].clone();
        taken.transforms = vec![taken.transforms[transform].clone()];
        taken.number = number;
        taken
    };
    assert_eq!(taken_of(&offer, &[answer(0, 1, 1)]), Some(vec![0]));
    assert_eq!(taken_of(&offer, &[answer(1, 0, 2)]), Some(vec![1]));
    // Counted anew by the responder.
    assert_eq!(taken_of(&offer, &[answer(1, 0, 1)]), Some(vec![1]));
    let mut form = answer(0, 1, 1);
    form.transforms[0].attributes.reverse();
    form.transforms[0].attributes.swap(3, 4);
    let key_length = form.transforms[0]
        .attributes
        .iter_mut()
        .find(|a| a.ty == 6)
        .unwrap();
    *key_length = Attribute::variable(6_u16, [0, 0, 0, 128]);
    assert_eq!(taken_of(&offer, &[form.clone()]), Some(vec![0]));
    let key_length = form.transforms[0]
        .attributes
        .iter_mut()
        .find(|a| a.ty == 6)
        .unwrap();
    *key_length = Attribute::basic(6_u16, 64);
    assert_eq!(taken_of(&offer, &[form]), None);
    let mut missing = answer(0, 1, 1);
    missing.transforms[0].attributes.pop();
    assert_eq!(taken_of(&offer, &[missing]), None);
    assert_eq!(taken_of(&offer, &[answer(0, 1, 1), answer(1, 0, 1)]), None);
    assert_eq!(taken_of(&offer, &[]), None);
}

#[test]
fn spis_have_their_protocols_size() {
    let of = |protocol, spi: &[u8]| {
        spi_of(&Proposal {
            number: 1,
            protocol: Protocol(protocol),
            spi: spi.to_vec(),
            transforms: Vec::new(),
        })
    };
    assert_eq!(of(3, &[0, 0, 1, 0]), Some(256));
    assert_eq!(of(3, &[0, 0, 0, 255]), None);
    assert_eq!(of(3, &[1, 0]), None);
    assert_eq!(of(4, &[1, 0]), Some(256));
    assert_eq!(of(4, &[0, 0, 1, 0]), Some(256));
    assert_eq!(of(4, &[0, 1, 1, 0]), None);
    assert_eq!(of(1, &[0, 0, 1, 0]), None);
}

#[test]
fn many_transforms_end_in_time() {
    let transforms = vec![esp("a", 12, None); 200];
    let suites = vec![vec![
        protocol(3, transforms.clone()),
        protocol(2, vec![ah(); 200]),
    ]];
    let offer = offer(&configuration(suites), NatState::default()).unwrap();
    let mut questions = 0;
    let none = choose(&with_spis(&offer), false, |_, _| {
        questions += 1;
        false
    });
    assert_eq!(none, Err(NoChoice::Incompatible));
    assert_eq!(questions, MOST_QUESTIONS);
}
