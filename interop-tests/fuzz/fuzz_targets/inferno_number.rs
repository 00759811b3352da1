//! Texts of numbers: what one reader takes the more forgiving take too, as the same; both forms are read back.
#![no_main]
use inferno_auth::number;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let standalone = number::read_standalone(data);
    if let Ok(login) = number::read_login(data) {
        assert_eq!(standalone, Ok(login));
    }
    let field = number::read_field(data);
    assert_eq!(field.is_err(), data.is_empty());
    for read in [field, standalone].into_iter().flatten() {
        for text in [number::text_z(&read), number::text_p(&read)] {
            let text = text.as_bytes();
            assert_eq!(number::read_login(text).as_ref(), Ok(&read));
            assert_eq!(number::read_standalone(text).as_ref(), Ok(&read));
            // Fields have a longest.
            if read.bits() <= 768 * 8 - 8 {
                assert_eq!(number::read_field(text).as_ref(), Ok(&read));
            }
        }
    }
});
