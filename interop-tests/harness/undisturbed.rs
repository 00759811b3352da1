//! The measure of the fault tests: an ordinary client is served at once, whatever happens to
//! others.

use std::time::{Duration, Instant};

use crate::config::Config;
use crate::daemon::Kxd;
use crate::http_text::Answer;
use crate::program::run;

/// What an undisturbed client may wait for its key while another one is served slowly. Idle
/// it takes some 5 ms; this machine may be busy.
pub const PROMPT: Duration = Duration::from_secs(2);

/// A configuration with the key `k`, content `KEY`.
pub fn with_key() -> Config {
    let config = Config::new();
    config.key("k", "KEY");
    config
}

/// Fetches the key and says how long it took.
fn timed(server: &Kxd) -> (Answer, Duration) {
    let begin = Instant::now();
    let answer = server.get("/v1/k");
    (answer, begin.elapsed())
}

/// The key comes, and promptly. Whoever is really held up by others is so every time, so that
/// one prompt answer of three is enough on a busy machine.
pub fn assert_prompt(server: &Kxd, meanwhile: &str) {
    let mut times = Vec::new();
    while times.len() < 3 {
        let (answer, took) = timed(server);
        assert_eq!(answer.body, b"KEY", "{meanwhile}: {answer:?}");
        if took < PROMPT {
            return;
        }
        times.push(took);
    }
    panic!("{meanwhile}: the key took {times:?}");
}

/// True when the tests run as root.
pub fn is_root() -> bool {
    run("id", &["-u"]).stdout == b"0\n"
}
