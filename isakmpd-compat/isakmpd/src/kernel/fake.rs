//! A kernel for tests: it does nothing but writes down, without keys, what it was asked for.

use std::collections::HashSet;
use std::io::Write;
use std::net::SocketAddr;

use ike::kernel::{Flow, Idle, Installation, SaParameters};

use super::{Kernel, random_spi};

/// One line for each request goes to `out`.
pub struct Fake {
    out: Box<dyn Write>,
    /// Protocol and SPI of all that is allocated or installed; incoming ones are ours.
    held: HashSet<(bool, u8, u32)>,
}

impl Fake {
    /// An empty one.
    #[must_use]
    pub fn new(out: Box<dyn Write>) -> Fake {
        Fake {
            out,
            held: HashSet::new(),
        }
    }

    fn write(&mut self, line: &str) {
        // A test that cannot read its file sees it there.
        let _ = self.out.write_all(format!("{line}\n").as_bytes());
        let _ = self.out.flush();
    }
}

fn parameters(direction: &str, one: &SaParameters) -> String {
    format!(
        " {direction} {} {:08x} transform {} authentication {} keys {}+{} {}{} replay {} life {:?} {:?}",
        one.protocol,
        one.spi,
        one.transform,
        one.authentication,
        one.encryption_key.len(),
        one.authentication_key.len(),
        if one.tunnel { "tunnel" } else { "transport" },
        if one.udp_encapsulation { " udp" } else { "" },
        one.replay_window,
        one.seconds,
        one.kilobytes,
    )
}

impl Kernel for Fake {
    fn allocate_spi(&mut self, protocol: u8, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
        let spi = loop {
            let spi = random_spi(protocol)?;
            if self.held.insert((true, protocol, spi)) {
                break spi;
            }
        };
        self.write(&format!(
            "allocate {protocol} {spi:08x} {remote} -> {local}"
        ));
        Some(spi)
    }

    fn release_spi(&mut self, protocol: u8, spi: u32, _: SocketAddr, _: SocketAddr) {
        let held = self.held.remove(&(true, protocol, spi));
        self.write(&format!("release {protocol} {spi:08x} held {held}"));
    }

    fn install(&mut self, installation: &Installation) -> Result<(), String> {
        let mut line = format!(
            "install {} {} <-> {}",
            installation.name.as_deref().unwrap_or("<unnamed>"),
            installation.local,
            installation.remote
        );
        for one in &installation.incoming {
            if !self.held.contains(&(true, one.protocol, one.spi)) {
                self.write(&format!("{line} not allocated {:08x}", one.spi));
                return Err(format!("SPI {:08x} is not allocated", one.spi));
            }
            line.push_str(&parameters("in", one));
        }
        for one in &installation.outgoing {
            self.held.insert((false, one.protocol, one.spi));
            line.push_str(&parameters("out", one));
        }
        self.write(&line);
        Ok(())
    }

    fn remove(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        protocols: &[(u8, u32, u32)],
        flow: Option<&Flow>,
    ) {
        let mut line = format!("remove {local} <-> {remote}");
        for &(protocol, incoming, outgoing) in protocols {
            let held = self.held.remove(&(true, protocol, incoming));
            self.held.remove(&(false, protocol, outgoing));
            line.push_str(&format!(
                " {protocol} in {incoming:08x} out {outgoing:08x} held {held}"
            ));
        }
        if flow.is_some() {
            line.push_str(" flow");
        }
        self.write(&line);
    }

    fn move_peer(
        &mut self,
        local: SocketAddr,
        from: SocketAddr,
        to: SocketAddr,
        protocols: &[(u8, u32, u32)],
    ) {
        let mut line = format!("move {local} <-> {from} to {to}");
        for &(protocol, incoming, outgoing) in protocols {
            line.push_str(&format!(" {protocol} in {incoming:08x} out {outgoing:08x}"));
        }
        self.write(&line);
    }

    fn last_use(&mut self, protocol: u8, spi: u32, _: SocketAddr, _: SocketAddr) -> Idle {
        self.write(&format!("use {protocol} {spi:08x}"));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    #[derive(Clone, Default)]
    struct Sink(Rc<RefCell<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
            self.0.borrow_mut().extend_from_slice(octets);
            Ok(octets.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_asked_for_is_written_down() {
        let sink = Sink::default();
        let mut fake = Fake::new(Box::new(sink.clone()));
        let ends: [SocketAddr; 2] = [([192, 0, 2, 1], 500).into(), ([192, 0, 2, 2], 500).into()];
        let spi = fake.allocate_spi(3, ends[0], ends[1]).expect("an SPI");
        fake.release_spi(3, spi, ends[0], ends[1]);
        fake.remove(ends[0], ends[1], &[(3, spi, 7)], None);
        let text = String::from_utf8(sink.0.borrow().clone()).expect("text");
        let expected = format!(
            "allocate 3 {spi:08x} 192.0.2.2:500 -> 192.0.2.1:500\nrelease 3 {spi:08x} held true\n\
             remove 192.0.2.1:500 <-> 192.0.2.2:500 3 in {spi:08x} out 00000007 held false\n"
        );
        assert_eq!(text, expected);
    }
}
