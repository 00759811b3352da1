//! What programs asked for a port before there was a connection (tcpcrypt spec 3.3): consumed by the first
//! connection that goes out from it, copied to every one that comes in.

use std::collections::HashMap;

use crate::conn::Wish;

/// The settings of one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settings {
    /// Once cleared it stays so.
    pub enabled: bool,
    /// Ask for encryption always. Told back, without effect, as in the original.
    pub always: bool,
    /// The application-aware bit, as it was set; 3 is ours and insists on that of the peer.
    pub app_support: u32,
    /// No cached session, as it was set.
    pub no_cache: u32,
    /// To be host B, as it was set.
    pub passive_role: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            always: false,
            app_support: 0,
            no_cache: 0,
            passive_role: 0,
        }
    }
}

impl From<Settings> for Wish {
    fn from(settings: Settings) -> Self {
        Self {
            enabled: settings.enabled,
            app_aware: settings.app_support & 1 != 0,
            insists: settings.app_support & 3 == 3,
            no_cache: settings.no_cache != 0,
            passive_role: settings.passive_role != 0,
        }
    }
}

/// The ports that have settings.
#[derive(Default)]
pub(super) struct Ports {
    slots: HashMap<u16, Settings>,
}

impl Ports {
    /// The slot of a port, which is made if need be: there are 65535 of them at most. Port 0 has none.
    pub(super) fn slot(&mut self, port: u16) -> Option<&mut Settings> {
        (port != 0).then(|| self.slots.entry(port).or_default())
    }

    /// Forgets a port; says whether there was something to forget.
    pub(super) fn forget(&mut self, port: u16) -> bool {
        self.slots.remove(&port).is_some()
    }

    /// For a connection that goes out.
    pub(super) fn consume(&mut self, port: u16) -> Wish {
        self.slots.remove(&port).unwrap_or_default().into()
    }

    /// For a connection that comes in.
    pub(super) fn copy(&self, port: u16) -> Wish {
        self.slots.get(&port).copied().unwrap_or_default().into()
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}
