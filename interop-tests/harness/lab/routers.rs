//! Hosts with two routers between them, and a link in the middle that carries less than those of the hosts.

use crate::lab::{Lab, Settings, host};

impl Lab {
    /// The cables and routes of [`Settings::narrow`]. The hosts have the same addresses as on one cable.
    pub(super) fn route(&self, settings: Settings, mtu: u16) {
        let [near, far] = &self.routers[..] else {
            return;
        };
        let (c, s) = (&self.client.namespace, &self.server.namespace);
        host::shell(&format!(
            "for i in {c} {near} {far} {s}; do ip netns add $i; done
             ip link add wire netns {c} type veth peer name wire netns {near}
             ip link add wire netns {s} type veth peer name wire netns {far}
             ip link add middle netns {near} mtu {mtu} type veth peer name middle netns {far} mtu {mtu}"
        ));
        let (segment, regroup) = settings.offload.switches();
        let devices = |name: &str, devices: &str| {
            host::shell(&format!(
                "ip netns exec {name} sh -euc '
                 for i in {devices}; do ip link set $i up; ethtool -K $i tso {segment} gso {segment} gro {regroup}; done
                 ip link set lo up
                 echo 0 >/proc/sys/net/ipv6/conf/all/accept_dad
                 echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
                 for i in {devices}; do echo 0 >/proc/sys/net/ipv6/conf/$i/accept_dad; done'"
            ));
        };
        let congestion_control = settings.congestion_control;
        for (host, router, other, last) in [
            (&self.client, near, &self.server, 1),
            (&self.server, far, &self.client, 2),
        ] {
            devices(&host.namespace, "wire");
            devices(router, "wire middle");
            let (own, others) = (host.address, other.address);
            let next = 3 - last;
            host.script(&format!(
                "ip addr add {own}/32 dev wire; ip route add 10.77.1.{last}/32 dev wire
                 ip route add default via 10.77.1.{last} dev wire src {own} congctl {congestion_control}"
            ));
            host::shell(&format!(
                "ip netns exec {router} sh -euc '
                 echo 1 >/proc/sys/net/ipv4/ip_forward
                 ip addr add 10.77.1.{last}/32 dev wire; ip route add {own}/32 dev wire
                 ip addr add 10.77.2.{last}/24 dev middle; ip route add {others}/32 via 10.77.2.{next}'"
            ));
            if let (Some(own), Some(others)) = (host.address6, other.address6) {
                host.script(&format!(
                    "ip addr add {own}/128 dev wire nodad; ip route add fd77:1::{last}/128 dev wire
                     ip route add default via fd77:1::{last} dev wire src {own} congctl {congestion_control}"
                ));
                host::shell(&format!(
                    "ip netns exec {router} sh -euc '
                     echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
                     ip addr add fd77:1::{last}/128 dev wire nodad; ip route add {own}/128 dev wire
                     ip addr add fd77:2::{last}/64 dev middle nodad; ip route add {others}/128 via fd77:2::{next}'"
                ));
            }
        }
        for address in self.server.address6.map(|it| it.to_string()).iter() {
            self.client
                .script(&format!("ping -6 -c1 -W5 {address} || true"));
        }
        self.client.script("ping -c1 -W5 10.77.0.2 || true");
    }

    /// The routers no longer say what they cannot carry.
    pub fn silence_routers(&self) {
        for router in &self.routers {
            host::shell(&format!(
                "ip netns exec {router} iptables-legacy -w 20 -A OUTPUT -p icmp --icmp-type fragmentation-needed -j DROP
                 ip netns exec {router} ip6tables-legacy -w 20 -A OUTPUT -p icmpv6 --icmpv6-type packet-too-big -j DROP \
                     || true"
            ));
        }
    }
}
