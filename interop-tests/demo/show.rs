//! How the demo speaks: a heading a step, commands behind `$`, answers indented.

use std::io::IsTerminal;
use std::time::Duration;

fn paint(code: &str, text: &str) -> String {
    if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// What a system is for.
pub(crate) fn title(text: &str) {
    println!("{}\n", paint("1", text));
}

/// A step, in a sentence.
pub(crate) fn step(number: u32, text: &str) {
    println!("{}", paint("1", &format!("{number}. {text}")));
}

/// A command as it would be typed.
pub(crate) fn command(line: &str) {
    println!("   {} {line}", paint("36", "$"));
}

/// What came back.
pub(crate) fn answer(text: &str) {
    for line in text.trim_end().lines() {
        println!("     {line}");
    }
}

/// What it means.
pub(crate) fn meaning(text: &str) {
    println!("   {} {text}\n", paint("32", "=>"));
}

/// What cannot be shown on this machine, and why.
pub(crate) fn skipped(why: &str) {
    println!("   {}\n", paint("33", &format!("skipped: {why}")));
}

/// The last line.
pub(crate) fn end(took: Duration) {
    println!(
        "{}",
        paint(
            "1;32",
            &format!(
                "All as it should be, in {:.1} s. Nothing is left behind.",
                took.as_secs_f64()
            )
        )
    );
}

/// The last line when a step went wrong.
pub(crate) fn failed(why: &str) {
    println!("{}", paint("1;31", &format!("The demo failed: {why}")));
}
