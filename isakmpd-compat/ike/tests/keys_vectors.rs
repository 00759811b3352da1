//! Every value in the recordings' `*-keys.txt`, computed again from what was on the wire, the pre-shared key
//! and g^xy (which nobody can compute without the exponents); and every encrypted message opened.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use ike::keys::{Exchanged, KeymatInput, PrfChoice, Skeyids, phase_1_iv, phase_2_iv};
use isakmp_proto::header::{HEADER_LENGTH, Header};
use isakmp_proto::message::Message;
use isakmp_proto::nat_t::{Encapsulated, classify};
use isakmp_proto::number::{ExchangeType, IkeAttribute, IkeAuth, PayloadType};
use isakmp_proto::payload::Payload;
use isakmp_proto::sa::Transform;
use kx_crypto::cbc::Algorithm;
use kx_crypto::prf::{BlockSize, Hash};

fn directories() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop-tests/vectors/isakmpd");
    let mut directories: Vec<PathBuf> = std::fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("wire.pcap").exists())
        .collect();
    directories.sort();
    directories
}

/// ISAKMP messages of a Linux cooked v2 capture, retransmissions left out.
fn messages(directory: &Path) -> Vec<Vec<u8>> {
    let octets = std::fs::read(directory.join("wire.pcap")).unwrap();
    let number = |at: usize| u32::from_le_bytes(octets[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!(number(20), 276);
    let mut found: Vec<Vec<u8>> = Vec::new();
    let mut at = 24;
    while at < octets.len() {
        let length = number(at + 8);
        let packet = &octets[at + 16 + 20..at + 16 + length];
        at += 16 + length;
        let header = if packet[0] >> 4 == 4 {
            usize::from(packet[0] & 15) * 4
        } else {
            40
        };
        let (ports, payload) = (&packet[header..header + 4], &packet[header + 8..]);
        let message = if ports.chunks(2).any(|port| port == 4500_u16.to_be_bytes()) {
            match classify(payload) {
                Encapsulated::Ike(message) => message,
                _ => continue,
            }
        } else {
            payload
        };
        if !found.iter().any(|known| known == message) {
            found.push(message.to_vec());
        }
    }
    found
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

/// A key file, in order, and which of its lines were computed again.
struct KeyFile {
    place: String,
    lines: Vec<(String, Vec<u8>, bool)>,
}

impl KeyFile {
    fn read(directory: &Path, role: &str) -> Self {
        let path = directory.join(format!("{role}-keys.txt"));
        let lines = std::fs::read_to_string(&path)
            .unwrap()
            .lines()
            .map(|line| {
                let (name, value) = line.split_once(' ').unwrap();
                (name.to_owned(), hex(value), false)
            })
            .collect();
        Self {
            place: path.display().to_string(),
            lines,
        }
    }

    fn all(&self, name: &str) -> Vec<Vec<u8>> {
        self.lines
            .iter()
            .filter(|line| line.0 == name)
            .map(|line| line.1.clone())
            .collect()
    }

    /// Marks the lines that have this name and value; whether there are any.
    fn mark(&mut self, name: &str, value: &[u8]) -> bool {
        let mut marked = false;
        for line in self
            .lines
            .iter_mut()
            .filter(|line| line.0 == name && line.1 == value)
        {
            line.2 = true;
            marked = true;
        }
        marked
    }

    /// The same for a value that must be there.
    fn must(&mut self, name: &str, value: &[u8]) {
        assert!(
            self.mark(name, value),
            "{}: {name} is not {value:02x?}",
            self.place
        );
    }

    fn unmarked(&self) -> Vec<&str> {
        self.lines
            .iter()
            .filter(|line| !line.2)
            .map(|line| line.0.as_str())
            .collect()
    }
}

fn number(transform: &Transform, attribute: IkeAttribute) -> Option<u32> {
    transform
        .attribute(attribute)
        .and_then(|attribute| attribute.as_number())
}

struct Cipher {
    algorithm: Algorithm,
    key: Vec<u8>,
}

impl Cipher {
    /// The message in clear, and the chain moved on.
    fn open(&self, octets: &[u8], iv: &mut [u8]) -> Vec<u8> {
        let mut clear = octets.to_vec();
        self.algorithm
            .decrypt(&self.key, iv, &mut clear[HEADER_LENGTH..])
            .unwrap();
        clear
    }
}

fn only(messages: &[Message], ty: PayloadType) -> Vec<(&Message, usize)> {
    messages
        .iter()
        .flat_map(|message| message.all(ty).map(move |(index, _)| (message, index)))
        .collect()
}

fn replay(directory: &Path, role: &str) {
    let mut file = KeyFile::read(directory, role);
    let wire = messages(directory);
    let headers: Vec<Header> = wire
        .iter()
        .map(|octets| Header::parse(octets).unwrap())
        .collect();
    let phase_1 = |header: &Header| {
        [ExchangeType::ID_PROT, ExchangeType::AGGRESSIVE].contains(&header.exchange)
    };
    let Some(answer) = headers
        .iter()
        .find(|header| phase_1(header) && !header.responder_cookie.is_zero())
    else {
        // Phase 1 was never answered: then there are no keys.
        assert!(file.all("skeyid").is_empty(), "{}", file.place);
        return;
    };
    let (cky_i, cky_r) = (answer.initiator_cookie, answer.responder_cookie);
    let ours: Vec<(Header, &Vec<u8>)> = headers
        .into_iter()
        .zip(&wire)
        .filter(|(header, _)| header.initiator_cookie == cky_i)
        .collect();
    let mut clear: Vec<Message> = ours
        .iter()
        .filter(|(header, _)| phase_1(header) && !header.is_encrypted())
        .map(|(_, octets)| Message::parse(octets).unwrap())
        .collect();

    let bodies = |ty| -> Vec<Vec<u8>> {
        only(&clear, ty)
            .into_iter()
            .map(|(message, index)| message.body(index).to_vec())
            .collect()
    };
    let [sai_b, _] = &bodies(PayloadType::SA)[..] else {
        panic!("{}", file.place)
    };
    let [g_xi, g_xr] = &bodies(PayloadType::KEY_EXCHANGE)[..] else {
        panic!("{}", file.place)
    };
    let [ni, nr] = &bodies(PayloadType::NONCE)[..] else {
        panic!("{}", file.place)
    };
    let (message, index) = only(&clear, PayloadType::SA)[1];
    let Payload::Sa(chosen) = &message.payloads[index].payload else {
        unreachable!()
    };
    let transform = &chosen.proposals[0].transforms[0];
    let hash = match number(transform, IkeAttribute::HASH_ALGORITHM).unwrap() {
        1 => Hash::Md5,
        2 => Hash::Sha1,
        4 => Hash::Sha256,
        5 => Hash::Sha384,
        6 => Hash::Sha512,
        other => panic!("hash {other}"),
    };
    let (algorithm, longest) = match number(transform, IkeAttribute::ENCRYPTION_ALGORITHM).unwrap()
    {
        5 => (Algorithm::TripleDes, 24),
        7 => (Algorithm::Aes, 32),
        other => panic!("cipher {other}"),
    };
    let key_len = number(transform, IkeAttribute::KEY_LENGTH)
        .map_or(longest, |bits| usize::try_from(bits / 8).unwrap());
    for (name, value) in [
        ("g_xi", g_xi),
        ("g_xr", g_xr),
        ("nonce_i", ni),
        ("nonce_r", nr),
    ] {
        file.must(name, value);
    }

    // The reference's HMACs have blocks of 64 octets.
    let choice = PrfChoice {
        hash,
        block: BlockSize::Octets64,
    };
    let g_xy = file.all("g_xy")[0].clone();
    file.must("g_xy", &g_xy);
    let skeyid = if number(transform, IkeAttribute::AUTHENTICATION_METHOD)
        == Some(u32::from(IkeAuth::RSA_SIG.0))
    {
        choice.skeyid_signatures(ni, nr, &g_xy).unwrap()
    } else {
        let configuration =
            std::fs::read_to_string(directory.join(format!("{role}.conf"))).unwrap();
        let key = configuration
            .lines()
            .find_map(|line| line.strip_prefix("Authentication="))
            .unwrap();
        choice
            .skeyid_pre_shared(key.trim().as_bytes(), ni, nr)
            .unwrap()
    };
    let keys = Skeyids::derive(choice, skeyid, &g_xy, cky_i, cky_r).unwrap();
    file.must("skeyid", keys.skeyid().as_slice());
    file.must("skeyid_d", keys.d().as_slice());
    file.must("skeyid_a", keys.a().as_slice());
    file.must("skeyid_e", keys.e().as_slice());
    let key = keys.encryption_key(key_len).unwrap().as_slice().to_vec();
    let parity = if algorithm == Algorithm::TripleDes {
        0xfe
    } else {
        0xff
    };
    let masked = |key: &[u8]| key.iter().map(|octet| octet & parity).collect::<Vec<u8>>();
    for line in file.lines.iter_mut().filter(|line| line.0 == "enc_key") {
        line.2 = masked(&line.1) == masked(&key);
    }
    let cipher = Cipher { algorithm, key };

    // The rest of phase 1.
    let block_len = algorithm.block_len();
    let mut iv = phase_1_iv(hash, g_xi, g_xr, block_len).unwrap();
    file.must("iv0", &iv);
    let exchanged = Exchanged {
        g_xi,
        g_xr,
        cky_i,
        cky_r,
        sai_b,
    };
    let mut opened = Vec::new();
    for (_, octets) in ours
        .iter()
        .filter(|(header, _)| phase_1(header) && header.is_encrypted())
    {
        let octets = cipher.open(octets, &mut iv);
        match Message::parse(&octets) {
            Ok(message) => opened.push(message),
            Err(refused) => assert!(
                directory.ends_with("fail-wrong-psk"),
                "{}: {refused}",
                file.place
            ),
        }
    }
    clear.extend(opened);
    let ids = only(&clear, PayloadType::ID);
    let hashes: Vec<_> = ids
        .iter()
        .enumerate()
        .map(|(index, (message, place))| {
            let id = message.body(*place);
            match index {
                0 => ("hash_i", keys.hash_i(&exchanged, id).unwrap()),
                _ => ("hash_r", keys.hash_r(&exchanged, id).unwrap()),
            }
        })
        .collect();
    let sent: Vec<&[u8]> = only(&clear, PayloadType::HASH)
        .into_iter()
        .map(|(message, place)| message.body(place))
        .collect();
    for (name, value) in &hashes {
        file.must(name, value.as_slice());
        let signed = !only(&clear, PayloadType::SIGNATURE).is_empty();
        assert!(
            signed || sent.contains(&value.as_slice()),
            "{}: {name}",
            file.place
        );
    }
    file.mark("phase1_last_iv", &iv);

    replay_phase_2(&mut file, &ours, &keys, &cipher, hash, &iv);
    assert_eq!(file.unmarked(), Vec::<&str>::new(), "{}", file.place);
}

/// What is remembered of one message ID.
struct Second {
    iv: Vec<u8>,
    messages: Vec<Message>,
}

fn replay_phase_2(
    file: &mut KeyFile,
    ours: &[(Header, &Vec<u8>)],
    keys: &Skeyids,
    cipher: &Cipher,
    hash: Hash,
    last_block: &[u8],
) {
    // Some were on their way when the capture ended: the IV of each ID that is in the file.
    for id in file.all("msgid") {
        file.must("msgid", &id);
        let id = u32::from_be_bytes(id.try_into().unwrap());
        let iv = phase_2_iv(hash, last_block, id, cipher.algorithm.block_len()).unwrap();
        file.must("phase2_iv", &iv);
        file.must("iv0", &iv);
    }
    let mut second: HashMap<u32, Second> = HashMap::new();
    for (header, octets) in ours.iter().filter(|(header, _)| header.message_id != 0) {
        let id = header.message_id;
        let exchange = second.entry(id).or_insert_with(|| Second {
            iv: phase_2_iv(hash, last_block, id, cipher.algorithm.block_len()).unwrap(),
            messages: Vec::new(),
        });
        let message = Message::parse(&cipher.open(octets, &mut exchange.iv)).unwrap();
        message.check().unwrap();
        let rest = message.rest_after(0);
        let nonce = |message: &Message| {
            message
                .body(message.index_of(PayloadType::NONCE).unwrap())
                .to_vec()
        };
        let (name, value) = match (header.exchange, &exchange.messages[..]) {
            (ExchangeType::QUICK_MODE, [first]) => {
                ("qm_hash2", keys.hash_2(id, &nonce(first), rest).unwrap())
            }
            (ExchangeType::QUICK_MODE, [first, second]) => (
                "qm_hash3",
                keys.hash_3(id, &nonce(first), &nonce(second)).unwrap(),
            ),
            _ => ("qm_hash1", keys.hash_1(id, rest).unwrap()),
        };
        assert_eq!(message.body(0), value.as_slice(), "{}: {name}", file.place);
        // The reference does not log every one.
        file.mark(name, value.as_slice());
        let names = [["nonce_i", "g_xi"], ["nonce_r", "g_xr"]];
        for (ty, name) in [PayloadType::NONCE, PayloadType::KEY_EXCHANGE]
            .into_iter()
            .zip(0..)
        {
            if let Some(place) = message.index_of(ty) {
                file.mark(names[exchange.messages.len()][name], message.body(place));
            }
        }
        exchange.messages.push(message);
    }
    let quick: Vec<&Second> = second
        .values()
        .filter(|exchange| {
            exchange
                .messages
                .first()
                .is_some_and(|first| first.header.exchange == ExchangeType::QUICK_MODE)
        })
        .filter(|exchange| exchange.messages.len() > 1)
        .collect();
    // g^xy of Quick Mode is only in the file; which exchange it belongs to shows in the keys.
    let mut secrets: Vec<Option<Vec<u8>>> = file.all("qm_g_xy").into_iter().map(Some).collect();
    secrets.push(None);
    let mut spi = Vec::new();
    for index in 0..file.lines.len() {
        let (name, value) = (file.lines[index].0.clone(), file.lines[index].1.clone());
        if name == "keymat_spi" {
            spi.clone_from(&value);
            file.lines[index].2 = true;
        }
        if name != "keymat" {
            continue;
        }
        let used = quick.iter().find_map(|exchange| {
            secrets.iter().find(|secret| {
                keymat(keys, exchange, secret.as_deref(), &spi, value.len())
                    .is_some_and(|found| found == value)
            })
        });
        let used = used
            .unwrap_or_else(|| panic!("{}: no such keymat", file.place))
            .clone();
        file.lines[index].2 = true;
        if let Some(secret) = used {
            file.mark("qm_g_xy", &secret);
        }
    }
}

fn keymat(
    keys: &Skeyids,
    exchange: &Second,
    g_xy: Option<&[u8]>,
    spi: &[u8],
    len: usize,
) -> Option<Vec<u8>> {
    let [first, second, ..] = &exchange.messages[..] else {
        return None;
    };
    let with_pfs = first.index_of(PayloadType::KEY_EXCHANGE).is_some();
    if with_pfs != g_xy.is_some() {
        return None;
    }
    let body = |message: &Message| {
        message
            .body(message.index_of(PayloadType::NONCE)?)
            .to_vec()
            .into()
    };
    let (ni, nr): (Option<Vec<u8>>, Option<Vec<u8>>) = (body(first), body(second));
    let protocol = [first, second].into_iter().find_map(|message| {
        let Payload::Sa(sa) = &message.payloads[message.index_of(PayloadType::SA)?].payload else {
            return None;
        };
        sa.proposals
            .iter()
            .find(|proposal| proposal.spi == spi)
            .map(|proposal| proposal.protocol.0)
    })?;
    let input = KeymatInput {
        g_xy,
        protocol,
        spi,
        ni: &ni?,
        nr: &nr?,
    };
    Some(keys.keymat(&input, len).unwrap().as_slice().to_vec())
}

#[test]
fn every_value_of_every_recording() {
    let directories = directories();
    assert!(directories.len() >= 20);
    for directory in directories {
        for role in ["initiator", "responder"] {
            replay(&directory, role);
        }
    }
}

#[test]
fn standard_blocks_give_other_keys_where_the_reference_errs() {
    let derive = |hash, block| {
        let choice = PrfChoice { hash, block };
        choice
            .skeyid_pre_shared(b"mekmitasdigoat", &[1; 16], &[2; 16])
            .unwrap()
    };
    for hash in [Hash::Sha384, Hash::Sha512] {
        let reference = derive(hash, BlockSize::Octets64);
        assert!(!derive(hash, BlockSize::Standard).ct_eq(reference.as_slice()));
    }
    let reference = derive(Hash::Sha256, BlockSize::Octets64);
    assert!(derive(Hash::Sha256, BlockSize::Standard).ct_eq(reference.as_slice()));
}

#[test]
fn a_short_skeyid_e_is_expanded() {
    let choice = PrfChoice {
        hash: Hash::Md5,
        block: BlockSize::Standard,
    };
    let skeyid = choice
        .skeyid_pre_shared(b"key", &[1; 16], &[2; 16])
        .unwrap();
    let cookie = isakmp_proto::header::Cookie([3; 8]);
    let keys = Skeyids::derive(choice, skeyid, &[4; 96], cookie, cookie).unwrap();
    let key = keys.encryption_key(56).unwrap();
    assert_eq!(key.len(), 56);
    // RFC 2409 appendix B: Ka = K1 | K2 | ..., K1 = prf(SKEYID_e, 0), K2 = prf(SKEYID_e, K1).
    let k1 = choice.compute(keys.e().as_slice(), &[&[0]]).unwrap();
    let k2 = choice
        .compute(keys.e().as_slice(), &[k1.as_slice()])
        .unwrap();
    assert_eq!(key.as_slice()[..16], *k1.as_slice());
    assert_eq!(key.as_slice()[16..32], *k2.as_slice());
    assert_eq!(
        keys.encryption_key(16).unwrap().as_slice(),
        keys.e().as_slice()
    );
}
