//! A look at the settings with what is needed to understand them.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;
use std::ops::RangeInclusive;

use ike::config::{Amount, ConfigError, Value};

use crate::host::Host;
use crate::store::Store;
use crate::value::{self, EMPTY_FIELD, InvalidNumber, OfferAccept};

/// The original says these at each use; here each is said once until it was fetched.
#[derive(Default)]
pub(super) struct Warnings {
    texts: Vec<String>,
    said: HashSet<String>,
}

/// More are not kept: the first are what somebody has to look at.
const MOST_WARNINGS: usize = 100;

impl Warnings {
    fn say(&mut self, text: String) {
        if self.texts.len() < MOST_WARNINGS && !self.said.contains(&text) {
            self.said.insert(text.clone());
            self.texts.push(text);
        }
    }

    pub(super) fn take(&mut self) -> Vec<String> {
        self.said.clear();
        std::mem::take(&mut self.texts)
    }
}

pub(super) struct View<'a> {
    pub(super) store: &'a Store,
    pub(super) host: &'a Host,
    pub(super) warnings: &'a RefCell<Warnings>,
}

pub(super) fn error<T>(text: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError(text.into()))
}

impl<'a> View<'a> {
    pub(super) fn warn(&self, text: impl Into<String>) {
        self.warnings.borrow_mut().say(text.into());
    }

    pub(super) fn text(&self, section: &str, tag: &str) -> Option<Cow<'a, str>> {
        self.store.get(section, tag)
    }

    pub(super) fn owned(&self, section: &str, tag: &str) -> Option<String> {
        self.text(section, tag).map(Cow::into_owned)
    }

    pub(super) fn is_defined(&self, section: &str, tag: &str) -> bool {
        self.store.is_defined(section, tag)
    }

    pub(super) fn list(&self, section: &str, tag: &str) -> Option<Vec<String>> {
        let list = self.store.list(section, tag)?;
        if list.empty > 0 {
            self.warn(EMPTY_FIELD);
        }
        Some(list.elements)
    }

    /// Whether a `Flags` tag has a word; the words nobody knows are warned of.
    pub(super) fn flags(&self, section: &str) -> Flags {
        let mut flags = Flags::default();
        for word in self.list(section, "Flags").unwrap_or_default() {
            match word.to_ascii_lowercase().as_str() {
                "active-only" => flags.active_only = true,
                "__ondemand" => flags.on_demand = true,
                "ikecfg" => flags.ikecfg = true,
                "loose-ids" => flags.loose_ids = true,
                _ => self.warn(format!("sa_flag: attribute \"{word}\" unknown")),
            }
        }
        flags
    }

    /// A name out of a table: one that is not in it is number 0, as in the original, and `ANY` stands in upper
    /// case.
    pub(super) fn constant<N: Into<u16>>(
        &self,
        section: &str,
        tag: &str,
        from_name: impl Fn(&str) -> Option<N>,
    ) -> Option<Value> {
        let name = self.text(section, tag)?;
        Some(match from_name(&name) {
            Some(number) => Value::Is(number.into()),
            None if *name == *"ANY" => Value::Any,
            None => Value::Is(0),
        })
    }

    /// What to offer and to accept. What is no specification can still be offered, by its first number.
    pub(super) fn amount(&self, section: &str, tag: &str) -> Option<Amount> {
        let text = self.text(section, tag)?;
        if *text == *"ANY" {
            return Some(Amount::Any);
        }
        let amount = |number: i32| u32::try_from(number).ok();
        Some(match OfferAccept::parse(&text) {
            Some(spec) => match (amount(spec.offer), amount(spec.max)) {
                (Some(offer), Some(max)) => Amount::Number {
                    offer,
                    accept: amount(spec.min).unwrap_or(0)..=max,
                },
                _ => Amount::Invalid,
            },
            None => {
                self.warn(
                    InvalidNumber {
                        section: section.to_owned(),
                        tag: tag.to_owned(),
                        value: text.to_string(),
                    }
                    .to_string(),
                );
                match amount(value::number(&text)) {
                    // Nothing is between 1 and 0.
                    Some(offer) if offer > 0 => Amount::Number {
                        offer,
                        accept: RangeInclusive::new(1, 0),
                    },
                    _ => Amount::Invalid,
                }
            }
        })
    }
}

/// What `Flags` says.
#[derive(Default)]
pub(super) struct Flags {
    pub(super) active_only: bool,
    pub(super) on_demand: bool,
    pub(super) ikecfg: bool,
    pub(super) loose_ids: bool,
}
