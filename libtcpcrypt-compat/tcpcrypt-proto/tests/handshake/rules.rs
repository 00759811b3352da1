//! Single rules of RFC 8547 and RFC 8548 about options and SYNs, by number of their section. The table of all of them is
//! in docs/tcpcrypt-rfc8548.md.

use tcpcrypt_control::OptionName;
use tcpcrypt_proto::config::Config;
use tcpcrypt_proto::dialect::Policy;
use tcpcrypt_proto::eno::Kind;
use tcpcrypt_proto::packet::options::{self, OptionBuf};

use crate::host::{Host, LINUX, Pair, Segment};
use crate::standard::{both, policy, turn};
use crate::standard_refused::with_option;

const POLICIES: [Policy; 2] = [Policy::Standard, Policy::Auto];

/// TCP Fast Open (RFC 7413): a cookie, and the request for one.
const COOKIE: [u8; 6] = [34, 6, 1, 2, 3, 4];
const REQUEST: [u8; 2] = [34, 2];

fn with_more(segment: Segment, option: &[u8]) -> Segment {
    segment.with(|segment| segment.options.extend_from_slice(option))
}

fn fast_open(segment: &Segment) -> Option<usize> {
    options::find(&segment.options, options::FAST_OPEN).map(|option| option.data.len())
}

/// What becomes of a SYN with this list: the suboptions of the answer.
fn answer(config: Config, list: &[u8]) -> Option<Vec<u8>> {
    let mut pair = Pair::new(config, config);
    let syn = pair.client.syn().with(|syn| syn.options.truncate(4));
    let syn = with_more(syn, list);
    pair.server.get(&syn).expect("a SYN");
    let syn_ack = pair.server.out(&pair.server.syn_ack()).expect("a SYN-ACK");
    syn_ack.eno().map(|eno| eno.suboptions().to_vec())
}

/// RFC 8547 section 4.1: behind the SYNs several options are the same as one, and what they say is ignored.
#[test]
fn options_behind_the_syns_are_a_sign_and_no_more() {
    let three = [[69, 2], [69, 2], [69, 2]].concat();
    for list in [
        &[69, 2, 69, 2][..],
        &three,
        &[69, 4, 0x9f, 0x23],
        &[69, 3, 1],
    ] {
        let mut pair = both(Policy::Standard);
        let init1 = pair.init1();
        pair.server
            .get(&init1.with(|init1| init1.options = list.to_vec()))
            .expect("a third segment");
        pair.server.sent_one();

        let mut pair = both(Policy::Standard);
        pair.connect();
        pair.talk();
        pair.next_port();
        pair.syns();
        let third = pair.client.out(&pair.third()).expect("a third segment");
        pair.server
            .get(&third.with(|third| third.options = list.to_vec()))
            .expect("a third segment");
        pair.talk();
    }
}

/// RFC 8547 section 4.5: what tcpcrypt gives no meaning to is not valid, be it a key exchange named twice or data longer
/// than an identifier and a nonce (RFC 8548 section 3.5).
#[test]
fn key_exchanges_that_are_not_valid() {
    let config = policy(Policy::Standard);
    assert_eq!(answer(config, &[69, 4, 0x23, 0x23]), None);
    assert_eq!(
        answer(config, &[69, 5, 0x23, 0x24, 0x23]),
        Some(vec![1, 0x24])
    );
    let long = |tep: u8, data: usize| {
        let mut list = vec![69, 0, 0x24, tep];
        list.resize(4 + data, 7);
        list[1] = u8::try_from(list.len()).unwrap();
        list
    };
    assert_eq!(answer(config, &long(0xa3, 17)), Some(vec![1, 0x23]));
    assert_eq!(answer(config, &long(0xa3, 18)), Some(vec![1, 0x24]));
    // Data in a length of its own, and too few to name a session: as if there were none.
    assert_eq!(
        answer(config, &[69, 6, 0x80, 0xa3, 7, 0x30]),
        Some(vec![1, 0x23])
    );
}

