//! What is done when the packet filter's rules go: resets, so that nothing leaves in the clear on
//! connections that were encrypted.

use std::io;
use std::time::{Duration, Instant};

use tcpcrypt_proto::packet::FourTuple;

use super::{Daemon, Parts};
use crate::log::{ALWAYS, Log};
use crate::rule_watch;

/// How long new connections stay plain after a signal that the rules are about to go.
const PAUSE: Duration = Duration::from_secs(5);
/// Turns that the queue gets to bring a probe: more than it is long.
const PROBE_TURNS: usize = 20;

impl Daemon {
    /// The rules are about to go: resets what is encrypted, and lets new connections be plain until they
    /// are gone.
    pub(super) fn give_up_encryption(&mut self, log: &mut Log) -> io::Result<()> {
        let endpoint = &mut self.parts.endpoint;
        let all = endpoint.encrypted_after(None, usize::MAX);
        let count = all.len();
        endpoint.set_enabled(false);
        endpoint.shutdown();
        let now = Instant::now();
        self.end(log, now, &all)?;
        self.drain(log, now);
        self.paused = now.checked_add(PAUSE);
        let seconds = PAUSE.as_secs();
        log.say(
            ALWAYS,
            format_args!(
                "Told that the rules will go; reset {count} encrypted connections, \
                 new ones are plain for {seconds} s"
            ),
        );
        Ok(())
    }

    /// New connections are encrypted again, if it is time.
    pub(super) fn end_pause(&mut self, now: Instant) {
        if self.paused.is_some_and(|until| until <= now) {
            self.paused = None;
            self.parts.endpoint.set_enabled(self.parts.enabled);
        }
    }

    /// Sends the resets that wait, then makes sure of this host's ends of these connections. Segments that
    /// passed the queue by have moved the numbers that a reset has to fit; the kernel would answer it
    /// where we do not see it.
    fn end(&mut self, log: &mut Log, now: Instant, connections: &[FourTuple]) -> io::Result<()> {
        self.inject(now);
        // With rules that hold for the loopback interface, too, they pass here on their way.
        for _ in 0..2 {
            self.handle_packets(log)?;
        }
        if let Some(ender) = &mut self.parts.ender {
            for ends in connections {
                // Where the kernel cannot, the reset has to do.
                let _ = ender.end(ends.local, ends.remote);
            }
        }
        Ok(())
    }

    /// Finds out whether encrypted connections still come through the queue, if it is time to, and resets
    /// those that do not: their plain text leaves already.
    pub(super) fn look_after_rules(
        &mut self,
        log: &mut Log,
        now: Instant,
        told: bool,
    ) -> io::Result<()> {
        let told = told
            && self
                .parts
                .rules
                .changes
                .as_ref()
                .is_some_and(|it| it.take());
        let Parts {
            rules, endpoint, ..
        } = &mut self.parts;
        let due = rules.is_due(now);
        let new = rules.is_eager(now) && endpoint.has_fresh();
        if !(told || due || new) {
            return Ok(());
        }
        rules.forget(endpoint.count_encrypted(), |ends| {
            endpoint.is_encrypted(ends)
        });
        let count = match (told, due) {
            (true, _) => rule_watch::AT_ONCE,
            (false, true) => rule_watch::IN_TURN,
            (false, false) => 0,
        };
        let mut chosen = endpoint.encrypted_after(rules.last(), count);
        if chosen.len() < count {
            // From the beginning, after the last one.
            chosen.extend(endpoint.encrypted_after(None, count - chosen.len()));
        }
        // The position is that of the turns; those that are new come in between.
        let position = chosen.last().copied();
        chosen.extend(endpoint.take_fresh());
        chosen.sort_unstable();
        chosen.dedup();
        rules.go_on_behind(position);
        if self.confirmed_missing(log, &chosen)?.is_empty() {
            return Ok(());
        }
        // Some rules are gone: which connections had them?
        let mut reset = 0_usize;
        let mut last = None;
        loop {
            let some = self
                .parts
                .endpoint
                .encrypted_after(last, rule_watch::AT_ONCE);
            let Some(&end) = some.last() else {
                break;
            };
            let missing = self.confirmed_missing(log, &some)?;
            for ends in &missing {
                self.parts.endpoint.reset(ends);
            }
            self.end(log, now, &missing)?;
            reset += missing.len();
            last = Some(end);
        }
        log.event(
            now,
            ALWAYS,
            format_args!(
                "The packet filter's rules are gone; reset {reset} encrypted connections, whose segments \
                 passed the queue by. New ones are plain until the rules are back"
            ),
        );
        Ok(())
    }

    /// Those of the connections whose probes are missing each time.
    fn confirmed_missing(
        &mut self,
        log: &mut Log,
        connections: &[FourTuple],
    ) -> io::Result<Vec<FourTuple>> {
        let mut missing = connections.to_vec();
        for _ in 0..rule_watch::CONFIRMATIONS {
            self.parts.rules.begin(Instant::now());
            for &ends in &missing {
                let rules = &mut self.parts.rules;
                // What cannot be sent says nothing.
                if rules.probe(ends, &mut self.probe)
                    && self
                        .parts
                        .injector
                        .send_probe(ends.interface(), &self.probe)
                        .is_ok()
                {
                    rules.sent(ends);
                }
            }
            for _ in 0..PROBE_TURNS {
                if !self.parts.rules.is_waiting() || self.handle_packets(log)? {
                    break;
                }
            }
            missing = self.parts.rules.missing();
            if missing.is_empty() {
                break;
            }
        }
        Ok(missing)
    }
}
