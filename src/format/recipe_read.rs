//! From TOML to tables of a recipe: keys, types, names, and values.
//!
//! Knows every rule that concerns one table, and the names of the others; the order of tables is
//! `recipe_order`, the claims on variables `recipe_variables`.

use std::collections::{BTreeMap, HashMap, HashSet};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Hash;
use super::derivation::Method;
use super::near::nearest;
use super::recipe::{Fixed, Input, InputKind, Program, RecipeError, Source, Table};
use super::recipe_variables::{self, variable};
use super::store_path::{MAX_NAME_LEN, StorePath, check_name};

/// Keys of a table.
const KEYS: [&str; 10] = [
    "args",
    "builder",
    "env",
    "hash",
    "hash-mode",
    "host-paths",
    "inputs",
    "outputs",
    "sources",
    "system",
];

type Result<T> = std::result::Result<T, RecipeError>;
type Value<'i> = Spanned<DeValue<'i>>;

/// Reads all tables in the order of the file.
pub(super) fn tables(text: &str, file: &str) -> Result<Vec<Table>> {
    let place = Place::new(text, file);
    let root = DeTable::parse(text).map_err(|e| {
        let at = e.span().map_or(0, |span| span.start);
        place.error(at, format!("this is not TOML: {}", e.message()))
    })?;
    let mut heads: Vec<_> = root.get_ref().iter().collect();
    heads.sort_by_key(|(key, _)| key.span().start);
    let names: HashMap<&str, usize> =
        heads.iter().enumerate().map(|(i, (key, _))| (key.get_ref().as_ref(), i)).collect();
    heads
        .iter()
        .map(|(key, value)| {
            let name = key.get_ref().as_ref();
            let at = key.span().start;
            let Some(keys) = value.get_ref().as_table() else {
                let advice = format!("`{name}` stands outside of a table: write `[NAME]` first");
                return Err(place.error(at, advice));
            };
            Reader { place: &place, names: &names, name, at, keys }.table()
        })
        .collect()
}

/// Turns offsets into lines.
struct Place<'t> {
    file: &'t str,
    /// Offset of each line's end.
    ends: Vec<usize>,
}

impl<'t> Place<'t> {
    fn new(text: &str, file: &'t str) -> Self {
        Self { file, ends: memchr::memchr_iter(b'\n', text.as_bytes()).collect() }
    }

    fn line(&self, at: usize) -> usize {
        self.ends.partition_point(|&end| end < at) + 1
    }

    fn error(&self, at: usize, message: String) -> RecipeError {
        RecipeError { file: self.file.to_owned(), line: self.line(at), message }
    }
}

/// One table.
struct Reader<'r, 'i> {
    place: &'r Place<'r>,
    names: &'r HashMap<&'r str, usize>,
    name: &'r str,
    at: usize,
    keys: &'r DeTable<'i>,
}

impl<'r, 'i> Reader<'r, 'i> {
    fn table(&self) -> Result<Table> {
        self.check_keys()?;
        self.check_name()?;
        let builder = self.text("builder")?.filter(|b| !b.is_empty());
        let builder = builder.ok_or_else(|| {
            self.fail(self.at, format!("table `{}` has no `builder`: what is to run?", self.name))
        })?;
        let table = Table {
            name: self.name.to_owned(),
            line: self.place.line(self.at),
            outputs: self.outputs()?,
            fixed: self.fixed()?,
            program: Program { builder, args: self.texts("args")?.into_texts(), env: self.env()? },
            inputs: self.inputs()?,
            sources: self.sources()?,
            system: self.text("system")?,
            host_paths: self.host_paths()?,
        };
        recipe_variables::check(&table, self.place.line(self.at("env")), self.place.file)?;
        Ok(table)
    }

    fn fail(&self, at: usize, message: String) -> RecipeError {
        self.place.error(at, message)
    }

    fn at(&self, key: &str) -> usize {
        self.keys.get(key).map_or(self.at, |value| value.span().start)
    }

