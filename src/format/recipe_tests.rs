use std::collections::BTreeSet;

use bstr::BString;

use super::super::derivation::{Derivation, DerivationOutput};
use super::super::recipe_make::Surroundings;
use super::super::{StoreDir, StorePath};
use super::*;

const PIPELINE: &str = r#"
[report]
builder = "/bin/sh"
args = ["-c", "cat $draft $draft_log $numbers_txt > $out"]
inputs = ["draft", "draft^log"]
sources = ["data/numbers.txt"]
env = { LANG = "C" }
host-paths = ["/bin/sh", "/usr/bin/env"]

[draft]
builder = "/bin/sh"
outputs = ["log", "out"]
inputs = ["fetched^out"]

[fetched]
builder = "/bin/sh"
hash = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
system = "builtin"
"#;

/// Gives outputs paths by name alone.
struct Stub;

fn path(name: &str) -> StorePath {
    StorePath::from_parts(&[7; 20], name).unwrap()
}

impl Finish for Stub {
    fn outputs(&mut self, drv: &StorePath) -> Result<BTreeMap<String, StorePath>, String> {
        match drv.name() {
            "tool.drv" => Ok(BTreeMap::from([("bin".into(), path("tool-bin"))])),
            _ => Err(format!("`{drv}` is not valid")),
        }
    }

    fn finish(&mut self, drv: &mut Derivation) -> Result<StorePath, String> {
        for (name, output) in &mut drv.outputs {
            let path = path(&format!("{}-{name}", drv.name));
            match output {
                DerivationOutput::Fixed { path: old, .. } => *old = path,
                other => *other = DerivationOutput::InputAddressed(path),
            }
        }
        Ok(path(&format!("{}.drv", drv.name)))
    }
}

fn make(recipe: &Recipe) -> Result<Vec<Instance>, RecipeError> {
    let sources = BTreeMap::from([("data/numbers.txt".to_owned(), path("numbers.txt"))]);
    let dir = StoreDir::default();
    let around = Surroundings { dir: &dir, system: "x86_64-linux", sources: &sources };
    instantiate(recipe, &recipe.order, around, &mut Stub)
}

fn error(text: &str) -> String {
    Recipe::parse(text, "r.toml").unwrap_err().to_string()
}

#[test]
fn reads_tables_in_order() {
    let recipe = Recipe::parse(PIPELINE, "r.toml").unwrap();
    let names: Vec<_> = recipe.tables.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["report", "draft", "fetched"]);
    assert_eq!(recipe.order, [2, 1, 0]);
    let report = &recipe.tables[0];
    assert_eq!(report.line, 2);
    let variables: Vec<_> = report.inputs.iter().map(|i| i.variable.as_str()).collect();
    assert_eq!(variables, ["draft", "draft_log"]);
    assert_eq!(report.sources[0].variable, "numbers_txt");
    assert_eq!(report.sources[0].line, 6);
    assert_eq!(report.outputs, ["out"]);
    assert_eq!(recipe.tables[1].outputs, ["log", "out"]);
}

#[test]
fn selects_what_is_needed() {
    let recipe = Recipe::parse(PIPELINE, "r.toml").unwrap();
    assert_eq!(recipe.select(&[]).unwrap(), (vec![2, 1, 0], vec![0]));
    assert_eq!(recipe.select(&["draft"]).unwrap(), (vec![2, 1], vec![1]));
    let error = recipe.select(&["drift"]).unwrap_err().to_string();
    let want = "r.toml:1: there is no table `drift`: did you mean `draft`? (the recipe has";
    assert!(error.starts_with(want), "{error}");
}

#[test]
fn makes_derivations() {
    let made = make(&Recipe::parse(PIPELINE, "r.toml").unwrap()).unwrap();
    assert_eq!(made.iter().map(|m| m.table).collect::<Vec<_>>(), [2, 1, 0]);
    let report = &made[2].derivation;
    let var = |name: &str| report.env.get(name.as_bytes()).map(ToString::to_string);
    let full = |name: &str| Some(StoreDir::default().print(&path(name)));
    assert_eq!(var("draft"), full("draft-out"));
    assert_eq!(var("draft_log"), full("draft-log"));
    assert_eq!(var("numbers_txt"), full("numbers.txt"));
    assert_eq!(var("LANG").as_deref(), Some("C"));
    assert_eq!(var("__hostPaths").as_deref(), Some("/bin/sh /usr/bin/env"));
    assert_eq!(var("name").as_deref(), Some("report"));
    let asked: Vec<_> = report.input_drvs[&path("draft.drv")].outputs.iter().collect();
    assert_eq!(asked, ["log", "out"]);
    assert_eq!(report.input_srcs, BTreeSet::from([path("numbers.txt")]));
    assert_eq!(report.platform, "x86_64-linux");
    assert_eq!(made[0].derivation.platform, "builtin");
    assert!(matches!(made[0].derivation.outputs["out"], DerivationOutput::Fixed { .. }));
}

