use super::{Regex, RegexError};

fn spans(pattern: &str, text: &str) -> Option<Vec<Option<(usize, usize)>>> {
    let regex = Regex::new(pattern.as_bytes()).unwrap();
    let found = regex.find(text.as_bytes(), &mut 1_000_000).unwrap()?;
    Some(
        (0..=found.groups())
            .map(|group| found.span(group).map(|span| (span.start, span.end)))
            .collect(),
    )
}

fn whole(pattern: &str, text: &str) -> Option<(usize, usize)> {
    spans(pattern, text)?.remove(0)
}

#[test]
fn leftmost_longest() {
    for (pattern, text, expected) in [
        ("a", "bab", Some((1, 2))),
        ("a*", "baa", Some((0, 0))),
        ("a+", "baab", Some((1, 3))),
        ("a|ab|abc", "xabcd", Some((1, 4))),
        ("(a|ab)(c|bcd)(d*)", "abcd", Some((0, 4))),
        ("^b", "ab", None),
        ("b$", "abb", Some((2, 3))),
        ("^$", "", Some((0, 0))),
        ("^$", "a", None),
        ("x^|a", "a", Some((0, 1))),
        ("a$b", "a$b", None),
        (".", "\n", Some((0, 1))),
        ("a{2}", "aaa", Some((0, 2))),
        ("a{2,}", "aaaa", Some((0, 4))),
        ("a{1,2}", "aaaa", Some((0, 2))),
        ("a{0}b", "ab", Some((1, 2))),
        ("a{", "a{", Some((0, 2))),
        ("{x", "{x", Some((0, 2))),
        ("a{,2}", "a{,2}", Some((0, 5))),
        ("}]", "}]", Some((0, 2))),
        ("a?b", "b", Some((0, 1))),
        ("()", "a", Some((0, 0))),
        ("(ab)*c", "ababc", Some((0, 5))),
        ("a.*z|b", "ba--z", Some((0, 1))),
        ("(x|aaz|a)*z?b", "aaab", Some((0, 4))),
    ] {
        assert_eq!(whole(pattern, text), expected, "{pattern} in {text}");
    }
}

#[test]
fn octet_sets() {
    for (pattern, yes, no) in [
        ("^[abc]$", "a b c", "d A ^"),
        ("^[^abc]$", "d - ]", "a b c"),
        ("^[]a]$", "] a", "b ["),
        ("^[^]a]$", "b", "] a"),
        ("^[a-c]$", "a b c", "d -"),
        ("^[a-]$", "a -", "b"),
        ("^[-a]$", "a -", "b"),
        ("^[%--]$", "% + -", "a ."),
        ("^[[:digit:]x]$", "0 9 x", "y :"),
        ("^[[:alpha:]_]$", "a Z _", "0 :"),
        ("^[[.-.]a]$", "- a", "."),
        ("^[[.a.]-c]$", "a b c", "d"),
        ("^[[=a=]]$", "a", "="),
        ("^[\\n]$", "\\ n", "x"),
        ("^[a^$.*]$", "a ^ $ . *", "b"),
        ("^[[]$", "[", "]"),
        ("^\\.$", ".", "x"),
        ("^\\d$", "d", "0"),
        ("^\\1$", "1", "a"),
    ] {
        let regex = Regex::new(pattern.as_bytes()).unwrap();
        let matches = |text: &str| regex.find(text.as_bytes(), &mut 1_000).unwrap().is_some();
        assert!(yes.split(' ').all(matches), "{pattern}");
        assert!(!no.split(' ').any(matches), "{pattern}");
    }
    assert_eq!(whole("[[:space:]]+", "a \t\n"), Some((1, 4)));
    for class in [
        "alnum", "alpha", "blank", "cntrl", "graph", "lower", "print", "punct", "upper", "xdigit",
    ] {
        Regex::new(format!("[[:{class}:]]").as_bytes()).unwrap();
    }
}

