//! Inferno's network data base, ndb(6): as much of it as tells who the signer is and which port a
//! service has.

use std::path::Path;

/// Octets of a file at most; what comes after them is not looked at.
const LIMIT: u64 = 1 << 20;

/// Files in the order in which they are searched, below the root.
const FILES: [&str; 2] = ["lib/ndb/local", "lib/ndb/inferno"];

/// Attributes and values that belong together.
type Entry = Vec<(String, String)>;

/// What the files say.
#[derive(Debug, Clone, Default)]
pub struct Database {
    entries: Vec<Entry>,
}

impl Database {
    /// Reads `lib/ndb/local` and `lib/ndb/inferno` below the root; a file that cannot be read says
    /// nothing.
    #[must_use]
    pub fn open(root: &Path) -> Database {
        let mut database = Database::default();
        for file in FILES {
            if let Some(text) = read(&root.join(file)) {
                database.add(&text);
            }
        }
        database
    }

    /// Adds the entries of a text: one begins where a line does not begin with a blank; `#` begins a
    /// comment; values may stand in quotes, doubled ones being part of them.
    pub fn add(&mut self, text: &str) {
        let mut open = false;
        for line in text.lines() {
            let pairs = tuples(line);
            if !line.starts_with([' ', '\t']) {
                open = false;
            }
            if pairs.is_empty() {
                continue;
            }
            match self.entries.last_mut().filter(|_| open) {
                Some(entry) => entry.extend(pairs),
                None => self.entries.push(pairs),
            }
            open = true;
        }
    }

    /// The first value of an attribute, wherever it stands.
    #[must_use]
    pub fn value(&self, attribute: &str) -> Option<&str> {
        let mut pairs = self.entries.iter().flatten();
        let (_, value) = pairs.find(|(name, value)| name == attribute && !value.is_empty())?;
        Some(value)
    }

    /// The `port` of an entry that has `tcp=service`.
    #[must_use]
    pub fn tcp_port(&self, service: &str) -> Option<u16> {
        let entry = self.entries.iter().find(|entry| {
            entry
                .iter()
                .any(|(name, value)| name == "tcp" && value == service)
        })?;
        let (_, port) = entry.iter().find(|(name, _)| name == "port")?;
        port.parse().ok()
    }
}

fn read(path: &Path) -> Option<String> {
    use std::io::Read;
    let mut octets = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(LIMIT).read_to_end(&mut octets).ok()?;
    Some(String::from_utf8_lossy(&octets).into_owned())
}

/// The pairs of a line; a word without `=` is an attribute without a value.
fn tuples(line: &str) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut rest = line.chars().peekable();
    loop {
        while rest.next_if(|letter| letter.is_whitespace()).is_some() {}
        let mut name = String::new();
        while let Some(letter) =
            rest.next_if(|&letter| letter != '=' && letter != '#' && !letter.is_whitespace())
        {
            name.push(letter);
        }
        let mut value = String::new();
        if rest.next_if_eq(&'=').is_some() {
            let quote = rest.next_if(|&letter| letter == '\'' || letter == '"');
            while let Some(letter) = rest.next_if(|&letter| match quote {
                Some(_) => true,
                None => letter != '#' && !letter.is_whitespace(),
            }) {
                if Some(letter) == quote && rest.next_if_eq(&letter).is_none() {
                    break;
                }
                value.push(letter);
            }
        }
        if name.is_empty() && value.is_empty() && rest.peek().is_none_or(|&next| next == '#') {
            return pairs;
        }
        pairs.push((name, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn entries_go_on_in_indented_lines() {
        let mut database = Database::default();
        database.add(
            "# site\ndatabase=\n\tfile=/lib/ndb/local\n\ninfernosite=\n\t#dnsdomain=x\n\
             \tSIGNER=sign.example # ours\n\tsmtp='a b''c'\nSIGNER=second\n\
             tcp=inflogin port=16673 # login\ntcp=nothing\nport=5\n",
        );
        assert_eq!(database.value("SIGNER"), Some("sign.example"));
        assert_eq!(database.value("smtp"), Some("a b'c"));
        assert_eq!(database.value("dnsdomain"), None);
        assert_eq!(database.value("infernosite"), None);
        assert_eq!(database.tcp_port("inflogin"), Some(16_673));
        assert_eq!(database.tcp_port("nothing"), None);
        assert_eq!(database.tcp_port("infkey"), None);
    }

    #[test]
    fn no_files_say_nothing() {
        let root = tempfile::tempdir().expect("directory");
        assert_eq!(Database::open(root.path()).value("SIGNER"), None);
        std::fs::create_dir_all(root.path().join("lib/ndb")).expect("directory");
        std::fs::write(root.path().join("lib/ndb/local"), "x= SIGNER=\"h\"\n").expect("file");
        assert_eq!(Database::open(root.path()).value("SIGNER"), Some("h"));
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "[ -~\n\t='\"#é]{0,200}") {
            Database::default().add(&text);
        }
    }
}
