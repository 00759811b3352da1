//! Nothing that a peer sends makes a machine panic, and how its octets are cut up never matters.

use kx_http::client::{Event, Limits as ClientLimits, ResponseReader};
use kx_http::router::{Parts, Route, key_path, route, route_parts};
use kx_http::server::{Connection, Limits, Response, Step};
use kx_http::url::{RequestTarget, Url};
use kx_secret::SecretBytes;
use proptest::collection::vec;
use proptest::prelude::*;

/// Pieces of which interesting input is made.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        &b"GET /v1/k HTTP/1.1\r\n"[..],
        b"POST /v1//%2e?x HTTP/1.0\n",
        b"OPTIONS * HTTP/1.1\r\n",
        b"CONNECT h:1 HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 x\r\n",
        b"HTTP/1.1 302 x\r\nLocation: /\r\n",
        b"Host: h\r\n",
        b"Connection: close\r\n",
        b"Connection: keep-alive\n",
        b"Content-Length: 3\r\n",
        b"Content-Length:\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Expect: 100-continue\r\n",
        b"Expect: tea\r\n",
        b"Trailer: a\r\n",
        b"x: y\r\n \tz\r\n",
        b" ",
        b"abc",
        b"\r\n",
        b"\r\n\r\n",
        b"\n\n",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"ffffffffffffffff\r\n",
        b"9223372036854775807",
        b":",
        b"%",
    ]);
    prop_oneof![
        8 => known.prop_map(<[u8]>::to_vec),
        1 => vec(any::<u8>(), 0..6),
    ]
}

fn input() -> impl Strategy<Value = Vec<u8>> {
    vec(fragment(), 0..14).prop_map(|parts| parts.concat())
}

/// Cuts `input` at the given places.
fn pieces<'a>(input: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
    places.extend([0, input.len()]);
    places.sort_unstable();
    places
        .windows(2)
        .map(|pair| &input[pair[0]..pair[1]])
        .collect()
}

fn serve(pieces: &[&[u8]]) -> Vec<u8> {
    let mut connection = Connection::new(Limits {
        max_head: 150,
        max_discarded_body: 8,
    });
    let mut out = SecretBytes::default();
    let mut rest = pieces.iter();
    let mut waiting = None;
    loop {
        if waiting.is_none() {
            match connection.poll() {
                Step::NeedInput => {}
                Step::Reject(reject) => {
                    out.extend_from_slice(&reject.bytes);
                    return out.as_slice().to_vec();
                }
                Step::Request(request) => {
                    out.extend_from_slice(connection.poll_interim().unwrap_or_default());
                    waiting = Some(match route(&request) {
                        Route::Response(response) => response,
                        Route::V1 { path } => match key_path(&path) {
                            Ok(key) => Response::key(key),
                            Err(error) => Response::error(406, &error.to_string()),
                        },
                    });
                }
            }
        }
        if waiting.is_some() && connection.ready_to_respond() {
            connection.respond(&waiting.take().unwrap(), "DATE", &mut out);
            if !connection.keep_alive() {
                return out.as_slice().to_vec();
            }
            continue;
        }
        match rest.next() {
            Some(piece) => connection.handle_input(piece).unwrap(),
            None => connection.handle_eof(),
        }
    }
}