    fn check_keys(&self) -> Result<()> {
        for key in self.keys.keys() {
            let name = key.get_ref().as_ref();
            if !KEYS.contains(&name) {
                let near = nearest(name, KEYS.into_iter());
                return Err(self.fail(key.span().start, format!("unknown key `{name}`{near}")));
            }
        }
        Ok(())
    }

    fn check_name(&self) -> Result<()> {
        let fail = |why: String| self.fail(self.at, why);
        check_name(self.name.as_bytes()).map_err(|e| fail(format!("bad table name: {e}")))?;
        let name = self.name;
        if name.ends_with(".drv") {
            return Err(fail(format!("bad table name: `{name}` must not end in `.drv`")));
        }
        if name.len() + ".drv".len() > MAX_NAME_LEN {
            return Err(fail(format!("bad table name: `{name}` is longer than 207 characters")));
        }
        Ok(())
    }

    fn text(&self, key: &str) -> Result<Option<String>> {
        self.keys.get(key).map(|value| self.one(key, value)).transpose()
    }

    fn one(&self, key: &str, value: &Value<'i>) -> Result<String> {
        let at = value.span().start;
        let Some(text) = value.get_ref().as_str() else {
            let kind = value.get_ref().type_str();
            let message = format!("`{key}` needs a text in quotes here, this is of type {kind}");
            return Err(self.fail(at, message));
        };
        if text.contains('\0') {
            return Err(self.fail(at, format!("`{key}` must not contain a zero byte")));
        }
        Ok(text.to_owned())
    }

    fn texts(&self, key: &str) -> Result<Texts> {
        let Some(value) = self.keys.get(key) else { return Ok(Texts::default()) };
        let Some(list) = value.get_ref().as_array() else {
            let message = format!("`{key}` must be a list: `{key} = [\"…\", \"…\"]`");
            return Err(self.fail(value.span().start, message));
        };
        list.iter()
            .map(|item| Ok((self.one(key, item)?, item.span().start)))
            .collect::<Result<Vec<_>>>()
            .map(Texts)
    }

    fn env(&self) -> Result<BTreeMap<String, String>> {
        let Some(value) = self.keys.get("env") else { return Ok(BTreeMap::new()) };
        let Some(table) = value.get_ref().as_table() else {
            let message = "`env` must be a table: `env = { NAME = \"value\" }`".to_owned();
            return Err(self.fail(value.span().start, message));
        };
        let pair = |(key, value): (&Spanned<_>, &Value<'i>)| {
            let name: &str = AsRef::<str>::as_ref(key.get_ref());
            if name.is_empty() || name.contains(['=', '\0']) {
                let message = format!("`{}` cannot be a variable", name.escape_debug());
                return Err(self.fail(key.span().start, message));
            }
            Ok((name.to_owned(), self.one(name, value)?))
        };
        table.iter().map(pair).collect()
    }

    fn outputs(&self) -> Result<Vec<String>> {
        let Texts(outputs) = self.texts("outputs")?;
        if outputs.is_empty() {
            return if self.keys.contains_key("outputs") {
                Err(self.fail(self.at("outputs"), "`outputs` must name at least one".into()))
            } else {
                Ok(vec!["out".to_owned()])
            };
        }
        let mut seen = HashSet::new();
        for (name, at) in &outputs {
            let fail = |why: String| Err(self.fail(*at, format!("bad output `{name}`: {why}")));
            if let Err(e) = check_name(name.as_bytes()) {
                return fail(e.to_string());
            }
            if name == "drv" {
                return fail("`drv` is reserved".into());
            }
            if self.name.len() + 1 + name.len() > MAX_NAME_LEN {
                return fail("with the table's name it is longer than 211 characters".into());
            }
            if !seen.insert(name) {
                return fail("it is there twice".into());
            }
        }
        Ok(outputs.into_iter().map(|(name, _)| name).collect())
    }

