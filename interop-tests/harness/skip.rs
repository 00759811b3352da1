//! Skipped tests are told, never silent.

/// Says on stderr that the calling test did not run, and why.
///
/// With `CI=true` a skip is a failure unless `interop-tests/SKIPS.md` names it: a line that
/// holds `name` in back quotes.
pub fn skip(name: &str, reason: &str) {
    eprintln!("SKIPPED {name}: {reason}");
    if std::env::var("CI").is_ok_and(|v| v == "true") {
        let list = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("SKIPS.md");
        let text = std::fs::read_to_string(list).unwrap_or_default();
        assert!(
            text.contains(&format!("`{name}`")),
            "{name} was skipped ({reason}) and interop-tests/SKIPS.md does not list it"
        );
    }
}
