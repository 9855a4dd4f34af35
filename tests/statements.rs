//! How many statements the database is asked: what grows with the number of paths is one insert a
//! row, never a question a path.

use std::fmt::Write as _;
use std::process::Command;

use crate::support::{World, lines, shell, succeed, text, texts};

/// Layers of the graphs: questions may be one a layer.
const LAYERS: usize = 4;

/// Statements of a run of `command`, without their values; it must exit with 0.
fn statements(command: &mut Command) -> Vec<String> {
    let output = command.env("NIX_DEBUG_SQLITE_TRACES", "1").output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", texts(&output));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    told.split("SQL<[").skip(1).map(|rest| rest.split("]>\n").next().unwrap().to_owned()).collect()
}

/// Those of `statements` that ask, not write.
fn questions(statements: &[String]) -> Vec<&String> {
    let asks = |s: &&String| s.starts_with("select") || s.starts_with("with");
    statements.iter().filter(asks).collect()
}

/// A store with a graph of `count` derivations, none of them built.
struct Graph {
    world: World,
    drvs: Vec<String>,
}

impl Graph {
    fn new(count: usize) -> Self {
        let world = World::new();
        let mut recipe = String::new();
        let width = count / LAYERS;
        for place in 0..count {
            let _ = write!(recipe, "[t{place}]\nbuilder = \"/bin/false\"\ninputs = [");
            if place >= width {
                let below = (place / width - 1) * width;
                let _ =
                    write!(recipe, "\"t{}\", \"t{}\"", place - width, below + (place + 1) % width);
            }
            recipe.push_str("]\n");
        }
        std::fs::write(world.path("work/graph.toml"), recipe).unwrap();
        Self { world, drvs: Vec::new() }
    }

    /// Writes the derivations to the store.
    fn instantiate(&mut self) -> Vec<String> {
        let made = statements(&mut self.world.drover(["derivation", "instantiate", "graph.toml"]));
        let tops = succeed(&mut self.world.drover(["derivation", "instantiate", "graph.toml"]));
        let all = ["query", "--requisites"].map(str::to_owned).into_iter().chain(lines(&tops));
        let all = lines(&succeed(&mut self.world.drover(all)));
        self.drvs = all.into_iter().filter(|path| path.ends_with(".drv")).collect();
        made
    }

    /// Puts something in place of each output and registers it, each output with references to
    /// `references` others.
    fn pretend(&self, references: usize) -> Vec<String> {
        let outputs = lines(&succeed(&mut self.world.drover(self.all(&["query", "--outputs"]))));
        let mut record = String::new();
        for (place, output) in outputs.iter().enumerate() {
            std::fs::write(output, "made\n").unwrap();
            let near = &outputs[place.saturating_sub(references)..place];
            let _ = write!(record, "{output}\n{}\n{}\n", self.drvs[place], near.len());
            near.iter().for_each(|path| record += &format!("{path}\n"));
        }
        std::fs::write(self.world.path("work/record"), record).unwrap();
        let mut register = self.world.drover(["register"]);
        let input = std::fs::File::open(self.world.path("work/record")).unwrap();
        statements(register.stdin(input))
    }

    fn all(&self, words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).chain(self.drvs.iter().cloned()).collect()
    }
}

/// What a run asked, told apart from what it wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    what: String,
    questions: usize,
    statements: usize,
}

/// What commands ask of a graph of `count` derivations.
fn of_graph(count: usize) -> (Vec<Asked>, Vec<Asked>) {
    let mut graph = Graph::new(count);
    let asked = |what: &str, told: &[String]| Asked {
        what: what.to_owned(),
        questions: questions(told).len(),
        statements: told.len(),
    };
    let written = vec![asked("instantiate", &graph.instantiate()), {
        assert_eq!(graph.drvs.len(), count);
        asked("register", &graph.pretend(5))
    }];
    let again = ["derivation", "instantiate", "graph.toml"];
    let mut read = vec![asked("again", &statements(&mut graph.world.drover(again)))];
    let commands: [&[&str]; 11] = [
        &["build", "--no-link"],
        &["build", "--dry-run"],
        &["query", "--requisites"],
        &["query", "--references"],
        &["query", "--referrers-closure"],
        &["query", "--outputs"],
        &["query", "--valid-derivers"],
        &["query", "--tree"],
        &["path-info", "-r"],
        &["path-info", "-r", "-S", "--json"],
        &["derivation", "show"],
    ];
    for words in commands {
        let told = statements(&mut graph.world.drover(graph.all(words)));
        read.push(asked(&words.join(" "), &told));
    }
    (written, read)
}

#[test]
fn questions_do_not_grow_with_the_number_of_paths() {
    let (few_written, few_read) = of_graph(80);
    let (written, read) = of_graph(800);
    assert_eq!(read, few_read, "what only reads asks the same of a graph ten times as large");
    assert!(read.iter().all(|asked| asked.questions <= 5), "{read:#?}");
    let no_op = &read[1];
    assert!((1..=2).contains(&no_op.questions), "opening and finding all valid: {no_op:?}");
    for (few, many) in few_written.iter().zip(&written) {
        assert_eq!(many.questions, few.questions, "{many:?}");
    }
    // One insert for each path, each output of a derivation, each reference; no more.
    let rows = |count: usize| count + count + 2 * (count - count / LAYERS);
    let schema = few_written[0].statements - rows(80);
    assert_eq!(written[0].statements - rows(800), schema, "{written:?}");
    let register = few_written[1].statements - (80 + 5 * 80 - 15);
    assert_eq!(written[1].statements - (800 + 5 * 800 - 15), register, "{written:?}");
    assert!(register < 20, "{few_written:?}");
}

