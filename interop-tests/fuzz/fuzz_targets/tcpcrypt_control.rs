//! A datagram for the control socket, the values in it, the answers to it, and the address of the socket.
#![no_main]
use libfuzzer_sys::fuzz_target;
use tcpcrypt_control::netstat::{self, PageRequest};
use tcpcrypt_control::{
    Address, Datagram, HEADER_LEN, Header, OptionName, int_bytes, int_value, wide,
};

fuzz_target!(|data: &[u8]| {
    if let Ok(address) = Address::parse(data) {
        assert!(address.sockaddr().as_bytes().len() <= 111);
        assert_eq!(address.abstract_name().is_some(), data[0] == b'@');
        let _ = address.to_string();
    }
    list(data);
    wider(data);
    if let Some(page) = PageRequest::parse(data) {
        assert_eq!(page.to_bytes(), data);
    }
    if let Some(number) = int_value(data) {
        let (octets, len) = int_bytes(number, data.len());
        assert_eq!(octets[..len], data[..len]);
    }
    assert_eq!(Header::parse(data).is_some(), data.len() >= HEADER_LEN);
    let Ok(datagram) = Datagram::parse(data) else {
        return;
    };
    assert_eq!(datagram.data, &data[HEADER_LEN..]);
    let mut again = vec![7];
    Datagram::write(&datagram.header, datagram.data, &mut again);
    assert_eq!(Datagram::parse(&again[1..]), Ok(datagram));
    if let Some(name) = OptionName::from_number(datagram.header.optname) {
        assert_eq!(name.number(), datagram.header.optname);
    }
    for result in [Ok(&b"value"[..]), Ok(&[]), Err(22), Err(-1)] {
        let mut reply = Vec::new();
        datagram.write_reply(result, &mut reply);
        let reply = Datagram::parse(&reply).expect("a reply is a datagram");
        assert_eq!(reply.header.seq, datagram.header.seq);
        assert_eq!(reply.header.error, result.err().unwrap_or(0));
        assert_eq!(reply.data, result.unwrap_or(datagram.data));
    }
    list(datagram.data);
    wider(datagram.data);
});

/// What is read of the wider form is written so that it is read the same.
fn wider(octets: &[u8]) {
    let mut again = Vec::new();
    if let Some(request) = wide::Request::parse(octets) {
        request.write(&mut again);
        assert_eq!(again.len(), octets.len());
        assert_eq!(wide::Request::parse(&again), Some(request));
    }
    if let Some(reply) = wide::Reply::parse(octets) {
        again.clear();
        reply.write(&mut again);
        assert_eq!(wide::Reply::parse(&again), Some(reply));
        wide_list(reply.value);
    }
    wide_list(octets);
}

fn wide_list(octets: &[u8]) {
    let rows: Result<Vec<_>, _> = wide::rows(octets).collect();
    let Ok(rows) = rows else {
        return;
    };
    let mut again = Vec::new();
    for row in &rows {
        let _ = (row.details.tep_name(), row.details.cipher_name());
        assert!(wide::push(&mut again, octets.len(), row));
    }
    assert_eq!(again.len(), octets.len());
    assert!(
        wide::rows(&again)
            .map(Result::unwrap)
            .eq(rows.iter().copied())
    );
    if let Some(last) = rows.last() {
        assert!(!wide::push(&mut again, octets.len(), last), "no room");
    }
}

/// A list that is read to its end is written the same, but for the padding.
fn list(octets: &[u8]) {
    let rows: Result<Vec<_>, _> = netstat::rows(octets).collect();
    let Ok(rows) = rows else {
        return;
    };
    let mut again = Vec::new();
    for row in &rows {
        assert!(netstat::push(&mut again, 0, octets.len(), row));
    }
    assert_eq!(again.len(), octets.len());
    assert!(
        netstat::rows(&again)
            .map(Result::unwrap)
            .eq(rows.iter().copied())
    );
    if let Some(last) = rows.last() {
        assert!(!netstat::push(&mut again, 0, octets.len(), last), "no room");
    }
}
