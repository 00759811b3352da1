//! Flows as the kernel's policies (isakmpd 6.2, isakmpd-xfrm 6).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ike::kernel::Flow;
use isakmp_proto::identity::Identity;
use isakmpd_conf::acquire;
use kx_sys::xfrm::{Direction, Mode, Policy, Selector, Template};

/// Priority of a flow that carries everything. The lower number wins, and the kernel goes by nothing else; so each
/// bit of a prefix, a protocol and a port make it lower.
const WIDEST: u32 = 10_000;

/// A protocol of a suite, as templates name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layer {
    /// As in the IP header.
    pub(super) protocol: u8,
    pub(super) mode: Mode,
}

/// IPComp, in the IP header.
const IPCOMP: u8 = 108;

/// The address and length of its prefix that an identity means.
///
/// # Errors
/// It is no prefix: a range, a mask with holes, a name.
fn network(identity: &Identity) -> Result<(IpAddr, u8), String> {
    let bits = |length: u32| u8::try_from(length).unwrap_or(u8::MAX);
    let found = match identity {
        Identity::Address(address @ IpAddr::V4(_)) => Some((*address, 32)),
        Identity::Address(address @ IpAddr::V6(_)) => Some((*address, 128)),
        Identity::Ipv4Subnet(address, mask) => {
            let mask = u32::from(*mask);
            let length = mask.leading_ones();
            let whole = mask.count_ones() == length;
            let address = Ipv4Addr::from(u32::from(*address) & mask);
            whole.then(|| (address.into(), bits(length)))
        }
        Identity::Ipv6Subnet(address, mask) => {
            let mask = u128::from(*mask);
            let length = mask.leading_ones();
            let whole = mask.count_ones() == length;
            let address = Ipv6Addr::from(u128::from(*address) & mask);
            whole.then(|| (address.into(), bits(length)))
        }
        Identity::Ipv4Range(first, last) => {
            let (first, last) = (u32::from(*first), u32::from(*last));
            let length = (first ^ last).leading_zeros();
            let host = u32::MAX.checked_shr(length).unwrap_or(0);
            let whole = first & host == 0 && last & host == host;
            whole.then(|| (Ipv4Addr::from(first).into(), bits(length)))
        }
        Identity::Ipv6Range(first, last) => {
            let (first, last) = (u128::from(*first), u128::from(*last));
            let length = (first ^ last).leading_zeros();
            let host = u128::MAX.checked_shr(length).unwrap_or(0);
            let whole = first & host == 0 && last & host == host;
            whole.then(|| (Ipv6Addr::from(first).into(), bits(length)))
        }
        _ => None,
    };
    found.ok_or_else(|| format!("{identity} is no network that a flow can have"))
}

/// What goes out; the way in is its mirror image.
///
/// # Errors
/// A side is no network, or the sides are of different families.
pub(super) fn outgoing(flow: &Flow) -> Result<Selector, String> {
    let (source, destination) = (
        network(&flow.local.identity)?,
        network(&flow.remote.identity)?,
    );
    if source.0.is_ipv4() != destination.0.is_ipv4() {
        return Err("the sides of a flow are of different families".to_owned());
    }
    let protocol = match flow.local.protocol {
        0 => flow.remote.protocol,
        protocol => protocol,
    };
    // Without a protocol there are no ports.
    let port = |port: u16| if protocol == 0 { 0 } else { port };
    Ok(Selector {
        source,
        destination,
        protocol,
        source_port: port(flow.local.port),
        destination_port: port(flow.remote.port),
    })
}

/// The same traffic, coming.
pub(super) fn mirrored(selector: &Selector) -> Selector {
    Selector {
        source: selector.destination,
        destination: selector.source,
        protocol: selector.protocol,
        source_port: selector.destination_port,
        destination_port: selector.source_port,
    }
}

fn priority(selector: &Selector) -> u32 {
    let bits = u32::from(selector.source.1).saturating_add(selector.destination.1.into());
    let narrower = bits.saturating_mul(8)
        + if selector.protocol == 0 { 0 } else { 4 }
        + u32::from(selector.source_port != 0)
        + u32::from(selector.destination_port != 0);
    WIDEST.saturating_sub(narrower)
}