fn fetch(pieces: &[&[u8]]) -> String {
    let limits = ClientLimits {
        max_head: 150,
        max_body: 20,
    };
    let mut reader = ResponseReader::new(limits);
    let mut rest = pieces.iter();
    let mut seen = String::new();
    loop {
        match reader.poll() {
            Ok(Event::NeedInput) => match rest.next() {
                Some(piece) => reader.handle_input(piece),
                None => reader.handle_eof(),
            },
            Ok(Event::Done) => return seen,
            Ok(event) => seen.push_str(&format!("{event:?}")),
            Err(error) => return format!("{seen}{error}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn server_does_not_see_the_cuts(input in input(), cuts in vec(any::<usize>(), 0..8)) {
        let whole = serve(&[&input]);
        prop_assert_eq!(&serve(&pieces(&input, &cuts)), &whole);
        let octets: Vec<&[u8]> = input.chunks(1).collect();
        prop_assert_eq!(&serve(&octets), &whole);
    }

    #[test]
    fn client_does_not_see_the_cuts(input in input(), cuts in vec(any::<usize>(), 0..8)) {
        let input = [b"HTTP/1.1 200 OK\r\n", &input[..]].concat();
        let whole = fetch(&[&input]);
        prop_assert_eq!(&fetch(&pieces(&input, &cuts)), &whole);
        let octets: Vec<&[u8]> = input.chunks(1).collect();
        prop_assert_eq!(&fetch(&octets), &whole);
    }

    #[test]
    fn text_of_a_url_parses_to_itself(text in "(kxd:|https:|[a-z]{0,2}:?)(//)?([a-z:@%\\[\\]0-9 é]{0,8})(/[ -~é]{0,12})?") {
        if let Ok(url) = Url::parse(text.as_bytes()) {
            let again = Url::parse(&url.to_bytes());
            // Without a host a path of two slashes reads as one; the original has that too.
            if !url.path.starts_with(b"//") {
                prop_assert_eq!(again.map(|url| url.to_bytes()), Ok(url.to_bytes()));
            }
            let _ = url.target();
        }
    }

    #[test]
    fn any_octets_are_no_trouble(text in vec(any::<u8>(), 0..40), other in vec(any::<u8>(), 0..40)) {
        let _ = RequestTarget::parse(&text);
        let _ = RequestTarget::parse_authority(&text);
        let _ = key_path(&text);
        let _ = Url::for_key(&text).map(|url| url.target().map(|target| target.address()));
        if let (Ok(base), Ok(reference)) = (Url::parse(&text), Url::parse(&other)) {
            let _ = base.resolve(&reference).to_redacted();
        }
    }

    #[test]
    fn redirects_lead_to_a_path_that_stays(path in "(/|\\.|a|%|\\?|é| ){0,10}", query in "[ -~é]{0,6}") {
        let parts = Parts {
            method: b"GET",
            path: path.as_bytes(),
            raw_query: Some(query.as_bytes()),
            asterisk: false,
        };
        if let Route::Response(Response { location: Some(location), .. }) = route_parts(&parts) {
            let target = RequestTarget::parse(location.as_bytes()).unwrap();
            prop_assert!(!target.path.starts_with(b"//"), "another host: {}", location);
            let next = route_parts(&Parts { path: &target.path, ..parts });
            let is_redirect = matches!(&next, Route::Response(Response { location: Some(_), .. }));
            prop_assert!(!is_redirect || target.path == b"/v1", "{} leads on", location);
        }
    }

    #[test]
    fn answers_can_be_read(
        key in vec(any::<u8>(), 0..3000),
        request in prop::sample::select(vec![
            "GET /v1/k HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /v1/k HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
            "GET /v1/k HTTP/1.0\r\n\r\n",
            "GET /v1/k HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        ]),
        step in 1usize..2000,
    ) {
        let mut connection = Connection::new(Limits::default());
        connection.handle_input(request.as_bytes()).unwrap();
        prop_assert!(matches!(connection.poll(), Step::Request(_)));
        let mut out = SecretBytes::default();
        connection.respond(&Response::key(key.clone()), "DATE", &mut out);
        let mut reader = ResponseReader::new(ClientLimits::default());
        let mut pieces = out.as_slice().chunks(step);
        let body = loop {
            match reader.poll().unwrap() {
                Event::NeedInput => match pieces.next() {
                    Some(piece) => reader.handle_input(piece),
                    None => reader.handle_eof(),
                },
                Event::Head(head) => prop_assert_eq!(head.code, 200),
                Event::Body(body) => break body,
                Event::Done => unreachable!(),
            }
        };
        prop_assert_eq!(body.as_slice(), key.as_slice());
    }
}
