//! `tcpcrypt_getsessid`: a session id as text, in memory that outlives the call.

use std::cell::Cell;
use std::ffi::c_char;
use std::net::Ipv4Addr;
use std::ops::ControlFlow;

use tcpcrypt_control::Hex;
use tcpcrypt_control::netstat::Row;

use crate::client::Client;
use crate::ends::Ends;
use crate::error::Error;

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
    pub(crate) remote: (Ipv4Addr, u16),
    /// Preferred where several have that remote end.
    pub(crate) local: Option<(Ipv4Addr, u16)>,
}

/// The best row seen so far.
#[derive(Debug, Default)]
struct Search {
    id: Option<Vec<u8>>,
}

impl Search {
    fn look(&mut self, wanted: &Wanted, row: &Row<'_>) -> ControlFlow<()> {
        if (*row.remote.ip(), row.remote.port()) != wanted.remote {
            return ControlFlow::Continue(());
        }
        let both = wanted.local == Some((*row.local.ip(), row.local.port()));
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
    Client::of_process()?.connections(Ends::NONE, |row| search.look(wanted, row))?;
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
        let far = Ipv4Addr::new(10, 0, 0, 2);
        let near = Ipv4Addr::new(10, 0, 0, 1);
        let wanted = |remote, local| Wanted { remote, local };
        let found = |w| search(w, &rows);
        assert_eq!(found(wanted((far, 80), None)), Some(b"b".to_vec()));
        assert_eq!(
            found(wanted((far, 80), Some((near, 3)))),
            Some(b"c".to_vec())
        );
        assert_eq!(
            found(wanted((far, 80), Some((near, 9)))),
            Some(b"b".to_vec()),
            "the first where no local end fits"
        );
        assert_eq!(found(wanted((near, 80), None)), None);
        assert_eq!(found(wanted((far, 82), None)), None);
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
