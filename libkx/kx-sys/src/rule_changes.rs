//! Being told that the rules of nftables change (the multicast group `NFNLGRP_NFTABLES` of
//! nfnetlink), also by `iptables` where that makes rules of nftables. Of iptables' own rules the
//! kernel tells nobody.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::netlink::NETFILTER;

use crate::netlink_changes;

/// Room for messages that wait. When they are too many, that is a change as well.
const ROOM: usize = 64 * 1024;

/// A descriptor that becomes readable when a rule of nftables was added or removed, anybody's, in the
/// network name space where it was opened.
#[derive(Debug)]
pub struct RuleChanges(OwnedFd);

impl RuleChanges {
    /// Opens it.
    ///
    /// # Errors
    /// The kernel has no nftables; or the capability `CAP_NET_ADMIN` is missing, which is asked for here
    /// and not later.
    pub fn open() -> io::Result<RuleChanges> {
        let socket = netlink_changes::open(Some(NETFILTER), 0)?;
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, ROOM)?;
        join(&socket, libc::NFNLGRP_NFTABLES)?;
        Ok(RuleChanges(socket))
    }

    /// Takes what has come; true if there was something. Whoever wants to know what changed looks himself.
    pub fn take(&self) -> bool {
        netlink_changes::take(&self.0)
    }
}

impl AsFd for RuleChanges {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[allow(unsafe_code)]
fn join(socket: &OwnedFd, group: libc::c_int) -> io::Result<()> {
    // SAFETY: the value is an int that outlives the call, and its length is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            libc::NETLINK_ADD_MEMBERSHIP,
            (&raw const group).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::thread::UnshareFlags;
    use std::process::Command;

    /// In a network name space of this thread's own.
    #[test]
    #[allow(unsafe_code)]
    fn rules_of_nftables_are_told() {
        std::thread::spawn(|| {
            // SAFETY: only this thread's network is another one now.
            let own = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) };
            if let Err(error) = own {
                return println!("skipped: {error}");
            }
            let changes = match RuleChanges::open() {
                Ok(changes) => changes,
                Err(error) => return println!("skipped: {error}"),
            };
            assert!(!changes.take());
            let nft = |text: &str| {
                let done = Command::new("nft").arg(text).status();
                done.is_ok_and(|status| status.success())
            };
            if !nft("add table ip one") {
                return println!("skipped: no nft here");
            }
            let limit = Timespec::try_from(std::time::Duration::from_secs(5)).ok();
            for more in ["flush ruleset", "add table ip two"] {
                let mut ready = [PollFd::new(&changes, PollFlags::IN)];
                assert_eq!(poll(&mut ready, limit.as_ref()), Ok(1), "before {more}");
                assert!(changes.take());
                assert!(!changes.take());
                assert!(nft(more));
            }
        })
        .join()
        .expect("the thread ends well");
    }
}
