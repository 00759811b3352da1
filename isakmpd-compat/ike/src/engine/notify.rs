//! Error notifications without an SA: one datagram, no state, and not too many of them (isakmpd-wire 2.5).

use std::time::{Duration, Instant};

use isakmp_proto::header::{Cookie, Header};
use isakmp_proto::message::Builder;
use isakmp_proto::number::{Doi, ExchangeType, NotifyType, Protocol};
use isakmp_proto::payload::{Notify, Payload};

use super::Engine;
use crate::event::Path;
use crate::exchange::informational;
use crate::journal::Class;
use crate::sa::SaId;

/// So many per second, and as many at once.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: u32,
    left: f64,
    filled: Instant,
}

impl Bucket {
    pub(crate) fn new(now: Instant, per_second: u32) -> Self {
        Self {
            per_second,
            left: f64::from(per_second),
            filled: now,
        }
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let passed = now
            .checked_duration_since(self.filled)
            .unwrap_or(Duration::ZERO);
        let full = f64::from(self.per_second);
        self.left = (self.left + passed.as_secs_f64() * full).min(full);
        self.filled = self.filled.max(now);
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}

impl Engine {
    /// Logs that a message was refused, and tells the peer why if `notify` is not zero: protected if the SA is
    /// ready, else in clear under a fresh cookie. `sa`: the SA that the message belongs to, once there is one;
    /// `doi`: 1 where the original knows an SA or exchange for the message.
    pub(crate) fn refuse(
        &mut self,
        now: Instant,
        path: Path,
        notify: NotifyType,
        doi: Doi,
        sa: Option<SaId>,
        spi: Vec<u8>,
    ) {
        self.journal.plain(format!(
            "dropped message from {} port {} due to notification type {notify}",
            path.remote.ip(),
            path.remote.port()
        ));
        if notify == NotifyType(0) {
            return;
        }
        let payload = Notify {
            doi,
            protocol: Protocol::ISAKMP,
            spi,
            notify_type: notify,
            data: Vec::new(),
        };
        if !self.notifications.take(now) {
            return self.journal.debug(Class::Message, 40, || {
                format!("notification {notify} not sent: too many")
            });
        }
        match sa {
            Some(sa) => informational::send_notify(self, now, sa, payload),
            None => self.send_clear_notify(path, payload),
        }
    }

    fn send_clear_notify(&mut self, path: Path, payload: Notify) {
        let cookie = self.new_cookie();
        let header = Header::new(cookie, Cookie::ZERO, ExchangeType::INFORMATIONAL, 0);
        let mut builder = Builder::new(header);
        builder.push(Payload::Notify(payload));
        if let Ok(built) = builder.build() {
            let octets = built.into_octets();
            self.capture_sent(path, &octets);
            self.dump_raw("message_send", &octets);
            self.send_loose(path, octets);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_fills_again() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start, 2);
        assert!(bucket.take(start));
        assert!(bucket.take(start));
        assert!(!bucket.take(start));
        assert!(!bucket.take(start + Duration::from_millis(400)));
        assert!(bucket.take(start + Duration::from_millis(600)));
        assert!(!bucket.take(start + Duration::from_millis(600)));
    }
}
