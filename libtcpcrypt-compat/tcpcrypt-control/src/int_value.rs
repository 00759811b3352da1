//! Values that are an `int` (tcpcrypt spec 3.3).

/// The number in the value of a set request: up to four octets in native order, missing ones are
/// zero. `None` for a longer value, which is an error.
#[must_use]
pub fn int_value(data: &[u8]) -> Option<u32> {
    let mut bytes = [0; 4];
    bytes.get_mut(..data.len())?.copy_from_slice(data);
    Some(u32::from_ne_bytes(bytes))
}

/// The answer to a get request that offers `room` octets: four of them in native order, or as many
/// as there is room for. Take the first `room.min(4)`.
#[must_use]
pub fn int_bytes(number: u32, room: usize) -> ([u8; 4], usize) {
    (number.to_ne_bytes(), room.min(4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_values() {
        assert_eq!(int_value(&[]), Some(0));
        assert_eq!(int_value(&1u32.to_ne_bytes()), Some(1));
        assert_eq!(int_value(&[0; 5]), None);
        assert_eq!(int_value(&[0; 4096]), None);
        if cfg!(target_endian = "little") {
            assert_eq!(int_value(&[7]), Some(7));
            assert_eq!(int_value(&[0, 1]), Some(256));
        }
        assert_eq!(int_bytes(1, 9), (1u32.to_ne_bytes(), 4));
        assert_eq!(int_bytes(1, 2).1, 2);
        assert_eq!(int_bytes(1, 0).1, 0);
    }
}
