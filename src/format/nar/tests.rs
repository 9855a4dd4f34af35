use std::io::{Cursor, Read};

use super::*;

/// Reads and writes again, so that both check each other.
fn again(nar: &[u8]) -> Result<Vec<u8>, NarError> {
    let mut writer = Writer::new(Vec::new())?;
    read(nar, &mut writer)?;
    writer.finish()
}

fn sample() -> Vec<u8> {
    let mut w = Writer::new(Vec::new()).unwrap();
    w.directory().unwrap();
    w.entry(b"a").unwrap();
    w.regular(Executable::No, 5, &mut &b"hello"[..]).unwrap();
    w.entry(b"b \xff").unwrap();
    w.regular(Executable::Yes, 8, &mut &b"12345678"[..]).unwrap();
    w.entry(b"c").unwrap();
    w.directory().unwrap();
    w.entry(b"empty").unwrap();
    w.regular(Executable::No, 0, &mut &b""[..]).unwrap();
    w.entry(b"link").unwrap();
    w.symlink(b"../\xfea").unwrap();
    w.end_directory().unwrap();
    w.entry(b"d").unwrap();
    w.directory().unwrap();
    w.end_directory().unwrap();
    w.end_directory().unwrap();
    w.finish().unwrap()
}

/// A NAR from raw tokens, for what the writer refuses to write.
fn raw(tokens: &[&[u8]]) -> Vec<u8> {
    let mut nar = Vec::new();
    for token in [MAGIC].iter().chain(tokens) {
        nar.extend_from_slice(&(token.len() as u64).to_le_bytes());
        nar.extend_from_slice(token);
        nar.resize(nar.len().next_multiple_of(8), 0);
    }
    nar
}

fn with_names(names: &[&[u8]]) -> Vec<u8> {
    let mut tokens: Vec<&[u8]> = vec![b"(", b"type", b"directory"];
    for name in names {
        tokens.extend_from_slice(&[b"entry", b"(", b"name", name, b"node"]);
        tokens.extend_from_slice(&[b"(", b"type", b"directory", b")", b")"]);
    }
    tokens.push(b")");
    raw(&tokens)
}

fn nested(levels: usize) -> Vec<u8> {
    let mut tokens: Vec<&[u8]> = vec![b"(", b"type", b"directory"];
    for _ in 1..levels {
        tokens.extend_from_slice(&[b"entry", b"(", b"name", b"a", b"node"]);
        tokens.extend_from_slice(&[b"(", b"type", b"directory"]);
    }
    tokens.resize(tokens.len() + levels * 2 - 1, b")");
    raw(&tokens)
}

#[test]
fn reads_what_it_writes() {
    assert_eq!(again(&sample()).unwrap(), sample());
    assert!(nix_archive::nar::decode(&sample()).is_ok(), "an independent reader takes it");
}

#[test]
fn hostile_names_and_orders() {
    assert!(again(&with_names(&[b"a", b"b"])).is_ok());
    let long = [b'x'; 256];
    for name in [&b""[..], b".", b"..", b"a/b", b"a\0b", &long] {
        let error = again(&with_names(&[name])).unwrap_err();
        let named = matches!(error, NarError::Name(_) | NarError::TooLong { .. });
        assert!(named, "{name:?}: {error}");
    }
    for names in [[&b"b"[..], b"a"], [b"a", b"a"]] {
        assert!(matches!(again(&with_names(&names)), Err(NarError::Order { .. })));
    }
}

#[test]
fn depth_ends_where_nix_ends_it() {
    assert!(again(&nested(MAX_DEPTH)).is_ok());
    assert!(matches!(again(&nested(MAX_DEPTH + 1)), Err(NarError::Depth)));
    assert!(nix_archive::nar::decode(&nested(MAX_DEPTH)).is_ok());
    assert!(nix_archive::nar::decode(&nested(MAX_DEPTH + 1)).is_err());
}

#[test]
fn every_cut_and_every_extra_byte_is_an_error() {
    let nar = sample();
    for cut in 0..nar.len() {
        let error = again(&nar[..cut]).unwrap_err();
        let named = matches!(error, NarError::Truncated { .. } | NarError::Magic);
        assert!(named, "cut at {cut}: {error}");
    }
    let mut longer = nar.clone();
    longer.push(0);
    assert!(matches!(again(&longer), Err(NarError::Trailing { .. })));
}

#[test]
fn a_prefix_ends_exactly() {
    let mut nar = sample();
    let len = nar.len() as u64;
    nar.extend_from_slice(b"rest");
    let mut source = Cursor::new(nar);
    let mut visitor = Writer::new(Vec::new()).unwrap();
    assert_eq!(read_prefix(&mut source, &mut visitor).unwrap(), len);
    let mut rest = Vec::new();
    source.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"rest");
}

#[test]
fn padding_must_be_zero() {
    let nar = sample();
    // `hello` is followed by three bytes of padding.
    let at = nar.windows(5).position(|w| w == b"hello").unwrap() + 5;
    for i in at..at + 3 {
        let mut bad = nar.clone();
        bad[i] = 1;
        assert!(matches!(again(&bad), Err(NarError::Padding { .. })));
    }
}

#[test]
fn declared_sizes_cost_nothing() {
    let huge = raw(&[b"(", b"type", b"regular", b"contents"]);
    for size in [u64::MAX, u64::MAX - 7, 1 << 62, 1 << 40] {
        let mut nar = huge.clone();
        nar.extend_from_slice(&size.to_le_bytes());
        assert!(again(&nar).is_err());
        let mut nar = raw(&[]);
        nar.extend_from_slice(&size.to_le_bytes());
        assert!(matches!(again(&nar), Err(NarError::TooLong { .. })));
    }
}

#[test]
fn the_writer_refuses_what_is_no_nar() {
    let mut w = Writer::new(Vec::new()).unwrap();
    w.directory().unwrap();
    w.entry(b"b").unwrap();
    assert!(w.entry(b"c").is_err(), "no node yet");
    w.symlink(b"x").unwrap();
    assert!(matches!(w.entry(b"a"), Err(NarError::Order { .. })));
    assert!(matches!(w.entry(b".."), Err(NarError::Name(_))));
    w.entry(b"c").unwrap();
    w.begin_regular(Executable::No, 3).unwrap();
    assert!(w.contents(b"1234").is_err());
    w.contents(b"12").unwrap();
    assert!(w.end_regular().is_err());
    assert!(w.finish().is_err());
}

proptest::proptest! {
    #[test]
    fn agrees_with_an_independent_reader(
        flips in proptest::collection::vec((0_usize..1000, 0_u8..255), 0..4),
    ) {
        let mut nar = sample();
        for (at, value) in flips {
            let len = nar.len();
            nar[at % len] = value;
        }
        let ours = again(&nar);
        let theirs = nix_archive::nar::decode(&nar);
        proptest::prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?} {:?}", ours, theirs);
        if let Ok(bytes) = ours {
            proptest::prop_assert_eq!(bytes, nar);
        }
    }
}
