//! Who we are and who the peer must be (isakmpd-wire 6).

use isakmp_proto::identity::Identity;
use isakmp_proto::payload::Id;

use crate::config::Peer;
use crate::event::Path;

/// Our ID payload: the section's `ID`, else our address.
pub(crate) fn own(peer: &Peer, path: Path) -> Id {
    match &peer.id {
        Some(identity) => identity.to_id(0, 0),
        None => Identity::Address(path.local.ip()).to_id(0, 0),
    }
}

/// Why the peer is not who it must be. `Display` is the original's line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WrongIdentity {
    /// `Remote-ID` says otherwise: same type and same data are wanted, where the original compared prefixes.
    #[error("ike_phase_1_recv_ID: received remote ID other than expected {0}")]
    Other(Identity),
    /// The data cannot be what the type says.
    #[error("ike_phase_1_recv_ID: {0}")]
    Malformed(#[from] isakmp_proto::identity::BadIdentity),
}

/// The peer's identity, if it may have it.
pub(crate) fn of_peer(peer: &Peer, id: &Id) -> Result<Identity, WrongIdentity> {
    let identity = Identity::try_from(id)?;
    match &peer.remote_id {
        Some(expected) if *expected != identity => Err(WrongIdentity::Other(expected.clone())),
        _ => Ok(identity),
    }
}