#[test]
fn takes_derivations_of_the_store() {
    let drv = StoreDir::default().print(&path("tool.drv"));
    let text = format!("[a]\nbuilder = \"b\"\ninputs = [\"{drv}\", \"{drv}^bin\"]");
    let made = make(&Recipe::parse(&text, "r").unwrap()).unwrap();
    let env = &made[0].derivation.env;
    assert_eq!(env[&BString::from("tool")], env[&BString::from("tool_bin")]);
    let text = format!("[a]\nbuilder = \"b\"\n\ninputs = [\"{drv}^dev\"]");
    let error = make(&Recipe::parse(&text, "r").unwrap()).unwrap_err().to_string();
    assert_eq!(error, "r:4: `tool.drv` has no output `dev` (it has `bin`)");
    let text = format!("[a]\nbuilder = \"b\"\ninputs = [\"{}\"]", drv.replace("tool", "none"));
    let error = make(&Recipe::parse(&text, "r").unwrap()).unwrap_err().to_string();
    assert!(error.starts_with("r:3: `") && error.ends_with("is not valid"), "{error}");
}

#[test]
fn errors_name_line_and_remedy() {
    let cases = [
        ("x = 1", 1, "`x` stands outside of a table"),
        ("[a", 1, "this is not TOML"),
        ("[a]\n", 1, "table `a` has no `builder`"),
        ("\n[a]\nbuilder = \"b\"\nargz = []", 4, "unknown key `argz`: did you mean `args`?"),
        ("[a]\nbuilder = 3", 2, "`builder` needs a text in quotes here, this is of type integer"),
        ("[a]\nbuilder = \"b\"\nargs = \"x\"", 3, "`args` must be a list"),
        ("[a]\nbuilder = \"b\"\nargs = [\n \"x\",\n 1]", 5, "`args` needs a text"),
        ("[\"a b\"]\nbuilder = \"b\"", 1, "bad table name: `a b` is not a store path name"),
        ("[\"a.drv\"]\nbuilder = \"b\"", 1, "bad table name: `a.drv` must not end in `.drv`"),
        ("[a]\nbuilder = \"b\"\ninputs = [\"c\"]", 3, "input `c` is neither a table nor"),
        ("[a]\nbuilder = \"b\"\ninputs = [\"a^*\"]", 3, "`a^*`: after `^` come names"),
        ("[a]\nbuilder = \"b\"\ninputs = [\"/x/y.drv\"]", 3, "input `/x/y.drv`: `y` is not a"),
        ("[a]\nbuilder = \"b\"\nsources = [\"/etc\"]", 3, "source `/etc` is absolute"),
        ("[a]\nbuilder = \"b\"\nsources = [\"..\"]", 3, "source `..` cannot be stored"),
        ("[a]\nbuilder = \"b\"\noutputs = []", 3, "`outputs` must name at least one"),
        ("[a]\nbuilder = \"b\"\noutputs = [\"o\", \"o\"]", 3, "bad output `o`: it is there twice"),
        ("[a]\nbuilder = \"b\"\noutputs = [\"drv\"]", 3, "bad output `drv`"),
        ("[a]\nbuilder = \"b\"\nhash-mode = \"flat\"", 3, "`hash-mode` needs `hash`"),
        ("[a]\nbuilder = \"b\"\nhash = \"x\"", 3, "hash `x` does not name its algorithm"),
        ("[a]\nbuilder = \"b\"\nhost-paths = [\"bin\"]", 3, "host path `bin` must be absolute"),
        ("[a]\nbuilder = \"b\"\nenv = { TMP = \"x\" }", 3, "in table `a`, `env` `TMP` needs"),
        ("[a]\nbuilder = \"b\"\nenv = { out = \"x\" }", 3, "is taken by output `out`"),
        ("[a]\nbuilder = \"b\"\nenv = { \"a=b\" = \"x\" }", 3, "`a=b` cannot be a variable"),
        ("[a]\nbuilder = \"b\"\nsources = [\n\"x.c\", \"x-c\"]", 4, "taken by source `x.c`"),
        ("[a]\nbuilder = \"b\"\nsources = [\"d/PATH\"]", 3, "the variable `PATH`, which is taken"),
        ("[a]\nbuilder = \"b\\u0000\"", 2, "`builder` must not contain a zero byte"),
    ];
    for (text, line, want) in cases {
        let got = error(text);
        assert!(got.starts_with(&format!("r.toml:{line}: ")), "{text}: {got}");
        assert!(got.contains(want), "{text}: {got}");
    }
}

#[test]
fn circles_are_named() {
    let text = "[x]\nbuilder='b'\ninputs=['a']\n[a]\nbuilder='b'\ninputs=['c']\n\
                [c]\nbuilder='b'\ninputs=['a']\n";
    let want = "r.toml:4: tables need each other in a circle: `a` -> `c` -> `a`";
    assert_eq!(error(text), want);
    assert!(error("[a]\nbuilder='b'\ninputs=['a']").contains("circle: `a` -> `a`"));
}

#[test]
fn long_chains_need_no_deep_stack() {
    use std::fmt::Write as _;
    let mut text = String::new();
    for i in 0..100_000 {
        writeln!(text, "[t{i}]\nbuilder='b'\ninputs=['t{}']", i + 1).unwrap();
    }
    text.push_str("[t100000]\nbuilder='b'\n");
    let recipe = Recipe::parse(&text, "r").unwrap();
    assert_eq!(recipe.order.first(), Some(&100_000));
    assert_eq!(recipe.order.len(), 100_001);
}

#[test]
fn hostile_texts_end_in_errors() {
    let deep = format!("[a]\nbuilder = {}", "[".repeat(100_000));
    assert!(Recipe::parse(&deep, "r").is_err());
    for text in ["[[a]]\nbuilder='b'", "\u{feff}[", "[a]\n[a]", "a.b.c = 1"] {
        assert!(Recipe::parse(text, "r").is_err(), "{text}");
    }
    assert!(Recipe::parse("", "r").unwrap().tables.is_empty());
}
