//! What was probably meant by arguments that cannot be used, and what to do about it.
//!
//! For error messages alone: nothing is ever used in place of what was given. It knows the words
//! that users of Nix have at hand (flakes, expressions, files beside the store) and looks at what
//! lies at the path, no further.

use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::format::StoreDir;

/// Why `argument`, which leads to no path of the store `dir`, cannot be used, and what to do.
#[must_use]
pub fn why(argument: &Path, dir: &StoreDir) -> String {
    let text = argument.to_string_lossy();
    if let Some(means) = evaluated(argument, &text) {
        return format!("drover evaluates no {means}");
    }
    let default = Path::new("/nix/store");
    if argument.starts_with(default) && Path::new(dir.as_str()) != default {
        return format!(
            "it is no path of the store `{dir}`, which NIX_STORE_DIR chose: unset that to work on \
             /nix/store"
        );
    }
    let nowhere = format!("it is not in the store `{dir}` and leads to no path there");
    match argument.symlink_metadata() {
        Ok(_) if text.ends_with(".drv") => {
            format!("{nowhere}: a derivation is used where it lies in the store, not as a copy")
        }
        Ok(_) => format!(
            "{nowhere}: what lies elsewhere is a recipe to build, if its name ends in `.toml`, or \
             comes into the store by `drover add`"
        ),
        Err(_) => format!("{nowhere}: there is no such file either; give a full path"),
    }
}

/// The rest of the message for what only Nix's evaluator understands.
fn evaluated(argument: &Path, text: &str) -> Option<String> {
    let there = argument.symlink_metadata().is_ok();
    let has = |name: &str| argument.join(name).symlink_metadata().is_ok();
    let named = text.contains('#') || ["flake:", "github:"].iter().any(|s| text.starts_with(s));
    if (named && !there) || (has("flake.nix") && !has("default.nix")) {
        return Some(format!(
            "flakes: let Nix write the derivation, and give its path: \
             `drover build \"$(nix path-info --derivation '{text}')^*\"`"
        ));
    }
    let expression = text.ends_with(".nix") || text.starts_with('<') || has("default.nix");
    expression.then(|| {
        format!(
            "Nix expressions: let Nix write the derivation, and give its path: \
             `drover build \"$(nix-instantiate '{text}')^*\"`"
        )
    })
}

/// Flags of Nix's commands that are for its evaluator.
const EVALUATION: [&str; 12] = [
    "-A",
    "--attr",
    "-E",
    "--expr",
    "-f",
    "--file",
    "-I",
    "--include",
    "--arg",
    "--argstr",
    "--impure",
    "--show-trace",
];

/// What to say of a command line that clap refuses, where clap's own words would mislead.
#[must_use]
pub fn refusal(error: &clap::Error) -> Option<String> {
    let given = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(given))) => given,
        _ => return None,
    };
    EVALUATION.contains(&given.as_str()).then(|| {
        format!(
            "drover evaluates no Nix expressions, which `{given}` is for: let Nix write the \
             derivation, with `nix-instantiate` or `nix path-info --derivation`, and give the \
             path that it prints"
        )
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::Cli;
    use super::*;

    fn advice(argument: &Path) -> String {
        why(argument, &StoreDir::default())
    }

    #[test]
    fn words_of_nix_get_the_command_that_helps() {
        let dir = tempfile::tempdir().unwrap();
        let (flake, expression) = (dir.path().join("flake"), dir.path().join("expression"));
        for (folder, file) in [(&flake, "flake.nix"), (&expression, "default.nix")] {
            std::fs::create_dir(folder).unwrap();
            std::fs::write(folder.join(file), "{ }").unwrap();
        }
        let flakes = [Path::new(".#hello"), Path::new("nixpkgs#hello"), Path::new("github:a/b")];
        for argument in flakes.into_iter().chain([flake.as_path()]) {
            let text = advice(argument);
            let command = format!("nix path-info --derivation '{}'", argument.display());
            assert!(text.contains("no flakes") && text.contains(&command), "{text}");
        }
        let expressions = [Path::new("./default.nix"), Path::new("<nixpkgs>"), &expression];
        for argument in expressions {
            let text = advice(argument);
            let command = format!("nix-instantiate '{}'", argument.display());
            assert!(text.contains("no Nix expressions") && text.contains(&command), "{text}");
        }
    }

    #[test]
    fn files_and_other_stores_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let (copy, file) = (dir.path().join("x.drv"), dir.path().join("a#b"));
        std::fs::write(&copy, "").unwrap();
        std::fs::write(&file, "").unwrap();
        assert!(advice(&copy).contains("not as a copy"), "{}", advice(&copy));
        assert!(advice(&file).contains("`drover add`"), "{}", advice(&file));
        let missing = advice(&dir.path().join("nothing"));
        assert!(missing.contains("no such file"), "{missing}");
        let other = why(Path::new("/nix/store/x"), &StoreDir::new("/else").unwrap());
        assert!(other.contains("NIX_STORE_DIR"), "{other}");
    }

    fn parse(arguments: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(["drover", "build"].into_iter().chain(arguments.split(' ')))
    }

    #[test]
    fn flags_of_the_evaluator_get_an_answer_of_their_own() {
        for flag in ["-A x", "--expr x", "-f x", "--impure x", "--arg a b"] {
            let error = parse(flag).unwrap_err();
            let said = refusal(&error).unwrap_or_else(|| panic!("{flag}: {error}"));
            assert!(said.contains(flag.split(' ').next().unwrap()), "{said}");
            assert!(said.contains("nix-instantiate"), "{said}");
        }
        for other in ["--nonsense x", "--jsn x", "-o"] {
            let error = parse(other).unwrap_err();
            assert_eq!(refusal(&error), None, "{other}");
        }
    }
}
