//! A URL for kxc and, in the second line, where its server sends it on to.
#![no_main]
use kx_http::client;
use kx_http::server::{Connection, Limits, Step};
use kx_http::url::Url;
use libfuzzer_sys::fuzz_target;

/// The text of a URL is a URL, and the same, but for two gaps that the original has too.
fn check_text(url: &Url) {
    // A zone may hold octets that it may not hold escaped, and the other way round.
    let brackets = url.host.iter().filter(|octet| **octet == b'[').count();
    let odd_zone = brackets > 1 || (brackets == 1 && !url.host.is_ascii());
    // Where there is no host, an escaped slash in the path can come out as the begin of one.
    let odd_path = url.host.is_empty() && url.path.starts_with(b"//");
    if !odd_zone && !odd_path {
        let text = url.to_bytes();
        let again = Url::parse(&text).expect("the text of a URL");
        assert_eq!(again.to_bytes(), text);
    }
}

/// What is sent for a URL is one request with the lines that were meant and no others.
fn check_request(url: &Url, referer: Option<&[u8]>) {
    let Ok(target) = url.target() else { return };
    let request = client::get(&target, referer);
    let head = request
        .strip_suffix(b"\r\n\r\n")
        .expect("the end of the head");
    assert!(
        !head
            .iter()
            .any(|octet| octet.is_ascii_control() && !b"\r\n".contains(octet))
    );
    let breaks = head.iter().filter(|octet| b"\r\n".contains(octet)).count();
    let pairs = head.windows(2).filter(|pair| pair == b"\r\n").count();
    let more = usize::from(target.authorization.is_some()) + usize::from(referer.is_some());
    assert_eq!((breaks, pairs), (2 * (3 + more), 3 + more));

    // A server that takes it understands what was meant.
    let mut server = Connection::new(Limits::default());
    assert!(server.handle_input(&request).is_ok());
    match server.poll() {
        Step::Request(seen) => assert_eq!(seen.target, target.request_target),
        Step::Reject(_) => {}
        Step::NeedInput => panic!("the request is not whole"),
    }
}

fuzz_target!(|data: &[u8]| {
    let mut lines = data.splitn(2, |octet| *octet == b'\n');
    let first = lines.next().unwrap_or_default();
    let location = lines.next().unwrap_or_default();
    if let Ok(url) = Url::parse(first) {
        check_text(&url);
        let _ = url.to_redacted();
    }
    if let Ok(url) = Url::parse(location) {
        check_text(&url);
    }
    let Ok(url) = Url::for_key(first) else { return };
    check_request(&url, None);
    // `h:x:` is a host, and the original drops the last colon as an empty port: then `x` stands for one.
    let is_regular = Url::parse(&url.to_bytes()).is_ok();
    if let Ok(next) = url.redirect(location) {
        if is_regular {
            check_text(&next);
        }
        check_request(&next, url.referer(&next).as_deref());
    }
});
