use bstr::BString;
use proptest::prelude::*;

use super::super::fixtures::{any_derivation, named, recorded};
use super::*;

const EMPTY: &str = r#"Derive([("out","","","")],[],[],"s","b",[],[])"#;
const A: &str = "/nix/store/00000000000000000000000000000000-a.drv";
const B: &str = "/nix/store/10000000000000000000000000000000-b.drv";

fn read(text: &str) -> Result<Derivation, AtermError> {
    parse("x", text.as_bytes(), &StoreDir::default())
}

fn refuses(text: &str) -> AtermErrorKind {
    match read(text) {
        Ok(_) => panic!("accepted {text}"),
        Err(e) => {
            assert!(e.offset <= text.len(), "{e}");
            e.kind
        }
    }
}

#[test]
fn what_nix_wrote_prints_the_same_bytes() {
    let dir = StoreDir::default();
    for fixture in recorded("2.8").iter().chain(&recorded("2.34")) {
        let drv = fixture.parse();
        assert_eq!(
            BString::from(print(&drv, &dir)),
            BString::from(fixture.text.clone()),
            "{}",
            fixture.path
        );
        assert_eq!(drv.drv_path(&dir).unwrap(), fixture.path);
    }
}

#[test]
fn strings_are_bytes_with_escapes() {
    let drv = named("escapes");
    let value = |name: &str| drv.env[name.as_bytes()].to_vec();
    assert_eq!(value("a"), b"new\nline");
    assert_eq!(value("e"), b"back\\slash\\n");
    assert_eq!(value("h"), b"\n\r\t\"\\");
    let text = b"Derive([(\"out\",\"\",\"\",\"\")],[],[],\"s\",\"\xff\\\\\",[\"\\\"\"],[])";
    let drv = parse("x", text, &StoreDir::default()).unwrap();
    assert_eq!(drv.builder, &b"\xff\\"[..]);
    assert_eq!(drv.args, [BString::from("\"")]);
}

#[test]
fn every_truncation_is_an_error() {
    let dir = StoreDir::default();
    for name in ["escapes", "uses-fixed", "dynamic-deep", "flat-sha1", "multi"] {
        let text = print(&named(name), &dir);
        for end in 0..text.len() {
            assert!(parse(name, &text[..end], &dir).is_err(), "{name} up to {end}");
        }
    }
}

#[test]
fn every_changed_byte_is_an_error_or_prints_the_same() {
    let dir = StoreDir::default();
    for name in ["checks", "rec-sha256", "dynamic"] {
        let text = print(&named(name), &dir);
        for at in 0..text.len() {
            for byte in [b'"', b'\\', b',', b']', b'[', b')', 0, b'\n', 0xff, b'a'] {
                let mut changed = text.clone();
                changed[at] = byte;
                if let Ok(drv) = parse(name, &changed, &dir) {
                    assert_eq!(print(&drv, &dir), changed, "{name} at {at}");
                }
            }
        }
    }
}

#[test]
fn bytes_after_the_end_and_white_space_are_errors() {
    assert!(read(EMPTY).is_ok());
    assert_eq!(refuses(&format!("{EMPTY}\n")), AtermErrorKind::Trailing);
    assert_eq!(refuses(&format!("{EMPTY}{EMPTY}")), AtermErrorKind::Trailing);
    refuses(&format!(" {EMPTY}"));
    refuses(&EMPTY.replace(",[]", ", []"));
    refuses("");
}

#[test]
fn escapes_that_nix_does_not_write_are_errors() {
    for builder in ["\\a", "\n", "\t", "\r", "\\0"] {
        let text = EMPTY.replace("\"b\"", &format!("\"{builder}\""));
        assert!(matches!(refuses(&text), AtermErrorKind::Escape(_)), "{builder:?}");
    }
    refuses(&EMPTY.replace("\"s\"", "\"a\\\\b\""));
}