#[test]
fn subexpressions() {
    let some = |from, to| Some((from, to));
    for (pattern, text, expected) in [
        (
            "^([a-z]+)\\.(.*)$",
            "gw.example.org",
            vec![some(0, 14), some(0, 2), some(3, 14)],
        ),
        (
            "(a|ab)(c|bcd)(d*)",
            "abcd",
            vec![some(0, 4), some(0, 2), some(2, 3), some(3, 4)],
        ),
        ("(a*)(a*)", "aa", vec![some(0, 2), some(0, 2), some(2, 2)]),
        ("(a?)(ab)?", "ab", vec![some(0, 2), some(0, 0), some(0, 2)]),
        ("(a)|(b)", "b", vec![some(0, 1), None, some(0, 1)]),
        ("x(a|b)*y", "xaby", vec![some(0, 4), some(2, 3)]),
        ("(a*)*", "b", vec![some(0, 0), some(0, 0)]),
        ("(a)*", "b", vec![some(0, 0), None]),
        (
            "((a)(b))c",
            "zabc",
            vec![some(1, 4), some(1, 3), some(1, 2), some(2, 3)],
        ),
        ("(a|b){2}", "ab", vec![some(0, 2), some(1, 2)]),
        ("(a*){2}", "aa", vec![some(0, 2), some(2, 2)]),
        ("(a+){1,3}b", "aaab", vec![some(0, 4), some(0, 3)]),
        (
            "(.*)-(.*)",
            "a-b-c",
            vec![some(0, 5), some(0, 3), some(4, 5)],
        ),
        ("()", "x", vec![some(0, 0), some(0, 0)]),
        ("(^a)?(b$)?", "ab", vec![some(0, 2), some(0, 1), some(1, 2)]),
        ("(aa|a)*", "aaa", vec![some(0, 3), some(2, 3)]),
    ] {
        assert_eq!(spans(pattern, text), Some(expected), "{pattern} in {text}");
    }
}

#[test]
fn refused() {
    for (pattern, error) in [
        ("(", RegexError::Parentheses),
        ("(a", RegexError::Parentheses),
        (")", RegexError::Parentheses),
        ("a)", RegexError::Parentheses),
        ("[a", RegexError::Brackets),
        ("[]", RegexError::Brackets),
        ("[[:alpha:]", RegexError::Brackets),
        ("[[:alpha", RegexError::Brackets),
        ("[[:alph:]]", RegexError::Class),
        ("[[.ab.]]", RegexError::Class),
        ("[z-a]", RegexError::Range),
        ("[[:alpha:]-z]", RegexError::Range),
        ("[a-[:alpha:]]", RegexError::Range),
        ("a{2", RegexError::Count),
        ("a{2,1}", RegexError::Count),
        ("a{256}", RegexError::Count),
        ("a{1,x}", RegexError::Count),
        ("a{99999999999999999999}", RegexError::Count),
        ("", RegexError::Empty),
        ("a|", RegexError::Empty),
        ("|a", RegexError::Empty),
        ("(a|)", RegexError::Empty),
        ("*", RegexError::Repetition),
        ("a|*", RegexError::Repetition),
        ("a**", RegexError::Repetition),
        ("a+{2}", RegexError::Repetition),
        ("{2}", RegexError::Repetition),
        ("^*", RegexError::Repetition),
        ("\\", RegexError::Backslash),
        ("a\\", RegexError::Backslash),
    ] {
        assert_eq!(
            Regex::new(pattern.as_bytes()).err(),
            Some(error),
            "{pattern}"
        );
    }
}

#[test]
fn bounds() {
    let too_big = Some(RegexError::TooBig);
    let nested = |count: usize| format!("{}a{}", "(".repeat(count), ")".repeat(count));
    assert!(Regex::new(nested(50).as_bytes()).is_ok());
    assert_eq!(Regex::new(nested(51).as_bytes()).err(), too_big);
    assert_eq!(Regex::new(&[b'('; 8000]).err(), too_big);
    assert_eq!(Regex::new(&[b'a'; 9000]).err(), too_big);
    assert_eq!(Regex::new(b"((a{255}){255}){255}").err(), too_big);
    // What makes backtracking matchers hang.
    let text = vec![b'a'; 2000];
    for pattern in [
        "(a*)*b",
        "(a|aa)+$",
        "(a?){30}a{30}",
        "(.*)(.*)(.*)(.*)(.*)(.*)x",
    ] {
        let regex = Regex::new(pattern.as_bytes()).unwrap();
        let mut work = 20_000_000;
        let _ = regex.find(&text, &mut work);
        assert_eq!(
            regex.find(&text, &mut 1000),
            Err(RegexError::OutOfWork),
            "{pattern}"
        );
    }
    assert_eq!(whole("(a*)*b", &"a".repeat(2000)), None);
}
