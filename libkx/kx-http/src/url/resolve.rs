//! Relative references (RFC 3986 section 5.2), with Go's ways.

use super::Url;

impl Url {
    /// What `reference` means when found in the document at `self`.
    #[must_use]
    pub fn resolve(&self, reference: &Url) -> Url {
        let mut url = reference.clone();
        if reference.scheme.is_empty() {
            url.scheme.clone_from(&self.scheme);
        }
        let has_authority = !reference.host.is_empty() || reference.user.is_some();
        if !reference.scheme.is_empty() || has_authority {
            url.set_resolved_path(&resolve_path(&reference.escaped_path(), b""));
            return url;
        }
        // Without a scheme there is no opaque part.
        if reference.path.is_empty() && !reference.force_query && reference.raw_query.is_empty() {
            url.raw_query.clone_from(&self.raw_query);
            if reference.fragment.is_empty() {
                url.fragment.clone_from(&self.fragment);
                url.raw_fragment.clone_from(&self.raw_fragment);
            }
        }
        if reference.path.is_empty() && !self.opaque.is_empty() {
            url.opaque.clone_from(&self.opaque);
            return url;
        }
        url.host.clone_from(&self.host);
        url.user.clone_from(&self.user);
        url.set_resolved_path(&resolve_path(
            &self.escaped_path(),
            &reference.escaped_path(),
        ));
        url
    }

    /// Sets a path that was put together from escaped paths and so is one.
    fn set_resolved_path(&mut self, escaped: &[u8]) {
        if self.set_path(escaped).is_err() {
            self.path = escaped.to_vec();
            self.raw_path = Vec::new();
        }
    }
}

/// The path of `reference` seen from `base`, both escaped, without `.` and `..`.
fn resolve_path(base: &[u8], reference: &[u8]) -> Vec<u8> {
    let full = if reference.is_empty() {
        base.to_vec()
    } else if reference.first() == Some(&b'/') {
        reference.to_vec()
    } else {
        let directory = base.iter().rposition(|&octet| octet == b'/');
        let length = directory.map_or(0, |at| at.saturating_add(1));
        [base.get(..length).unwrap_or_default(), reference].concat()
    };
    if full.is_empty() {
        return full;
    }
    // The parts of the result, behind its leading slash. If `full` begins with a slash the first one is empty.
    let mut parts: Vec<&[u8]> = Vec::new();
    let mut last: &[u8] = b"";
    for part in full.split(|&octet| octet == b'/') {
        last = part;
        match part {
            b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let mut path = b"/".to_vec();
    path.extend_from_slice(&parts.join(&b'/'));
    if matches!(last, b"." | b"..") {
        path.push(b'/');
    }
    if path.starts_with(b"//") {
        path.remove(0);
    }
    path
}
