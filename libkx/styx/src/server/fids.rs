//! The fids of a connection: a client's names for places in the tree.

use std::collections::HashMap;

/// A place, and what the client may do with it.
#[derive(Debug, Clone)]
pub(super) struct Fid<N> {
    pub(super) node: N,
    /// By whose name permissions are judged.
    pub(super) user: Vec<u8>,
    /// The mode, once it is open.
    pub(super) open: Option<u8>,
    /// Where the next read of a directory goes on: offset, and number of the entry.
    pub(super) listed: (u64, usize),
}

impl<N> Fid<N> {
    pub(super) fn new(node: N, user: Vec<u8>) -> Self {
        Self {
            node,
            user,
            open: None,
            listed: (0, 0),
        }
    }
}

/// No room for one more.
pub(super) struct Full;

/// All of a connection.
#[derive(Debug)]
pub(super) struct Fids<N> {
    table: HashMap<u32, Fid<N>>,
    most: usize,
}

impl<N> Fids<N> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            table: HashMap::new(),
            most,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn get(&self, fid: u32) -> Option<&Fid<N>> {
        self.table.get(&fid)
    }

    pub(super) fn get_mut(&mut self, fid: u32) -> Option<&mut Fid<N>> {
        self.table.get_mut(&fid)
    }

    pub(super) fn contains(&self, fid: u32) -> bool {
        self.table.contains_key(&fid)
    }

    /// Puts one in; what stood there before is replaced.
    pub(super) fn put(&mut self, number: u32, fid: Fid<N>) -> Result<(), Full> {
        if self.table.len() >= self.most && !self.contains(number) {
            return Err(Full);
        }
        self.table.insert(number, fid);
        Ok(())
    }

    pub(super) fn remove(&mut self, fid: u32) -> Option<Fid<N>> {
        self.table.remove(&fid)
    }
}
