use super::super::fixtures::{folder, named};
use super::super::output_path;
use super::*;

/// What the builder of the recorded derivation got from Nix 2.34.
fn recorded(file: &str) -> String {
    std::fs::read_to_string(folder("derivation_json/2.34/attrs").join(file)).unwrap()
}

/// What we would give it; the graphs are those that Nix gave.
fn ours() -> Map<String, Value> {
    let drv = named("attrs");
    let dir = StoreDir::default();
    let attrs = parse(&drv).unwrap().unwrap();
    let path = |name: &String| dir.print(drv.output_path(name).unwrap());
    let outputs = drv.outputs.keys().map(|name| (name.clone(), path(name))).collect();
    let given: Value = serde_json::from_str(&recorded("attrs.json")).unwrap();
    let graphs = ["graph", "graph-two", "one"];
    let graphs = graphs.into_iter().map(|k| (k.to_owned(), graph_json(&entries(&given[k]), &dir)));
    for_builder(attrs, &outputs, graphs.collect())
}

fn entries(json: &Value) -> Vec<GraphEntry> {
    let dir = StoreDir::default();
    let path = |value: &Value| dir.parse(value.as_str().unwrap().as_bytes()).unwrap();
    let entry = |value: &Value| GraphEntry {
        path: path(&value["path"]),
        nar_hash: Hash::parse(value["narHash"].as_str().unwrap(), None).unwrap(),
        nar_size: value["narSize"].as_u64().unwrap(),
        references: value["references"].as_array().unwrap().iter().map(path).collect(),
        ca: value["ca"].as_str().map(|text| ContentAddress::parse(text).unwrap()),
        closure_size: value["closureSize"].as_u64().unwrap(),
    };
    // Backwards, since order of the paths is ours to make.
    json.as_array().unwrap().iter().rev().map(entry).collect()
}

#[test]
fn the_json_file_is_that_of_nix() {
    assert_eq!(json_text(&ours()), recorded("attrs.json"));
}

#[test]
fn the_shell_file_is_that_of_nix() {
    assert_eq!(shell_text(&ours()), recorded("attrs.sh"));
}

#[test]
fn json_reads_back_and_prints_as_in_the_derivation() {
    for name in ["attrs", "structured-checks", "structured-options", "structured-fixed"] {
        let drv = named(name);
        let attrs = parse(&drv).unwrap().unwrap();
        assert_eq!(json_text(&attrs).as_bytes(), drv.env[VARIABLE.as_bytes()].as_slice());
    }
}

#[test]
fn content_addresses_of_exported_paths_fit() {
    let given: Value = serde_json::from_str(&recorded("attrs.json")).unwrap();
    let dir = StoreDir::default();
    for entry in entries(&given["graph"]) {
        let ca = entry.ca.unwrap();
        assert!(ca.matches(&dir, &entry.path, &entry.references));
        let other = output_path::placeholder("out");
        let wrong = ContentAddress { hash: Hash::sha256(other.as_bytes()), ..ca };
        assert!(!wrong.matches(&dir, &entry.path, &entry.references));
    }
}

#[test]
fn an_output_list_is_replaced() {
    let attrs: Value = serde_json::from_str(r#"{"outputs":["out"],"g":1}"#).unwrap();
    let outputs = BTreeMap::from([("out".to_owned(), "/o".to_owned())]);
    let graphs = BTreeMap::from([("g".to_owned(), Value::Null)]);
    let attrs = for_builder(attrs.as_object().unwrap().clone(), &outputs, graphs);
    assert_eq!(json_text(&attrs), r#"{"g":null,"outputs":{"out":"/o"}}"#);
    assert_eq!(shell_text(&attrs), "declare g=''\ndeclare -A outputs=(['out']='/o' )\n");
}

#[test]
fn shell_words_cannot_break_out() {
    let attrs: Value = serde_json::from_str(
        r#"{"a":"'; rm -rf / '","b":{"'$(x)":"`y`"},"c; x":"1","d$(x)":"1","e":["'"]}"#,
    )
    .unwrap();
    assert_eq!(
        shell_text(attrs.as_object().unwrap()),
        "declare a=''\\''; rm -rf / '\\'''\ndeclare -A b=([''\\''$(x)']='`y`' )\n\
         declare -a e=(''\\''' )\n"
    );
}

#[test]
fn numbers_print_as_the_library_of_nix_prints_them() {
    // Taken from the `.drv` that `nix derivation add` of 2.34 made of these.
    for (number, text) in [
        ("0.0", "0.0"),
        ("-0.0", "-0.0"),
        ("1e22", "1e+22"),
        ("1.5e300", "1.5e+300"),
        ("1e-5", "1e-05"),
        ("12e-4", "0.0012"),
        ("18446744073709551615", "18446744073709551615"),
        ("18446744073709551616", "1.8446744073709552e+19"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("100.25", "100.25"),
        ("999999999999999.9", "999999999999999.9"),
        ("5e-324", "5e-324"),
        ("0.30000000000000004", "0.30000000000000004"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("2.2250738585072014e-308", "2.2250738585072014e-308"),
        ("123456.789e-10", "1.23456789e-05"),
        ("-9223372036854775809", "-9.223372036854776e+18"),
    ] {
        let value: Value = serde_json::from_str(number).unwrap();
        assert_eq!(value_text(&value), text);
    }
}
