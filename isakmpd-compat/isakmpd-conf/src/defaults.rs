//! What a configuration says without being told (isakmpd-config 2 and 4).
//!
//! Nothing of it is stored: a default is worked out when it is asked for.

use std::borrow::Cow;

use crate::generated_name::{MainMode, QuickMode};

/// Where a transform or suite of the 2004 version is named that is refused by default: single DES.
pub const DES_COMPAT: (&str, &str) = ("General", "DES-compat");

/// What the configuration file says about the defaults. As in the original it counts when the file is
/// read; a change through the FIFO comes too late for them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Fed {
    /// `[General]:Default-phase-1-lifetime`
    pub(crate) phase_1_lifetime: Option<String>,
    /// `[General]:Default-phase-2-lifetime`
    pub(crate) phase_2_lifetime: Option<String>,
    /// `[General]:Default-phase-1-ID`
    pub(crate) phase_1_id: Option<String>,
    /// `[General]:GCM-PFS-compat`
    pub(crate) gcm_pfs_compat: bool,
    /// `[General]:DES-compat`
    pub(crate) des_compat: bool,
}

type Fixed = (&'static str, &'static [(&'static str, &'static str)]);

const FIXED: [Fixed; 8] = [
    (
        "General",
        &[
            ("Retransmits", "3"),
            ("Exchange-max-time", "120"),
            ("Use-Keynote", "yes"),
            ("Policy-file", "/etc/isakmpd/isakmpd.policy"),
            ("Pubkey-directory", "/etc/isakmpd/pubkeys/"),
            ("Delete-SAs", "yes"),
        ],
    ),
    (
        "X509-certificates",
        &[
            ("CA-directory", "/etc/isakmpd/ca/"),
            ("Cert-directory", "/etc/isakmpd/certs/"),
            ("Private-key", "/etc/isakmpd/private/local.key"),
            ("Private-key-directory", "/etc/isakmpd/private/"),
            ("CRL-directory", "/etc/isakmpd/crls/"),
        ],
    ),
    (
        "KeyNote",
        &[("Credential-directory", "/etc/isakmpd/keynote/")],
    ),
    // Their durations are below.
    ("LIFE_MAIN_MODE", &[("LIFE_TYPE", "SECONDS")]),
    ("LIFE_QUICK_MODE", &[("LIFE_TYPE", "SECONDS")]),
    (
        "Default-phase-1-configuration",
        &[
            ("EXCHANGE_TYPE", "ID_PROT"),
            ("Transforms", "3DES-SHA-RSA_SIG"),
        ],
    ),
    ("Phase 1", &[("Default", "Default-phase-1")]),
    // The ID is below.
    (
        "Default-phase-1",
        &[
            ("Phase", "1"),
            ("Configuration", "Default-phase-1-configuration"),
        ],
    ),
];

fn fixed(section: &str) -> Option<&'static [(&'static str, &'static str)]> {
    // Their lengths keep most names from being compared at all.
    FIXED
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(section))
        .map(|(_, tags)| *tags)
}

impl Fed {
    fn lifetime(&self, section: &str) -> Option<&str> {
        if section.eq_ignore_ascii_case("LIFE_MAIN_MODE") {
            Some(self.phase_1_lifetime.as_deref().unwrap_or("3600,60:86400"))
        } else if section.eq_ignore_ascii_case("LIFE_QUICK_MODE") {
            Some(self.phase_2_lifetime.as_deref().unwrap_or("1200,60:86400"))
        } else {
            None
        }
    }

    /// The default of a tag, both names in any case.
    pub(crate) fn get(&self, section: &str, tag: &str) -> Option<Cow<'_, str>> {
        if let Some(tags) = fixed(section) {
            if let Some((_, value)) = tags.iter().find(|(name, _)| name.eq_ignore_ascii_case(tag)) {
                return Some(Cow::Borrowed(value));
            }
            if tag.eq_ignore_ascii_case("LIFE_DURATION") {
                return self.lifetime(section).map(Cow::Borrowed);
            }
            if section.eq_ignore_ascii_case("Default-phase-1") && tag.eq_ignore_ascii_case("ID") {
                return self.phase_1_id.as_deref().map(Cow::Borrowed);
            }
            return None;
        }
        match self.generated(section)? {
            Generated::MainMode(mode) => mode.get(&tag.to_ascii_lowercase()).map(Cow::Borrowed),
            Generated::QuickMode(mode) => mode.get(&tag.to_ascii_lowercase(), self.gcm_pfs_compat),
        }
    }

    /// The tags of a section that have a default, in the original's order.
    pub(crate) fn tags(&self, section: &str) -> Vec<&'static str> {
        if let Some(tags) = fixed(section) {
            let more: &[&str] = if self.lifetime(section).is_some() {
                &["LIFE_DURATION"]
            } else if section.eq_ignore_ascii_case("Default-phase-1") && self.phase_1_id.is_some() {
                &["ID"]
            } else {
                &[]
            };
            return tags
                .iter()
                .map(|(tag, _)| *tag)
                .chain(more.iter().copied())
                .collect();
        }
        let tags: &[&'static str] = match self.generated(section) {
            Some(Generated::MainMode(_)) => &MainMode::TAGS,
            Some(Generated::QuickMode(mode)) => mode.tags(),
            None => &[],
        };
        tags.iter()
            .copied()
            .filter(|tag| self.get(section, tag).is_some())
            .collect()
    }

    fn generated(&self, section: &str) -> Option<Generated> {
        let generated = Generated::parse(section)?;
        (self.des_compat || !generated.is_des()).then_some(generated)
    }
}

/// A generated section.
enum Generated {
    MainMode(MainMode),
    QuickMode(QuickMode),
}

impl Generated {
    fn parse(section: &str) -> Option<Self> {
        MainMode::parse(section)
            .map(Self::MainMode)
            .or_else(|| QuickMode::parse(section).map(Self::QuickMode))
    }

    fn is_des(&self) -> bool {
        match self {
            Self::MainMode(mode) => mode.is_des(),
            Self::QuickMode(mode) => mode.is_des(),
        }
    }
}

/// Whether a name is that of a generated transform or suite of the 2004 version with single DES, which
/// is recognised and, without [`DES_COMPAT`], not defined.
#[must_use]
pub fn is_refused(section: &str) -> bool {
    Generated::parse(section).is_some_and(|generated| generated.is_des())
}
