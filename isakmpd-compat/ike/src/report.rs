//! The report (`r`, SIGUSR1; isakmpd.md 4): lines without `Report>`, in the original's words. Where it printed
//! addresses of memory stand the numbers by which the engine knows its things.

use std::time::Instant;

use crate::engine::Engine;
use crate::engine::timers::Timer;
use crate::phase2::proposal::spi_octets;
use crate::sa::{IpsecSa, IsakmpSa, Lifetime, Role};
use crate::status;

/// Parts of the report; the program puts its transports between exchanges and connections.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// `sa_report:`
    pub sas: Vec<String>,
    /// `exchange_report:`
    pub exchanges: Vec<String>,
    /// `connection_report:`
    pub connections: Vec<String>,
    /// `timer_report:`
    pub timers: Vec<String>,
}

const DOI: u32 = 1;

fn life(lifetime: Lifetime) -> String {
    format!(
        "sa_report: life secs {} kb {}",
        lifetime.seconds.unwrap_or(0),
        lifetime.kilobytes.unwrap_or(0)
    )
}

fn phase1(sa: &IsakmpSa, lines: &mut Vec<String>) {
    let (initiator, responder) = match sa.role {
        Role::Initiator => (&sa.local_id, &sa.remote_id),
        Role::Responder => (&sa.remote_id, &sa.local_id),
    };
    let name = sa.name.as_deref().unwrap_or("<unnamed>");
    lines.extend([
        format!(
            "sa_report: {:#x} {name} phase 1 doi {DOI} flags {:#x}",
            sa.id.0, sa.flags.0
        ),
        format!(
            "sa_report: icookie {} rcookie {}",
            sa.initiator_cookie, sa.responder_cookie
        ),
        "sa_report: msgid 00000000 refcnt 1".to_owned(),
        life(sa.lifetime),
        "sa_report: suite 1 proto 1".to_owned(),
        "sa_report: spi_sz[0] 0 spi[0] 0x0 spi_sz[1] 0 spi[1] 0x0".to_owned(),
        format!(
            "sa_report: initiator id: {initiator}, responder id: {responder}, {}",
            status::ends(sa.path.local, sa.path.remote)
        ),
    ]);
}

fn phase2(sa: &IpsecSa, lines: &mut Vec<String>) {
    let (initiator, responder) = match sa.role {
        Role::Initiator => (&sa.phase1_local_id, &sa.phase1_remote_id),
        Role::Responder => (&sa.phase1_remote_id, &sa.phase1_local_id),
    };
    let name = sa.name.as_deref().unwrap_or("<unnamed>");
    lines.extend([
        format!(
            "sa_report: {:#x} {name} phase 2 doi {DOI} flags {:#x}",
            sa.id.0, sa.flags.0
        ),
        format!(
            "sa_report: icookie {} rcookie {}",
            sa.initiator_cookie, sa.responder_cookie
        ),
        format!("sa_report: msgid {:08x} refcnt 1", sa.message_id),
        life(sa.lifetime),
    ]);
    for protocol in &sa.protocols {
        let outgoing = spi_octets(protocol.protocol, protocol.outgoing_spi);
        let incoming = spi_octets(protocol.protocol, protocol.incoming_spi);
        let hex = |spi: &[u8]| {
            spi.iter()
                .map(|octet| format!("{octet:02x}"))
                .collect::<String>()
        };
        lines.extend([
            format!("sa_report: suite 1 proto {}", protocol.protocol),
            format!(
                "sa_report: spi_sz[0] {} spi[0] {:#x} spi_sz[1] {} spi[1] {:#x}",
                outgoing.len(),
                protocol.outgoing_spi,
                incoming.len(),
                protocol.incoming_spi
            ),
            format!(
                "sa_report: initiator id: {initiator}, responder id: {responder}, {}",
                status::ends(sa.path.local, sa.path.remote)
            ),
            "sa_report: spi[0]:".to_owned(),
            hex(&outgoing),
            "sa_report: spi[1]:".to_owned(),
            hex(&incoming),
        ]);
    }
}

pub(crate) fn timer_name(timer: &Timer) -> (&'static str, u64) {
    match timer {
        Timer::ExchangeDeadline(id) => ("exchange_free_aux", id.0),
        Timer::Retransmit(id) => ("message_send_expire", id.0),
        Timer::Phase1Soft(id) | Timer::Phase2Soft(id) => ("sa_soft_expire", id.0),
        Timer::Phase1Hard(id) | Timer::Phase2Hard(id) => ("sa_hard_expire", id.0),
        Timer::Dpd(id) => ("dpd_event", id.0),
        Timer::Keepalive(id) => ("nat_t_send_keepalive", id.0),
        Timer::Connection(_) => ("connection_checker", 0),
        Timer::Rebuild => ("connection_reinit", 0),
    }
}

impl Engine {
    /// The text of the FIFO's `S`: all SAs, those in the making too, each with an empty line after it.
    pub fn write_sas(&self, now: Instant, out: &mut String) {
        for sa in self.sas.all_phase1() {
            status::write_phase1(sa, now, out);
        }
        for sa in self.sas.all_phase2() {
            status::write_phase2(sa, now, out);
        }
        for exchange in self.exchanges.iter().filter(|exchange| !exchange.done) {
            status::write_unfinished(exchange, now, out);
        }
    }

    /// Everything that the engine holds, for the report.
    #[must_use]
    pub fn report(&self, now: Instant) -> Report {
        let mut report = Report::default();
        for sa in self.sas.all_phase1() {
            phase1(sa, &mut report.sas);
        }
        for sa in self.sas.all_phase2() {
            phase2(sa, &mut report.sas);
        }
        for exchange in self.exchanges.iter() {
            let role = match exchange.role {
                Role::Initiator => "initiator",
                Role::Responder => "responder",
            };
            report.exchanges.extend([
                format!(
                    "exchange_report: {} {} <no policy> policy {role} phase {} doi {DOI} exchange {} step {}",
                    exchange.id,
                    exchange.display_name(),
                    exchange.state.phase(),
                    exchange.state.exchange_type().0,
                    exchange.step
                ),
                format!(
                    "exchange_report: icookie {} rcookie {}",
                    exchange.initiator_cookie, exchange.responder_cookie
                ),
                format!("exchange_report: msgid {:08x} ", exchange.message_id),
            ]);
        }
        let seconds = |due: Instant| due.saturating_duration_since(now).as_secs();
        for (name, due) in self.phase2.connections.list() {
            report.connections.push(format!(
                "connection_report: connection {name} next check {} seconds",
                seconds(due)
            ));
        }
        for name in self.configuration.passive_connections() {
            let Ok(connection) = self.configuration.connection(&name) else {
                continue;
            };
            let Some(local) = &connection.local_id else {
                continue;
            };
            let remote = connection
                .remote_id
                .as_ref()
                .map_or_else(|| "<no ipsec id>".to_owned(), ToString::to_string);
            report.connections.push(format!(
                "connection_report: passive connection {name} local_id: {local}, remote_id: {remote}"
            ));
        }
        for (due, timer) in self.timers.iter() {
            let (name, id) = timer_name(timer);
            report.timers.push(format!(
                "timer_report: event {name}({id:#x}) scheduled in {} seconds",
                seconds(due)
            ));
        }
        report
    }
}
