//! Extended regular expressions: pattern, NUL, text.
#![no_main]
use keynote::regex::{Regex, RegexError};
use libfuzzer_sys::fuzz_target;

const WORK: u64 = 2_000_000;

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(2, |octet| *octet == 0);
    let (pattern, text) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let Ok(regex) = Regex::new(pattern) else {
        return;
    };
    let mut work = WORK;
    let found = match regex.find(text, &mut work) {
        Ok(found) => found,
        Err(error) => {
            assert_eq!(error, RegexError::OutOfWork);
            return;
        }
    };
    let Some(found) = found else { return };
    let whole = found.span(0).expect("it matched");
    assert!(whole.start <= whole.end && whole.end <= text.len());
    for group in 1..=found.groups() {
        let Some(span) = found.span(group) else {
            continue;
        };
        assert!(whole.start <= span.start && span.start <= span.end && span.end <= whole.end);
    }
    // Without anchors what surrounds the match does not matter.
    if !pattern.contains(&b'^') && !pattern.contains(&b'$') {
        let again = regex.find(&text[whole.clone()], &mut u64::from(u32::MAX));
        let again = again.expect("enough work").expect("it matched");
        assert_eq!(again.span(0), Some(0..whole.len()));
        // The leftmost: nothing matches that begins and ends before it does.
        if whole.start > 0 {
            let before = regex.find(&text[..whole.start], &mut u64::from(u32::MAX));
            let before = before.expect("enough work");
            assert!(before.is_none_or(|found| found.span(0) == Some(whole.start..whole.start)));
        }
    }
});