/// RFC 8547 section 4.7: a SYN with the option has no cookie of TCP Fast Open, whoever wrote it.
#[test]
fn no_cookie_beside_the_option() {
    for eno in POLICIES {
        let mut pair = both(eno);
        let syn = with_more(pair.client.syn(), &COOKIE);
        let wire = pair.client.out(&syn).expect("a SYN");
        assert!(wire.eno().is_some());
        assert_eq!(fast_open(&wire), None);
        assert_eq!(pair.client.out(&syn), Some(wire.clone()), "the same again");
        // Another host is not so careful; and the own TCP is not to answer with a cookie.
        for option in [&COOKIE[..], &REQUEST] {
            let local = pair.server.get(&with_more(wire.clone(), option));
            assert_eq!(fast_open(&local.expect("a SYN")), None);
        }
        let syn_ack = with_more(pair.server.syn_ack(), &COOKIE);
        let syn_ack = pair.server.out(&syn_ack).expect("a SYN-ACK");
        assert!(syn_ack.eno().is_some());
        assert_eq!(fast_open(&syn_ack), None);
        let local = pair.client.get(&with_more(syn_ack, &COOKIE));
        assert_eq!(fast_open(&local.expect("a SYN-ACK")), None);
    }
    // A request alone may be there, and a plain SYN keeps everything.
    let mut pair = both(Policy::Standard);
    let wire = pair.client.out(&with_more(pair.client.syn(), &REQUEST));
    assert_eq!(fast_open(&wire.expect("a SYN")), Some(0));
    let mut pair = both(Policy::Off);
    let syn = with_more(pair.client.syn(), &COOKIE);
    assert_eq!(pair.client.out(&syn), Some(syn));
}

/// RFC 8547 section 4.7: data in a SYN with the option are for nobody if the connection is plain, also where all of this
/// is switched off.
#[test]
fn data_of_a_syn_are_discarded() {
    let lists = [
        &[69, 2][..],
        &[69, 3, 0x30],
        &[69, 4, 0x80, 1],
        &[69, 3, 0x23, 69, 3, 0x24],
        &[69, 3, 0x23, 253, 5, 0x45, 0x4e, 0x21],
    ];
    for eno in [Policy::Legacy, Policy::Standard, Policy::Auto, Policy::Off] {
        for list in lists {
            let mut pair = both(eno);
            let bare = OptionBuf::from_header(&[&LINUX[..], list].concat());
            let syn = pair.client.syn().with(|syn| {
                syn.options = bare.as_slice().to_vec();
                syn.payload = b"too early".to_vec();
            });
            let local = pair.server.get(&syn).expect("a SYN");
            assert_eq!(local.payload, b"", "{eno:?} {list:?}");
            // In the answer to a SYN as well.
            let mut pair = both(eno);
            pair.client.out(&pair.client.syn());
            let syn_ack = with_more(pair.server.syn_ack(), list);
            let syn_ack = syn_ack.with(|syn_ack| syn_ack.payload = b"too early".to_vec());
            let local = pair.client.get(&syn_ack).expect("a SYN-ACK");
            assert_eq!(local.payload, b"", "{eno:?} {list:?}");
        }
        // Without the option it is none of our business.
        let mut pair = both(eno);
        let syn = pair.client.syn();
        let syn = syn.with(|syn| syn.payload = b"hello".to_vec());
        assert_eq!(pair.server.get(&syn), Some(syn));
    }
}

/// RFC 8547 section 4.6: an opener may take the option out of its SYN when it sends that again, because something in
/// between throws away segments with it; then the answer must not have it either.
#[test]
fn a_syn_again_without_the_option() {
    let mut pair = both(Policy::Standard);
    let syn = pair.client.out(&pair.client.syn()).expect("a SYN");
    pair.server.get(&syn).expect("a SYN");
    let own = pair.server.syn_ack();
    let first = pair.server.out(&own).expect("a SYN-ACK");
    assert!(first.eno().is_some());
    pair.server.get(&syn.clone().stripped()).expect("a SYN");
    assert_eq!(pair.server.out(&own), Some(own.clone()));
    // For good.
    pair.server.get(&syn).expect("a SYN");
    assert_eq!(pair.server.out(&own), Some(own));
    let third = pair.third();
    assert_eq!(pair.server.get(&third), Some(third));
    assert_eq!(pair.server.netstat(), 0);

    // The SYN without it was made up: the opener has the first answer, and says so.
    let mut pair = both(Policy::Standard);
    let init1 = pair.init1();
    let forged = pair.client.syn();
    pair.server.get(&forged).expect("a SYN");
    pair.server.get(&init1).expect("a third segment");
    let init2 = pair.server.sent_one();
    pair.client.get(&init2).expect("what opens the window");
    let ack = pair.client.sent_one();
    pair.server.get(&ack).expect("what opens the window");
    pair.talk();
}

/// RFC 8547 section 4.2: reserved bits are ignored, and all global suboptions but the first.
#[test]
fn global_suboptions() {
    let config = policy(Policy::Standard);
    assert_eq!(answer(config, &[69, 4, 0x1c, 0x23]), Some(vec![1, 0x23]));
    assert_eq!(answer(config, &[69, 5, 0, 1, 0x23]), Some(vec![1, 0x23]));
    assert_eq!(answer(config, &[69, 5, 1, 0, 0x23]), None);
    let mut pair = both(Policy::Standard);
    let syn = pair.client.out(&pair.client.syn()).expect("a SYN");
    pair.server.get(&syn).expect("a SYN");
    let syn_ack = pair.server.out(&pair.server.syn_ack()).expect("a SYN-ACK");
    pair.client
        .get(&with_option(syn_ack, &[69, 5, 0x1d, 0x1e, 0x23]));
    let third = pair.client.out(&pair.third()).expect("INIT1");
    assert_eq!(third.eno().map(|eno| eno.kind()), Some(Kind::Standard));
}

