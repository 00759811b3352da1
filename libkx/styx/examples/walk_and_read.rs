//! Both ends of a connection, joined in memory: `cargo run -p styx --example walk_and_read`.

use std::error::Error;

use kx_secret::SecretBytes;
use styx::client::{Call, Client};
use styx::message::{DMDIR, QTDIR, Qid, Stat};
use styx::server::{Dialect, HangUp, Server, Tree};

/// A directory with one file, which cannot be changed.
struct Greeting;

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Root,
    File,
}

const TEXT: &[u8] = b"hello from a tree\n";

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("file does not exist")]
    NotFound,
    #[error("permission denied")]
    Denied,
}

impl Tree for Greeting {
    type Node = Place;
    type Error = Refusal;

    fn attach(&mut self, uname: &[u8], _aname: &[u8]) -> Result<(Place, Vec<u8>), Refusal> {
        Ok((Place::Root, uname.to_vec()))
    }

    fn qid(&self, place: &Place) -> Qid {
        match place {
            Place::Root => Qid {
                kind: QTDIR,
                ..Qid::default()
            },
            Place::File => Qid {
                path: 1,
                ..Qid::default()
            },
        }
    }

    fn stat(&mut self, place: &Place, now: u32) -> Result<Stat, Refusal> {
        let (name, mode, length) = match place {
            Place::Root => (&b"/"[..], DMDIR | 0o555, 0),
            Place::File => (&b"greeting"[..], 0o444, TEXT.len()),
        };
        Ok(Stat {
            qid: self.qid(place),
            mode,
            atime: now,
            mtime: now,
            length: length as u64,
            name: name.to_vec(),
            uid: b"example".to_vec(),
            gid: b"example".to_vec(),
            ..Stat::default()
        })
    }

    fn walk(&mut self, _directory: &Place, name: &[u8]) -> Result<Place, Refusal> {
        match name {
            b".." => Ok(Place::Root),
            b"greeting" => Ok(Place::File),
            _ => Err(Refusal::NotFound),
        }
    }

    fn create(&mut self, _: &Place, _: &[u8], _: u32, _: u8) -> Result<Place, Refusal> {
        Err(Refusal::Denied)
    }

    fn entries(
        &mut self,
        _directory: &Place,
        from: usize,
        now: u32,
        take: &mut dyn FnMut(&Stat) -> bool,
    ) -> Result<(), Refusal> {
        if from == 0 {
            take(&self.stat(&Place::File, now)?);
        }
        Ok(())
    }

    fn read(
        &mut self,
        _place: &Place,
        offset: u64,
        count: usize,
        _now: u32,
        out: &mut SecretBytes,
    ) -> Result<(), Refusal> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = TEXT.get(start..).unwrap_or_default();
        out.extend_from_slice(rest.get(..count).unwrap_or(rest));
        Ok(())
    }

    fn write(&mut self, _: &Place, _: u64, _: &[u8]) -> Result<u32, Refusal> {
        Err(Refusal::Denied)
    }

    fn remove(&mut self, _: &Place) -> Result<(), Refusal> {
        Err(Refusal::Denied)
    }

    fn wstat(&mut self, _: &Place, _: &Stat) -> Result<(), Refusal> {
        Err(Refusal::Denied)
    }
}

/// Instead of a socket.
struct Joined(Server<Greeting>);

impl Call for Joined {
    type Error = HangUp;

    fn call(&mut self, request: &[u8], reply: &mut SecretBytes) -> Result<(), HangUp> {
        self.0.receive(request)?;
        self.0.poll_reply(1_800_000_000, reply)?;
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut server = Server::new(Dialect::Styxservers, Greeting);
    server.set_trace(Box::new(|line| println!("{line}")));
    let mut client = Client::new(Joined(server), 8216)?;
    let root = client.attach(b"glenda", b"")?;
    for entry in client.list(&root, &[], 100)? {
        println!("there is {}", String::from_utf8_lossy(&entry.name));
    }
    let text = client.read_file(&root, &[b"greeting"], 1000)?;
    println!("it says {:?}", String::from_utf8_lossy(text.as_slice()));
    let no = client.write_file(&root, &[b"greeting"], b"bye");
    println!(
        "and: {}",
        no.map_or_else(|error| error.to_string(), |_| "it was changed".into())
    );
    Ok(())
}
