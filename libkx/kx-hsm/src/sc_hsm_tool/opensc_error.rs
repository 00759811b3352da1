//! OpenSC's errors with its texts (`sc_strerror`), and which status word is which of them.

use xkek::apdu::StatusWord;

/// What OpenSC would call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenscError {
    /// Any word that has no better name.
    #[error("Card command failed")]
    CommandFailed,
    /// 6A82.
    #[error("File not found")]
    FileNotFound,
    /// 6A83.
    #[error("Record not found")]
    RecordNotFound,
    /// 6E00.
    #[error("Unsupported CLA byte in APDU")]
    Class,
    /// 6D00.
    #[error("Unsupported INS byte in APDU")]
    Instruction,
    /// 6A80, 6A86, 6B00 and their like.
    #[error("Incorrect parameters in APDU")]
    Parameters,
    /// 67xx, 6Cxx.
    #[error("Wrong length")]
    Length,
    /// 6581.
    #[error("Card memory failure")]
    MemoryFailure,
    /// 6A81, 68xx.
    #[error("Card does not support the requested operation")]
    NotSupportedByCard,
    /// 6900, 6985, 6986.
    #[error("Not allowed")]
    NotAllowed,
    /// 6982.
    #[error("Security status not satisfied")]
    Security,
    /// 6983.
    #[error("Authentication method blocked")]
    Blocked,
    /// An answer that is too short for what was asked.
    #[error("Unknown data received from card")]
    UnknownData,
    /// 63Cx, and of INITIALIZE 6982 and 6985.
    #[error("PIN code or key incorrect")]
    Pin,
    /// 6A89.
    #[error("File already exists")]
    FileExists,
    /// 6A88.
    #[error("Data object not found")]
    ObjectNotFound,
    /// 6A84.
    #[error("Not enough memory on card")]
    Memory,
    /// 6281.
    #[error("Part of returned data may be corrupted")]
    Corrupted,
    /// 6282.
    #[error("End of file/record reached before reading Le bytes")]
    EndReached,
    /// 6984.
    #[error("Reference data not usable")]
    NotUsable,
    /// Not from a card: hexadecimal digits that are none.
    #[error("Invalid arguments")]
    Arguments,
    /// More digits than fit.
    #[error("Buffer too small")]
    BufferTooSmall,
    /// A file that is no TLV.
    #[error("Invalid ASN.1 object")]
    Asn1,
    /// The card does not answer.
    #[error("Transmit failed")]
    Transmit,
    /// It was taken out.
    #[error("Card removed")]
    Removed,
}

/// The error that a status word is; nothing for 9000.
///
/// # Errors
/// [`OpenscError`].
pub fn check(sw: StatusWord) -> Result<(), OpenscError> {
    use OpenscError as E;
    Err(match sw.0 {
        0x9000 => return Ok(()),
        0x6281 => E::Corrupted,
        0x6282 => E::EndReached,
        0x63c0..=0x63cf => E::Pin,
        0x6581 => E::MemoryFailure,
        0x6700 | 0x6c00..=0x6cff => E::Length,
        0x6800 | 0x6881 | 0x6882 | 0x6884 | 0x6a81 => E::NotSupportedByCard,
        0x6900 | 0x6985 | 0x6986 => E::NotAllowed,
        0x6982 => E::Security,
        0x6983 => E::Blocked,
        0x6984 => E::NotUsable,
        0x6987 | 0x6988 | 0x6a00 | 0x6a80 | 0x6a85 | 0x6a86 | 0x6a87 | 0x6b00 => E::Parameters,
        0x6a82 => E::FileNotFound,
        0x6a83 => E::RecordNotFound,
        0x6a84 => E::Memory,
        0x6a88 => E::ObjectNotFound,
        0x6a89 | 0x6a8a => E::FileExists,
        0x6d00 => E::Instruction,
        0x6e00 => E::Class,
        _ => E::CommandFailed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_opensc_names() {
        for (word, text) in [
            (0x6b00, "Incorrect parameters in APDU"),
            (0x6400, "Card command failed"),
            (0x6a82, "File not found"),
            (0x63c2, "PIN code or key incorrect"),
            (0x6985, "Not allowed"),
            (0x6d00, "Unsupported INS byte in APDU"),
        ] {
            let error = check(StatusWord(word)).expect_err("an error");
            assert_eq!(error.to_string(), text, "{word:04X}");
        }
        assert_eq!(check(StatusWord(0x9000)), Ok(()));
    }
}
