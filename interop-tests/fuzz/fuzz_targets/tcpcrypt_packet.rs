//! An IP packet from the network, and the options in it: read, rewritten, and read again.
#![no_main]
use libfuzzer_sys::fuzz_target;
use tcpcrypt_proto::packet::options::{self, OptionBuf, SPACE};
use tcpcrypt_proto::packet::{Direction, Rewrite, Seq, View, ends_of_refused};

/// What every edit has to leave behind: options that fit a header, and are read to the same end.
fn check(options: &OptionBuf) {
    assert!(options.as_slice().len() <= SPACE && options.padded_len() <= SPACE);
    assert_eq!(options.room(), SPACE - options.as_slice().len());
    let mut end = 0;
    for option in options::each(options.as_slice()) {
        assert!(option.at >= end && option.raw.len() >= 2);
        assert_eq!(
            option.raw,
            &options.as_slice()[option.at..][..option.raw.len()]
        );
        assert_eq!(&option.raw[2..], option.data);
        end = option.at + option.raw.len();
    }
    assert!(options::sack_blocks(options.as_slice()).count() <= 4);
}

fn edits(given: &[u8], reduction: u16) {
    let options = OptionBuf::from_header(given);
    check(&options);
    let mut trimmed = options;
    trimmed.trim();
    check(&trimmed);
    assert!(options::each(trimmed.as_slice()).eq(options::each(options.as_slice())));
    for kind in options::each(options.as_slice()).map(|option| option.kind) {
        let (mut removed, mut blanked) = (options, options);
        removed.remove(kind);
        blanked.blank(kind);
        for edited in [removed, blanked] {
            check(&edited);
            assert!(options::find(edited.as_slice(), kind).is_none());
        }
        assert_eq!(blanked.as_slice().len(), options.as_slice().len());
    }
    let mut lowered = options;
    lowered.lower_mss(reduction, 64, 1460);
    check(&lowered);
    if let (Some(before), Some(after)) = (
        options::mss(options.as_slice()),
        options::mss(lowered.as_slice()),
    ) {
        assert!(after <= before);
    }
    let blocks = [(Seq(1), Seq(2)), (Seq(3), Seq(4)), (Seq(u32::MAX), Seq(0))];
    let mut told = options;
    told.remove(options::SACK);
    told.trim();
    let count = told.push_sack(&blocks);
    check(&told);
    assert!(count <= blocks.len());
}

fuzz_target!(|data: &[u8]| {
    // Without a header as well, so that options are not found by chance alone.
    edits(data, 40);
    let ends = ends_of_refused(data, Direction::Out);
    let Ok(view) = View::parse(data) else {
        return;
    };
    assert_eq!(ends, Some(view.tuple(Direction::Out)));
    let len = view.total_length();
    assert!(len <= data.len());
    assert_eq!(view.end(), view.seq() + view.seq_len());
    let (there, back) = (view.tuple(Direction::Out), view.tuple(Direction::In));
    assert_eq!((there.local, there.remote), (back.remote, back.local));
    edits(view.options(), view.window());

    // The same again, but for what a checksum is.
    let mut again = vec![7];
    assert!(Rewrite::of(&view).write(&[view.payload()], &mut again));
    let copy = View::parse(&again[1..]).expect("what was written is a packet");
    assert!(copy.is_intact() && copy.total_length() + 1 == again.len());
    assert_eq!(copy.payload(), view.payload());
    assert_eq!(copy.options(), view.options());
    assert_eq!((copy.seq(), copy.ack()), (view.seq(), view.ack()));
    assert_eq!((copy.flags(), copy.window()), (view.flags(), view.window()));
    assert_eq!(copy.urgent(), view.urgent());
    assert_eq!(copy.tuple(Direction::In), back);
    if view.is_intact() && data[0] >> 4 == 6 {
        // But that a checksum of nothing may be written in two ways (RFC 1071).
        assert_eq!(again.len(), len + 1);
        let differ = again[1..].iter().zip(data).filter(|(a, b)| a != b);
        assert!(differ.clone().count() <= 2 && differ.clone().all(|pair| pair == (&0, &255)));
    }
});