#[test]
fn a_plan_asks_once_for_each_layer() {
    let asked = |layers: usize| {
        let world = World::new();
        let table = |place: usize| {
            let below = if place == 0 { String::new() } else { format!("\"t{}\"", place - 1) };
            format!("[t{place}]\nbuilder = \"/bin/false\"\ninputs = [{below}]\n")
        };
        let chain: String = (0..layers).map(table).collect();
        std::fs::write(world.path("work/chain.toml"), chain).unwrap();
        let top = ["derivation", "instantiate", "chain.toml"];
        let top = text(&succeed(&mut world.drover(top)));
        questions(&statements(&mut world.drover(["build", "--dry-run", &top]))).len()
    };
    assert_eq!(asked(30) - asked(10), 20);
}

/// Questions of the builds of `count` derivations, each with `inputs` sources of its own, one of
/// them built on all others.
fn of_builds(count: usize, inputs: usize) -> usize {
    let world = World::new();
    let mut recipe = String::new();
    for place in 0..count {
        let folder = world.path(format!("work/s{place}"));
        std::fs::create_dir(&folder).unwrap();
        let name = |source: usize| format!("s{place}/f{place}_{source}");
        (0..inputs).for_each(|source| {
            std::fs::write(world.path("work").join(name(source)), name(source)).unwrap();
        });
        let sources: Vec<String> = (0..inputs).map(|s| format!("\"{}\"", name(s))).collect();
        let others: Vec<String> = match place + 1 == count {
            true => (0..place).map(|other| format!("\"t{other}\"")).collect(),
            false => Vec::new(),
        };
        let _ = write!(
            recipe,
            "[t{place}]\nbuilder = \"/bin/sh\"\nargs = [\"-c\", \"echo $f{place}_0 > $out\"]\n\
             inputs = [{}]\nsources = [{}]\n",
            others.join(", "),
            sources.join(", ")
        );
    }
    std::fs::write(world.path("work/r.toml"), recipe).unwrap();
    let drv = text(&succeed(&mut world.drover(["derivation", "instantiate", "r.toml"])));
    let again = statements(&mut world.drover(["derivation", "instantiate", "r.toml"]));
    assert_eq!(questions(&again).len(), 2, "sources in one question, derivations in one");
    let told = statements(&mut world.drover(["build", "--no-link", "-j1", &drv]));
    questions(&told).len()
}

#[test]
fn a_build_asks_the_same_however_many_inputs_it_has() {
    // The prober answers in batches, so what comes at one time may share a question.
    let (few, many) = (of_builds(1, 2), of_builds(1, 40));
    assert_eq!(many, few);
    let five = of_builds(5, 2);
    assert!(five <= 5 * few, "{five} questions for five builds, {few} for one");
}

#[test]
fn derivations_that_a_recipe_names_are_asked_for_together() {
    let asked = |count: usize| {
        let world = World::new();
        let names: Vec<String> = (0..count).map(|n| format!("n{n}")).collect();
        let drvs: String = names.iter().map(|n| shell(n, "", "echo > $out") + " ").collect();
        let drvs = world.instantiate(&format!(
            "[ {} ]",
            drvs.replace("derivation", "(derivation").replace("} ", "}) ")
        ));
        assert_eq!(drvs.len(), count);
        let inputs: Vec<String> = drvs.iter().map(|drv| format!("\"{drv}\"")).collect();
        let recipe = format!("[t]\nbuilder = \"/bin/sh\"\ninputs = [{}]\n", inputs.join(", "));
        std::fs::write(world.path("work/r.toml"), recipe).unwrap();
        let made = statements(&mut world.drover(["derivation", "instantiate", "r.toml"]));
        questions(&made).len()
    };
    assert_eq!(asked(2), asked(12));
}

#[test]
fn one_transaction_registers_all_outputs_of_a_build() {
    let world = World::new();
    let script = "echo $dev > $out; echo $doc > $dev; echo > $doc";
    let outputs = "outputs = [ \"out\" \"dev\" \"doc\" ];";
    let drv = world.instantiate_one(&shell("three", outputs, script));
    let told = statements(&mut world.drover(["build", "--no-link", &drv]));
    let places = |start: &str| -> Vec<usize> {
        let is = |statement: &String| statement.to_lowercase().starts_with(start);
        (0..told.len()).filter(|place| is(&told[*place])).collect()
    };
    let inserts = places("insert into validpaths");
    let references = places("insert or replace into refs");
    assert_eq!((inserts.len(), references.len()), (3, 2), "{told:#?}");
    let (begin, commit) = (places("begin"), places("commit"));
    assert_eq!((begin.len(), commit.len()), (1, 1), "{told:#?}");
    let inside = |place: &usize| begin[0] < *place && *place < commit[0];
    assert!(inserts.iter().chain(&references).all(inside), "{told:#?}");
    assert_eq!(places("rollback"), Vec::<usize>::new(), "{told:#?}");
}
