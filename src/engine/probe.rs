//! The prober: answers what goals want to know of the store, on a thread of its own, in batches.
//!
//! All questions that wait are answered together: one write of temporary roots, one look at
//! validity, however many derivations a turn asks for. A path is protected before its validity is
//! looked at, so the collector cannot take it in between.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use super::failures::failure;
use super::moments::Message;
use super::settings::Platforms;
use super::shared::Shared;
use crate::base::error::with_causes;
use crate::base::mailbox::{Inbox, Outbox};
use crate::format::options::DerivationOptions;
use crate::format::{Derivation, DerivationOutput, StoreDir, StorePath, aterm};
use crate::machine::Failure;
use crate::machine::vocab::{
    DrvFacts, GoalId, Here, Input, Loaded, Locality, OutputFacts, Outputs, Question, Substitutes,
    Validity,
};
use crate::store::{Store, StoreError};

/// Derivations that one thread reads alone; more are shared between two.
const FEW: usize = 64;

/// A question and who asks.
#[derive(Debug)]
pub(super) struct Probe {
    pub goal: GoalId,
    pub question: Question,
}

impl Probe {
    /// What its goal gets if nobody can answer.
    pub(super) fn without_answer(&self) -> (GoalId, fn() -> Input) {
        let input: fn() -> Input = match self.question {
            Question::Load { .. } => || {
                let why = "the thread that asks the store is gone".to_owned();
                Input::Loaded(Loaded::Bad(Failure::Engine(why)))
            },
            Question::Check { .. } => || Input::Checked(Vec::new()),
        };
        (self.goal, input)
    }
}

/// Answers until the run drops its sender.
pub(super) fn run(shared: &Arc<Shared>, probes: &Inbox<Vec<Probe>>, outbox: &Outbox<Message>) {
    while let Ok(mut batch) = probes.recv() {
        batch.extend(probes.try_iter().flatten());
        let instead: Vec<_> = batch.iter().map(Probe::without_answer).collect();
        let answers = catch_unwind(AssertUnwindSafe(|| answer(shared, outbox, batch)));
        let answers = answers.unwrap_or_else(|_| {
            // The run ends with this, but goals that got no answer at all would wait for ever.
            let why = "the thread that asks the store panicked".to_owned();
            let _ = outbox.send(Message::Broken(why));
            instead.into_iter().map(|(goal, input)| (goal, input())).collect()
        });
        if outbox.send(Message::Goals(answers)).is_err() {
            return;
        }
    }
}

fn answer(shared: &Shared, outbox: &Outbox<Message>, batch: Vec<Probe>) -> Vec<(GoalId, Input)> {
    let mut loads = Vec::new();
    let mut checks = Vec::new();
    for Probe { goal, question } in batch {
        match question {
            Question::Load { drv, .. } => loads.push((goal, drv)),
            Question::Check { paths } => checks.push((goal, paths)),
        }
    }
    let mut answers = answer_loads(shared, loads);
    answers.extend(answer_checks(shared, outbox, checks));
    answers
}

fn answer_checks(
    shared: &Shared,
    outbox: &Outbox<Message>,
    checks: Vec<(GoalId, Vec<StorePath>)>,
) -> Vec<(GoalId, Input)> {
    let paths: BTreeSet<&StorePath> = checks.iter().flat_map(|(_, paths)| paths).collect();
    let valid = match shared.view().valid(paths) {
        Ok(valid) => valid,
        Err(error) => {
            // Without an answer nothing can go on: the run ends, and nobody takes this for valid.
            let _ = outbox.send(Message::Broken(with_causes(&error)));
            BTreeSet::new()
        }
    };
    let of = |paths: Vec<StorePath>| paths.into_iter().filter(|p| valid.contains(p)).collect();
    checks.into_iter().map(|(goal, paths)| (goal, Input::Checked(of(paths)))).collect()
}

fn answer_loads(shared: &Shared, loads: Vec<(GoalId, StorePath)>) -> Vec<(GoalId, Input)> {
    match try_loads(shared, &loads) {
        Ok(answers) => answers,
        Err(error) => {
            let why = failure("asking the store what is valid", &error);
            let bad =
                |(goal, _): &(GoalId, StorePath)| (*goal, Input::Loaded(Loaded::Bad(why.clone())));
            loads.iter().map(bad).collect()
        }
    }
}

