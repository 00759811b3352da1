//! An answer as kxc reads it: any octets in any pieces give the same.
#![no_main]
use kx_http::client::{Event, Limits, ResponseError, ResponseReader};
use libfuzzer_sys::fuzz_target;

/// Everything that became of an answer, up to its end or an error.
fn read<'a>(
    limits: Limits,
    mut input: impl Iterator<Item = &'a [u8]>,
) -> (Vec<Event>, Option<ResponseError>) {
    let mut reader = ResponseReader::new(limits);
    let mut events = Vec::new();
    let mut ended = false;
    loop {
        match reader.poll() {
            Ok(Event::NeedInput) => {
                assert!(!ended, "input wanted behind its end");
                match input.next() {
                    Some(bytes) => reader.handle_input(bytes),
                    None => {
                        reader.handle_eof();
                        ended = true;
                    }
                }
            }
            Ok(Event::Done) => return (events, None),
            Ok(event) => {
                if let Event::Body(body) = &event {
                    assert!(body.len() <= limits.max_body);
                }
                events.push(event);
                assert!(events.len() <= 2, "one head, one body");
            }
            Err(error) => {
                assert_eq!(
                    reader.poll(),
                    Err(error.clone()),
                    "once failed, always failed"
                );
                assert!(!error.to_string().is_empty());
                return (events, Some(error));
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let tight = Limits {
        max_head: 96,
        max_body: 24,
    };
    for limits in [Limits::default(), tight] {
        let whole = read(limits, std::iter::once(data));
        assert_eq!(whole, read(limits, kx_fuzz::pieces(data)), "pieces");
        assert_eq!(whole, read(limits, data.chunks(1)), "single octets");
    }
});
