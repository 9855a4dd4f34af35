//! The README says what is so: settings, exit codes, commands, recipes, links.

use std::collections::{BTreeMap, BTreeSet};

use clap::{CommandFactory, Parser};
use drover::cli::args::Cli;
use drover::cli::exit_code::EXIT_CODES;
use drover::cli::settings::SETTINGS;
use drover::format::recipe::{Finish, Recipe, instantiate};
use drover::format::recipe_make::Surroundings;
use drover::format::{Derivation, DerivationOutput, StoreDir, StorePath};

use crate::support::{World, succeed, text};

const README: &str = include_str!("../README.md");

/// The contents of the blocks in `language`.
fn blocks(language: &str) -> Vec<&'static str> {
    let open = format!("```{language}\n");
    README.split(open.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// The text between this heading and the next of its level.
fn section(heading: &str) -> &'static str {
    let start = README.find(&format!("\n## {heading}\n")).expect(heading);
    README[start + 4..].split("\n## ").next().unwrap()
}

/// The rows of the tables in `text`: cells without the marks of code.
fn rows(text: &str) -> Vec<Vec<String>> {
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let cell = |cell: &str| cell.trim().trim_matches('`').to_owned();
    rows.map(|row| row.trim_matches('|').split(" |").map(cell).collect()).collect()
}

#[test]
fn changed_defaults_are_those_of_the_table() {
    let told: Vec<_> = rows(section("Settings")).into_iter().map(|r| r[..4].to_vec()).collect();
    let changed = SETTINGS.iter().filter_map(|s| Some((s, s.nix_default?)));
    let row = |(s, nix): (&drover::cli::settings::Setting, &str)| {
        [s.name, s.default, nix, s.doc].map(str::to_owned).to_vec()
    };
    assert_eq!(told, changed.map(row).collect::<Vec<_>>());
}

#[test]
fn exit_codes_are_those_of_help() {
    assert!(section("Exit codes").contains(&format!("```text\n{EXIT_CODES}\n```")));
}

#[test]
fn commands_are_those_of_help() {
    let told: BTreeSet<String> = rows(section("Commands"))
        .into_iter()
        .map(|row| row[0].strip_prefix("drover ").unwrap().to_owned())
        .collect();
    let there: BTreeSet<String> =
        Cli::command().get_subcommands().map(|c| c.get_name().to_owned()).collect();
    assert_eq!(told, there);
}

#[test]
fn calls_of_drover_are_understood() {
    let mut calls = 0;
    for block in blocks("sh") {
        let whole = block.replace("cargo run --release -- ", "drover ");
        for line in whole.lines().filter(|line| line.starts_with("drover ")) {
            let words = line.split_ascii_whitespace().map(|word| word.trim_matches('"'));
            Cli::try_parse_from(words).unwrap_or_else(|e| panic!("{line}: {e}"));
            calls += 1;
        }
    }
    assert!(calls > 5, "only {calls} calls: is the search broken?");
}

#[test]
fn links_lead_somewhere() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let targets: Vec<_> =
        README.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()).collect();
    assert!(targets.len() > 5);
    for target in targets {
        match target.strip_prefix('#') {
            Some(heading) => assert!(
                README
                    .lines()
                    .any(|l| l.to_lowercase().replace(' ', "-") == format!("##-{heading}")),
                "{target}"
            ),
            None => assert!(root.join(target).exists(), "{target}"),
        }
    }
}

/// Paths that mean nothing.
struct Anything;

impl Finish for Anything {
    fn outputs(&mut self, _: &StorePath) -> Result<BTreeMap<String, StorePath>, String> {
        Ok(BTreeMap::from([("out".to_owned(), path("x"))]))
    }

    fn finish(&mut self, drv: &mut Derivation) -> Result<StorePath, String> {
        for output in drv.outputs.values_mut() {
            *output = DerivationOutput::InputAddressed(path(&drv.name));
        }
        Ok(path(&format!("{}.drv", drv.name)))
    }
}

fn path(name: &str) -> StorePath {
    StorePath::from_parts(&[1; 20], name).unwrap()
}

#[test]
fn recipes_are_sound() {
    assert!(!blocks("toml").is_empty());
    for block in blocks("toml") {
        let recipe = Recipe::parse(block, "README.md").unwrap();
        let all = recipe.tables.iter().flat_map(|table| &table.sources);
        let sources = all.map(|source| (source.path.clone(), path(&source.name))).collect();
        let dir = StoreDir::default();
        let around = Surroundings { dir: &dir, system: "x86_64-linux", sources: &sources };
        instantiate(&recipe, &recipe.order, around, &mut Anything).unwrap();
    }
}

#[test]
fn the_worked_example_works() {
    let world = World::new();
    let recipe = world.path("work/jobs.toml");
    std::fs::write(&recipe, blocks("toml")[0]).unwrap();
    std::fs::write(world.path("work/words.txt"), "one\ntwo\n").unwrap();
    let made = text(&succeed(&mut world.drover(["build", "jobs.toml"])));
    assert_eq!(std::fs::read_to_string(made).unwrap(), "2 words, as C sorts them\n");
    let linked = std::fs::read_to_string(world.path("work/result")).unwrap();
    assert_eq!(linked, "2 words, as C sorts them\n");
}
