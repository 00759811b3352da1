//! Which authinfo file is for which server (keysrv spec 14.3).

use std::path::PathBuf;

use crate::paths::Paths;

/// What is known of the server, or the name of the key itself. Attributes that are not known are
/// ignored, as in the original.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeySpec {
    /// `key`: a path, or a name in the keyring; nothing else counts then.
    pub key: Option<String>,
    /// `server`: an address, maybe with its network in front (`tcp!host`).
    pub server: Option<String>,
    /// `service`: its name.
    pub service: Option<String>,
    /// `dom`: a domain of authentication.
    pub domain: Option<String>,
}

impl KeySpec {
    /// Of `name=value` pairs with blanks between them; values may stand in single quotes, doubled
    /// ones being part of them.
    #[must_use]
    pub fn parse(text: &str) -> KeySpec {
        let mut spec = KeySpec::default();
        for word in words(text) {
            let Some((name, value)) = word.split_once('=') else {
                continue;
            };
            let place = match name {
                "key" => &mut spec.key,
                "server" => &mut spec.server,
                "service" => &mut spec.service,
                "dom" => &mut spec.domain,
                _ => continue,
            };
            // The first of a name counts.
            if place.is_none() && !value.is_empty() {
                *place = Some(value.to_owned());
            }
        }
        spec
    }

    /// The file that fits best of those that are there; if there is none, where it should be.
    #[must_use]
    pub fn file(&self, paths: &Paths) -> PathBuf {
        if let Some(key) = &self.key {
            if ["/", "./", "../"]
                .iter()
                .any(|start| key.starts_with(start))
            {
                return PathBuf::from(key);
            }
            return paths.keyring().join(key);
        }
        let names = self.candidates();
        let files = names.iter().map(|name| paths.keyring().join(name));
        let found = files.clone().find(|file| file.exists());
        let unadorned = || {
            let (_, address) = self.address();
            paths.keyring().join(address.unwrap_or("default"))
        };
        found.unwrap_or_else(unadorned)
    }

    fn address(&self) -> (&str, Option<&str>) {
        let mut parts = self
            .server
            .as_deref()
            .unwrap_or_default()
            .split('!')
            .filter(|part| !part.is_empty());
        match (parts.next(), parts.next()) {
            (Some(network), Some(address)) => (network, Some(address)),
            (address, _) => ("net", address),
        }
    }

    /// Names in the keyring, the most particular first.
    fn candidates(&self) -> Vec<String> {
        let mut names: Vec<String> = self.domain.iter().cloned().collect();
        let (network, address) = self.address();
        if let Some(address) = address.filter(|&address| address != "default") {
            let networks = match network {
                "net" => vec!["net", "tcp"],
                network => vec![network],
            };
            if let Some(service) = &self.service {
                for network in &networks {
                    names.push(format!("{network}!{address}!{service}"));
                }
            }
            for network in &networks {
                names.push(format!("{network}!{address}"));
            }
            names.push(address.to_owned());
        }
        names.push("default".to_owned());
        // They are names of files in one directory.
        names.retain(|name| !name.contains('/') && name != "." && name != "..");
        names
    }
}

fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.chars().peekable();
    while rest.peek().is_some() {
        let mut word = String::new();
        let mut quoted = false;
        while let Some(letter) = rest.next() {
            if letter == '\'' {
                match quoted && rest.next_if_eq(&'\'').is_some() {
                    true => word.push('\''),
                    false => quoted = !quoted,
                }
            } else if letter.is_whitespace() && !quoted {
                break;
            } else {
                word.push(letter);
            }
        }
        if !word.is_empty() {
            words.push(word);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_particular_file_wins() {
        let root = tempfile::tempdir().expect("directory");
        let paths = Paths::new(root.path(), "alice");
        std::fs::create_dir_all(paths.keyring()).expect("directory");
        let spec = KeySpec::parse("proto=infauth server=host service=infkey dom=example");
        let name = |spec: &KeySpec| {
            let file = spec.file(&paths);
            let name = file.strip_prefix(paths.keyring()).expect("in the keyring");
            name.to_str().expect("text").to_owned()
        };
        assert_eq!(name(&spec), "host", "where it should be");
        for file in [
            "default",
            "host",
            "tcp!host",
            "net!host",
            "tcp!host!infkey",
            "net!host!infkey",
            "example",
        ] {
            std::fs::write(paths.keyring().join(file), "").expect("file");
            assert_eq!(name(&spec), file);
        }
        assert_eq!(name(&KeySpec::parse("server=tcp!host")), "tcp!host");
        assert_eq!(name(&KeySpec::parse("server=other")), "default");
        assert_eq!(name(&KeySpec::parse("")), "default");
        assert_eq!(name(&KeySpec::parse("dom=../../x")), "default");
    }

    #[test]
    fn a_named_key_is_that_key() {
        let paths = Paths::new("/r", "alice");
        for (text, expected) in [
            ("key=default server=h", "/r/usr/alice/keyring/default"),
            ("key=/a/b", "/a/b"),
            ("key=./b", "./b"),
            ("key=../b", "../b"),
            ("key='a b''c' key=second", "/r/usr/alice/keyring/a b'c"),
        ] {
            let file = KeySpec::parse(text).file(&paths);
            assert_eq!(file, PathBuf::from(expected));
        }
    }
}
