//! The queue of messages to send, and sending them again (isakmpd-wire 4).

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Engine;
use super::timers::Timer;
use crate::event::{Path, Transmit};
use crate::exchange::{Exchange, State};
use crate::journal::Class;
use crate::sa::Role;

/// More than any one input causes; retransmission makes up for what is lost beyond it.
const MOST_QUEUED: usize = 16_384;

/// Messages that the program did not fetch yet.
#[derive(Default)]
pub(crate) struct Queue {
    prioritized: VecDeque<(Transmit, Rc<[u8]>)>,
    normal: VecDeque<(Transmit, Rc<[u8]>)>,
}

impl Queue {
    pub(crate) fn push(&mut self, transmit: Transmit, octets: Rc<[u8]>, prioritized: bool) {
        let queue = if prioritized {
            &mut self.prioritized
        } else {
            &mut self.normal
        };
        if queue.len() < MOST_QUEUED {
            queue.push_back((transmit, octets));
        }
    }

    pub(crate) fn pop(&mut self) -> Option<(Transmit, Rc<[u8]>)> {
        self.prioritized
            .pop_front()
            .or_else(|| self.normal.pop_front())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.prioritized.is_empty() && self.normal.is_empty()
    }
}

/// How a message of an exchange is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sending {
    /// Sent again until the peer's next message comes.
    Retransmitted,
    /// Sent once: the answer to a message that is not authenticated. A duplicate of that message is dropped.
    Once,
    /// The last message of the exchange: sent again when the peer's last message is seen again.
    Last,
    /// An INFORMATIONAL: sent once and forgotten.
    Forgotten,
    /// The same, ahead of everything else: DELETE.
    Prioritized,
}

impl Engine {
    /// Sends `octets` (as they go on the wire) as the message of `exchange`.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        exchange: &mut Exchange,
        octets: Vec<u8>,
        sending: Sending,
    ) {
        let octets: Rc<[u8]> = octets.into();
        self.stop_retransmission(exchange);
        let transmit = Transmit {
            path: exchange.path,
            keepalive: false,
        };
        self.queue.push(
            transmit,
            Rc::clone(&octets),
            sending == Sending::Prioritized,
        );
        self.dump_raw("message_send", &octets);
        self.advance(exchange);
        exchange.transmissions = 1;
        match sending {
            Sending::Forgotten | Sending::Prioritized => exchange.last_sent = None,
            Sending::Once | Sending::Last => exchange.last_sent = Some(octets),
            Sending::Retransmitted => {
                exchange.last_sent = Some(octets);
                self.arm_retransmission(now, exchange);
            }
        }
        exchange.last_is_final = sending == Sending::Last;
        exchange.muted = false;
    }

    /// The same for a message in clear, which the capture gets as it is.
    pub(crate) fn send_clear(
        &mut self,
        now: Instant,
        exchange: &mut Exchange,
        octets: Vec<u8>,
        sending: Sending,
    ) {
        self.capture_sent(exchange.path, &octets);
        self.send(now, exchange, octets, sending);
    }

    /// Sends the last message of `exchange` once more, without touching its timers.
    pub(crate) fn send_again(&mut self, exchange: &Exchange) {
        if let Some(octets) = &exchange.last_sent {
            let transmit = Transmit {
                path: exchange.path,
                keepalive: false,
            };
            self.queue.push(transmit, Rc::clone(octets), false);
        }
    }

    /// Octets that belong to no exchange of ours: answers without state.
    pub(crate) fn send_loose(&mut self, path: Path, octets: Vec<u8>) {
        self.queue.push(
            Transmit {
                path,
                keepalive: false,
            },
            octets.into(),
            false,
        );
    }

    /// One octet to keep a NAT's mapping.
    pub(crate) fn send_keepalive(&mut self, path: Path) {
        self.queue.push(
            Transmit {
                path,
                keepalive: true,
            },
            Rc::from([0xff_u8].as_slice()),
            false,
        );
    }

    pub(crate) fn stop_retransmission(&mut self, exchange: &mut Exchange) {
        if let Some(timer) = exchange.retransmit_timer.take() {
            self.timers.cancel(timer);
        }
    }

    fn arm_retransmission(&mut self, now: Instant, exchange: &mut Exchange) {
        let wait = 5_u64.saturating_add(2_u64.saturating_mul(u64::from(exchange.transmissions)));
        let due = now + Duration::from_secs(wait);
        exchange.retransmit_timer = Some(self.timers.set(due, Timer::Retransmit(exchange.id)));
        self.journal.debug(Class::Transport, 30, || {
            format!(
                "transport_send_messages: message {} scheduled for retransmission {} in {wait} secs",
                exchange.id, exchange.transmissions
            )
        });
    }

    pub(crate) fn retransmission_due(&mut self, now: Instant, mut exchange: Box<Exchange>) {
        exchange.retransmit_timer = None;
        if exchange.transmissions > self.general.retransmits {
            self.journal.plain(format!(
                "transport_send_messages: giving up on exchange {}, no response from peer {}:{}",
                exchange.name.as_deref().unwrap_or("<unnamed>"),
                exchange.path.remote.ip(),
                exchange.path.remote.port()
            ));
            exchange.last_sent = None;
            exchange.given_up = true;
            match (&exchange.state, exchange.role) {
                (State::Quick(_), Role::Initiator) => {
                    crate::lifetime::unanswered(self, exchange.sa);
                }
                (State::Quick(_), Role::Responder) => {
                    crate::exchange::quick_mode::unconfirmed(self, &mut exchange);
                }
                _ => {}
            }
        } else {
            self.send_again(&exchange);
            exchange.transmissions = exchange.transmissions.saturating_add(1);
            self.arm_retransmission(now, &mut exchange);
        }
        self.exchanges.put_back(exchange);
    }
}
