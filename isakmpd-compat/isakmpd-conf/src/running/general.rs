//! `[General]` (isakmpd-config 2).

use std::time::Duration;

use ike::config::General;

use super::view::View;

impl View<'_> {
    pub(super) fn general(&self) -> General {
        let number = |tag: &str, default: i32| self.store.number("General", tag, default);
        // Zero and less are of no use where something is to be waited for.
        let seconds = |tag: &str, default: i32| {
            positive(number(tag, default)).unwrap_or(Duration::from_secs(1))
        };
        General {
            retransmits: u32::try_from(number("Retransmits", 10)).unwrap_or(0),
            exchange_max_time: seconds("Exchange-max-time", 120),
            check_interval: seconds("Check-interval", 60),
            dpd_check_interval: positive(number("DPD-check-interval", 0)),
            nat_t_keepalive: positive(number("NAT-T-Keepalive", 0))
                .unwrap_or(Duration::from_secs(20)),
            shared_sadb: self.is_defined("General", "Shared-SADB"),
            delete_sas: !self
                .text("General", "Delete-SAs")
                .is_some_and(|value| value.starts_with("no")),
            renegotiate_on_hup: self.is_defined("General", "Renegotiate-on-HUP"),
        }
    }
}

fn positive(seconds: i32) -> Option<Duration> {
    u64::try_from(seconds)
        .ok()
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs)
}
