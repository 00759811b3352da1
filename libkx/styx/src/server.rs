//! The server's end of one connection: octets in, replies out, files by way of a [`Tree`].
//!
//! ```
//! # use styx::server::{Dialect, Server};
//! # use styx::message::{Request, Reply, Tmessage, NOTAG};
//! # fn run<T: styx::server::Tree>(tree: T) -> Result<(), Box<dyn std::error::Error>> {
//! let mut server = Server::new(Dialect::Styxservers, tree);
//! let mut hello = Default::default();
//! Request { tag: NOTAG, body: Tmessage::Version { msize: 8216, version: b"9P2000" } }.build(&mut hello)?;
//! server.receive(hello.as_slice())?;
//! let mut reply = Default::default();
//! while server.poll_reply(1_800_000_000, &mut reply)? {
//!     // send it, then make room for the next one
//!     reply.truncate(0);
//! }
//! # Ok(()) }
//! ```

mod dialect;
mod fids;
mod permission;
mod requests;

use std::borrow::Cow;
use std::fmt::{self, Display};

use kx_secret::SecretBytes;

pub use dialect::Dialect;
use fids::Fids;

use crate::message::{Malformed, Qid, Reply, Request, Rmessage, Stat};

/// The files that a server shows. A node is what the implementor needs to find a file again; nodes
/// are copied with fids, so they should be small.
///
/// Errors are texts for the client. Checks that the dialect makes by itself (fids, modes, offsets,
/// permission bits) are done before a method is called.
pub trait Tree {
    /// A place in the tree.
    type Node: Clone;
    /// Why something cannot be done; its `Display` goes to the client.
    type Error: Display;

    /// The root for this user, and the name by which the user's permissions are judged.
    ///
    /// # Errors
    /// The user may not come in.
    fn attach(&mut self, uname: &[u8], aname: &[u8]) -> Result<(Self::Node, Vec<u8>), Self::Error>;

    /// The identity of a file, which may be gone already.
    fn qid(&self, node: &Self::Node) -> Qid;

    /// The directory entry of a file at the time `now` (seconds since 1970).
    ///
    /// # Errors
    /// It is gone.
    fn stat(&mut self, node: &Self::Node, now: u32) -> Result<Stat, Self::Error>;

    /// The file `name` in a directory; `..` is its parent, and the root is its own.
    ///
    /// # Errors
    /// There is none of this name.
    fn walk(&mut self, directory: &Self::Node, name: &[u8]) -> Result<Self::Node, Self::Error>;

    /// A file is opened, with [`OREAD`](crate::message::OREAD) and its kin. Permission was granted.
    ///
    /// # Errors
    /// It cannot be.
    fn open(&mut self, _node: &Self::Node, _mode: u8) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Makes a file, or a directory if `perm` has [`DMDIR`](crate::message::DMDIR), and opens it.
    ///
    /// # Errors
    /// It cannot be made.
    fn create(
        &mut self,
        directory: &Self::Node,
        name: &[u8],
        perm: u32,
        mode: u8,
    ) -> Result<Self::Node, Self::Error>;

    /// Hands the entries of a directory to `take`, beginning with number `from`, until there are no
    /// more or `take` says false.
    ///
    /// # Errors
    /// The directory cannot be read.
    fn entries(
        &mut self,
        directory: &Self::Node,
        from: usize,
        now: u32,
        take: &mut dyn FnMut(&Stat) -> bool,
    ) -> Result<(), Self::Error>;

    /// Appends at most `count` octets of a file from `offset` on.
    ///
    /// # Errors
    /// It cannot be read.
    fn read(
        &mut self,
        node: &Self::Node,
        offset: u64,
        count: usize,
        now: u32,
        out: &mut SecretBytes,
    ) -> Result<(), Self::Error>;

    /// Before [`read`](Self::read): true if this request is answered later, if ever, by whoever has the
    /// connection and with [`read_reply`]; then `read` is not called.
    ///
    /// # Errors
    /// Too many wait already.
    fn wait(&mut self, _node: &Self::Node, _tag: u16) -> Result<bool, Self::Error> {
        Ok(false)
    }

