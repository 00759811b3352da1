//! Replays the control socket transactions that were recorded with the original: our requests for the
//! same calls are the recorded ones, and the recorded replies are understood.

use std::os::unix::net::UnixDatagram;
use std::path::Path;

use serde::Deserialize;
use tcpcrypt::{Client, Ends, Error};

#[derive(Deserialize)]
struct Transaction {
    name: String,
    local: Option<String>,
    remote: Option<String>,
    request: String,
    reply: Option<String>,
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .map(|c| u8::try_from(c.to_digit(16).unwrap()).unwrap())
        .collect();
    digits.chunks(2).map(|d| d[0] * 16 + d[1]).collect()
}

fn word(datagram: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(datagram[at..at + 4].try_into().unwrap())
}

#[cfg(target_endian = "little")]
#[test]
fn requests_are_the_recorded_ones() {
    let file = "../../interop-tests/vectors/tcpcrypt/control.json";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let recorded = std::fs::read_to_string(file).unwrap();
    let recorded: Vec<Transaction> = serde_json::from_str(&recorded).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control");
    let daemon = UnixDatagram::bind(&path).unwrap();
    let mut replayed = 0;
    for transaction in &recorded {
        let (Some(local), Some(remote), Some(reply)) =
            (&transaction.local, &transaction.remote, &transaction.reply)
        else {
            // No client that follows the format sends that one.
            assert_eq!(transaction.name, "5-byte datagram");
            continue;
        };
        let name = &transaction.name;
        let (request, reply) = (unhex(&transaction.request), unhex(reply));
        let ends = Ends {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
        };
        let option = word(&request, 28);
        let set = word(&request, 20) == 2;
        let mut value = request[36..].to_vec();
        let result = std::thread::scope(|scope| {
            scope.spawn(|| answer(&daemon, &request, &reply, name));
            let mut client = Client::at(path.as_os_str().as_encoded_bytes()).unwrap();
            if set {
                client.set(ends, option, &value).map(|()| 0)
            } else {
                // What is in the caller's memory does not get out.
                value.fill(0x5a);
                client.get(ends, option, &mut value)
            }
        });
        let wanted = match (word(&reply, 24), set, option) {
            (0, true, _) => Ok(0),
            (0, false, _) => Ok(reply.len() - 36),
            (_, false, 2 | 15) => Err(Error::Refused(libc::ENOTCONN)),
            _ => Err(Error::Refused(libc::EINVAL)),
        };
        assert_eq!(result, wanted, "{name}");
        if let (Ok(len), false) = (result, set) {
            assert_eq!(value[..len], reply[36..], "{name}");
        }
        replayed += 1;
    }
    assert!(replayed >= 20, "{replayed}");
}

/// Takes one request, which has to be the recorded one but for its number, and replies as recorded.
fn answer(daemon: &UnixDatagram, request: &[u8], reply: &[u8], name: &str) {
    let mut seen = [0; 4096];
    let (len, from) = daemon.recv_from(&mut seen).unwrap();
    assert_eq!(seen[4..len], request[4..], "{name}");
    let reply = [&seen[..4], &reply[4..]].concat();
    daemon.send_to_addr(&reply, &from).unwrap();
}
