//! What the kernel says of a packet beside its octets.

/// What is known of the checksum of a packet's TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checksum {
    /// Nobody has looked at it.
    #[default]
    Unverified,
    /// The kernel or the network card found it right.
    Verified,
    /// It is not there yet: the packet comes from this host, or the kernel has put it together from several
    /// that were right.
    Missing,
}

/// Notes to a packet. The default is what can be said of one about which nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Notes {
    /// The checksum.
    pub checksum: Checksum,
    /// A super-packet: on its way out, the kernel or the card cuts it into segments of a size that it has from
    /// the local TCP and keeps when the packet is replaced; on its way in, it was put together from segments.
    pub is_super: bool,
    /// Only the beginning of the packet is here.
    pub is_truncated: bool,
    /// The index of the network interface that it was seen on, which tells connections between link-local
    /// addresses apart. 0 is unknown.
    pub interface: u32,
}
