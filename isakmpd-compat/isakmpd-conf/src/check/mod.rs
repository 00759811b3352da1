//! `isakmpd --check`: what a configuration comes to, and what is odd about it.
//!
//! The original says nothing about a configuration until a peer asks, and then a line of the log.

mod explain;
mod finding;
mod references;
mod sections;
mod settings;
mod strength;

use std::collections::HashSet;

use ike::config::{Configuration, Phase1, Phase1Transform, Value};
use isakmp_proto::number::{ExchangeType, IkeAuth};

use crate::defaults;
use crate::host::Host;
use crate::problem::Problem;
use crate::running::Running;
use crate::store::Store;
use crate::value;
pub use finding::{Code, Finding, Severity};
use references::{References, line_of};
pub use sections::Kind;

/// What was found, and what the configuration comes to.
pub struct Report {
    /// What was found, by line; what has no line is at the end.
    pub findings: Vec<Finding>,
    /// The effective configuration, in lines of text. It has no secrets.
    pub explanation: Vec<String>,
}

impl Report {
    /// The worst of the findings.
    #[must_use]
    pub fn severity(&self) -> Option<Severity> {
        self.findings
            .iter()
            .map(|finding| finding.code.severity())
            .min()
    }

    /// The whole report as `--check` prints it; `file` is the name for the findings.
    #[must_use]
    pub fn text(&self, file: &str) -> String {
        let findings = self.findings.iter().map(|finding| finding.line(file));
        let lines = findings.chain(self.explanation.iter().cloned());
        lines.fold(String::new(), |text, line| text + &line + "\n")
    }
}

/// Looks at a configuration file.
#[must_use]
pub fn check(file: &[u8], host: &Host) -> Report {
    let (store, problems) = Store::parse(file);
    let mut references = References::of(&store);
    let mut findings = Findings::default();
    findings.grammar(&store, &problems);
    findings.unreferred(&store, &mut references);
    for dangling in &references.dangling {
        findings.dangling(dangling);
    }
    findings.settings(&store, &references, &host.interfaces);
    let running = Running::new(store, host.clone());
    findings.used(&running, &references);
    let explanation = explain::explain(&running, &references);
    let mut findings = findings.all;
    findings.sort_by_key(|finding| finding.line.unwrap_or(u32::MAX));
    Report {
        findings,
        explanation,
    }
}

#[derive(Default)]
struct Findings {
    all: Vec<Finding>,
    /// A section that is come upon twice is complained of once.
    said: HashSet<(Code, Option<u32>, String)>,
}

impl Findings {
    fn add(&mut self, code: Code, line: Option<u32>, text: impl Into<String>) {
        self.push(Finding {
            code,
            line,
            section: None,
            kind: None,
            text: text.into(),
        });
    }

    fn about(
        &mut self,
        code: Code,
        line: Option<u32>,
        section: &str,
        kind: Kind,
        text: impl Into<String>,
    ) {
        self.push(Finding {
            code,
            line,
            section: Some(section.to_owned()),
            kind: Some(kind),
            text: text.into(),
        });
    }

    fn push(&mut self, finding: Finding) {
        if self
            .said
            .insert((finding.code, finding.line, finding.text.clone()))
        {
            self.all.push(finding);
        }
    }

