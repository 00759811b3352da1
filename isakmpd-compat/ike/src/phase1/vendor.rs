//! What the peer said that it is and can (isakmpd-wire 2.1, 4.5).

use isakmp_proto::message::{Builder, Message};
use isakmp_proto::number::PayloadType;
use isakmp_proto::payload::Payload;
use isakmp_proto::vendor_id::{self, VendorId};

use crate::journal::{Class, Journal};
use crate::sa::NatTraversal;

/// What the vendor IDs of the peer's first message meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Vendors {
    /// Its HMACs have blocks of 64 octets.
    pub(crate) openbsd: bool,
    /// It answers R-U-THERE.
    pub(crate) dpd: bool,
    /// The best form that both speak.
    pub(crate) nat_t: NatTraversal,
}

impl Vendors {
    /// Reads them; with `nat_t` off those of NAT traversal count for nothing.
    pub(crate) fn of(message: &Message, nat_t: bool, journal: &mut Journal) -> Self {
        let mut vendors = Self::default();
        for (_, payload) in message.all(PayloadType::VENDOR_ID) {
            let Payload::VendorId(octets) = payload else {
                continue;
            };
            match vendor_id::recognize(octets) {
                Some(VendorId::OpenBsd(release)) => {
                    vendors.openbsd = true;
                    journal.debug(Class::Exchange, 10, || {
                        format!("check_vendor_openbsd: OpenBSD (OpenBSD-{release})")
                    });
                }
                Some(VendorId::DeadPeerDetection) => {
                    vendors.dpd = true;
                    journal.debug(Class::Exchange, 10, || {
                        "dpd_check_vendor_payload: DPD capable peer detected".to_owned()
                    });
                }
                Some(form @ (VendorId::NatTraversal | VendorId::NatTraversalDraft)) if nat_t => {
                    if form == VendorId::NatTraversal {
                        vendors.nat_t = NatTraversal::Rfc3947;
                    } else if vendors.nat_t == NatTraversal::Off {
                        vendors.nat_t = NatTraversal::Draft;
                    }
                    journal.debug(Class::Exchange, 10, || {
                        "nat_t_check_vendor_payload: NAT-T capable peer detected".to_owned()
                    });
                }
                _ => journal.debug(Class::Message, 40, || {
                    "message_validate_vendor: vendor ID seen".to_owned()
                }),
            }
        }
        vendors
    }
}

/// Adds ours.
pub(crate) fn add(builder: &mut Builder, nat_t: bool) {
    for id in vendor_id::own(nat_t) {
        builder.push(Payload::VendorId(id.to_vec()));
    }
}
