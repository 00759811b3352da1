//! The page itself: what it shows of the examples is what they are, and what it links and quotes exists.

use std::fs;
use std::path::{Path, PathBuf};

use interop_tests::subject::workspace;

use super::sources;

fn docs() -> PathBuf {
    workspace().join("docs")
}

/// A fenced block of the page and the last file that is linked in front of it.
struct Block {
    language: String,
    file: Option<PathBuf>,
    text: String,
}

/// Targets of the links in a line of Markdown.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(')')?.0))
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let (mut file, mut open): (Option<PathBuf>, Option<Block>) = (None, None);
    for line in page.lines() {
        match (open.take(), line.strip_prefix("```")) {
            (None, Some(language)) => {
                open = Some(Block {
                    language: language.to_owned(),
                    file: file.clone(),
                    text: String::new(),
                });
            }
            (Some(block), Some(_)) => blocks.push(block),
            (Some(mut block), None) => {
                block.text += line;
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) => {
                if let Some(link) = links(line).last() {
                    file = Some(docs().join(link));
                }
            }
        }
    }
    assert!(open.is_none(), "a block without an end");
    blocks
}

#[test]
fn the_page_shows_the_examples_as_they_are() {
    let page = fs::read_to_string(docs().join("tcpcrypt.md")).expect("the page");
    for link in page
        .lines()
        .flat_map(links)
        .filter(|l| !l.starts_with("http"))
    {
        let path = link.split('#').next().unwrap_or_default();
        assert!(docs().join(path).exists(), "a link to nothing: {link}");
    }
    let mut shown = Vec::new();
    for block in blocks(&page) {
        if !["c", "rust"].contains(&block.language.as_str()) {
            continue;
        }
        let file = block.file.expect("a link in front of the first block");
        let text = fs::read_to_string(&file).expect("an example");
        let is_there = text.starts_with(&block.text) || text.contains(&format!("\n{}", block.text));
        assert!(
            is_there,
            "{} has no such lines:\n{}",
            file.display(),
            block.text
        );
        shown.push(file);
    }
    for name in ["connection", "password", "key"] {
        for extension in ["c", "rs"] {
            let file = sources().join(format!("{name}.{extension}"));
            assert!(shown.contains(&file), "{} is not shown", file.display());
        }
    }
}

/// Lines of the log, quoted in the first column of a table, are lines of the program.
#[test]
fn the_page_quotes_lines_of_the_log_that_exist() {
    let page = fs::read_to_string(docs().join("tcpcrypt.md")).expect("the page");
    let table = page.split_once("| line of the log |").expect("the table").1;
    let quoted = table
        .lines()
        .skip(2)
        .take_while(|row| row.starts_with('|'))
        .flat_map(|row| {
            row.split('|')
                .nth(1)
                .unwrap_or_default()
                .split('`')
                .skip(1)
                .step_by(2)
        });
    let mut sources = String::new();
    let crates = workspace().join("libtcpcrypt-compat");
    for part in ["tcpcryptd/src", "tcpcrypt-proto/src"] {
        read_below(&crates.join(part), &mut sources);
    }
    let mut count = 0;
    for line in quoted {
        count += 1;
        assert!(sources.contains(line), "no such line: {line}");
    }
    assert!(count > 5, "{count} lines in the table");
}

fn read_below(dir: &Path, text: &mut String) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read_below(&path, text);
        } else if path.extension().is_some_and(|e| e == "rs") {
            *text += &fs::read_to_string(&path).expect("a source");
        }
    }
}