    /// What the original's parser says, and what it keeps to itself.
    fn grammar(&mut self, store: &Store, problems: &[Problem]) {
        for problem in problems {
            let line = problem.line();
            match problem {
                Problem::UnmatchedBracket { .. } => {
                    self.add(
                        Code::Syntax,
                        line,
                        "a section without its ']': everything up to the next section is ignored",
                    );
                }
                Problem::Syntax { .. } => self.add(
                    Code::Syntax,
                    line,
                    "neither section nor tag nor comment: ignored",
                ),
                Problem::NoSection { .. } => self.add(
                    Code::NoSection,
                    line,
                    "a tag in front of the first section: ignored",
                ),
                Problem::Unterminated { .. } => self.add(
                    Code::Unterminated,
                    line,
                    "the file does not end with a newline: its last line is ignored",
                ),
                Problem::Duplicate { section, tag, .. } if tag.is_empty() => {
                    self.indented(line, section)
                }
                Problem::Duplicate { section, tag, .. } => {
                    let first = line_of(store, section, tag)
                        .map(|line| format!(" in line {line}"))
                        .unwrap_or_default();
                    self.add(
                        Code::Duplicate,
                        line,
                        format!("[{section}]:{tag} is set{first} already: ignored"),
                    );
                }
            }
        }
        for header in store.headers() {
            let line = Some(header.lines.first);
            if header.trailing {
                self.add(
                    Code::AfterSection,
                    line,
                    format!("what follows [{}] is ignored", header.section),
                );
            }
            if header.section.trim_matches([' ', '\t']) != header.section {
                let text = format!(
                    "[{}] is another section than [{}]",
                    header.section,
                    header.section.trim()
                );
                self.add(Code::BlankInSection, line, text);
            }
        }
        for setting in store.settings() {
            let line = setting.lines.map(|lines| lines.first);
            if setting.tag.is_empty() {
                self.indented(line, setting.section);
            }
            if setting.value.contains([' ', '\t']) {
                let looks_so = |mark: &str| {
                    setting.value.contains(&format!(" {mark}"))
                        || setting.value.contains(&format!("\t{mark}"))
                };
                if looks_so("#") || looks_so(";") {
                    let text = format!(
                        "[{}]:{}: comments stand on lines of their own, here the text from the mark on is part of the value",
                        setting.section, setting.tag
                    );
                    self.add(Code::HashInValue, line, text);
                }
            }
        }
    }

    fn indented(&mut self, line: Option<u32>, section: &str) {
        self.add(
            Code::Indented,
            line,
            format!("a line that begins with a blank has no tag: ignored, in [{section}]"),
        );
    }

    /// Sections that nothing leads to, from which one more look is taken.
    fn unreferred(&mut self, store: &Store, references: &mut References) {
        let mut seen = HashSet::new();
        let sections: Vec<String> = store
            .settings()
            .into_iter()
            .map(|setting| setting.section.to_owned())
            .collect();
        for section in sections {
            if !seen.insert(section.clone()) || !references.kinds(&section).is_empty() {
                continue;
            }
            let line = store.line_of_section(&section);
            let phase = store.number(&section, "Phase", 0);
            let kind = if phase == 2 {
                self.about(
                    Code::UnlistedConnection,
                    line,
                    &section,
                    Kind::Connection,
                    format!("connection {section} is in neither list of [Phase 2]: only a command starts it"),
                );
                Kind::Connection
            } else if let Some(kind) = found_by_name(store, &section) {
                kind
            } else {
                // Its own sections are not unused because it is.
                self.add(
                    Code::UnusedSection,
                    line,
                    format!("nothing refers to [{section}]"),
                );
                match guess(store, &section) {
                    Some(kind) => kind,
                    None => continue,
                }
            };
            references.add(store, kind, &section);
        }
    }

    fn dangling(&mut self, dangling: &references::Dangling) {
        let references::Dangling {
            section,
            tag,
            to,
            kind,
            line,
        } = dangling;
        let text = if defaults::is_refused(to) {
            format!(
                "[{section}]:{tag}: {to} is single DES, which is refused without [General]:DES-compat"
            )
        } else if *kind == Kind::Connection || *kind == Kind::Peer {
            format!("[{section}]:{tag}: there is no section [{to}]")
        } else {
            format!(
                "[{section}]:{tag}: there is no section [{to}], and no {} of that name is built in",
                kind.name()
            )
        };
        self.about(Code::MissingSection, *line, section, *kind, text);
    }

    /// What the engine will say, and what others will say to it.
    fn used(&mut self, running: &Running, references: &References) {
        for (kind, section) in &references.order {
            let line = running.store().line_of_section(section);
            let failure = match kind {
                Kind::Peer => running.peer(section).err().or_else(|| {
                    self.peer(running, section, line);
                    None
                }),
                Kind::Connection => running.connection(section).err(),
                Kind::Phase1Configuration => match running.phase1(section) {
                    Ok(phase1) => {
                        self.phase1(running, &phase1);
                        None
                    }
                    Err(failure) => Some(failure),
                },
                Kind::QuickModeConfiguration => self.quick_mode(running, section).err(),
                _ => None,
            };
            if let Some(failure) = failure {
                self.about(Code::Unusable, line, section, *kind, failure.0);
            }
        }
        // Peers may ask for these: looks at their identities.
        let passive = running.passive_connections();
        let passive: HashSet<String> = passive
            .iter()
            .map(|name| name.to_ascii_lowercase())
            .collect();
        let store = running.store();
        for (kind, section) in &references.order {
            let is_listed = passive.contains(&section.to_ascii_lowercase());
            if *kind == Kind::Connection && is_listed && !store.is_defined(section, "Remote-ID") {
                let text =
                    format!("no peer can ask for {section}: without Remote-ID it is never matched");
                self.about(
                    Code::NeverUsed,
                    store.line_of_section(section),
                    section,
                    *kind,
                    text,
                );
            }
        }
    }

