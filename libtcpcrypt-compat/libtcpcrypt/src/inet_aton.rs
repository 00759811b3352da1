//! The C library's `inet_aton`: what the original takes for an address.

use std::net::Ipv4Addr;

/// One to four numbers with dots between them, each decimal, octal (leading 0) or hexadecimal
/// (leading 0x); the last one fills the octets that are left. White space ends the address.
pub(crate) fn inet_aton(text: &[u8]) -> Option<Ipv4Addr> {
    let end = text
        .iter()
        .position(|b| matches!(b, b' ' | 0x09..=0x0d))
        .unwrap_or(text.len());
    let address = text.get(..end)?;
    let mut parts = address.split(|&b| b == b'.').peekable();
    let mut sum = 0u32;
    for shift in [24, 16, 8, 0] {
        let part = number(parts.next()?)?;
        if parts.peek().is_none() {
            // It fills this octet and those behind it.
            let limit = u32::MAX >> (24 - shift);
            return (part <= limit).then(|| Ipv4Addr::from(sum | part));
        }
        if part > 0xff {
            return None;
        }
        sum |= part << shift;
    }
    None
}

fn number(text: &[u8]) -> Option<u32> {
    let (radix, digits) = match text {
        [b'0', b'x' | b'X', digits @ ..] => (16, digits),
        [b'0', digits @ ..] if !digits.is_empty() => (8, digits),
        digits => (10, digits),
    };
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u32, |sum, &b| {
        let digit = char::from(b).to_digit(radix)?;
        sum.checked_mul(radix)?.checked_add(digit)
    })
}

#[cfg(test)]
#[allow(unsafe_code)]
mod tests {
    use std::ffi::{CString, c_char, c_int};

    use proptest::prelude::*;

    use super::*;

    unsafe extern "C" {
        #[link_name = "inet_aton"]
        fn c_inet_aton(text: *const c_char, address: *mut u32) -> c_int;
    }

    fn of_libc(text: &str) -> Option<Ipv4Addr> {
        let text = CString::new(text).unwrap();
        let mut address = 0u32;
        // SAFETY: a C string, and room for an in_addr.
        let taken = unsafe { c_inet_aton(text.as_ptr(), &raw mut address) };
        (taken != 0).then(|| Ipv4Addr::from(address.to_ne_bytes()))
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks the C library")]
    fn as_the_c_library() {
        for text in [
            "10.77.0.2",
            "10.77.2",
            "10.5000000",
            "1",
            "4294967295",
            "4294967296",
            "0",
            "0x7f.1",
            "010.1.1.1",
            "08.1.1.1",
            "1.2.3.256",
            "256.1.1.1",
            "1.2.65536",
            "1.2.65535",
            "1.16777215",
            "1.16777216",
            "",
            " 1.2.3.4",
            "1.2.3.4 x",
            "1.2.3.4x",
            "1.2.3.4.",
            "1.2.3.4.5",
            ".1",
            "1..2",
            "0x",
            "0x.1",
            "0X7F.1",
            "-1",
            "+1",
            "1.2.3.4\n",
            "00.00",
            "a.b",
            "0x100000000",
        ] {
            assert_eq!(inet_aton(text.as_bytes()), of_libc(text), "{text:?}");
        }
    }

    proptest! {
        #[test]
        #[cfg_attr(miri, ignore = "asks the C library")]
        fn any_text(text in "[0-9x. ]{0,20}") {
            prop_assert_eq!(inet_aton(text.as_bytes()), of_libc(&text));
        }

        #[test]
        #[cfg_attr(miri, ignore = "slow")]
        fn quads(address: [u8; 4]) {
            let address = Ipv4Addr::from(address);
            prop_assert_eq!(inet_aton(address.to_string().as_bytes()), Some(address));
        }
    }
}