/// All policies of a flow between `local` and `remote` through `layers`, innermost first: out, in, and for what goes
/// on to others forward.
///
/// # Errors
/// As [`outgoing`].
pub(super) fn policies(
    flow: &Flow,
    (local, remote): (IpAddr, IpAddr),
    layers: &[Layer],
    reqid: u32,
) -> Result<Vec<Policy>, String> {
    let out = outgoing(flow)?;
    let none: IpAddr = match remote {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let templates = |from: IpAddr, to: IpAddr, leaving: bool| -> Vec<Template> {
        let template = |layer: &Layer| Template {
            // In transport mode the packet's own count.
            source: if layer.mode == Mode::Tunnel {
                from
            } else {
                none
            },
            destination: if layer.mode == Mode::Tunnel { to } else { none },
            protocol: layer.protocol,
            mode: layer.mode,
            reqid,
            // What compression would not make smaller comes without (RFC 3173 2.2).
            optional: layer.protocol == IPCOMP && !leaving,
        };
        layers.iter().map(template).collect()
    };
    let policy = |selector: Selector, direction: Direction| Policy {
        priority: priority(&selector),
        selector,
        direction,
        templates: match direction {
            Direction::Out => templates(local, remote, true),
            Direction::In | Direction::Forward => templates(remote, local, false),
        },
    };
    let mut all = vec![policy(mirrored(&out), Direction::In)];
    if layers.iter().any(|layer| layer.mode == Mode::Tunnel) {
        all.push(policy(mirrored(&out), Direction::Forward));
    }
    all.push(policy(out, Direction::Out));
    if let Some(nat) = &flow.nat {
        // Before the host's own translation packets have these addresses, after it those of our side.
        let before = Selector {
            source: network(&nat.identity)?,
            ..out
        };
        if before != out {
            all.push(policy(before, Direction::Out));
        }
    }
    Ok(all)
}

/// The sides of a policy that a packet was found by, ours first.
pub(super) fn sides(selector: &Selector) -> (acquire::Flow, acquire::Flow) {
    let side = |(network, prefix), port| acquire::Flow {
        network,
        prefix,
        port,
    };
    (
        side(selector.source, selector.source_port),
        side(selector.destination, selector.destination_port),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use ike::sa::Selector as Side;

    fn side(identity: Identity, protocol: u8, port: u16) -> Side {
        Side {
            identity,
            protocol,
            port,
        }
    }

    fn net(address: [u8; 4], mask: [u8; 4]) -> Identity {
        Identity::Ipv4Subnet(address.into(), mask.into())
    }

    const LAYERS: [Layer; 2] = [
        Layer {
            protocol: 50,
            mode: Mode::Tunnel,
        },
        Layer {
            protocol: 51,
            mode: Mode::Transport,
        },
    ];

    #[test]
    fn a_tunnel_has_three_policies() {
        let flow = Flow {
            local: side(net([10, 1, 0, 9], [255, 255, 0, 0]), 0, 0),
            remote: side(net([10, 2, 0, 0], [255, 255, 255, 0]), 6, 80),
            nat: None,
        };
        let ends = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let all = policies(&flow, ends, &LAYERS, 5).expect("policies");
        let directions: Vec<Direction> = all.iter().map(|policy| policy.direction).collect();
        // The way out comes last: nothing leaves before answers may come in.
        assert_eq!(
            directions,
            [Direction::In, Direction::Forward, Direction::Out]
        );
        let out = &all[2];
        assert_eq!(out.selector.source, ([10, 1, 0, 0].into(), 16));
        assert_eq!(out.selector.destination, ([10, 2, 0, 0].into(), 24));
        assert_eq!(
            (
                out.selector.protocol,
                out.selector.source_port,
                out.selector.destination_port
            ),
            (6, 0, 80)
        );
        assert_eq!(out.priority, WIDEST - 40 * 8 - 4 - 1);
        assert_eq!(all[0].selector, mirrored(&out.selector));
        assert_eq!(out.templates[0].destination, ends.1);
        assert_eq!(all[1].templates[0].destination, ends.0);
        let outer = out.templates[1];
        assert_eq!((outer.protocol, outer.mode), (51, Mode::Transport));
        assert!(outer.source.is_unspecified() && outer.destination.is_unspecified());
    }

    #[test]
    fn transport_is_not_forwarded_and_compression_may_be_missing() {
        let host = |last| side(Identity::Address([192, 0, 2, last].into()), 0, 0);
        let flow = Flow {
            local: host(1),
            remote: host(2),
            nat: None,
        };
        let layers = [108, 50].map(|protocol| Layer {
            protocol,
            mode: Mode::Transport,
        });
        let ends = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let all = policies(&flow, ends, &layers, 5).expect("policies");
        assert_eq!(all.len(), 2);
        let optional = |policy: &Policy| -> Vec<bool> {
            let all = policy.templates.iter();
            all.map(|template| template.optional).collect()
        };
        assert_eq!(optional(&all[0]), [true, false]);
        assert_eq!(optional(&all[1]), [false, false]);
    }

    #[test]
    fn what_is_translated_by_this_host_has_one_more_way_out() {
        let flow = Flow {
            local: side(net([10, 1, 0, 0], [255, 255, 0, 0]), 0, 0),
            remote: side(net([10, 2, 0, 0], [255, 255, 0, 0]), 0, 0),
            nat: Some(side(net([172, 16, 0, 0], [255, 255, 0, 0]), 0, 0)),
        };
        let ends = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let all = policies(&flow, ends, &LAYERS, 5).expect("policies");
        let nat = all.last().expect("policies");
        assert_eq!(all.len(), 4);
        assert_eq!(nat.direction, Direction::Out);
        assert_eq!(nat.selector.source, ([172, 16, 0, 0].into(), 16));
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn six(text: &str) -> Ipv6Addr {
        text.parse().expect("an address")
    }

    #[test]
    fn networks_are_addresses_and_prefixes() {
        let net6 = |network: &str, mask: &str| Identity::Ipv6Subnet(six(network), six(mask));
        let range6 = |first: &str, last: &str| Identity::Ipv6Range(six(first), six(last));
        for (identity, expected, prefix) in [
            (Identity::Address(address("10.0.0.9")), "10.0.0.9", 32),
            (Identity::Address(address("fd00::9")), "fd00::9", 128),
            (net([10, 1, 2, 3], [255, 255, 254, 0]), "10.1.2.0", 23),
            (net([10, 1, 2, 3], [0; 4]), "0.0.0.0", 0),
            (net6("fd00:1::9", "ffff:ffff::"), "fd00:1::", 32),
            (range6("fd00::", "fd00::ffff"), "fd00::", 112),
            (range6("fd00::7", "fd00::7"), "fd00::7", 128),
            (
                Identity::Ipv4Range([10, 0, 0, 4].into(), [10, 0, 0, 7].into()),
                "10.0.0.4",
                30,
            ),
        ] {
            assert_eq!(network(&identity), Ok((address(expected), prefix)));
        }
        for identity in [
            net6("fd00::", "ffff::ffff"),
            range6("fd00::1", "fd00::ffff"),
            range6("fd00::", "fd00::fffe"),
            Identity::Ipv4Range([10, 0, 0, 8].into(), [10, 0, 0, 7].into()),
            Identity::Ipv4Range([10, 0, 0, 0].into(), [10, 0, 0, 9].into()),
        ] {
            assert!(network(&identity).is_err(), "{identity}");
        }
    }

    /// What goes out by a flow with these protocols and ports on either side.
    fn of_service(local: (u8, u16), remote: (u8, u16)) -> Selector {
        let host = |last: u8, (protocol, port)| {
            side(Identity::Address([192, 0, 2, last].into()), protocol, port)
        };
        let flow = Flow {
            local: host(1, local),
            remote: host(2, remote),
            nat: None,
        };
        outgoing(&flow).expect("a selector")
    }

    #[test]
    fn services_have_protocol_and_ports() {
        let of = |selector: Selector| {
            (
                selector.protocol,
                selector.source_port,
                selector.destination_port,
            )
        };
        assert_eq!(of(of_service((17, 53), (0, 0))), (17, 53, 0));
        assert_eq!(of(of_service((0, 0), (6, 80))), (6, 0, 80));
        assert_eq!(of(of_service((6, 22), (17, 53))), (6, 22, 53));
        // Without a protocol there are no ports.
        assert_eq!(of(of_service((0, 53), (0, 80))), (0, 0, 0));
        let out = of_service((6, 22), (6, 1022));
        let back = mirrored(&out);
        assert_eq!(of(back), (6, 1022, 22));
        assert_eq!(
            (back.source, back.destination),
            (out.destination, out.source)
        );
        // The narrower one has the lower number, by less than a bit of a prefix.
        let priorities = [
            of_service((0, 0), (0, 0)),
            of_service((6, 0), (6, 0)),
            of_service((6, 22), (6, 0)),
            of_service((6, 22), (6, 80)),
        ]
        .map(|selector| priority(&selector));
        let widest = WIDEST - 64 * 8;
        assert_eq!(priorities, [widest, widest - 4, widest - 5, widest - 6]);
        let (ours, theirs) = sides(&out);
        assert_eq!(
            (ours.network, ours.prefix, ours.port),
            (address("192.0.2.1"), 32, 22)
        );
        assert_eq!(
            (theirs.network, theirs.prefix, theirs.port),
            (address("192.0.2.2"), 32, 1022)
        );
    }

    #[test]
    fn templates_name_the_ends_in_the_direction_of_the_packet() {
        let flow = |nat| Flow {
            local: side(net([10, 1, 0, 0], [255, 255, 0, 0]), 0, 0),
            remote: side(net([10, 2, 0, 0], [255, 255, 0, 0]), 0, 0),
            nat,
        };
        let ends = (address("fd00::1"), address("fd00::2"));
        let all = policies(&flow(None), ends, &LAYERS, 77).expect("policies");
        for policy in &all {
            let [tunnel, transport] = policy.templates[..] else {
                panic!("{policy:?}");
            };
            let expected = match policy.direction {
                Direction::Out => ends,
                Direction::In | Direction::Forward => (ends.1, ends.0),
            };
            assert_eq!((tunnel.source, tunnel.destination), expected);
            assert_eq!((tunnel.reqid, transport.reqid), (77, 77));
            // Of the family of the ends.
            let none = address("::");
            assert_eq!((transport.source, transport.destination), (none, none));
            assert!(!tunnel.optional && !transport.optional);
            assert_eq!(policy.priority, priority(&policy.selector));
        }
        // A translation to what it is already adds nothing.
        let same = policies(&flow(Some(flow(None).local)), ends, &LAYERS, 77);
        assert_eq!(same, Ok(all));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        let range = |first: [u8; 4], last: [u8; 4]| Identity::Ipv4Range(first.into(), last.into());
        assert_eq!(
            network(&range([10, 0, 0, 0], [10, 0, 0, 255])),
            Ok(([10, 0, 0, 0].into(), 24))
        );
        assert_eq!(
            network(&range([0; 4], [255; 4])),
            Ok(([0, 0, 0, 0].into(), 0))
        );
        let all = "::".parse::<Ipv6Addr>().expect("address");
        assert_eq!(
            network(&Identity::Ipv6Subnet(all, all)),
            Ok((all.into(), 0))
        );
        for identity in [
            range([10, 0, 0, 1], [10, 0, 0, 9]),
            net([10, 0, 0, 0], [255, 0, 255, 0]),
            Identity::Fqdn(b"host.example".to_vec()),
        ] {
            assert!(network(&identity).is_err(), "{identity}");
        }
        let flow = Flow {
            local: side(Identity::Address([10, 0, 0, 1].into()), 0, 0),
            remote: side(Identity::Address(all.into()), 0, 0),
            nat: None,
        };
        assert!(outgoing(&flow).is_err());
    }
}
