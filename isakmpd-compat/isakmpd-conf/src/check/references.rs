//! Which sections are used, as what, and from where.

use std::collections::{HashMap, HashSet, VecDeque};

use super::sections::{Kind, Refers};
use crate::store::Store;
use crate::value;

/// A reference that leads nowhere.
pub(super) struct Dangling {
    pub(super) section: String,
    pub(super) tag: String,
    pub(super) to: String,
    pub(super) kind: Kind,
    pub(super) line: Option<u32>,
}

/// The sections that are used.
#[derive(Default)]
pub(super) struct References {
    /// By folded name.
    kinds: HashMap<String, Vec<Kind>>,
    /// In the order in which they were come upon, with the name that was used first.
    pub(super) order: Vec<(Kind, String)>,
    pub(super) dangling: Vec<Dangling>,
}

impl References {
    /// Goes from the sections with fixed names to all that they refer to.
    pub(super) fn of(store: &Store) -> Self {
        let mut references = Self::default();
        let mut queue = VecDeque::new();
        for kind in [
            Kind::General,
            Kind::Phase1,
            Kind::Phase2,
            Kind::X509,
            Kind::KeyNote,
        ] {
            queue.push_back((kind, kind.name().to_owned()));
        }
        references.follow(store, queue);
        references
    }

    /// Goes on from a section that is used in another way.
    pub(super) fn add(&mut self, store: &Store, kind: Kind, section: &str) {
        self.follow(store, VecDeque::from([(kind, section.to_owned())]));
    }

    /// What a section is used as.
    pub(super) fn kinds(&self, section: &str) -> &[Kind] {
        self.kinds
            .get(&section.to_ascii_lowercase())
            .map_or(&[], Vec::as_slice)
    }

    fn follow(&mut self, store: &Store, mut queue: VecDeque<(Kind, String)>) {
        while let Some((kind, section)) = queue.pop_front() {
            let kinds = self.kinds.entry(section.to_ascii_lowercase()).or_default();
            if kinds.contains(&kind) {
                continue;
            }
            kinds.push(kind);
            self.order.push((kind, section.clone()));
            let mut tags: Vec<(String, Refers)> = kind
                .tags()
                .iter()
                .map(|(tag, refers)| ((*tag).to_owned(), *refers))
                .collect();
            if kind == Kind::Phase1 {
                let addresses = store
                    .settings_of(&section)
                    .into_iter()
                    // Of a line that begins with a blank: it is told of as such.
                    .filter(|setting| !setting.tag.is_empty())
                    .map(|setting| setting.tag.to_owned());
                tags.extend(addresses.map(|tag| (tag, Refers::One(Kind::Peer))));
            }
            let mut seen = HashSet::new();
            for (tag, refers) in tags {
                let Some(value) = store.get(&section, &tag) else {
                    continue;
                };
                let (targets, target_kind) = match refers {
                    Refers::One(kind) => (vec![value.into_owned()], kind),
                    Refers::EachOrAny(_) if *value == *"ANY" => continue,
                    Refers::Each(kind) | Refers::EachOrAny(kind) => {
                        (value::list(&value).elements, kind)
                    }
                    Refers::Nothing | Refers::Words | Refers::Ignored => continue,
                };
                if !seen.insert(tag.to_ascii_lowercase()) {
                    continue;
                }
                for to in targets {
                    if store.has_section(&to) {
                        queue.push_back((target_kind, to));
                    } else {
                        self.dangling.push(Dangling {
                            section: section.clone(),
                            line: line_of(store, &section, &tag),
                            tag: tag.clone(),
                            to,
                            kind: target_kind,
                        });
                    }
                }
            }
        }
    }
}

/// Where a tag is set.
pub(super) fn line_of(store: &Store, section: &str, tag: &str) -> Option<u32> {
    store.setting(section, tag)?.lines.map(|lines| lines.first)
}
