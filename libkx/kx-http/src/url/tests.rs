use super::{ExtractError, Url};

#[test]
fn parse_errors() {
    for (text, why) in [
        (
            "kxd://h/a%b",
            r#"parse "kxd://h/a%b": invalid URL escape "%b""#,
        ),
        (
            " kxd://h",
            r#"parse " kxd://h": first path segment in URL cannot contain colon"#,
        ),
        (
            "kxd://h:abc/k",
            r#"parse "kxd://h:abc/k": invalid port ":abc" after host"#,
        ),
        (
            "kxd://lo calhost",
            r#"parse "kxd://lo calhost": invalid character " " in host name"#,
        ),
        (
            "kxd://[::1/k",
            r#"parse "kxd://[::1/k": missing ']' in host"#,
        ),
        (
            "kxd://h/\x01",
            r#"parse "kxd://h/\x01": net/url: invalid control character in URL"#,
        ),
        (
            "kxd://[zz]/k",
            r#"parse "kxd://[zz]/k": invalid host: ParseAddr("zz"): unable to parse IP"#,
        ),
        (
            "kxd://[127.0.0.1]/k",
            r#"parse "kxd://[127.0.0.1]/k": invalid IP-literal"#,
        ),
        (
            "kxd://us er@h/k",
            r#"parse "kxd://us er@h/k": net/url: invalid userinfo"#,
        ),
        (
            "kxd://%41/k",
            r#"parse "kxd://%41/k": invalid URL escape "%41""#,
        ),
        (":k", r#"parse ":k": missing protocol scheme"#),
        (
            "kxd://h/#%zz",
            r#"parse "kxd://h/#%zz": invalid URL escape "%zz""#,
        ),
        (
            "kxd://h/%#f",
            r#"parse "kxd://h/%": invalid URL escape "%""#,
        ),
    ] {
        assert_eq!(Url::parse(text.as_bytes()).unwrap_err().to_string(), why);
    }
}

#[test]
fn text_of_a_url_is_the_url() {
    for text in [
        "https://u:p%40@h:1/a%2Fb?q=%zz#f%20!'",
        "https://h",
        "https:opaque?q",
        "https:/no/host",
        "https:///k",
        "/a?",
        "//h/p",
        "./a:b",
        "*",
        "https://[fe80::1%25eth0]:1/",
    ] {
        let url = Url::parse(text.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(url.to_bytes()).unwrap(), text);
    }
}

#[test]
fn rfc_3986_section_5_4() {
    let base = Url::parse(b"http://a/b/c/d;p?q").unwrap();
    for (reference, meant) in [
        ("g:h", "g:h"),
        ("g", "http://a/b/c/g"),
        ("./g", "http://a/b/c/g"),
        ("g/", "http://a/b/c/g/"),
        ("/g", "http://a/g"),
        ("//g", "http://g"),
        ("?y", "http://a/b/c/d;p?y"),
        ("g?y", "http://a/b/c/g?y"),
        ("#s", "http://a/b/c/d;p?q#s"),
        ("g#s", "http://a/b/c/g#s"),
        ("g;x?y#s", "http://a/b/c/g;x?y#s"),
        ("", "http://a/b/c/d;p?q"),
        (".", "http://a/b/c/"),
        ("./", "http://a/b/c/"),
        ("..", "http://a/b/"),
        ("../g", "http://a/b/g"),
        ("../..", "http://a/"),
        ("../../g", "http://a/g"),
        ("../../../g", "http://a/g"),
        ("/./g", "http://a/g"),
        ("/../g", "http://a/g"),
        ("g.", "http://a/b/c/g."),
        ("..g", "http://a/b/c/..g"),
        ("./../g", "http://a/b/g"),
        ("./g/.", "http://a/b/c/g/"),
        ("g/../h", "http://a/b/c/h"),
        ("http://x/..", "http://x/"),
    ] {
        let reference_url = Url::parse(reference.as_bytes()).unwrap();
        let url = base.resolve(&reference_url).to_bytes();
        assert_eq!(String::from_utf8(url).unwrap(), meant, "{reference}");
    }
}

#[test]
fn targets_of_kxc() {
    // URL, shown URL, address, Host, request target
    for (text, display, address, host, target) in [
        ("kxd://h", "https://h:19840/v1", "h:19840", "h:19840", "/v1"),
        (
            "kxd://h/v1",
            "https://h:19840/v1/v1",
            "h:19840",
            "h:19840",
            "/v1/v1",
        ),
        (
            "HTTP://h/v1/k",
            "https://h:19840/v1/k",
            "h:19840",
            "h:19840",
            "/v1/k",
        ),
        ("kxd://h:/k", "https://h/v1/k", "h:443", "h", "/v1/k"),
        ("kxd:/k", "https://:19840/v1/k", ":19840", ":19840", "/v1/k"),
        ("kxd://", "https://:19840/v1", ":19840", ":19840", "/v1"),
        (
            "kxd://h/a b%2fé",
            "https://h:19840/v1/a%20b/%C3%A9",
            "h:19840",
            "h:19840",
            "/v1/a%20b/%C3%A9",
        ),
        (
            "kxd://h/v1/a%2fb",
            "https://h:19840/v1/a%2fb",
            "h:19840",
            "h:19840",
            "/v1/a%2fb",
        ),
        (
            "kxd://h/k?a b=é",
            "https://h:19840/v1/k?a b=é",
            "h:19840",
            "h:19840",
            "/v1/k?a b=é",
        ),
        (
            "kxd://h/k?",
            "https://h:19840/v1/k?",
            "h:19840",
            "h:19840",
            "/v1/k?",
        ),
        (
            "kxd://h/k#f",
            "https://h:19840/v1/k#f",
            "h:19840",
            "h:19840",
            "/v1/k",
        ),
        (
            "kxd://[::1]/k",
            "https://[::1]:19840/v1/k",
            "[::1]:19840",
            "[::1]:19840",
            "/v1/k",
        ),
        (
            "kxd://[fe80::1%25e]:1/k",
            "https://[fe80::1%25e]:1/v1/k",
            "[fe80::1%e]:1",
            "[fe80::1]:1",
            "/v1/k",
        ),
        (
            "kxd://hé/k",
            "https://h%C3%A9:19840/v1/k",
            "xn--h-bga:19840",
            "xn--h-bga:19840",
            "/v1/k",
        ),
        (
            "kxd://u:p%40@h:1/k",
            "https://u:***@h:1/v1/k",
            "h:1",
            "h:1",
            "/v1/k",
        ),
        (
            "kxd://a<b/k",
            "https://a<b:19840/v1/k",
            "a<b:19840",
            "",
            "/v1/k",
        ),
    ] {
        let found = Url::for_key(text.as_bytes()).unwrap().target().unwrap();
        assert_eq!(found.display, display.as_bytes(), "{text}");
        assert_eq!(found.address(), address.as_bytes(), "{text}");
        assert_eq!(found.host_header, host.as_bytes(), "{text}");
        assert_eq!(found.request_target, target.as_bytes(), "{text}");
    }
    let target = |text: &str| Url::for_key(text.as_bytes()).unwrap().target();
    let secret = target("kxd://user:p%40@h/k")
        .unwrap()
        .authorization
        .unwrap();
    assert_eq!(secret.as_slice(), b"Basic dXNlcjpwQA==");
    let nameless = target("kxd://@h/k").unwrap().authorization.unwrap();
    assert_eq!(nameless.as_slice(), b"Basic Og==");
    assert_eq!(
        target("kxd:k").unwrap_err().to_string(),
        "http: no Host in request URL"
    );
    for text in ["", "h/k", "h:1/k", "//h/k", "/k", "ftp://h/k"] {
        assert_eq!(
            Url::for_key(text.as_bytes()),
            Err(ExtractError::Scheme),
            "{text}"
        );
    }
}

#[test]
fn redirects_of_kxc() {
    let url = Url::for_key(b"kxd://u:p@h:1/d/k").unwrap();
    let next = |location: &str| url.redirect(location.as_bytes()).unwrap();
    let target = next("other").target().unwrap();
    assert_eq!(target.display, b"https://u:***@h:1/v1/d/other");
    assert!(target.authorization.is_some());
    let target = next("http://x/k").target().unwrap();
    assert_eq!(target.address(), b"x:80");
    assert!(target.authorization.is_none());
    assert_eq!(url.referer(&next("http://x/k")), None);
    assert_eq!(url.referer(&next("/k")).unwrap(), b"https://h:1/v1/d/k");
    assert_eq!(
        next("ftp://x").target().unwrap_err().to_string(),
        "unsupported protocol scheme \"ftp\""
    );
    assert_eq!(
        url.redirect(b"/%").unwrap_err().to_string(),
        "parse \"/%\": invalid URL escape \"%\""
    );
}