    fn peer(&mut self, running: &Running, section: &str, line: Option<u32>) {
        let Ok(peer) = running.peer(section) else {
            return;
        };
        let Ok(phase1) = running.phase1(&peer.configuration) else {
            return;
        };
        let with_key = phase1.transforms.iter().any(|transform| {
            transform.authentication == Some(Value::Is(IkeAuth::PRE_SHARED.0))
                || transform.authentication == Some(Value::Any)
        });
        // The key of an Aggressive exchange may be filed under the identity.
        let aggressive = phase1.exchange_type == ExchangeType::AGGRESSIVE.0;
        match &peer.authentication {
            None if with_key && !aggressive => {
                let text = format!(
                    "peer {section} has pre-shared keys in its transforms and no Authentication"
                );
                self.about(Code::NoKey, line, section, Kind::Peer, text);
            }
            Some(_) if !with_key => {
                let line = line_of(&running.store(), section, "Authentication");
                let text = format!("peer {section} has a key, and none of its transforms uses one");
                self.about(Code::NeverUsed, line, section, Kind::Peer, text);
            }
            _ => {}
        }
    }

    fn phase1(&mut self, running: &Running, phase1: &Phase1) {
        let store = running.store();
        let line = line_of(&store, &phase1.name, "Transforms")
            .or_else(|| store.line_of_section(&phase1.name));
        let aggressive = phase1.exchange_type == ExchangeType::AGGRESSIVE.0;
        for transform in &phase1.transforms {
            self.complete(&store, transform);
            let (weak, unsupported) = strength::of_phase1(transform);
            self.strength(
                &phase1.name,
                Kind::Phase1Configuration,
                &transform.name,
                line,
                &weak,
                &unsupported,
            );
            if aggressive && transform.authentication == Some(Value::Is(IkeAuth::PRE_SHARED.0)) {
                let text = format!(
                    "[{}]: Aggressive Mode with a pre-shared key lets anybody who listens guess the key",
                    phase1.name
                );
                self.about(
                    Code::AggressivePreShared,
                    line,
                    &phase1.name,
                    Kind::Phase1Configuration,
                    text,
                );
            }
        }
        let mut groups = phase1.transforms.iter().map(|transform| transform.group);
        let first = groups.next();
        if aggressive && groups.any(|group| Some(group) != first) {
            let text = format!(
                "[{}]: in Aggressive Mode all transforms must have the same group",
                phase1.name
            );
            self.about(
                Code::DifferingGroups,
                line,
                &phase1.name,
                Kind::Phase1Configuration,
                text,
            );
        }
        // What is default and unused is nobody's mistake.
        if line.is_some() && !phase1.transforms.is_empty() {
            for system in strength::refusing_phase1(&phase1.transforms) {
                let text = format!(
                    "[{}]: {system} with its defaults refuses every transform",
                    phase1.name
                );
                self.about(
                    Code::PeerRefuses,
                    line,
                    &phase1.name,
                    Kind::Phase1Configuration,
                    text,
                );
            }
        }
    }

    /// What an offer needs. The original gives up the whole exchange without a word.
    fn complete(&mut self, store: &Store, transform: &Phase1Transform) {
        let line = store.line_of_section(&transform.name);
        let needed = [
            ("ENCRYPTION_ALGORITHM", transform.encryption),
            ("HASH_ALGORITHM", transform.hash),
            ("AUTHENTICATION_METHOD", transform.authentication),
            (
                "GROUP_DESCRIPTION",
                transform.group.or(transform.group_type),
            ),
        ];
        // A section that is not there at all is a missing one.
        for (tag, _) in needed
            .iter()
            .filter(|(_, value)| value.is_none() && line.is_some())
        {
            let text = format!("[{}] has no {tag}: it cannot be offered", transform.name);
            self.about(
                Code::Unusable,
                line,
                &transform.name,
                Kind::Phase1Transform,
                text,
            );
        }
    }

