//! Building and parsing are each other's inverse, for every message.

use kx_secret::SecretBytes;
use proptest::collection::vec;
use proptest::prelude::*;
use styx::message::{Qid, Reply, Request, Rmessage, Stat, Tmessage};

fn octets() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..40)
}

fn qid() -> impl Strategy<Value = Qid> {
    (any::<u8>(), any::<u32>(), any::<u64>()).prop_map(|(kind, version, path)| Qid {
        kind,
        version,
        path,
    })
}

prop_compose! {
    fn stat()(
        (kind, device, qid) in (any::<u16>(), any::<u32>(), qid()),
        (mode, atime, mtime, length) in (any::<u32>(), any::<u32>(), any::<u32>(), any::<u64>()),
        (name, uid, gid, muid) in (octets(), octets(), octets(), octets()),
    ) -> Stat {
        Stat { kind, device, qid, mode, atime, mtime, length, name, uid, gid, muid }
    }
}

/// The parts that requests borrow, and which request to make of them.
#[derive(Debug, Clone)]
struct Parts {
    which: u8,
    numbers: (u32, u32, u64, u8, u16),
    texts: Vec<Vec<u8>>,
}

impl Parts {
    fn text(&self, at: usize) -> &[u8] {
        self.texts.get(at).map_or(&[], Vec::as_slice)
    }

    fn request(&self) -> Request<'_> {
        let (one, two, long, mode, tag) = self.numbers;
        let body = match self.which % 13 {
            0 => Tmessage::Version {
                msize: one,
                version: self.text(0),
            },
            1 => Tmessage::Auth {
                afid: one,
                uname: self.text(0),
                aname: self.text(1),
            },
            2 => Tmessage::Attach {
                fid: one,
                afid: two,
                uname: self.text(0),
                aname: self.text(1),
            },
            3 => Tmessage::Flush {
                oldtag: u16::from(mode),
            },
            4 => Tmessage::Walk {
                fid: one,
                newfid: two,
                names: self.texts.iter().map(Vec::as_slice).collect(),
            },
            5 => Tmessage::Open { fid: one, mode },
            6 => Tmessage::Create {
                fid: one,
                name: self.text(0),
                perm: two,
                mode,
            },
            7 => Tmessage::Read {
                fid: one,
                offset: long,
                count: two,
            },
            8 => Tmessage::Write {
                fid: one,
                offset: long,
                data: self.text(0),
            },
            9 => Tmessage::Clunk { fid: one },
            10 => Tmessage::Remove { fid: one },
            11 => Tmessage::Stat { fid: one },
            _ => Tmessage::Wstat {
                fid: one,
                stat: self.text(0),
            },
        };
        Request { tag, body }
    }

    fn reply(&self, qids: &[Qid], stat: &Stat) -> Reply<'_> {
        let (one, _, _, _, tag) = self.numbers;
        let qid = qids.first().copied().unwrap_or_default();
        let body = match self.which % 14 {
            0 => Rmessage::Version {
                msize: one,
                version: self.text(0),
            },
            1 => Rmessage::Auth { qid },
            2 => Rmessage::Attach { qid },
            3 => Rmessage::Flush,
            4 => Rmessage::Walk {
                qids: qids.to_vec(),
            },
            5 => Rmessage::Open { qid, iounit: one },
            6 => Rmessage::Create { qid, iounit: one },
            7 => Rmessage::Read { data: self.text(0) },
            8 => Rmessage::Write { count: one },
            9 => Rmessage::Clunk,
            10 => Rmessage::Remove,
            11 => Rmessage::Stat { stat: stat.clone() },
            12 => Rmessage::Wstat,
            _ => Rmessage::Error {
                ename: self.text(0),
            },
        };
        Reply { tag, body }
    }
}

prop_compose! {
    fn parts()(
        which in any::<u8>(),
        numbers in any::<(u32, u32, u64, u8, u16)>(),
        texts in vec(octets(), 0..=16),
    ) -> Parts {
        Parts { which, numbers, texts }
    }
}

proptest! {
    #[test]
    fn requests_come_back(parts in parts()) {
        let request = parts.request();
        let mut built = SecretBytes::default();
        request.build(&mut built).expect("short fields");
        prop_assert_eq!(Request::parse(built.as_slice()), Ok(request));
    }

    #[test]
    fn replies_come_back(parts in parts(), qids in vec(qid(), 0..=16), stat in stat()) {
        let reply = parts.reply(&qids, &stat);
        let mut built = SecretBytes::default();
        reply.build(&mut built).expect("short fields");
        prop_assert_eq!(Reply::parse(built.as_slice()), Ok(reply));
    }

    /// A message with one octet changed is another message or none, and what is a message can be built.
    #[test]
    fn changed_messages_are_never_misread(
        parts in parts(),
        qids in vec(qid(), 0..=16),
        stat in stat(),
        (at, change) in (any::<prop::sample::Index>(), 1u8..),
    ) {
        for (build_reply, original) in [
            (false, { let mut b = SecretBytes::default(); parts.request().build(&mut b).expect("built"); b }),
            (true, { let mut b = SecretBytes::default(); parts.reply(&qids, &stat).build(&mut b).expect("built"); b }),
        ] {
            let mut octets = original.as_slice().to_vec();
            let at = at.index(octets.len());
            octets[at] ^= change;
            let mut again = SecretBytes::default();
            if build_reply {
                if let Ok(reply) = Reply::parse(&octets) {
                    reply.build(&mut again).expect("was built before");
                    prop_assert_eq!(again.as_slice(), &octets);
                }
            } else if let Ok(request) = Request::parse(&octets) {
                request.build(&mut again).expect("was built before");
                prop_assert_eq!(again.as_slice(), &octets);
            }
        }
    }

    #[test]
    fn any_octets(octets in vec(any::<u8>(), 0..200)) {
        let _ = Request::parse(&octets);
        let _ = Reply::parse(&octets);
        let _ = Stat::parse(&octets);
        let _ = Stat::parse_all(&octets);
    }

    #[test]
    fn entries_come_back(entries in vec(stat(), 0..5)) {
        let mut built = SecretBytes::default();
        for entry in &entries {
            let before = built.len();
            entry.build(&mut built).expect("short names");
            prop_assert_eq!(Some(built.len() - before), entry.wire_len());
        }
        prop_assert_eq!(Stat::parse_all(built.as_slice()), Ok(entries));
    }
}
