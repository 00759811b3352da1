//! `tcpcrypt_getsessid`: a session id as text, in memory that outlives the call.

use std::cell::Cell;
use std::ffi::c_char;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ops::ControlFlow;

use tcpcrypt_control::Hex;

use crate::client::{Client, Row};
use crate::ends::Ends;
use crate::error::Error;
use crate::inet_aton::inet_aton;

/// As the original's buffer.
const ROOM: usize = 512;

thread_local! {
    /// Without a destructor: nothing is left to run when the library is unloaded. Each octet is a cell
    /// of its own, so that a later call may write while a caller still holds the pointer of an
    /// earlier one.
    static TEXT: [Cell<u8>; ROOM] = const { [const { Cell::new(0) }; ROOM] };
}

/// Which connection is meant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) remote: SocketAddr,
    /// Preferred where several have that remote end.
    pub(crate) local: Option<SocketAddr>,
}

/// An address as C programs write it: as in `inet_aton`, or one of IPv6, which may have the number of its
/// interface behind a `%`.
pub(crate) fn end(text: &[u8], port: u16) -> Option<SocketAddr> {
    if let Some(ip) = inet_aton(text) {
        return Some(SocketAddr::new(ip.into(), port));
    }
    let text = std::str::from_utf8(text).ok()?;
    let (ip, scope) = match text.split_once('%') {
        Some((ip, scope)) => (ip, scope.parse().ok()?),
        None => (text, 0),
    };
    let ip: Ipv6Addr = ip.parse().ok()?;
    match ip.to_ipv4_mapped() {
        Some(ip) => Some(SocketAddr::new(ip.into(), port)),
        None => Some(SocketAddrV6::new(ip, port, 0, scope).into()),
    }
}

/// Whether an end is the one that is meant. Without an interface it is meant on any.
fn is_meant(end: SocketAddr, wanted: SocketAddr) -> bool {
    let scopes = match (end, wanted) {
        (SocketAddr::V6(end), SocketAddr::V6(wanted)) => {
            wanted.scope_id() == 0 || wanted.scope_id() == end.scope_id()
        }
        _ => true,
    };
    let plain = |end: SocketAddr| -> (IpAddr, u16) { (end.ip(), end.port()) };
    scopes && plain(end) == plain(wanted)
}

/// The best row seen so far.
#[derive(Debug, Default)]
struct Search {
    id: Option<Vec<u8>>,
}

impl Search {
    fn look(&mut self, wanted: &Wanted, row: &Row<'_>) -> ControlFlow<()> {
        if !is_meant(row.remote, wanted.remote) {
            return ControlFlow::Continue(());
        }
        let both = wanted.local.is_some_and(|local| is_meant(row.local, local));
        if both || self.id.is_none() {
            self.id = Some(row.session_id.to_vec());
        }
        if both || wanted.local.is_none() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

/// Asks the daemon for the id of a connection; `None` if it has none.
pub(crate) fn find(wanted: &Wanted) -> Result<Option<Vec<u8>>, Error> {
    let mut search = Search::default();
    let mut client = Client::of_process()?;
    let mut look = |row: &Row<'_>| search.look(wanted, row);
    match wanted.remote {
        SocketAddr::V4(_) => client.connections_v4(Ends::NONE, &mut look).map(drop)?,
        SocketAddr::V6(_) => client.connections_v6(&mut look)?,
    }
    Ok(search.id)
}

/// Writes an id into this thread's buffer as upper-case digits and a zero; where that is. `None` if
/// it does not fit, or the thread is ending.
pub(crate) fn keep(id: &[u8]) -> Option<*mut c_char> {
    let text = Hex(id).to_string();
    if text.len() >= ROOM {
        return None;
    }
    TEXT.try_with(|kept| {
        for (index, to) in kept.iter().enumerate() {
            to.set(text.as_bytes().get(index).copied().unwrap_or(0));
        }
        kept.as_ptr().cast::<c_char>().cast_mut()
    })
    .ok()
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    fn search(wanted: Wanted, rows: &[(&str, &str, &[u8])]) -> Option<Vec<u8>> {
        let mut search = Search::default();
        for (local, remote, id) in rows {
            let row = Row {
                local: local.parse().unwrap(),
                remote: remote.parse().unwrap(),
                session_id: id,
            };
            if search.look(&wanted, &row).is_break() {
                break;
            }
        }
        search.id
    }

    #[test]
    fn the_row_that_is_meant() {
        let rows: [(&str, &str, &[u8]); 4] = [
            ("10.0.0.1:1", "10.0.0.2:81", b"a"),
            ("10.0.0.1:2", "10.0.0.2:80", b"b"),
            ("10.0.0.1:3", "10.0.0.2:80", b"c"),
            ("10.0.0.1:3", "10.0.0.2:80", b"d"),
        ];
        let end = |text: &str, port| end(text.as_bytes(), port).unwrap();
        let (far, near) = ("10.0.0.2", "10.0.0.1");
        let wanted = |remote, local| Wanted { remote, local };
        let found = |w| search(w, &rows);
        assert_eq!(found(wanted(end(far, 80), None)), Some(b"b".to_vec()));
        assert_eq!(
            found(wanted(end(far, 80), Some(end(near, 3)))),
            Some(b"c".to_vec())
        );
        assert_eq!(
            found(wanted(end(far, 80), Some(end(near, 9)))),
            Some(b"b".to_vec()),
            "the first where no local end fits"
        );
        assert_eq!(found(wanted(end(near, 80), None)), None);
        assert_eq!(found(wanted(end(far, 82), None)), None);
    }

    #[test]
    fn the_row_that_is_meant_over_ipv6() {
        let rows: [(&str, &str, &[u8]); 3] = [
            ("[fe80::1%2]:1", "[fe80::2%2]:80", b"a"),
            ("[fe80::1%3]:1", "[fe80::2%3]:80", b"b"),
            ("[fd00::1]:1", "[fd00::2]:80", b"c"),
        ];
        for (text, id) in [
            ("fe80::2", Some("a")),
            ("fe80::2%3", Some("b")),
            ("fe80::2%4", None),
            ("fd00::2", Some("c")),
            ("FD00:0::2", Some("c")),
            ("fd00::3", None),
        ] {
            let remote = end(text.as_bytes(), 80).unwrap();
            let found = search(
                Wanted {
                    remote,
                    local: None,
                },
                &rows,
            );
            assert_eq!(found.as_deref(), id.map(str::as_bytes), "{text}");
        }
        assert_eq!(end(b"::ffff:10.0.0.2", 80), end(b"10.0.0.2", 80));
        for text in [
            "",
            "fd00::",
            "fd00::2%",
            "fd00::2%eth0",
            "[fd00::2]",
            "host",
        ] {
            let is_one = text == "fd00::";
            assert_eq!(end(text.as_bytes(), 80).is_some(), is_one, "{text}");
        }
    }

    #[test]
    #[allow(unsafe_code)]
    fn texts_are_each_threads_own() {
        let here = keep(&[0xab; 33]).unwrap();
        std::thread::spawn(|| keep(&[0; 3]).map(drop))
            .join()
            .unwrap()
            .unwrap();
        // SAFETY: this thread's buffer, which ends with a zero.
        let text = unsafe { CStr::from_ptr(here) };
        assert_eq!(text.to_str().unwrap(), "AB".repeat(33));
        assert_eq!(keep(&[1]), Some(here));
        // SAFETY: the same.
        assert_eq!(unsafe { CStr::from_ptr(here) }, c"01");
        assert!(keep(&[1; 255]).is_some());
        assert!(keep(&[1; 256]).is_none());
    }
}
