//! strongSwan as the peer: RSA signatures with certificates of one authority and each type of identity, raw public
//! keys, Aggressive Mode, and what must be refused.

use std::sync::LazyLock;

use interop_tests::certificates::{Pair, Recipe, rsa_key};
use interop_tests::isakmpd::configuration::Tunnel;
use interop_tests::isakmpd::daemon::{Daemon, Setup};
use interop_tests::isakmpd::implementation::Implementation;
use interop_tests::isakmpd::with_strongswan::{
    Peer, both_roles, hosts, initiates, ready, ready_for_aggressive_mode, responds,
};

static AUTHORITY: LazyLock<Pair> = LazyLock::new(|| authority("Laboratory"));

fn authority(name: &str) -> Pair {
    Recipe::new(name).authority().key(&rsa_key()).make()
}

/// A certificate with one name beside its subject, as certpatch(8) makes them: isakmpd looks at the first only.
fn issued(name: &str, authority: &Pair) -> Pair {
    let recipe = Recipe::new("x").common_name(name).eku(None);
    let recipe = match name {
        _ if name.contains('@') => recipe.email(name),
        _ if name.parse::<std::net::IpAddr>().is_ok() => recipe.ip(name),
        _ => recipe.dns(name),
    };
    recipe.key(&rsa_key()).issued_by(authority).make()
}

/// ID-type and value, if that is not the address.
type Identity<'a> = Option<(&'static str, &'a str)>;

fn tunnel(ours: Identity, swan: Identity) -> Tunnel {
    let transform = "AES-SHA2-256-GRP14-RSA_SIG";
    let mut tunnel = Tunnel::left().with(transform, "QM-ESP-AES-SHA2-256-SUITE");
    tunnel.key = None;
    tunnel.id = ours.map(|(kind, value)| (kind, value.to_owned()));
    tunnel.remote_id = swan.map(|(kind, value)| (kind, value.to_owned()));
    tunnel
}

fn setup(tunnel: &Tunnel, certificate: &Pair) -> Setup {
    Setup::new(tunnel.text())
        .file("private/local.key", certificate.key_pem(), 0o600)
        .file("certs/own.crt", certificate.cert_pem(), 0o644)
        .file("ca/ca.crt", AUTHORITY.cert_pem(), 0o644)
}

/// strongSwan with a certificate and an identity, and the one that it demands of isakmpd.
fn peer(certificate: &Pair, id: &str, ours: &str) -> Peer {
    let mut peer = Peer::psk("aes128-sha256-modp2048", "aes128-sha256");
    peer.local = format!("auth = pubkey\ncerts = own.pem\nid = {id}");
    peer.remote = format!("auth = pubkey\ncacerts = ca.pem\nid = {ours}");
    peer.secrets = String::new();
    peer.files = vec![
        ("x509/own.pem", certificate.cert_pem()),
        ("private/own.pem", certificate.key_pem()),
        ("x509ca/ca.pem", AUTHORITY.cert_pem()),
    ];
    peer
}

/// strongSwan sends its certificate when it is asked for it, which the original never does.
fn told(subject: &Implementation, peer: &Peer) -> Peer {
    let mut peer = peer.clone();
    if subject.original {
        peer.connection += "send_cert = always\n";
    }
    peer
}

/// Both roles; the log names the identities.
fn named(subject: &Implementation, setup: &Setup, peer: &Peer, [ours, swan]: [&str; 2]) {
    let peer = &told(subject, peer);
    let (daemon, _swan) = initiates(&hosts(), subject, setup, peer);
    daemon.wait_for(&format!(
        "isakmpd: phase 1 done: initiator id {ours}, responder id {swan}, "
    ));
    let (daemon, _swan) = responds(&hosts(), subject, setup, peer);
    daemon.wait_for(&format!(
        "isakmpd: phase 1 done (as responder): initiator id {swan}, responder id {ours}, "
    ));
}

fn signatures(subject: &Implementation, tunnel: &Tunnel, [ours, swan]: [&str; 2]) {
    let peer = peer(&issued(swan, &AUTHORITY), swan, ours);
    let setup = setup(tunnel, &issued(ours, &AUTHORITY));
    named(subject, &setup, &peer, [ours, swan]);
}