    /// The client no longer wants the answer to a request that it may have been promised for later.
    fn forget(&mut self, _tag: u16) {}

    /// Writes; returns the count that the client is told.
    ///
    /// # Errors
    /// It cannot be written.
    fn write(&mut self, node: &Self::Node, offset: u64, data: &[u8]) -> Result<u32, Self::Error>;

    /// Removes a file. The fid is forgotten in any case.
    ///
    /// # Errors
    /// It cannot be removed.
    fn remove(&mut self, node: &Self::Node) -> Result<(), Self::Error>;

    /// Changes what a directory entry says.
    ///
    /// # Errors
    /// It cannot be changed.
    fn wstat(&mut self, node: &Self::Node, stat: &Stat) -> Result<(), Self::Error>;
}

/// The connection must be closed without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HangUp {
    /// What came is no request.
    #[error("bad Styx T-message format: {0}")]
    Malformed(#[from] Malformed),
    /// A message of this length was not agreed on.
    #[error("bad length in Styx message header: {0}")]
    Length(u32),
    /// More was put in than [`Server::receive`] takes before the replies are fetched.
    #[error("requests are not answered")]
    Overflow,
}

/// What one connection may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Fids in use at one time.
    pub fids: usize,
    /// Octets of requests that may wait in [`Server::receive`], besides one message.
    pub waiting: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fids: 256,
            waiting: 1 << 17,
        }
    }
}

/// Takes one line for each message.
pub type Trace = Box<dyn FnMut(&str) + Send>;

/// Appends the answer to a read that [`Tree::wait`] has put off, as a whole message.
///
/// # Errors
/// `data` is too long for one.
pub fn read_reply(tag: u16, data: &[u8], out: &mut SecretBytes) -> Result<(), Malformed> {
    let body = Rmessage::Read { data };
    Reply { tag, body }.build(out)
}

/// Octets of a message before a version was agreed on.
const FIRST_MSIZE: u32 = 8216;

/// A text for the client.
type Refusal = Cow<'static, str>;

/// The server's end of a connection.
pub struct Server<T: Tree> {
    dialect: Dialect,
    limits: Limits,
    tree: T,
    /// 0 until a version was agreed on.
    msize: u32,
    fids: Fids<T::Node>,
    input: SecretBytes,
    /// Octets at the front of `input` that are dealt with.
    done: usize,
    ended: Option<HangUp>,
    trace: Option<Trace>,
}

impl<T: Tree + fmt::Debug> fmt::Debug for Server<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("dialect", &self.dialect)
            .field("tree", &self.tree)
            .field("msize", &self.msize)
            .field("fids", &self.fids.len())
            .finish_non_exhaustive()
    }
}

impl<T: Tree> Server<T> {
    /// A server that has heard nothing yet, with the ordinary [`Limits`].
    pub fn new(dialect: Dialect, tree: T) -> Self {
        Self::with_limits(dialect, tree, Limits::default())
    }

    /// A server with limits of one's own.
    pub fn with_limits(dialect: Dialect, tree: T, limits: Limits) -> Self {
        Self {
            dialect,
            limits,
            tree,
            msize: 0,
            fids: Fids::new(limits.fids),
            input: SecretBytes::default(),
            done: 0,
            ended: None,
            trace: None,
        }
    }

    /// Has each message written as a line, as the reference's servers do: `<- ` and a request,
    /// `-> ` and a reply. Data are counted, not shown.
    pub fn set_trace(&mut self, trace: Trace) {
        self.trace = Some(trace);
    }

    /// The tree that was given.
    pub fn tree(&self) -> &T {
        &self.tree
    }

    /// The tree that was given.
    pub fn tree_mut(&mut self) -> &mut T {
        &mut self.tree
    }

    /// Octets of the longest message of this connection.
    fn longest(&self) -> u32 {
        if self.msize == 0 {
            FIRST_MSIZE
        } else {
            self.msize
        }
    }

