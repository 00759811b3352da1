//! What is better done while nobody waits for it: the multiplications of key exchanges.
//!
//! None of it has to be done here. What is needed before there was time is done then.

use crate::packet::FourTuple;

use super::Endpoint;
use super::table::State;

/// Connections that wait for their keys. When there are more, there is no leisure.
const AGREEING: usize = 64;

impl Endpoint {
    /// Whether [`pay_debts`](Self::pay_debts) would send something.
    #[must_use]
    pub fn has_debts(&self) -> bool {
        self.services.outbox.is_in_debt()
    }

    /// Sends the acknowledgements that a segment of the local TCP could have taken along, had there been one. To be
    /// called when there are no packets; a millisecond later [`handle_timeout`](Self::handle_timeout) does it.
    pub fn pay_debts(&mut self) {
        self.services.outbox.pay();
    }

    /// Whether [`use_leisure`](Self::use_leisure) would do something.
    #[must_use]
    pub fn has_work_for_leisure(&self) -> bool {
        !self.agreeing.is_empty() || self.services.entropy.wants_to_prepare()
    }

    /// Does one piece of work that can wait, of at most a multiplication on the curve. To be called when there
    /// are no packets; what it says for the log and what is to be sent are to be fetched as after the other calls.
    pub fn use_leisure(&mut self) {
        let Some(tuple) = self.agreeing.pop_front() else {
            self.services.entropy.prepare();
            return;
        };
        let mut cx = self.services.context(self.now);
        let connection = self.table.get_mut(&tuple);
        let Some(State::Passive(machine)) = connection.map(|connection| &mut connection.state)
        else {
            return;
        };
        if let Err(line) = machine.prepare(&mut cx) {
            self.services.events.line(line);
            self.abort(&tuple);
        }
    }

    /// The server's part of a key exchange was sent.
    pub(super) fn agreeing(&mut self, tuple: FourTuple) {
        if self.agreeing.len() >= AGREEING {
            self.agreeing.pop_front();
        }
        self.agreeing.push_back(tuple);
    }
}