#[test]
fn unsorted_lists_and_duplicates_are_errors() {
    let order = |text: &str| {
        assert!(matches!(refuses(text), AtermErrorKind::Order(_)), "{text}");
    };
    order(&EMPTY.replace(",[])", r#",[("b",""),("a","")])"#));
    order(&EMPTY.replace(",[])", r#",[("a",""),("a","")])"#));
    let inputs = |list: &str| EMPTY.replacen("[],[]", list, 1);
    assert!(read(&inputs(&format!(r#"[("{A}",["out"]),("{B}",["out"])],["{A}"]"#))).is_ok());
    order(&inputs(&format!(r#"[("{B}",["out"]),("{A}",["out"])],[]"#)));
    order(&inputs(&format!(r#"[("{A}",["out"]),("{A}",["out"])],[]"#)));
    order(&inputs(&format!(r#"[("{A}",["out","dev"])],[]"#)));
    order(&inputs(&format!(r#"[],["{A}","{A}"]"#)));
    order(&EMPTY.replace(r#"("out","","","")"#, r#"("out","","",""),("out","","","")"#));
}

#[test]
fn inputs_are_store_paths_with_outputs() {
    let inputs = |list: &str| refuses(&EMPTY.replacen("[],[]", list, 1));
    assert_eq!(inputs(&format!(r#"[("{A}",[])],[]"#)), AtermErrorKind::NoInputOutputs);
    assert!(matches!(inputs(r#"[],["/etc/passwd"]"#), AtermErrorKind::Path(_)));
    assert!(matches!(inputs(&format!(r#"[],["{A}/x"]"#)), AtermErrorKind::Path(_)));
    assert!(matches!(inputs(&format!(r#"[("{A}",["a/b"])],[]"#)), AtermErrorKind::Path(_)));
    let plain = A.strip_suffix(".drv").unwrap();
    assert!(matches!(
        inputs(&format!(r#"[("{plain}",["out"])],[]"#)),
        AtermErrorKind::NotADerivation(_)
    ));
}

#[test]
fn outputs_go_together() {
    let outputs = |list: &str| refuses(&EMPTY.replace(r#"[("out","","","")]"#, list));
    let hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let path = "/nix/store/00000000000000000000000000000000-x";
    assert_eq!(outputs("[]"), AtermErrorKind::Outputs(OutputsError::None));
    assert_eq!(
        outputs(&format!(r#"[("dev","{path}","",""),("out","","","")]"#)),
        AtermErrorKind::Outputs(OutputsError::Mixed("out".into()))
    );
    assert!(matches!(
        outputs(&format!(r#"[("out","{path}","sha256","{hash}")]"#)),
        AtermErrorKind::FixedPath { .. }
    ));
    for fields in [
        format!(r#""{path}","sha256","""#),
        format!(r#""","sha256","{hash}""#),
        format!(r#""{path}","","{hash}""#),
        format!(r#""{path}","sha256","impure""#),
    ] {
        let kind = outputs(&format!(r#"[("out",{fields})]"#));
        assert!(matches!(kind, AtermErrorKind::OutputFields(_)), "{fields}");
    }
    let upper = hash.to_uppercase();
    assert!(matches!(
        outputs(&format!(r#"[("out","{path}","sha256","{upper}")]"#)),
        AtermErrorKind::HashBase(_)
    ));
    assert!(matches!(
        outputs(&format!(r#"[("out","{path}","sha3","{hash}")]"#)),
        AtermErrorKind::Hash(_)
    ));
    let fixed = String::from_utf8(print(&named("flat-sha256"), &StoreDir::default())).unwrap();
    let twice = fixed.replacen("[(\"out\"", "[(\"dev\",\"\",\"\",\"\"),(\"out\"", 1);
    assert!(parse("flat-sha256", twice.as_bytes(), &StoreDir::default()).is_err());
    let other_name = fixed.replacen("(\"out\"", "(\"dev\"", 1);
    assert!(parse("flat-sha256", other_name.as_bytes(), &StoreDir::default()).is_err());
    let floating = r#"[("a","","sha256",""),("b","","sha512","")]"#;
    assert!(matches!(outputs(floating), AtermErrorKind::Outputs(_)));
}

#[test]
fn the_versioned_form_is_for_dynamic_inputs_only() {
    let versioned =
        |version: &str| EMPTY.replacen("Derive(", &format!("DrvWithVersion(\"{version}\","), 1);
    assert!(matches!(refuses(&versioned("xp-dyn-drv")), AtermErrorKind::Version(_)));
    assert!(matches!(refuses(&versioned("2")), AtermErrorKind::Version(_)));
    let node = format!(r#"[("{A}",(["out"],[("out",["dev"])]))],[]"#);
    assert!(read(&versioned("xp-dyn-drv").replacen("[],[]", &node, 1)).is_ok());
    refuses(&EMPTY.replacen("[],[]", &node, 1));
    let empty = format!(r#"[("{A}",(["out"],[]))],[]"#);
    refuses(&versioned("xp-dyn-drv").replacen("[],[]", &empty, 1));
}

#[test]
fn deep_nesting_does_not_overflow_the_stack() {
    for depth in [MAX_DEPTH + 1, 1_000_000] {
        let node = "([],[(\"out\",".repeat(depth);
        let text = format!(r#"DrvWithVersion("xp-dyn-drv",[("out","","","")],[("{A}",{node}"#);
        assert_eq!(refuses(&text), AtermErrorKind::TooDeep);
    }
}

#[test]
fn errors_say_where() {
    let error = read(&EMPTY.replace("\"b\"", "\"b\\x\"")).unwrap_err();
    assert_eq!(error.offset, EMPTY.find("\"b\"").unwrap() + 3);
    assert_eq!(
        error.to_string(),
        "derivation `x` is malformed at byte 39: byte 0x78 is not written like this in a string"
    );
}

#[test]
fn kinds_are_told_apart() {
    use super::super::Kind;
    for (name, kind, supported) in [
        ("leaf", Kind::InputAddressed, true),
        ("multi", Kind::InputAddressed, true),
        ("flat-md5", Kind::Fixed, true),
        ("floating", Kind::Floating, false),
        ("deferred", Kind::Deferred, false),
        ("impure", Kind::Impure, false),
        ("dynamic", Kind::Deferred, false),
    ] {
        let drv = named(name);
        assert_eq!(drv.kind(), kind, "{name}");
        assert_eq!(drv.unsupported_reason().is_none(), supported, "{name}");
        assert_eq!(drv.is_fixed(), kind == Kind::Fixed);
    }
}

proptest! {
    #[test]
    fn round_trip(drv in any_derivation()) {
        let dir = StoreDir::default();
        let text = print(&drv, &dir);
        prop_assert_eq!(parse(&drv.name, &text, &dir).unwrap(), drv);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let mut text = b"Derive([".to_vec();
        text.extend(bytes);
        prop_assert!(parse("x", &text, &StoreDir::default()).is_err());
    }
}
