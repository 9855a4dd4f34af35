use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::*;

/// What `nix-store --dump-db` of Nix 2.34 printed of a store with a file and a derivation.
const DUMP: &str = "\
/nix/store/xp0dpr9yz5h0fk5c5lpj7zzqjbdh3w8c-f
1c37d01af40be2e80691de3cc3df44377a699afbb17c68f080964b2fd071fc13
120

0
/nix/store/xv8b5w9qiskwsbdl89mmr6ry5whjg5yn-x.drv
146a78b0b43ad06643f99791ac3e7242a8065b33f9843ccfcd9ae33deafd64e9
440

1
/nix/store/xp0dpr9yz5h0fk5c5lpj7zzqjbdh3w8c-f
";
const F: &str = "/nix/store/xp0dpr9yz5h0fk5c5lpj7zzqjbdh3w8c-f";

fn read(text: &str, mode: HashMode) -> Result<Vec<Registration>, RegistrationError> {
    decode_registration(text.as_bytes(), &StoreDir::default(), mode)
}

#[test]
fn a_dump_of_nix_reads_and_prints_the_same() {
    let records = read(DUMP, HashMode::Given).unwrap();
    assert_eq!(records.len(), 2);
    assert_eq!(records[0].nar.unwrap().1, 120);
    assert_eq!(records[1].references, [records[0].path.clone()].into());
    assert_eq!(encode_registration(&records, &StoreDir::default()), DUMP);
    let (hash, size) = records[1].nar.unwrap();
    let info = records[1].clone().into_info(hash, size);
    assert_eq!(Registration::full(&info), records[1]);
    assert_eq!(Registration::bare(&info).nar, None);
}

#[test]
fn without_hashes() {
    let text = format!("{F}\n{F}.drv\n2\n{F}\n{F}-b\n{F}-b\n\n0\n");
    let records = read(&text, HashMode::Absent).unwrap();
    assert_eq!(records[0].deriver.as_ref().unwrap().name(), "f.drv");
    assert_eq!(records[0].references.len(), 2);
    assert_eq!(encode_registration(&records, &StoreDir::default()), text);
    assert_eq!(read("", HashMode::Absent).unwrap(), []);
}

#[test]
fn every_truncation_names_its_line_or_ends_a_record() {
    let whole = DUMP.find("\n0\n").unwrap() + 3;
    for end in 1..DUMP.len() {
        match read(&DUMP[..end], HashMode::Given) {
            Ok(records) => assert_eq!((end, records.len()), (whole, 1)),
            Err(e) => assert_eq!(e.line, DUMP[..end].matches('\n').count() + 1, "{end}: {e}"),
        }
    }
}

#[test]
fn wrong_lines_are_named() {
    let line = |text: &str, mode| {
        let error = read(text, mode).unwrap_err();
        (error.line, error.kind)
    };
    let (number, kind) = line(&format!("{F}\n\nx\n"), HashMode::Absent);
    assert_eq!(number, 3);
    assert!(matches!(kind, RegistrationErrorKind::Number { .. }));
    for count in ["-1", "+1", " 1", "1 ", "", "99999999999999999999999"] {
        let (number, kind) = line(&format!("{F}\n\n{count}\n{F}\n"), HashMode::Absent);
        assert_eq!(number, 3, "{count}");
        assert!(matches!(kind, RegistrationErrorKind::Number { .. }), "{count}");
    }
    assert_eq!(line("\n", HashMode::Absent).0, 1);
    assert_eq!(line(&format!("{F}\n/etc/passwd\n0\n"), HashMode::Absent).0, 2);
    assert_eq!(line(&format!("{F}\n\n1\n/etc/passwd\n"), HashMode::Absent).0, 4);
    assert_eq!(line(&format!("{F}\nabc\n1\n\n0\n"), HashMode::Given).0, 2);
    assert_eq!(line(&format!("{F}\r\n\n0\n"), HashMode::Absent).0, 1);
    let md5 = "md5:d41d8cd98f00b204e9800998ecf8427e";
    assert_eq!(line(&format!("{F}\n{md5}\n1\n\n0\n"), HashMode::Given).0, 2);
}

#[test]
fn a_huge_count_reserves_nothing() {
    let text = format!("{F}\n\n{}\n{F}\n", u64::MAX);
    let error = read(&text, HashMode::Absent).unwrap_err();
    assert_eq!(error.line, 5);
    assert!(matches!(error.kind, RegistrationErrorKind::Truncated(_)));
}

fn any_path() -> impl Strategy<Value = StorePath> {
    (any::<[u8; 20]>(), "[a-z0-9+_?=][a-z0-9.-]{0,5}")
        .prop_map(|(digest, name)| StorePath::from_parts(&digest, &name).unwrap())
}

proptest! {
    #[test]
    fn round_trip(
        rows in vec((any_path(), any::<([u8; 3], u64)>(), proptest::option::of(any_path()),
            btree_set(any_path(), 0..4)), 0..4),
        given: bool,
    ) {
        let mode = if given { HashMode::Given } else { HashMode::Absent };
        let mut records = Vec::new();
        for (path, (data, size), deriver, references) in rows {
            let nar = given.then(|| (Hash::sha256(&data), size));
            records.push(Registration { path, nar, deriver, references });
        }
        let dir = StoreDir::default();
        let text = encode_registration(&records, &dir);
        prop_assert_eq!(decode_registration(text.as_bytes(), &dir, mode).unwrap(), records);
    }

    #[test]
    fn any_bytes_end(bytes: Vec<u8>) {
        for mode in [HashMode::Given, HashMode::Absent] {
            let _ = decode_registration(&bytes, &StoreDir::default(), mode);
        }
    }
}
