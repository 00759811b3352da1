//! Numbers about the own process, for metrics.

use std::io;

/// Resident memory in octets, from `/proc/self/statm`.
///
/// # Errors
/// `/proc` is not there, or not as expected.
pub fn resident_octets() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages = text
        .split_ascii_whitespace()
        .nth(1)
        .and_then(|field| field.parse::<u64>().ok())
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(pages.saturating_mul(rustix::param::page_size() as u64))
}

/// Number of open descriptors, without the one used for counting.
///
/// # Errors
/// `/proc` is not there.
pub fn open_descriptors() -> io::Result<usize> {
    let mut count = 0usize;
    for entry in std::fs::read_dir("/proc/self/fd")? {
        entry?;
        count += 1;
    }
    Ok(count.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_plausible() {
        let resident = super::resident_octets().expect("/proc");
        assert!((100_000..100_000_000_000).contains(&resident), "{resident}");
        assert!(super::open_descriptors().expect("/proc") >= 3);
    }
}