    fn quick_mode(
        &mut self,
        running: &Running,
        section: &str,
    ) -> Result<(), ike::config::ConfigError> {
        let quick_mode = running.quick_mode(section)?;
        let kind = Kind::QuickModeConfiguration;
        let store = running.store();
        let line = line_of(&store, section, "Suites").or_else(|| store.line_of_section(section));
        let mut groups = HashSet::new();
        for suite in &quick_mode.suites {
            let (weak, unsupported) = strength::of_suite(suite);
            self.strength(section, kind, &suite.name, line, &weak, &unsupported);
            let transforms = suite
                .protocols
                .iter()
                .filter(|protocol| protocol.protocol != 4);
            let transforms = transforms.flat_map(|protocol| &protocol.transforms);
            groups.extend(transforms.map(|transform| match transform.group {
                Some(Value::Is(group)) => group,
                _ => 0,
            }));
        }
        if groups.len() > 1 {
            let text = format!(
                "[{section}]: all suites must have the same group for perfect forward secrecy, or none"
            );
            self.about(Code::DifferingGroups, line, section, kind, text);
        }
        if !quick_mode.suites.is_empty() {
            for system in strength::refusing_suites(&quick_mode.suites) {
                let text = format!("[{section}]: {system} with its defaults refuses every suite");
                self.about(Code::PeerRefuses, line, section, kind, text);
            }
        }
        Ok(())
    }

    fn strength(
        &mut self,
        section: &str,
        kind: Kind,
        name: &str,
        line: Option<u32>,
        weak: &[String],
        unsupported: &[String],
    ) {
        // Built-in names that nobody wrote are nobody's mistake.
        if line.is_some() && !weak.is_empty() {
            let text = format!("[{section}]: {name} is weak ({})", weak.join(", "));
            self.about(Code::Weak, line, section, kind, text);
        }
        if !unsupported.is_empty() {
            let text = format!(
                "[{section}]: {name} cannot be used ({})",
                unsupported.join(", ")
            );
            self.about(Code::Unsupported, line, section, kind, text);
        }
    }
}

/// Sections that are looked up by a name made while running.
fn found_by_name(store: &Store, section: &str) -> Option<Kind> {
    let starts = |prefix: &str| {
        section
            .split_at_checked(prefix.len())
            .is_some_and(|(start, _)| start.eq_ignore_ascii_case(prefix))
    };
    if ["ipv4/", "ipv6/", "fqdn/", "ufqdn/", "asn1_dn/"]
        .into_iter()
        .any(starts)
    {
        return Some(Kind::ModeConfig);
    }
    // What a packet without an SA makes goes by these names, and a user may write them first.
    if starts("phase1-") {
        return Some(Kind::Phase1Configuration);
    }
    if starts("phase2-") {
        return Some(Kind::QuickModeConfiguration);
    }
    if starts("from-") || starts("to-") {
        return Some(Kind::IpsecId);
    }
    if starts("peer-") && store.number(section, "Phase", 0) == 1 {
        return Some(Kind::Peer);
    }
    let tags = store.tags(section);
    (tags.len() == 1 && store.is_defined(section, "Authentication")).then_some(Kind::Key)
}

/// What an unused section seems to be.
fn guess(store: &Store, section: &str) -> Option<Kind> {
    let has = |tag: &str| store.is_defined(section, tag);
    if store.number(section, "Phase", 0) == 1 {
        Some(Kind::Peer)
    } else if has("Transforms") && has("EXCHANGE_TYPE") {
        Some(Kind::Phase1Configuration)
    } else if has("Suites") {
        Some(Kind::QuickModeConfiguration)
    } else if has("Protocols") {
        Some(Kind::Suite)
    } else if has("PROTOCOL_ID") {
        Some(Kind::Protocol)
    } else {
        None
    }
}

/// The elements of a list, and whether it has empty ones.
fn elements(text: &str) -> (Vec<String>, bool) {
    let list = value::list(text);
    (list.elements, list.empty > 0)
}