/// Sets an option of the host's own port, before there is a connection.
pub(crate) fn ask(host: &mut Host, name: OptionName) {
    set(host, name, 1);
}

/// Gives it this value.
pub(crate) fn set(host: &mut Host, name: OptionName, value: u8) {
    let peer = host.peer;
    host.peer.set_port(0);
    let value = [value, 0, 0, 0];
    host.control(true, name, &value).expect("an answer");
    host.peer = peer;
}

/// RFC 8547 sections 4.2 and 4.3: an application may choose to be host B. Who was connected to is host B as well, so
/// nothing can come of that; and nothing is learned of the peer.
#[test]
fn an_opener_that_asks_to_be_host_b() {
    for eno in [Policy::Standard, Policy::Auto, Policy::Legacy] {
        let mut pair = both(eno);
        ask(&mut pair.client, OptionName::PassiveRole);
        let syn = pair.client.out(&pair.client.syn()).expect("a SYN");
        let list = syn.eno_bytes().expect("an option");
        if eno == Policy::Legacy {
            assert_eq!(list[0], 253, "there are no such roles");
            continue;
        }
        assert_eq!(list[..3], [69, 7, 1]);
        pair.server.get(&syn).expect("a SYN");
        let syn_ack = pair.server.out(&pair.server.syn_ack()).expect("a SYN-ACK");
        assert_eq!(syn_ack.eno(), None);
        assert_eq!(pair.client.get(&syn_ack), Some(syn_ack));
        let third = pair.third();
        assert_eq!(pair.client.out(&third), Some(third));
        // It was for one connection.
        pair.next_port();
        pair.connect();
        pair.talk();
        pair.assert_same_id();
    }
}

#[test]
fn silence_towards_a_host_b_says_nothing() {
    let mut pair = Pair::new(policy(Policy::Standard), policy(Policy::Auto));
    pair.connect();
    pair.talk();
    // It speaks the standard, as is known from here on.
    turn(&mut pair);
    ask(&mut pair.client, OptionName::PassiveRole);
    let (syn, syn_ack) = pair.syns();
    assert_eq!(syn.eno().map(|eno| eno.kind()), Some(Kind::Standard));
    assert_eq!(syn_ack.eno(), None);
    pair.next_port();
    let syn = pair.client.out(&pair.client.syn()).expect("a SYN");
    assert_eq!(syn.eno().map(|eno| eno.kind()), Some(Kind::Standard));
}

/// RFC 8548 section 3.5: an application can have the session forgotten that its connection left behind.
#[test]
fn a_session_that_is_forgotten() {
    for eno in [Policy::Standard, Policy::Auto, Policy::Legacy] {
        for side in [0, 1] {
            let mut pair = both(eno);
            pair.connect();
            pair.talk();
            // One that is resumed leaves one behind, too.
            pair.next_port();
            pair.resume();
            pair.talk();
            let host = if side == 0 {
                &mut pair.client
            } else {
                &mut pair.server
            };
            assert_eq!(host.endpoint.stats().sessions, 1);
            host.control(true, OptionName::FlushCache, &[1, 0, 0, 0])
                .expect("an answer");
            assert_eq!(host.endpoint.stats().sessions, 0);
            host.control(true, OptionName::FlushCache, &[1, 0, 0, 0])
                .expect("an answer");
            pair.next_port();
            pair.connect();
            pair.talk();
            let stats = pair.server.endpoint.stats();
            assert_eq!((stats.exchanged, stats.resumed), (2, 1));
            // Of a port, or a connection that is none, there is nothing to forget.
            pair.next_port();
            let none = pair
                .client
                .control(true, OptionName::FlushCache, &[1, 0, 0, 0]);
            assert_eq!(none, Err(107));
        }
    }
    // Before the peer has shown that it has the keys, there is nothing in the cache, and nothing comes into it.
    let mut pair = both(Policy::Standard);
    pair.connect();
    pair.talk();
    pair.next_port();
    pair.resume();
    pair.client
        .control(true, OptionName::FlushCache, &[1, 0, 0, 0])
        .expect("an answer");
    pair.talk();
    assert_eq!(pair.client.endpoint.stats().sessions, 0);
}
