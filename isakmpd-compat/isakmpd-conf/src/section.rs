//! One section of the store. Most have a handful of tags and there are ten thousands of them, so they are kept
//! small; `[Phase 1]` may have as many tags as there are peers.

use std::collections::HashMap;
use std::rc::Rc;

use zeroize::Zeroizing;

use crate::grammar::Lines;

/// One tag and its value.
pub(crate) struct Setting {
    /// As spelled. The same few words are in every section: they share one text.
    pub(crate) tag: Rc<str>,
    pub(crate) value: Zeroizing<Box<str>>,
    /// Where in the file; none if it was set later.
    pub(crate) lines: Option<Lines>,
    /// Larger is later.
    pub(crate) order: u64,
}

/// The tags of a section, at most one of a name.
enum Settings {
    Few(Vec<Setting>),
    /// By folded tag.
    Many(HashMap<Box<str>, Setting>),
}

/// Up to here a search from end to end is as fast as a table.
const FEW: usize = 16;

pub(crate) struct Section {
    /// As first spelled.
    pub(crate) name: Box<str>,
    pub(crate) order: u64,
    settings: Settings,
}

fn fold(tag: &str) -> Box<str> {
    tag.to_ascii_lowercase().into_boxed_str()
}

impl Section {
    pub(crate) fn new(name: &str, order: u64) -> Self {
        Self {
            name: name.into(),
            order,
            settings: Settings::Few(Vec::new()),
        }
    }

    pub(crate) fn get(&self, tag: &str) -> Option<&Setting> {
        match &self.settings {
            Settings::Few(few) => few
                .iter()
                .find(|setting| setting.tag.eq_ignore_ascii_case(tag)),
            Settings::Many(many) => many.get(&fold(tag)),
        }
    }

    /// Puts a setting in, in place of one of the same tag.
    pub(crate) fn insert(&mut self, setting: Setting) {
        match &mut self.settings {
            Settings::Few(few) => {
                few.retain(|other| !other.tag.eq_ignore_ascii_case(&setting.tag));
                // Vec would make room for four at once, and twice as many each time after.
                few.reserve_exact(1);
                few.push(setting);
                if few.len() > FEW {
                    let all = std::mem::take(few)
                        .into_iter()
                        .map(|setting| (fold(&setting.tag), setting));
                    self.settings = Settings::Many(all.collect());
                }
            }
            Settings::Many(many) => {
                many.insert(fold(&setting.tag), setting);
            }
        }
    }

    pub(crate) fn remove(&mut self, tag: &str) {
        match &mut self.settings {
            Settings::Few(few) => few.retain(|setting| !setting.tag.eq_ignore_ascii_case(tag)),
            Settings::Many(many) => {
                many.remove(&fold(tag));
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match &self.settings {
            Settings::Few(few) => few.is_empty(),
            Settings::Many(many) => many.is_empty(),
        }
    }

    pub(crate) fn in_order(&self) -> Vec<&Setting> {
        let mut all: Vec<&Setting> = match &self.settings {
            Settings::Few(few) => few.iter().collect(),
            Settings::Many(many) => many.values().collect(),
        };
        all.sort_by_key(|setting| setting.order);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(tag: &str, order: u64) -> Setting {
        Setting {
            tag: tag.into(),
            value: Zeroizing::new(order.to_string().into()),
            lines: None,
            order,
        }
    }

    #[test]
    fn few_and_many_behave_alike() {
        let mut section = Section::new("S", 0);
        for round in 0..3_u64 {
            for number in 0..40_u64 {
                section.insert(setting(&format!("Tag-{number}"), round * 100 + number));
                section.insert(setting("again", round * 100 + number));
                let expected = (round * 100 + number).to_string();
                assert_eq!(
                    section.get("AGAIN").map(|one| &**one.value),
                    Some(expected.as_str())
                );
                assert_eq!(
                    section
                        .get(&format!("tag-{number}"))
                        .map(|one| &**one.value),
                    Some(expected.as_str())
                );
            }
        }
        assert_eq!(section.in_order().len(), 41);
        assert!(section.in_order().is_sorted_by_key(|setting| setting.order));
        for number in 0..40 {
            section.remove(&format!("TAG-{number}"));
            assert!(section.get(&format!("Tag-{number}")).is_none());
        }
        assert!(!section.is_empty());
        section.remove("again");
        assert!(section.is_empty());
        let mut few = Section::new("S", 0);
        few.insert(setting("a", 1));
        few.insert(setting("A", 2));
        assert_eq!(few.in_order().len(), 1);
        few.remove("a");
        assert!(few.is_empty());
    }
}