    fn fixed(&self) -> Result<Option<Fixed>> {
        let mode = self.text("hash-mode")?;
        let Some(hash) = self.text("hash")? else {
            return match mode {
                Some(_) => Err(self.fail(self.at("hash-mode"), "`hash-mode` needs `hash`".into())),
                None => Ok(None),
            };
        };
        let method = match mode.as_deref() {
            None | Some("flat") => Method::Flat,
            Some("recursive") => Method::Recursive,
            Some(other) => {
                let message = format!("`hash-mode` is `flat` or `recursive`, not `{other}`");
                return Err(self.fail(self.at("hash-mode"), message));
            }
        };
        let parsed = Hash::parse(&hash, None).map_err(|e| {
            let advice = "write `sha256-<base 64>` or `sha256:<digits>`";
            self.fail(self.at("hash"), format!("{e}: {advice}"))
        })?;
        if self.outputs()? != ["out"] {
            let message = "a table with `hash` has one output, `out`: leave `outputs` away";
            return Err(self.fail(self.at("outputs"), message.into()));
        }
        Ok(Some(Fixed { method, hash: parsed }))
    }

    fn inputs(&self) -> Result<Vec<Input>> {
        let mut inputs = Vec::new();
        for (entry, at) in self.texts("inputs")?.0 {
            let (base, outputs) = match entry.split_once('^') {
                Some((base, outputs)) => (base, Some(outputs)),
                None => (entry.as_str(), None),
            };
            let (kind, name) = self.input(base, at)?;
            let line = self.place.line(at);
            let mut add = |output: Option<&str>| {
                let variable = match output {
                    None | Some("out") => variable(name),
                    Some(output) => variable(&format!("{name}_{output}")),
                };
                let (text, output) = (entry.clone(), output.map(str::to_owned));
                inputs.push(Input { text, kind: kind.clone(), output, variable, line });
            };
            let Some(outputs) = outputs else {
                add(None);
                continue;
            };
            for output in outputs.split(',') {
                if check_name(output.as_bytes()).is_err() {
                    let message = format!("`{entry}`: after `^` come names of outputs");
                    return Err(self.fail(at, message));
                }
                add(Some(output));
            }
        }
        Ok(inputs)
    }

    fn input<'e>(&self, base: &'e str, at: usize) -> Result<(InputKind, &'e str)> {
        if let Some(&place) = self.names.get(base) {
            return Ok((InputKind::Table(place), base));
        }
        let Some(file) = base.strip_suffix(".drv").filter(|_| base.starts_with('/')) else {
            let near = nearest(base, self.names.keys().copied());
            let message =
                format!("input `{base}` is neither a table nor the full path of a `.drv`{near}");
            return Err(self.fail(at, message));
        };
        let file = file.rsplit('/').next().unwrap_or_default();
        let path = StorePath::from_base_name(file.as_bytes());
        path.map_err(|e| self.fail(at, format!("input `{base}`: {e}")))?;
        Ok((InputKind::Derivation(base.to_owned()), &file[super::store_path::HASH_LEN + 1..]))
    }

    fn sources(&self) -> Result<Vec<Source>> {
        let source = |(path, at): (String, usize)| {
            if path.starts_with('/') {
                let advice = "write it relative to the recipe, or use `host-paths`";
                return Err(self.fail(at, format!("source `{path}` is absolute: {advice}")));
            }
            let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
            check_name(name.as_bytes())
                .map_err(|e| self.fail(at, format!("source `{path}` cannot be stored: {e}")))?;
            let variable = variable(&name);
            Ok(Source { path, name, variable, line: self.place.line(at) })
        };
        self.texts("sources")?.0.into_iter().map(source).collect()
    }

    fn host_paths(&self) -> Result<Vec<String>> {
        let Texts(paths) = self.texts("host-paths")?;
        for (path, at) in &paths {
            if !path.starts_with('/') || path.contains(char::is_whitespace) {
                let message = format!("host path `{path}` must be absolute and without spaces");
                return Err(self.fail(*at, message));
            }
        }
        Ok(paths.into_iter().map(|(path, _)| path).collect())
    }
}

/// Texts of a list, each with its offset.
#[derive(Default)]
struct Texts(Vec<(String, usize)>);

impl Texts {
    fn into_texts(self) -> Vec<String> {
        self.0.into_iter().map(|(text, _)| text).collect()
    }
}
