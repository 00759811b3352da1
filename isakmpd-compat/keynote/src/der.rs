//! As much DER as keys and signatures of KeyNote need: a SEQUENCE of INTEGERs that are not negative.

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;

/// The `N` numbers of a sequence, without leading zeros, with nothing after them. Zero is an empty number.
pub(crate) fn integers<const N: usize>(octets: &[u8]) -> Option<[Vec<u8>; N]> {
    let (mut content, after) = element(SEQUENCE, octets)?;
    if !after.is_empty() {
        return None;
    }
    let mut numbers = Vec::with_capacity(N);
    for _ in 0..N {
        let (number, rest) = element(INTEGER, content)?;
        if number.first().is_none_or(|first| first & 0x80 != 0) {
            return None;
        }
        let zeros = number.iter().take_while(|octet| **octet == 0).count();
        numbers.push(number.get(zeros..)?.to_vec());
        content = rest;
    }
    if !content.is_empty() {
        return None;
    }
    numbers.try_into().ok()
}

/// The content of the element in front and what follows it.
fn element(tag: u8, octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, octets) = octets.split_first()?;
    let (first, octets) = octets.split_first()?;
    if *found != tag {
        return None;
    }
    let (len, octets) = if *first < 0x80 {
        (usize::from(*first), octets)
    } else {
        // At most four octets of length; the minimal form only.
        let count = usize::from(*first & 0x7f);
        let (digits, octets) = octets.split_at_checked(count)?;
        if count == 0 || count > 4 || digits.first() == Some(&0) {
            return None;
        }
        let len = digits.iter().try_fold(0usize, |len, digit| {
            len.checked_mul(256)?.checked_add(usize::from(*digit))
        })?;
        if len < 0x80 {
            return None;
        }
        (len, octets)
    };
    octets.split_at_checked(len)
}

/// A sequence of numbers that are big-endian without leading zeros.
pub(crate) fn sequence(numbers: &[&[u8]]) -> Vec<u8> {
    let mut content = Vec::new();
    for number in numbers {
        let zero = number.first().is_none_or(|first| first & 0x80 != 0);
        header(
            INTEGER,
            number.len().saturating_add(usize::from(zero)),
            &mut content,
        );
        if zero {
            content.push(0);
        }
        content.extend_from_slice(number);
    }
    let mut octets = Vec::new();
    header(SEQUENCE, content.len(), &mut octets);
    octets.extend_from_slice(&content);
    octets
}

fn header(tag: u8, len: usize, into: &mut Vec<u8>) {
    into.push(tag);
    match u8::try_from(len) {
        Ok(len) if len < 0x80 => into.push(len),
        _ => {
            let digits = len.to_be_bytes();
            let zeros = digits.iter().take_while(|octet| **octet == 0).count();
            let count = digits.len().saturating_sub(zeros);
            into.push(0x80 | u8::try_from(count).unwrap_or(0));
            into.extend(digits.iter().skip(zeros));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{integers, sequence};

    #[test]
    fn round_trip() {
        for len in [1, 126, 127, 128, 255, 256, 70_000] {
            let number = vec![0xa5; len];
            let octets = sequence(&[&number, &[1], &[]]);
            assert_eq!(
                integers::<3>(&octets),
                Some([number.clone(), vec![1], vec![]]),
                "{len}"
            );
            assert!(integers::<2>(&octets).is_none());
            assert!(integers::<4>(&octets).is_none());
            for cut in [1, 2, len] {
                assert!(integers::<3>(&octets[..octets.len() - cut]).is_none());
            }
        }
    }

    #[test]
    fn other_forms() {
        // Indefinite, not minimal, too long a length.
        for octets in [
            &[0x30, 0x80, 2, 1, 1, 0, 0][..],
            &[0x30, 0x81, 3, 2, 1, 1],
            &[0x30, 0x85, 0, 0, 0, 0, 3, 2, 1, 1],
            &[0x31, 3, 2, 1, 1],
            &[0x30, 3, 3, 1, 1],
        ] {
            assert!(integers::<1>(octets).is_none(), "{octets:x?}");
        }
        assert_eq!(integers::<1>(&[0x30, 4, 2, 2, 0, 1]), Some([vec![1]]));
    }
}