#[test]
fn rsa_addresses() {
    let Some(subject) = ready("rsa_addresses") else {
        return;
    };
    let names = ["10.77.0.1", "10.77.0.2"];
    signatures(subject, &tunnel(None, None), names);
}

#[test]
fn rsa_fqdn() {
    let Some(subject) = ready("rsa_fqdn") else {
        return;
    };
    let [ours, swan] = ["left.example.org", "right.example.org"];
    let tunnel = tunnel(Some(("FQDN", ours)), Some(("FQDN", swan)));
    signatures(subject, &tunnel, [ours, swan]);
}

#[test]
fn rsa_user_fqdn() {
    let Some(subject) = ready("rsa_user_fqdn") else {
        return;
    };
    let [ours, swan] = ["left@example.org", "right@example.org"];
    let tunnel = tunnel(Some(("USER_FQDN", ours)), Some(("USER_FQDN", swan)));
    signatures(subject, &tunnel, [ours, swan]);
}

#[test]
fn rsa_distinguished_name() {
    let Some(subject) = ready("rsa_distinguished_name") else {
        return;
    };
    // isakmpd.conf cannot name a DN, so that only the peer has one: without an `id` the subject of its certificate,
    // octet by octet, which is how isakmpd compares.
    let [ours, swan] = ["left.example.org", "right.example.org"];
    let tunnel = tunnel(Some(("FQDN", ours)), None);
    let mut peer = peer(&issued(swan, &AUTHORITY), swan, ours);
    peer.local = "auth = pubkey\ncerts = own.pem".to_owned();
    let setup = setup(&tunnel, &issued(ours, &AUTHORITY));
    let names = [ours, "/CN=right.example.org"];
    named(subject, &setup, &peer, names);
}

#[test]
fn rsa_aggressive_mode() {
    let Some(subject) = ready_for_aggressive_mode("rsa_aggressive_mode") else {
        return;
    };
    let [ours, swan] = ["left.example.org", "right.example.org"];
    let mut tunnel = tunnel(Some(("FQDN", ours)), Some(("FQDN", swan)));
    tunnel.exchange = "AGGRESSIVE";
    let peer = peer(&issued(swan, &AUTHORITY), swan, ours).aggressive();
    let setup = setup(&tunnel, &issued(ours, &AUTHORITY));
    named(subject, &setup, &peer, [ours, swan]);
}

#[test]
fn rsa_raw_public_keys() {
    let Some(subject) = ready("rsa_raw_public_keys") else {
        return;
    };
    let names = ["10.77.0.1", "10.77.0.2"];
    let (ours, swan) = (rsa_key(), rsa_key());
    let key = |key: &openssl::pkey::PKey<openssl::pkey::Private>| {
        key.private_key_to_pem_pkcs8().expect("key to PEM")
    };
    let public = |key: &openssl::pkey::PKey<openssl::pkey::Private>| {
        key.public_key_to_pem().expect("public key to PEM")
    };
    let setup = Setup::new(tunnel(None, None).text())
        .file("private/local.key", key(&ours), 0o600)
        .file("pubkeys/ipv4/10.77.0.2", public(&swan), 0o644);
    let mut peer = Peer::psk("aes128-sha256-modp2048", "aes128-sha256");
    peer.local = "auth = pubkey\npubkeys = right.pub\nid = 10.77.0.2".to_owned();
    peer.remote = "auth = pubkey\npubkeys = left.pub\nid = 10.77.0.1".to_owned();
    peer.secrets = String::new();
    peer.files = vec![
        ("pubkey/right.pub", public(&swan)),
        ("private/right.pem", key(&swan)),
        ("pubkey/left.pub", public(&ours)),
    ];
    named(subject, &setup, &peer, names);
}

fn refused(subject: &Implementation, setup: &Setup, peer: &Peer, complaint: &str) {
    let network = hosts();
    let swan = told(subject, peer).start(&network);
    let ours = Daemon::start(&network.left, subject, setup);
    ours.command("c conn-x");
    ours.wait_for(complaint);
    assert_eq!((ours.count(1), ours.count(2)), (0, 0));
    assert!(!swan.sas(&network.right).contains("INSTALLED"));
}

