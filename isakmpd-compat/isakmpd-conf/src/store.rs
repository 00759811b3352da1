//! The configuration: what is set, over what is default.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use zeroize::Zeroizing;

use crate::defaults::{self, Fed};
use crate::grammar::{self, Header, Lines};
use crate::problem::Problem;
use crate::section::{Section, Setting};
use crate::value::{self, InvalidNumber, List, OfferAccept};

/// Names compare without case, of ASCII letters only.
fn fold(name: &str) -> Box<str> {
    name.to_ascii_lowercase().into_boxed_str()
}

/// More different tags than there are in a manual; what comes after them is not shared.
const MOST_SHARED_TAGS: usize = 1000;

/// A setting, looked at.
#[derive(Clone, Copy)]
pub struct SettingRef<'a> {
    /// The section, as first spelled.
    pub section: &'a str,
    /// The tag, as spelled.
    pub tag: &'a str,
    /// The value. It may be a secret.
    pub value: &'a str,
    /// Where in the file; none if it was set later.
    pub lines: Option<Lines>,
}

/// A change of the configuration. Changes of one transaction are made together, by [`Store::commit`].
pub enum Change {
    /// Set a tag. If it has a value, refuse, or `force` the new one.
    Set {
        /// Name of the section.
        section: String,
        /// The tag.
        tag: String,
        /// The value.
        value: Zeroizing<String>,
        /// Replace what is there.
        force: bool,
    },
    /// Remove a tag, also one that is there by default.
    Remove {
        /// Name of the section.
        section: String,
        /// The tag.
        tag: String,
    },
    /// Remove all tags of a section, also those that are there by default.
    RemoveSection {
        /// Name of the section.
        section: String,
    },
}

/// The configuration. Section and tag names compare without case.
#[derive(Default)]
pub struct Store {
    sections: HashMap<Box<str>, Section>,
    /// Defaults that were removed by a transaction, by section and tag; a section whole with no tag.
    removed: HashMap<Box<str>, HashSet<Option<Box<str>>>>,
    fed: Fed,
    order: u64,
    /// Tags that were seen, to be shared.
    tags: HashSet<Rc<str>>,
    /// The headers of the file.
    headers: Vec<Header>,
    /// The line of the first header of each section.
    places: HashMap<Box<str>, u32>,
    /// The section in which the next file begins.
    current: Option<Rc<str>>,
}

impl Store {
    /// Built-in defaults only: there is no file.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a file. What is wrong with it is logged and otherwise without effect.
    #[must_use]
    pub fn parse(file: &[u8]) -> (Self, Vec<Problem>) {
        let mut store = Self::default();
        let problems = store.reload(Some(file));
        (store, problems)
    }

    /// Reads the file again, or for the first time: what was set otherwise is forgotten. Without a file only
    /// the defaults are left.
    #[must_use]
    pub fn reload(&mut self, file: Option<&[u8]>) -> Vec<Problem> {
        let current = self.current.take();
        *self = Self {
            current,
            ..Self::default()
        };
        let Some(file) = file else {
            return Vec::new();
        };
        // Defaults come after the file: they do not stand in the way of a first setting. Of duplicates the original
        // speaks when it has read the whole file.
        let mut duplicates = Vec::new();
        let current = self.current.take();
        let parsed = grammar::parse_each(file, current, &mut |one| {
            duplicates.extend(self.set(&one.section, one.tag, &one.value, Some(one.lines), false));
        });
        let mut problems = parsed.problems;
        problems.append(&mut duplicates);
        for header in &parsed.headers {
            self.places
                .entry(fold(&header.section))
                .or_insert(header.lines.first);
        }
        self.headers = parsed.headers;
        self.current = parsed.section;
        let feeds = |tag: &str| {
            self.stored("General", tag)
                .map(|setting| setting.value.to_string())
        };
        self.fed = Fed {
            phase_1_lifetime: feeds("Default-phase-1-lifetime"),
            phase_2_lifetime: feeds("Default-phase-2-lifetime"),
            phase_1_id: feeds("Default-phase-1-ID"),
            gcm_pfs_compat: feeds("GCM-PFS-compat").is_some(),
            des_compat: feeds(defaults::DES_COMPAT.1).is_some(),
        };
        problems
    }

