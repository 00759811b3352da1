//! Stand-in until tcpcrypt_proto::endpoint is there.
use std::time::Instant;
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Out,
    In,
}
pub enum Verdict {
    Accept,
    Replace,
    Drop,
}
pub struct Event {
    pub level: u8,
}
impl std::fmt::Display for Event {
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Ok(())
    }
}
#[derive(Clone, Copy)]
pub struct ClientId(pub u64);
pub struct Endpoint;
impl Endpoint {
    pub fn handle_packet(
        &mut self,
        _now: Instant,
        _d: Direction,
        _p: &[u8],
        _out: &mut Vec<u8>,
    ) -> Verdict {
        Verdict::Accept
    }
    pub fn poll_transmit(&mut self, _out: &mut Vec<u8>) -> Option<Direction> {
        None
    }
    pub fn handle_control(&mut self, _now: Instant, _c: ClientId, _d: &[u8]) {}
    pub fn poll_control(&mut self, _out: &mut Vec<u8>) -> Option<ClientId> {
        None
    }
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }
    pub fn handle_timeout(&mut self, _now: Instant) {}
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }
    pub fn shutdown(&mut self) {}
}