#[test]
fn certificate_of_another_authority() {
    let Some(subject) = ready("certificate_of_another_authority") else {
        return;
    };
    let [ours, swan] = ["10.77.0.1", "10.77.0.2"];
    let peer = peer(&issued(swan, &authority("Elsewhere")), swan, ours);
    let setup = setup(&tunnel(None, None), &issued(ours, &AUTHORITY));
    let complaint = "rsa_sig_decode_hash: received CERT can't be validated";
    refused(subject, &setup, &peer, complaint);
}

#[test]
fn an_identity_other_than_expected() {
    let Some(subject) = ready("an_identity_other_than_expected") else {
        return;
    };
    let [ours, swan] = ["left.example.org", "other.example.org"];
    let tunnel = tunnel(Some(("FQDN", ours)), Some(("FQDN", "right.example.org")));
    let peer = peer(&issued(swan, &AUTHORITY), swan, ours);
    let setup = setup(&tunnel, &issued(ours, &AUTHORITY));
    let complaint = "received remote ID other than expected right.example.org";
    refused(subject, &setup, &peer, complaint);
}

fn aggressive(tunnel: Tunnel, proposals: &'static str, esp: &'static str) -> (Tunnel, Peer) {
    let tunnel = Tunnel {
        exchange: "AGGRESSIVE",
        ..tunnel
    };
    (tunnel, Peer::psk(proposals, esp).aggressive())
}

#[test]
fn aggressive_mode() {
    let Some(subject) = ready_for_aggressive_mode("aggressive_mode") else {
        return;
    };
    let (tunnel, peer) = aggressive(Tunnel::left(), "aes128-sha256-modp2048", "aes128-sha256");
    both_roles(subject, &tunnel, &peer);
}

#[test]
fn aggressive_mode_with_pfs() {
    let Some(subject) = ready_for_aggressive_mode("aggressive_mode_with_pfs") else {
        return;
    };
    let tunnel = Tunnel::left().with("3DES-SHA-GRP5", "QM-ESP-3DES-SHA-PFS-GRP5-SUITE");
    let (tunnel, peer) = aggressive(tunnel, "3des-sha1-modp1536", "3des-sha1-modp1536");
    both_roles(subject, &tunnel, &peer);
}

#[test]
fn aggressive_mode_with_names() {
    let Some(subject) = ready_for_aggressive_mode("aggressive_mode_with_names") else {
        return;
    };
    let [ours, swan] = ["left@example.org", "right.example.org"];
    let (mut tunnel, mut peer) =
        aggressive(Tunnel::left(), "aes128-sha256-modp2048", "aes128-sha256");
    tunnel.id = Some(("USER_FQDN", ours.to_owned()));
    tunnel.remote_id = Some(("FQDN", swan.to_owned()));
    peer.local += &format!("\nid = {swan}");
    peer.remote += &format!("\nid = {ours}");
    let setup = Setup::new(tunnel.text());
    named(subject, &setup, &peer, [ours, swan]);
}

#[test]
fn another_pre_shared_key() {
    let Some(subject) = ready_for_aggressive_mode("another_pre_shared_key") else {
        return;
    };
    let (tunnel, mut peer) = aggressive(Tunnel::left(), "aes128-sha256-modp2048", "aes128-sha256");
    peer.secrets = "ike-x { secret = another }".to_owned();
    let complaint = "HASH_R does not match, wrong pre-shared key or forged message";
    refused(subject, &Setup::new(tunnel.text()), &peer, complaint);
}

#[test]
fn main_mode_with_names() {
    let Some(subject) = ready("main_mode_with_names") else {
        return;
    };
    let [ours, swan] = ["left.example.org", "right@example.org"];
    let mut tunnel = Tunnel::left();
    tunnel.id = Some(("FQDN", ours.to_owned()));
    tunnel.remote_id = Some(("USER_FQDN", swan.to_owned()));
    let mut peer = Peer::psk("aes128-sha256-modp2048", "aes128-sha256");
    peer.local += &format!("\nid = {swan}");
    peer.remote += &format!("\nid = {ours}");
    named(subject, &Setup::new(tunnel.text()), &peer, [ours, swan]);
}
