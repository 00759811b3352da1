//! What the configuration must know of this host.

use ike::event::Address;
use isakmpd_conf::host::{Host, Interface, Interfaces, Names};
use kx_sys::interface_addresses::{InterfaceAddress, interface_addresses};

use crate::files::Files;

/// The host as last looked at.
pub struct Surveyed {
    /// Every address.
    pub addresses: Vec<InterfaceAddress>,
    names: Names,
    port: u16,
    defaults: [Option<String>; 2],
}

/// The names in /etc/protocols and /etc/services; to be read before the root directory is another.
#[must_use]
pub fn names() -> Names {
    let read = |path| std::fs::read(path).unwrap_or_default();
    Names::parse(&read("/etc/protocols"), &read("/etc/services"))
}

impl Surveyed {
    /// Nothing yet. `port`: the one we listen on.
    #[must_use]
    pub fn new(names: Names, port: u16) -> Surveyed {
        Surveyed {
            addresses: Vec::new(),
            names,
            port,
            defaults: [None, None],
        }
    }

    /// Looks again. True if something is different.
    pub fn look(&mut self, files: &dyn Files) -> std::io::Result<bool> {
        let addresses = interface_addresses()?;
        let defaults = files.default_interfaces();
        let different = addresses != self.addresses || defaults != self.defaults;
        (self.addresses, self.defaults) = (addresses, defaults);
        Ok(different)
    }

    /// The interfaces, as the configuration has them.
    #[must_use]
    pub fn interfaces(&self) -> Interfaces {
        let [default_ipv4, default_ipv6] = self.defaults.clone();
        let addresses = self.addresses.iter().map(|one| Interface {
            name: one.interface.clone(),
            address: one.address.ip(),
            netmask: one.netmask,
            zone: Address::from(one.address).zone,
        });
        Interfaces {
            addresses: addresses.collect(),
            default_ipv4,
            default_ipv6,
        }
    }

    /// All of it.
    #[must_use]
    pub fn host(&self) -> Host {
        Host {
            names: self.names.clone(),
            interfaces: self.interfaces(),
            port: self.port,
        }
    }
}
