//! A daemon's control socket that answers as a test wants, written from the specification alone
//! (tcpcrypt spec 3.3).

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

const HEADER: usize = 36;

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request(pub(crate) Vec<u8>);

impl Request {
    fn word(&self, at: usize) -> u32 {
        u32::from_ne_bytes(self.0[at..at + 4].try_into().unwrap())
    }

    /// The client's counter.
    pub(crate) fn seq(&self) -> u32 {
        self.word(0)
    }

    /// The option's number.
    pub(crate) fn option(&self) -> u32 {
        self.word(28)
    }

    /// Whether it sets the option.
    pub(crate) fn sets(&self) -> bool {
        self.word(20) == 2
    }

    /// The value, or the room for one.
    pub(crate) fn data(&self) -> &[u8] {
        &self.0[HEADER..]
    }

    /// For comparisons of two clients: ports that the kernel chose become 1, what a get request has
    /// in the room for the value becomes zero. Nothing is about a connection in a request for the
    /// list; the original has a port of its own there.
    pub(crate) fn normalized(&self) -> Request {
        let mut bytes = self.0.clone();
        for port in [8, 16] {
            if bytes[port..port + 2] != [0, 0] {
                bytes[port..port + 2].copy_from_slice(&[0, 1]);
            }
        }
        if !self.sets() {
            bytes[HEADER..].fill(0);
        }
        if self.option() == 102 {
            bytes[4..18].fill(0);
        }
        Request(bytes)
    }

    /// The reply with a value.
    pub(crate) fn reply(&self, value: &[u8]) -> Vec<u8> {
        let mut bytes = self.0[..HEADER].to_vec();
        bytes[32..36].copy_from_slice(&u32::try_from(value.len()).unwrap().to_ne_bytes());
        bytes.extend(value);
        bytes
    }

    /// The reply with an error, which repeats the request.
    pub(crate) fn error(&self, error: i32) -> Vec<u8> {
        let mut bytes = self.0.clone();
        bytes[24..28].copy_from_slice(&error.to_ne_bytes());
        bytes
    }
}

/// A row of the list.
pub(crate) fn row(local: (Ipv4Addr, u16), remote: (Ipv4Addr, u16), id: &[u8]) -> Vec<u8> {
    let mut row = Vec::new();
    row.extend(local.0.octets());
    row.extend(local.1.to_be_bytes());
    // Padding, garbage in the original.
    row.extend([0xde, 0xad]);
    row.extend(remote.0.octets());
    row.extend(remote.1.to_be_bytes());
    row.extend(u16::try_from(id.len()).unwrap().to_be_bytes());
    row.extend(id);
    row
}

/// As many rows as fit.
pub(crate) fn list(rows: &[Vec<u8>], room: usize) -> Vec<u8> {
    let mut list = Vec::new();
    for row in rows {
        if list.len() + row.len() > room {
            break;
        }
        list.extend(row);
    }
    list
}

/// Answers each request with any number of datagrams.
pub(crate) type Script = Box<dyn FnMut(&Request) -> Vec<Vec<u8>> + Send>;

/// A running one; its socket's file stays when it is dropped.
pub(crate) struct ScriptedDaemon {
    path: PathBuf,
    end: Arc<AtomicBool>,
    requests: Arc<Mutex<Vec<Request>>>,
    thread: Option<JoinHandle<()>>,
}

impl ScriptedDaemon {
    pub(crate) fn start(path: &Path, mut script: Script) -> Self {
        let _ = std::fs::remove_file(path);
        let socket = UnixDatagram::bind(path).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let end = Arc::new(AtomicBool::new(false));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (ended, seen) = (Arc::clone(&end), Arc::clone(&requests));
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !ended.load(Ordering::Relaxed) {
                let (len, from) = match socket.recv_from(&mut buffer) {
                    Ok(received) => received,
                    Err(e) if e.kind() == ErrorKind::WouldBlock => continue,
                    Err(e) => panic!("{e}"),
                };
                assert!(len >= HEADER, "a request of {len} octets");
                let request = Request(buffer[..len].to_vec());
                let fits = request.word(32) as usize == request.data().len();
                assert!(fits, "the length of {request:?}");
                for reply in script(&request) {
                    // The client may have gone, or its queue may be full of what it did not ask.
                    let _ = socket.send_to_addr(&reply, &from);
                }
                seen.lock().unwrap().push(request);
            }
        });
        Self {
            path: path.to_owned(),
            end,
            requests,
            thread: Some(thread),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What came so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for ScriptedDaemon {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

const LOCAL: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const REMOTE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

fn truncated(value: &[u8], room: usize) -> Vec<u8> {
    value[..value.len().min(room)].to_vec()
}

/// A daemon with two encrypted connections that knows every option, and refuses some requests.
pub(crate) fn usual() -> Script {
    let id: Vec<u8> = (0x21..0x21 + 33).collect();
    let rows = [
        row((LOCAL, 34000), (REMOTE, 8080), &id),
        row((LOCAL, 34001), (REMOTE, 8081), &[0xab; 33]),
    ];
    Box::new(move |request| {
        let room = request.data().len();
        let reply = match (request.option(), request.sets()) {
            (101, true) if room > 4 => request.error(libc::EINVAL),
            (2, true) => request.error(libc::ENOBUFS),
            (_, true) => request.reply(request.data()),
            (0, _) => request.reply(&truncated(&1u32.to_ne_bytes(), room)),
            (2, _) => request.reply(&truncated(&id, room)),
            (15, _) => request.reply(&[&[1], &id[..]].concat()),
            (102, _) => request.reply(&list(&rows, room)),
            (3, _) => request.error(libc::EINVAL),
            _ => request.error(libc::ENOPROTOOPT),
        };
        vec![reply]
    })
}

/// For `tcpcrypt_threads`.
pub(crate) fn echo() -> Script {
    // The id is printed in hexadecimal digits: two octets are the four digits of the port.
    let rows: Vec<Vec<u8>> = (8000..8010u16)
        .map(|port| row((LOCAL, 1), (REMOTE, port), &port.to_be_bytes()))
        .collect();
    Box::new(move |request| {
        let value = match request.option() {
            102 => list(&rows, request.data().len()),
            option => option.to_ne_bytes().to_vec(),
        };
        vec![request.reply(&value)]
    })
}

/// 300 connections, to ports from 20000 on; `pages` as the extension has it, or unknown.
pub(crate) fn many(pages: bool) -> Script {
    let rows: Vec<Vec<u8>> = (20000..20300u16)
        .map(|port| row((LOCAL, 1), (REMOTE, port), &[0x21; 33]))
        .collect();
    Box::new(move |request| {
        let data = request.data();
        vec![match request.option() {
            102 => request.reply(&list(&rows, data.len())),
            1000 if pages => {
                assert_eq!(data.len(), 16);
                // Local and remote end of the last row, without the padding between them.
                let behind = rows
                    .iter()
                    .position(|r| [&r[..6], &r[8..14]].concat() > data[4..].to_vec());
                let rest = behind.map_or(&[][..], |i| &rows[i..]);
                // Pages of our choice, so that there are several.
                request.reply(&list(rest, 4000))
            }
            _ => request.error(-1),
        }]
    })
}