    /// Takes what came, cut anywhere. Fetch all replies with [`poll_reply`](Self::poll_reply) before
    /// more is given.
    ///
    /// # Errors
    /// [`HangUp`], then and ever after.
    pub fn receive(&mut self, octets: &[u8]) -> Result<(), HangUp> {
        if let Some(ended) = self.ended {
            return Err(ended);
        }
        self.input.drop_front(self.done);
        self.done = 0;
        let most = usize::try_from(self.longest()).unwrap_or(usize::MAX);
        let most = most.saturating_add(self.limits.waiting);
        if self.input.len().saturating_add(octets.len()) > most {
            return self.end(HangUp::Overflow);
        }
        self.input.extend_from_slice(octets);
        Ok(())
    }

    /// Deals with the next request that is there as a whole, and appends its reply to `out`: exactly
    /// one message, or none if [`Tree::wait`] has promised it for later. False if there is no request.
    ///
    /// `now` is the time in seconds since 1970, for what files say of theirs.
    ///
    /// # Errors
    /// [`HangUp`], then and ever after. What was appended before is still to be sent.
    pub fn poll_reply(&mut self, now: u32, out: &mut SecretBytes) -> Result<bool, HangUp> {
        if let Some(ended) = self.ended {
            return Err(ended);
        }
        let waiting = self.input.as_slice().get(self.done..).unwrap_or_default();
        let Some(size) = waiting.first_chunk::<4>() else {
            return Ok(false);
        };
        let size = u32::from_le_bytes(*size);
        if size <= 4 || size > self.longest() {
            return self.end(HangUp::Length(size));
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if waiting.len() < size {
            return Ok(false);
        }
        // Taken out so that the request can be looked at while the server changes.
        let input = std::mem::take(&mut self.input);
        let end = self.done.saturating_add(size);
        let message = input.as_slice().get(self.done..end).unwrap_or_default();
        let answered = Request::parse(message)
            .map_err(HangUp::from)
            .and_then(|request| self.answer(&request, now, out));
        self.input = input;
        self.done = end;
        if self.done == self.input.len() {
            self.input.truncate(0);
            self.done = 0;
        }
        match answered {
            Ok(()) => Ok(true),
            Err(reason) => self.end(reason),
        }
    }

    fn end<V>(&mut self, reason: HangUp) -> Result<V, HangUp> {
        self.ended = Some(reason);
        self.input.truncate(0);
        self.done = 0;
        Err(reason)
    }

    fn answer(
        &mut self,
        request: &Request<'_>,
        now: u32,
        out: &mut SecretBytes,
    ) -> Result<(), HangUp> {
        if let Some(trace) = &mut self.trace {
            trace(&format!("<- {request}"));
        }
        let mut data = SecretBytes::default();
        let text;
        let body = match self.request(request, now, &mut data)? {
            Ok(Some(body)) => body,
            Ok(None) => return Ok(()),
            Err(refusal) => {
                text = self.dialect.shortened(refusal.as_bytes()).into_owned();
                Rmessage::Error { ename: &text }
            }
        };
        let reply = Reply {
            tag: request.tag,
            body,
        };
        self.send(reply, out)
    }

    /// Appends a reply, or the dialect's excuse if it is longer than agreed.
    fn send(&mut self, reply: Reply<'_>, out: &mut SecretBytes) -> Result<(), HangUp> {
        let start = out.len();
        let longest = usize::try_from(self.longest()).unwrap_or(usize::MAX);
        let fits = reply.build(out).is_ok() && out.len().saturating_sub(start) <= longest;
        let reply = if fits {
            reply
        } else {
            out.truncate(start);
            let ename = self.dialect.reply_too_long().as_bytes();
            let reply = Reply {
                tag: reply.tag,
                body: Rmessage::Error { ename },
            };
            reply.build(out)?;
            reply
        };
        if let Some(trace) = &mut self.trace {
            trace(&format!("-> {reply}"));
        }
        Ok(())
    }
}
