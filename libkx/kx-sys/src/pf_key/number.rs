//! Numbers of PF_KEY (RFC 2367, linux/pfkeyv2.h, linux/ipsec.h).

use crate::xfrm::{Direction, Mode};

/// PF_KEY_V2
pub(super) const VERSION: u8 = 2;

/// `SADB_*`: what a message asks for or tells.
pub(super) mod kind {
    pub(crate) const GETSPI: u8 = 1;
    pub(crate) const UPDATE: u8 = 2;
    pub(crate) const ADD: u8 = 3;
    pub(crate) const DELETE: u8 = 4;
    pub(crate) const GET: u8 = 5;
    pub(crate) const ACQUIRE: u8 = 6;
    pub(crate) const REGISTER: u8 = 7;
    pub(crate) const EXPIRE: u8 = 8;
    pub(crate) const DUMP: u8 = 10;
    pub(crate) const SPDUPDATE: u8 = 13;
    pub(crate) const SPDADD: u8 = 14;
    pub(crate) const SPDDELETE: u8 = 15;
    pub(crate) const SPDGET: u8 = 16;
    pub(crate) const SPDDUMP: u8 = 18;
    pub(crate) const SPDDELETE2: u8 = 22;
    pub(crate) const NAT_T_NEW_MAPPING: u8 = 23;
}

/// `SADB_EXT_*` and `SADB_X_EXT_*`
pub(super) mod extension {
    pub(crate) const SA: u16 = 1;
    pub(crate) const LIFETIME_CURRENT: u16 = 2;
    pub(crate) const LIFETIME_HARD: u16 = 3;
    pub(crate) const LIFETIME_SOFT: u16 = 4;
    pub(crate) const ADDRESS_SRC: u16 = 5;
    pub(crate) const ADDRESS_DST: u16 = 6;
    pub(crate) const KEY_AUTH: u16 = 8;
    pub(crate) const KEY_ENCRYPT: u16 = 9;
    pub(crate) const SPIRANGE: u16 = 16;
    pub(crate) const POLICY: u16 = 18;
    pub(crate) const SA2: u16 = 19;
    pub(crate) const NAT_T_TYPE: u16 = 20;
    pub(crate) const NAT_T_SPORT: u16 = 21;
    pub(crate) const NAT_T_DPORT: u16 = 22;
    /// SADB_EXT_MAX
    pub(crate) const LAST: u16 = 26;
}

/// SADB_SASTATE_MATURE
pub(super) const MATURE: u8 = 1;
/// IPSEC_POLICY_IPSEC
pub(super) const POLICY_IPSEC: u16 = 2;
/// IPSEC_POLICY_BYPASS
pub(super) const POLICY_BYPASS: u16 = 4;
/// IPSEC_LEVEL_USE: packets may come without.
pub(super) const LEVEL_USE: u8 = 1;
/// IPSEC_LEVEL_UNIQUE: only SAs with the reqid.
pub(super) const LEVEL_UNIQUE: u8 = 3;
/// IPSEC_ULPROTO_ANY
pub(super) const ANY_PROTOCOL: u8 = 255;
/// UDP_ENCAP_ESPINUDP of linux/udp.h.
pub(super) const ESP_IN_UDP: u8 = 2;

const ESP: u8 = 50;
const AH: u8 = 51;
const COMPRESSION: u8 = 108;

/// `SADB_SATYPE_*` of a protocol; 0, which is none in particular, for any other.
pub(super) fn sa_type(protocol: u8) -> u8 {
    match protocol {
        AH => 2,
        ESP => 3,
        COMPRESSION => 9,
        _ => 0,
    }
}

/// The protocol of an SA type.
pub(super) fn protocol(sa_type: u8) -> Option<u8> {
    Some(match sa_type {
        2 => AH,
        3 => ESP,
        9 => COMPRESSION,
        _ => return None,
    })
}

/// `IPSEC_MODE_*`
pub(super) fn mode_number(mode: Mode) -> u8 {
    match mode {
        Mode::Transport => 1,
        Mode::Tunnel => 2,
    }
}

pub(super) fn mode(number: u8) -> Option<Mode> {
    Some(match number {
        1 => Mode::Transport,
        2 => Mode::Tunnel,
        _ => return None,
    })
}

/// `IPSEC_DIR_*`
pub(super) fn direction_number(direction: Direction) -> u8 {
    match direction {
        Direction::In => 1,
        Direction::Out => 2,
        Direction::Forward => 3,
    }
}

pub(super) fn direction(number: u8) -> Option<Direction> {
    Some(match number {
        1 => Direction::In,
        2 => Direction::Out,
        3 => Direction::Forward,
        _ => return None,
    })
}

/// `SADB_EALG_*` and `SADB_X_EALG_*` by the kernel's names. AEADs have numbers, too, but Linux takes none of them.
const CIPHERS: &[(&str, u8)] = &[
    ("cbc(des)", 2),
    ("cbc(des3_ede)", 3),
    ("cbc(cast5)", 6),
    ("cbc(blowfish)", 7),
    ("ecb(cipher_null)", 11),
    ("cbc(aes)", 12),
    ("rfc3686(ctr(aes))", 13),
];

/// `SADB_AALG_*` and `SADB_X_AALG_*`, with the bits to which Linux cuts them; there is no way to say it. Of
/// hmac(sha256) these are fewer than those of RFC 4868.
const AUTHENTICATIONS: &[(&str, u32, u8)] = &[
    ("hmac(md5)", 96, 2),
    ("hmac(sha1)", 96, 3),
    ("hmac(sha256)", 96, 5),
    ("hmac(sha384)", 192, 6),
    ("hmac(sha512)", 256, 7),
    ("hmac(rmd160)", 96, 8),
];

/// `SADB_X_CALG_*`
const COMPRESSIONS: &[(&str, u8)] = &[("deflate", 2), ("lzs", 3), ("lzjh", 4)];

pub(super) fn cipher_number(name: &str) -> Option<u8> {
    number_of(CIPHERS, name)
}

pub(super) fn cipher(number: u8) -> Option<&'static str> {
    name_of(CIPHERS, number)
}

pub(super) fn compression_number(name: &str) -> Option<u8> {
    number_of(COMPRESSIONS, name)
}

pub(super) fn compression(number: u8) -> Option<&'static str> {
    name_of(COMPRESSIONS, number)
}

pub(super) fn authentication_number(name: &str, bits: u32) -> Option<u8> {
    let found = AUTHENTICATIONS
        .iter()
        .find(|one| (one.0, one.1) == (name, bits));
    found.map(|one| one.2)
}

pub(super) fn authentication(number: u8) -> Option<(&'static str, u32)> {
    let found = AUTHENTICATIONS.iter().find(|one| one.2 == number);
    found.map(|one| (one.0, one.1))
}

fn number_of(all: &[(&str, u8)], name: &str) -> Option<u8> {
    all.iter().find(|one| one.0 == name).map(|one| one.1)
}

fn name_of(all: &[(&'static str, u8)], number: u8) -> Option<&'static str> {
    all.iter().find(|one| one.1 == number).map(|one| one.0)
}