    fn stored(&self, section: &str, tag: &str) -> Option<&Setting> {
        self.sections.get(&fold(section))?.get(tag)
    }

    fn default_value(&self, section: &str, tag: &str) -> Option<Cow<'_, str>> {
        if !self.removed.is_empty() {
            if let Some(removed) = self.removed.get(&fold(section)) {
                if removed.contains(&None) || removed.contains(&Some(fold(tag))) {
                    return None;
                }
            }
        }
        self.fed.get(section, tag)
    }

    /// The value of a tag, set or by default. Empty is a value.
    #[must_use]
    pub fn get(&self, section: &str, tag: &str) -> Option<Cow<'_, str>> {
        match self.stored(section, tag) {
            Some(setting) => Some(Cow::Borrowed(&**setting.value)),
            None => self.default_value(section, tag),
        }
    }

    /// Whether a tag has a value, whatever it is.
    #[must_use]
    pub fn is_defined(&self, section: &str, tag: &str) -> bool {
        self.get(section, tag).is_some()
    }

    /// A tag that was set, with the place where; none if it has at most a default.
    #[must_use]
    pub fn setting(&self, section: &str, tag: &str) -> Option<SettingRef<'_>> {
        let section = self.sections.get(&fold(section))?;
        let setting = section.get(tag)?;
        Some(SettingRef {
            section: &section.name,
            tag: &setting.tag,
            value: &setting.value,
            lines: setting.lines,
        })
    }

    /// A comma separated list; none if the tag has no value.
    #[must_use]
    pub fn list(&self, section: &str, tag: &str) -> Option<List> {
        self.get(section, tag).map(|value| value::list(&value))
    }

    /// A number; `default` if the tag has no value, 0 if the value is none.
    #[must_use]
    pub fn number(&self, section: &str, tag: &str, default: i32) -> i32 {
        self.get(section, tag)
            .map_or(default, |value| value::number(&value))
    }

    /// What to offer and accept; none if the tag has no value.
    ///
    /// # Errors
    /// If the value is neither `X` nor `X,Y:Z`.
    pub fn offer_accept(
        &self,
        section: &str,
        tag: &str,
    ) -> Result<Option<OfferAccept>, InvalidNumber> {
        let Some(value) = self.get(section, tag) else {
            return Ok(None);
        };
        OfferAccept::parse(&value)
            .map(Some)
            .ok_or_else(|| InvalidNumber {
                section: section.to_owned(),
                tag: tag.to_owned(),
                value: value.into_owned(),
            })
    }

    /// Whether a section has a tag, set or by default.
    #[must_use]
    pub fn has_section(&self, section: &str) -> bool {
        self.sections.contains_key(&fold(section)) || !self.default_tags(section).is_empty()
    }

    fn default_tags(&self, section: &str) -> Vec<&'static str> {
        let mut tags = self.fed.tags(section);
        tags.retain(|tag| self.default_value(section, tag).is_some());
        tags
    }

    /// The tags of a section: those set, in order, then those by default.
    #[must_use]
    pub fn tags(&self, section: &str) -> Vec<&str> {
        let mut tags: Vec<&str> = self
            .settings_of(section)
            .into_iter()
            .map(|setting| setting.tag)
            .collect();
        let defaults = self.default_tags(section);
        tags.extend(
            defaults
                .into_iter()
                .filter(|tag| self.stored(section, tag).is_none()),
        );
        tags
    }

    /// What is set in a section, in order.
    #[must_use]
    pub fn settings_of(&self, section: &str) -> Vec<SettingRef<'_>> {
        self.sections
            .get(&fold(section))
            .map_or_else(Vec::new, Vec::from)
    }

    /// Everything that is set, by section, in order.
    #[must_use]
    pub fn settings(&self) -> Vec<SettingRef<'_>> {
        let mut sections: Vec<&Section> = self.sections.values().collect();
        sections.sort_by_key(|section| section.order);
        sections.into_iter().flat_map(Vec::from).collect()
    }

    /// The section headers of the file, in order, also of sections in which nothing is set.
    #[must_use]
    pub fn headers(&self) -> &[Header] {
        &self.headers
    }

    /// The line of the file where a section is first begun.
    #[must_use]
    pub fn line_of_section(&self, section: &str) -> Option<u32> {
        self.places.get(&fold(section)).copied()
    }

    /// The running configuration as `conf_report` has it: what is not default as `[SECT]` and
    /// `TAG=<tab>VALUE`, an empty line between sections. Secrets included.
    #[must_use]
    pub fn dump(&self) -> Vec<Zeroizing<String>> {
        let mut lines: Vec<Zeroizing<String>> = Vec::new();
        let mut section = None;
        for setting in self.settings() {
            if section != Some(setting.section) {
                if section.is_some() {
                    lines.push(Zeroizing::default());
                }
                lines.push(Zeroizing::new(format!("[{}]", setting.section)));
                section = Some(setting.section);
            }
            lines.push(Zeroizing::new(format!(
                "{}=\t{}",
                setting.tag, setting.value
            )));
        }
        lines
    }

    fn next_order(&mut self) -> u64 {
        self.order = self.order.saturating_add(1);
        self.order
    }

    fn set(
        &mut self,
        section: &str,
        tag: String,
        value: &str,
        lines: Option<Lines>,
        force: bool,
    ) -> Option<Problem> {
        let order = self.next_order();
        let place = self.sections.entry(fold(section));
        let place = place.or_insert_with(|| Section::new(section, order));
        if !force && place.get(&tag).is_some() {
            return Some(Problem::Duplicate {
                line: lines.map(|lines| lines.last),
                section: section.to_owned(),
                tag,
            });
        }
        let tag = match self.tags.get(tag.as_str()) {
            Some(tag) => Rc::clone(tag),
            None => {
                let tag: Rc<str> = tag.into();
                // Addresses in [Phase 1] are nowhere else.
                if self.tags.len() < MOST_SHARED_TAGS {
                    self.tags.insert(Rc::clone(&tag));
                }
                tag
            }
        };
        let value = Zeroizing::new(value.into());
        place.insert(Setting {
            tag,
            value,
            lines,
            order,
        });
        None
    }

    /// Makes all changes of a transaction, in order. What cannot be is left out and reported.
    #[must_use]
    pub fn commit(&mut self, changes: Vec<Change>) -> Vec<Problem> {
        let mut problems = Vec::new();
        for change in changes {
            match change {
                Change::Set {
                    section,
                    tag,
                    value,
                    force,
                } => {
                    if !force && self.is_defined(&section, &tag) {
                        problems.push(Problem::Duplicate {
                            line: None,
                            section,
                            tag,
                        });
                    } else {
                        // `force` or not, nothing stands in the way any more.
                        let _ = self.set(&section, tag, &value, None, true);
                    }
                }
                Change::Remove { section, tag } => self.remove(&section, &tag),
                Change::RemoveSection { section } => self.remove_section(&section),
            }
        }
        problems
    }

    fn remove(&mut self, section: &str, tag: &str) {
        if let Entry::Occupied(mut entry) = self.sections.entry(fold(section)) {
            entry.get_mut().remove(tag);
            if entry.get().is_empty() {
                entry.remove();
            }
        }
        // A default that was set over was not there in the original: it goes with the setting.
        if self.default_value(section, tag).is_some() {
            self.removed
                .entry(fold(section))
                .or_default()
                .insert(Some(fold(tag)));
        }
    }

    fn remove_section(&mut self, section: &str) {
        self.sections.remove(&fold(section));
        if !self.default_tags(section).is_empty() {
            self.removed.insert(fold(section), HashSet::from([None]));
        }
    }
}

impl<'a> From<&'a Section> for Vec<SettingRef<'a>> {
    fn from(section: &'a Section) -> Self {
        let look = |setting: &'a Setting| SettingRef {
            section: &section.name,
            tag: &setting.tag,
            value: &setting.value,
            lines: setting.lines,
        };
        section.in_order().into_iter().map(look).collect()
    }
}