fn try_loads(
    shared: &Shared,
    loads: &[(GoalId, StorePath)],
) -> Result<Vec<(GoalId, Input)>, StoreError> {
    if loads.is_empty() {
        return Ok(Vec::new());
    }
    let drvs = || loads.iter().map(|(_, drv)| drv);
    shared.protect(drvs())?;
    let valid_drvs = shared.view().valid(drvs())?;
    let wanted: Vec<&StorePath> = drvs().collect();
    let mut read = read_all(shared, &wanted, &valid_drvs);
    let paths: BTreeSet<&StorePath> = read.iter().flat_map(Read::paths).collect();
    shared.protect(paths.iter().copied())?;
    let valid = shared.view().valid(paths)?;
    let answer = |((goal, drv), read): (&(GoalId, StorePath), Read)| {
        (*goal, Input::Loaded(read.judge(shared, drv, &valid)))
    };
    Ok(loads.iter().zip(read.drain(..)).map(answer).collect())
}

/// A derivation file that was looked at.
enum Read {
    Missing,
    Bad(Failure),
    Good(Box<Derivation>),
}

fn read_all(shared: &Shared, drvs: &[&StorePath], valid: &BTreeSet<StorePath>) -> Vec<Read> {
    let one = |drv: &&StorePath| match valid.contains(*drv) {
        true => read(shared, drv),
        false => Read::Missing,
    };
    if drvs.len() <= FEW {
        return drvs.iter().map(one).collect();
    }
    let (left, right) = drvs.split_at(drvs.len() / 2);
    thread::scope(|scope| {
        let helper = thread::Builder::new().name("reader".into());
        let other = helper.spawn_scoped(scope, || right.iter().map(one).collect::<Vec<_>>());
        let mut all: Vec<Read> = left.iter().map(one).collect();
        match other.map(thread::ScopedJoinHandle::join) {
            Ok(Ok(more)) => all.extend(more),
            // No thread to be had (`ulimit -u`): one does it all.
            Err(_) => all.extend(right.iter().map(one)),
            Ok(Err(_)) => all.extend(right.iter().map(|drv| {
                Read::Bad(Failure::Engine(format!("reading `{drv}` ended in a panic")))
            })),
        }
        all
    })
}

fn read(shared: &Shared, drv: &StorePath) -> Read {
    match read_derivation(shared, drv) {
        Ok(derivation) => Read::Good(Box::new(derivation)),
        Err(why) => Read::Bad(why),
    }
}

/// Reads and parses the file of a valid derivation.
pub(super) fn read_derivation(shared: &Shared, drv: &StorePath) -> Result<Derivation, Failure> {
    read_plain(&shared.store, drv)
}

/// As [`read_derivation`], without a run.
pub(super) fn read_plain(store: &Store, drv: &StorePath) -> Result<Derivation, Failure> {
    let dir = &store.layout().store_dir;
    let Some(name) = drv.name().strip_suffix(".drv") else {
        return Err(Failure::BadDerivation(format!(
            "`{}` is not a derivation: its name does not end in `.drv`",
            dir.print(drv)
        )));
    };
    let file = store.layout().real(drv);
    let place = file.display();
    let bad =
        |why: String| Failure::BadDerivation(format!("cannot read derivation `{place}`: {why}"));
    let bytes = crate::base::fs::read_regular(&file, aterm::MOST_BYTES).map_err(|error| {
        // What lies there is no derivation; all else is trouble of the store.
        match error.io().kind() {
            std::io::ErrorKind::InvalidData => bad(error.io().to_string()),
            _ => failure("opening a derivation", &error),
        }
    })?;
    aterm::parse(name, &bytes, dir).map_err(|error| bad(with_causes(&error)))
}

impl Read {
    fn paths(&self) -> Vec<&StorePath> {
        match self {
            Self::Missing | Self::Bad(_) => Vec::new(),
            Self::Good(drv) => {
                let outputs = drv.outputs.values().filter_map(DerivationOutput::path);
                outputs.chain(&drv.input_srcs).collect()
            }
        }
    }

