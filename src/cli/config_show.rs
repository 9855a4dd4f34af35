//! `drover config show`: every setting with its value, and where it came from.
//!
//! It resolves nothing itself: it prints what [`Config`] holds, so what is shown is what a run
//! would use. The plain form can be read again as a configuration file; the JSON has the fields
//! that scripts written for `nix config show --json` expect.

use std::io;

use serde_json::{Map, Value as Json, json};

use super::config::Config;
use super::output;
use super::settings::{self, Kind, Lookup, SETTINGS, Setting};

/// How much to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `name = value`.
    Plain,
    /// The same with where it came from and what it is.
    Verbose,
    /// One JSON object.
    Json,
}

/// Prints all settings, or the value of `name` alone.
///
/// # Errors
/// If `name` is no setting, or standard output cannot be written.
pub fn run(config: &Config, name: Option<&str>, form: Form) -> io::Result<()> {
    let Some(name) = name else {
        return output::write(all(config, form).as_bytes());
    };
    let Lookup::Known(setting, _) = settings::lookup(name) else {
        return Err(io::Error::other(format!("`{name}` is not a setting of drover")));
    };
    match form {
        Form::Plain => output::line(&config.values.get(setting).text),
        Form::Verbose => output::write(plain(config, setting, form).as_bytes()),
        Form::Json => output::line(&as_json(config, setting).to_string()),
    }
}

fn all(config: &Config, form: Form) -> String {
    if form == Form::Json {
        let rows = SETTINGS.iter().map(|s| (s.name.to_owned(), as_json(config, s)));
        return format!("{:#}\n", Json::Object(rows.collect::<Map<_, _>>()));
    }
    SETTINGS.iter().map(|s| plain(config, s, form)).collect()
}

fn plain(config: &Config, setting: &Setting, form: Form) -> String {
    let value = config.values.get(setting);
    let line = format!("{} = {}\n", setting.name, value.text);
    if form == Form::Plain {
        return line;
    }
    let nix = setting.nix_default.map(|d| format!("; Nix's default: `{d}`")).unwrap_or_default();
    format!("# {}\n# from: {}{nix}\n{line}\n", setting.doc, value.origin)
}

/// The fields of `nix config show --json`, and `origin`.
fn as_json(config: &Config, setting: &Setting) -> Json {
    let value = config.values.get(setting);
    let typed = |text: &str| match setting.kind {
        Kind::Bool => json!(text == "true"),
        Kind::Number | Kind::Jobs => text.parse::<u64>().map_or(json!(text), |n| json!(n)),
        Kind::Text => json!(text),
        Kind::Words => json!(text.split_ascii_whitespace().collect::<Vec<_>>()),
        Kind::Sandbox => settings::bool_of(text).map_or(json!(text), |b| json!(b)),
    };
    json!({
        "value": typed(&value.text),
        "defaultValue": typed(&config.values.default_of(setting)),
        "description": setting.doc,
        "aliases": setting.aliases,
        "origin": value.origin.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::config::Override;
    use super::super::environment::Environment;
    use super::*;

    fn config() -> Config {
        let env = Environment::of([
            ("NIX_CONF_DIR", "/no/such"),
            ("NIX_USER_CONF_FILES", "/no/such"),
            ("HOME", "/no/such"),
            ("NIX_CONFIG", "\ncores = 3"),
        ]);
        let flag = Override { name: "max-jobs".into(), value: "2".into(), flag: "-j".into() };
        Config::resolve(env, &[flag]).unwrap()
    }

    #[test]
    fn every_setting_is_shown_once() {
        let plain = all(&config(), Form::Plain);
        assert_eq!(plain.lines().count(), SETTINGS.len());
        assert!(plain.contains("\ncores = 3\n") && plain.contains("\nmax-jobs = 2\n"));
        let verbose = all(&config(), Form::Verbose);
        assert!(verbose.contains("# from: NIX_CONFIG:2\ncores = 3\n"), "{verbose}");
        assert!(verbose.contains("# from: -j; Nix's default: `1`\nmax-jobs = 2\n"), "{verbose}");
    }

    #[test]
    fn json_is_typed() {
        let json: Json = serde_json::from_str(&all(&config(), Form::Json)).unwrap();
        assert_eq!(json["cores"]["value"], 3);
        assert_eq!(json["max-jobs"]["defaultValue"], "auto");
        assert_eq!(json["sandbox"]["value"], true);
        assert_eq!(json["substituters"]["value"], json!([]));
        assert!(json["system"]["defaultValue"].as_str().unwrap().ends_with("-linux"));
    }
}