    fn judge(self, shared: &Shared, path: &StorePath, valid: &BTreeSet<StorePath>) -> Loaded {
        let drv = match self {
            Self::Missing => return Loaded::Missing,
            Self::Bad(failure) => return Loaded::Bad(failure),
            Self::Good(drv) => drv,
        };
        match facts(shared, &drv, valid) {
            Ok(facts) => {
                shared.remember_outputs(path, &facts.outputs);
                Loaded::Facts(Box::new(facts))
            }
            Err(failure) => Loaded::Bad(failure),
        }
    }
}

fn facts(
    shared: &Shared,
    drv: &Derivation,
    valid: &BTreeSet<StorePath>,
) -> Result<DrvFacts, Failure> {
    if let Some(reason) = drv.unsupported_reason() {
        return Err(Failure::NotSupported(reason));
    }
    let options = DerivationOptions::from(drv, shared.store_dir())
        .map_err(|error| Failure::BadDerivation(with_causes(&error)))?;
    let platforms = &shared.settings.platforms;
    let forced = options.exports.build_references_graph.values();
    Ok(DrvFacts {
        outputs: outputs(drv, valid),
        input_drvs: input_drvs(drv),
        invalid_srcs: drv.input_srcs.iter().filter(|p| !valid.contains(*p)).cloned().collect(),
        forced_drvs: forced.filter(|path| path.is_derivation()).cloned().collect(),
        needs: needs(drv, &options).into(),
        here: here(drv, &options, platforms),
        locality: match options.prefer_local_build {
            true => Locality::LocalFirst,
            false => Locality::HookFirst,
        },
        substitutes: match options.allow_substitutes {
            true => Substitutes::Allowed,
            false => Substitutes::Never,
        },
        obstacle: obstacle(drv, &options, shared.store_dir()),
    })
}

fn outputs(drv: &Derivation, valid: &BTreeSet<StorePath>) -> Vec<OutputFacts> {
    let one = |(name, output): (&String, &DerivationOutput)| {
        let path = output.path()?.clone();
        let validity = match valid.contains(&path) {
            true => Validity::Valid,
            false => Validity::Invalid,
        };
        Some(OutputFacts { name: name.as_str().into(), path, validity })
    };
    drv.outputs.iter().filter_map(one).collect()
}

fn input_drvs(drv: &Derivation) -> Vec<(StorePath, Outputs)> {
    let one = |(path, node): (&StorePath, &crate::format::derivation::InputNode)| {
        (path.clone(), Outputs::named(node.outputs.iter().map(String::as_str)))
    };
    drv.input_drvs.iter().map(one).collect()
}

fn needs(drv: &Derivation, options: &DerivationOptions) -> String {
    let features: Vec<&str> = options.required_system_features.iter().map(String::as_str).collect();
    match features.is_empty() {
        true => drv.platform.to_string(),
        false => format!("{} with features {}", drv.platform, features.join(", ")),
    }
}

/// Whether this host can build `drv`.
fn here(drv: &Derivation, options: &DerivationOptions, platforms: &Platforms) -> Here {
    let runs = |system: &str| drv.platform == system.as_bytes();
    // A builtin is our own code: it runs wherever we do, whatever system it names.
    let right_system = drv.platform == "builtin"
        || drv.builder.starts_with(b"builtin:")
        || runs(&platforms.system)
        || platforms.extra.iter().any(|system| runs(system));
    let all_features =
        options.required_system_features.iter().all(|f| platforms.features.contains(f));
    if right_system && all_features {
        return Here::Can;
    }
    let systems = std::iter::once(&platforms.system).chain(&platforms.extra);
    let systems: Vec<&str> = systems.map(String::as_str).collect();
    let offered = format!("{} with features {}", systems.join(", "), platforms.features.join(", "));
    Here::Cannot { offered: offered.into() }
}

/// Why `drv` can never be built here, however many slots there are.
fn obstacle(drv: &Derivation, options: &DerivationOptions, dir: &StoreDir) -> Option<Failure> {
    if let Some(builtin) = drv.builder.strip_prefix(b"builtin:".as_slice()) {
        return super::builtin::obstacle(drv, &String::from_utf8_lossy(builtin));
    }
    let not_drv = options.exports.build_references_graph.values().find(|p| !p.is_derivation());
    not_drv.map(|path| {
        Failure::BadDerivation(format!(
            "`exportBuildReferencesGraph` names `{}`, which is not a derivation",
            dir.print(path)
        ))
    })
}
