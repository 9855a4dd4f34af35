//! Random worlds: a machine driven by a dispatcher that answers in any order, with failures, busy
//! locks and users, hooks, sources, interrupts and late requests; and the invariants that hold in
//! every one of them after every event.
//!
//! It knows nothing of threads or stores. A world is a function of its [`Choices`], so the same
//! choices give the same trace; tests choose by seed, the fuzz target by its input.
//!
//! Longer than 400 lines because it is test code that the fuzz target shares.

#![expect(clippy::wildcard_enum_match_arm, reason = "a world names what it cares for")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::vocab::{
    Answer, DrvFacts, Effect, Event, FailedGoal, Fallback, Forced, GoalId, Here, Hook, HookReply,
    Input, Job, Key, Kind, Loaded, Locality, Mode, Notice, OnFailure, Outcome, OutputFacts,
    Outputs, Policy, Question, Request, Substitutes, Validity,
};
use super::{Failure, Machine};
use crate::format::StorePath;

/// Where the accidents of a world come from.
pub trait Choices {
    /// A number below `n`, which is at least 1.
    fn pick(&mut self, n: usize) -> usize;

    /// True once in `n` times.
    fn once_in(&mut self, n: usize) -> bool {
        self.pick(n) == n - 1
    }
}

/// Choices by seed (splitmix64).
#[derive(Debug)]
pub struct Seed(pub u64);

impl Choices for Seed {
    fn pick(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let below = (z ^ (z >> 31)) % u64::try_from(n.max(1)).unwrap_or(1);
        usize::try_from(below).unwrap_or(0)
    }
}

/// Choices by bytes; all 0 when they are used up.
#[derive(Debug)]
pub struct Bytes<'b>(pub &'b [u8]);

impl Choices for Bytes<'_> {
    fn pick(&mut self, n: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first) % n.max(1)
    }
}

/// How the build of a derivation goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Good,
    FailsBuilding,
    FailsIngesting,
    FailsRegistering,
}

#[derive(Debug, Clone)]
struct Drv {
    outputs: Vec<(Arc<str>, StorePath)>,
    inputs: Vec<(usize, Outputs)>,
    srcs: Vec<StorePath>,
    forced: Vec<usize>,
    fate: Fate,
    here: bool,
    class: Arc<str>,
    local_first: bool,
    substitutes: bool,
    obstacle: bool,
    bad: bool,
}

/// What a source has of a path.
#[derive(Debug, Clone)]
enum Stock {
    Nothing,
    Broken,
    /// References, and whether the fetch works.
    Has(Vec<StorePath>, bool),
}

/// Something the machine has asked for and not got yet.
#[derive(Debug, Clone)]
enum Open {
    Probe(GoalId, Question),
    Query(GoalId, u16, StorePath),
    Job(Running),
}

#[derive(Debug, Clone)]
struct Running {
    goal: GoalId,
    job: Job,
    stage: Stage,
    killed: bool,
    /// What it has put into the store, uncommitted.
    made: Vec<StorePath>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Started,
    Accepted,
    Exited,
    Ingested,
}

/// What a world came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcomes {
    /// A digest of all events and effects in order.
    pub trace: u64,
    /// Events given to the machine.
    pub events: usize,
}

/// One world.
struct World<'c> {
    choices: &'c mut dyn Choices,
    policy: Policy,
    drvs: Vec<Drv>,
    by_path: BTreeMap<StorePath, usize>,
    stock: BTreeMap<(u16, StorePath), Stock>,
    committed: BTreeSet<StorePath>,
    pending: BTreeSet<StorePath>,
    /// Registrations that failed: what was built on them must fail too.
    open: Vec<Open>,
    machine: Machine,
    finished: BTreeMap<GoalId, Outcome>,
    interrupted: bool,
    cyclic: bool,
    trace: u64,
    events: usize,
}

fn path(kind: char, number: usize, tail: &str) -> StorePath {
    let digits = format!("{kind}{number:0>31}");
    // The digits are base-32 and the tail is a name: no world has others.
    StorePath::from_base_name(format!("{digits}-{tail}").as_bytes())
        .unwrap_or_else(|error| unreachable!("{error}"))
}

fn drv_path(number: usize) -> StorePath {
    path('d', number, "d.drv")
}

/// Runs one world to its end.
///
/// # Errors
/// The invariant that was broken.
pub fn run(choices: &mut dyn Choices) -> Result<Outcomes, String> {
    let mut world = World::new(choices);
    world.play()?;
    Ok(Outcomes { trace: world.trace, events: world.events })
}

impl<'c> World<'c> {
    fn new(choices: &'c mut dyn Choices) -> Self {
        let c = choices;
        let policy = Policy {
            max_jobs: [1, 2, 4, 0, 3][c.pick(5)],
            max_substitutions: 1 + u32::try_from(c.pick(3)).unwrap_or(0),
            users: [None, None, Some(1), Some(2)][c.pick(4)],
            on_failure: [OnFailure::KeepGoing, OnFailure::Stop][c.pick(2)],
            fallback: [Fallback::Fail, Fallback::Build][c.pick(2)],
            hook: [Hook::None, Hook::None, Hook::Asked][c.pick(3)],
            sources: [0, 0, 1, 2][c.pick(4)],
        };
        let count = 1 + if c.once_in(16) { c.pick(40) } else { c.pick(7) };
        let cyclic = c.once_in(24);
        let mut committed = BTreeSet::new();
        let mut drvs = Vec::new();
        for number in 0..count {
            drvs.push(make_drv(c, number, count, cyclic, &mut committed));
            if !c.once_in(12) {
                committed.insert(drv_path(number));
            }
        }
        let by_path = (0..count).map(|number| (drv_path(number), number)).collect();
        let stock = make_stock(c, &policy, &drvs);
        let machine = Machine::new(policy.clone());
        Self {
            choices: c,
            policy,
            drvs,
            by_path,
            stock,
            committed,
            pending: BTreeSet::new(),
            open: Vec::new(),
            machine,
            finished: BTreeMap::new(),
            interrupted: false,
            cyclic,
            trace: 0,
            events: 0,
        }
    }

    fn play(&mut self) -> Result<(), String> {
        let count = 1 + self.choices.pick(3);
        let requests = (0..count).map(|_| self.request()).collect();
        self.tell(Event::Wanted(requests))?;
        while !self.open.is_empty() {
            if self.events > 5_000 {
                return Err("it does not end".into());
            }
            if self.choices.once_in(60) {
                let request = self.request();
                self.tell(Event::Wanted(vec![request]))?;
            }
            if self.choices.once_in(150) {
                self.interrupted = true;
                self.tell(Event::Interrupted)?;
            }
            if self.choices.once_in(60) {
                self.neighbour();
            }
            if !self.open.is_empty() {
                let next = self.choices.pick(self.open.len());
                let open = self.open.swap_remove(next);
                self.answer(open)?;
            }
        }
        self.look_back()
    }

    fn request(&mut self) -> Request {
        let c = &mut *self.choices;
        let number = c.pick(self.drvs.len());
        let drv = if c.once_in(40) { drv_path(99) } else { drv_path(number) };
        let mode = match c.pick(12) {
            10 => Mode::Check,
            11 => Mode::Repair,
            _ => Mode::Normal,
        };
        let outputs = some_outputs(c, c_has_dev(&self.drvs[number]));
        let forced = if c.once_in(8) { Forced::Yes } else { Forced::No };
        if c.once_in(12) {
            let path = self.drvs[number].outputs[0].1.clone();
            return Request {
                key: Key::path(path, mode),
                outputs: Outputs::All,
                forced: Forced::No,
            };
        }
        Request { key: Key::derivation(drv, mode), outputs, forced }
    }

    /// Another process makes something valid, unless we are at it: then it has no lock.
    fn neighbour(&mut self) {
        let number = self.choices.pick(self.drvs.len());
        let paths: Vec<StorePath> =
            self.drvs[number].outputs.iter().map(|(_, path)| path.clone()).collect();
        let busy = self.active().any(|(_, made)| made.iter().any(|path| paths.contains(path)));
        if !busy {
            self.committed.extend(paths);
        }
    }

    /// Goals that make paths now, and which.
    fn active(&self) -> impl Iterator<Item = (GoalId, Vec<StorePath>)> {
        self.open.iter().filter_map(|open| match open {
            Open::Job(running) => Some((running.goal, self.makes(running))),
            Open::Probe(..) | Open::Query(..) => None,
        })
    }

    fn makes(&self, running: &Running) -> Vec<StorePath> {
        match &running.job {
            Job::Hook { .. } if running.stage == Stage::Started => Vec::new(),
            Job::Build { drv, .. } | Job::Hook { drv, .. } => {
                self.outputs_of(drv).map(|(_, path)| path.clone()).collect()
            }
            Job::Substitute { path, .. } => vec![path.clone()],
            Job::AwaitLock { .. } | Job::AwaitUser => Vec::new(),
        }
    }

    fn outputs_of(&self, drv: &StorePath) -> impl Iterator<Item = &(Arc<str>, StorePath)> {
        self.by_path.get(drv).into_iter().flat_map(|&number| &self.drvs[number].outputs)
    }

    fn is_valid(&self, path: &StorePath) -> bool {
        self.committed.contains(path) || self.pending.contains(path)
    }

    // ---- telling the machine, and checking what it says ----

    fn tell(&mut self, event: Event) -> Result<(), String> {
        self.events += 1;
        self.note(&event);
        let effects = self.machine.handle(event);
        for effect in effects {
            self.note(&effect);
            self.take(effect)?;
        }
        self.check_counters()
    }

    fn note(&mut self, what: &impl std::fmt::Debug) {
        use std::hash::{Hash, Hasher};
        // Formatting is the expensive part of a world: every eighth is traced in full.
        if self.trace & 7 == 0 || self.events < 4 {
            let mut hasher = std::hash::DefaultHasher::new();
            (self.trace, format!("{what:?}")).hash(&mut hasher);
            self.trace = hasher.finish();
        } else {
            self.trace = self.trace.wrapping_mul(0x100_0000_01b3).wrapping_add(1);
        }
    }

    fn take(&mut self, effect: Effect) -> Result<(), String> {
        match effect {
            Effect::Probe { goal, question } => self.open.push(Open::Probe(goal, question)),
            Effect::Query { source, paths } => {
                let asks = paths.into_iter().map(|(goal, path)| Open::Query(goal, source.0, path));
                self.open.extend(asks);
            }
            Effect::Launch { goal, job } => return self.launch(goal, job),
            Effect::Kill { goal } => {
                for open in &mut self.open {
                    match open {
                        Open::Job(running) if running.goal == goal => running.killed = true,
                        Open::Job(_) | Open::Probe(..) | Open::Query(..) => {}
                    }
                }
            }
            Effect::Tell(Notice::Finished { goal, outcome, .. }) => {
                if self.finished.insert(goal, outcome).is_some() {
                    return Err(format!("{goal:?} finished twice"));
                }
                if self.open.iter().any(|open| open.goal() == goal) {
                    return Err(format!("{goal:?} finished with something under way"));
                }
            }
            Effect::Tell(Notice::Unexpected { what, .. }) => return Err(what),
            Effect::Tell(Notice::WaitsForLock { .. } | Notice::WaitsForUser { .. }) => {}
        }
        Ok(())
    }

    fn launch(&mut self, goal: GoalId, job: Job) -> Result<(), String> {
        let needs: Vec<StorePath> = match &job {
            Job::Build { drv, .. } | Job::Hook { drv, .. } => self.inputs_of(drv),
            Job::Substitute { path, source, .. } => {
                match self.stock.get(&(source.0, path.clone())) {
                    Some(Stock::Has(refs, _)) => refs.clone(),
                    Some(Stock::Nothing | Stock::Broken) | None => {
                        return Err(format!("{path} is fetched from a source without it"));
                    }
                }
            }
            Job::AwaitLock { .. } | Job::AwaitUser => Vec::new(),
        };
        let local = matches!(job, Job::Build { .. });
        for path in &needs {
            let own = matches!(&job, Job::Substitute { path: own, .. } if own == path);
            let met = self.committed.contains(path) || (local && self.pending.contains(path));
            if !met && !own {
                return Err(format!("{goal:?} starts {job:?} without {path}"));
            }
        }
        let killed = false;
        let running = Running { goal, job, stage: Stage::Started, killed, made: Vec::new() };
        self.push_job(running)
    }

    fn push_job(&mut self, running: Running) -> Result<(), String> {
        let makes = self.makes(&running);
        let clash = self.active().find(|(_, others)| others.iter().any(|p| makes.contains(p)));
        if let Some((other, _)) = clash {
            return Err(format!("{:?} and {other:?} make the same path", running.goal));
        }
        let goal = running.goal;
        if self.open.iter().any(|open| open.goal() == goal) {
            return Err(format!("{goal:?} has two things under way"));
        }
        self.open.push(Open::Job(running));
        Ok(())
    }

    fn inputs_of(&self, drv: &StorePath) -> Vec<StorePath> {
        let Some(&number) = self.by_path.get(drv) else { return Vec::new() };
        let drv = &self.drvs[number];
        let mut paths = drv.srcs.clone();
        let whole = drv.forced.iter().map(|&input| (input, Outputs::All));
        for (input, wanted) in drv.inputs.iter().cloned().chain(whole) {
            let outputs = self.drvs[input].outputs.iter();
            paths.extend(outputs.filter(|(n, _)| wanted.contains(n)).map(|(_, p)| p.clone()));
        }
        paths
    }

    fn check_counters(&self) -> Result<(), String> {
        let (mut builds, mut fetches, mut users, mut watchers) = (0, 0, 0, 0);
        for open in &self.open {
            let Open::Job(running) = open else { continue };
            let early = running.stage == Stage::Started;
            match running.job {
                Job::Build { .. } => {
                    builds += u32::from(early);
                    users += u32::from(running.stage != Stage::Ingested);
                }
                Job::Substitute { .. } => fetches += u32::from(early),
                Job::AwaitUser => watchers += 1,
                Job::Hook { .. } | Job::AwaitLock { .. } => {}
            }
        }
        let shared = &self.machine.shared;
        if builds > self.policy.max_jobs || shared.builds.used() != builds {
            return Err(format!("{builds} builds, {} slots", shared.builds.used()));
        }
        if fetches > self.policy.max_substitutions || shared.fetches.used() != fetches {
            return Err(format!("{fetches} fetches, {} slots", shared.fetches.used()));
        }
        if let Some(limit) = self.policy.users {
            // A stopped build keeps its user to its last word, whatever it reports before.
            if builds > limit || shared.users.used() < builds || shared.users.used() > limit {
                return Err(format!("{users} users of {limit}, {} counted", shared.users.used()));
            }
        }
        for open in &self.open {
            let Open::Job(running) = open else { continue };
            if !running.killed && self.machine.goals[running.goal.0 as usize].is_stopping() {
                return Err(format!("{:?} has to end and nobody told its job", running.goal));
            }
        }
        if watchers > 1 {
            return Err("two wait for a user".into());
        }
        let idle = !self.open.iter().any(|open| matches!(open, Open::Job(_)));
        if idle && shared.builds.waiting() > 0 {
            return Err("somebody waits for a slot though all are free".into());
        }
        Ok(())
    }

    // ---- what the dispatcher would do ----

    fn answer(&mut self, open: Open) -> Result<(), String> {
        match open {
            Open::Probe(goal, Question::Load { drv, .. }) => {
                let loaded = self.load(&drv);
                self.tell(Event::For(goal, Input::Loaded(loaded)))
            }
            Open::Probe(goal, Question::Check { paths }) => {
                let valid = paths.into_iter().filter(|path| self.is_valid(path)).collect();
                self.tell(Event::For(goal, Input::Checked(valid)))
            }
            Open::Query(goal, source, path) => {
                let answer = match self.stock.get(&(source, path)) {
                    Some(Stock::Has(refs, _)) => Answer::Has { references: refs.clone() },
                    Some(Stock::Broken) => Answer::Broken(Failure::SubstitutesFailed),
                    Some(Stock::Nothing) | None => Answer::HasNot,
                };
                self.tell(Event::For(goal, Input::Answered(answer)))
            }
            Open::Job(running) => self.advance(running),
        }
    }

    fn load(&mut self, path: &StorePath) -> Loaded {
        let (true, Some(&number)) = (self.is_valid(path), self.by_path.get(path)) else {
            return Loaded::Missing;
        };
        let drv = &self.drvs[number];
        if drv.bad {
            return Loaded::Bad(Failure::BadDerivation("bad".into()));
        }
        let output = |(name, path): &(Arc<str>, StorePath)| OutputFacts {
            name: name.clone(),
            path: path.clone(),
            validity: if self.is_valid(path) { Validity::Valid } else { Validity::Invalid },
        };
        let inputs = drv.inputs.iter().map(|(input, wanted)| (drv_path(*input), wanted.clone()));
        Loaded::Facts(Box::new(DrvFacts {
            outputs: drv.outputs.iter().map(output).collect(),
            input_drvs: inputs.collect(),
            invalid_srcs: drv.srcs.iter().filter(|src| !self.is_valid(src)).cloned().collect(),
            forced_drvs: drv.forced.iter().map(|&input| drv_path(input)).collect(),
            needs: drv.class.clone(),
            here: if drv.here { Here::Can } else { Here::Cannot { offered: "x".into() } },
            locality: if drv.local_first { Locality::LocalFirst } else { Locality::HookFirst },
            substitutes: if drv.substitutes { Substitutes::Allowed } else { Substitutes::Never },
            obstacle: drv.obstacle.then(|| Failure::NotSupported("x".into())),
        }))
    }

    /// The next word of a job.
    fn advance(&mut self, mut running: Running) -> Result<(), String> {
        let goal = running.goal;
        let say = |input| Event::For(goal, input);
        if running.killed && running.stage != Stage::Ingested && !self.choices.once_in(6) {
            return self.tell(say(Input::Failed(Failure::Cancelled)));
        }
        let input = match running.stage {
            Stage::Started => self.started(&running),
            Stage::Accepted | Stage::Exited => self.ingest(&mut running),
            Stage::Ingested => match self.register(&running) {
                Some(input) => input,
                None => {
                    // What it was built on comes first.
                    self.open.push(Open::Job(running));
                    return Ok(());
                }
            },
        };
        let stage = match &input {
            Input::Exited => Some(Stage::Exited),
            Input::HookSaid(HookReply::Accepted) => Some(Stage::Accepted),
            Input::Ingested => Some(Stage::Ingested),
            _ => None,
        };
        if let Some(stage) = stage {
            running.stage = stage;
            self.push_job(running)?;
        }
        self.tell(say(input))
    }

    fn started(&mut self, running: &Running) -> Input {
        match &running.job {
            Job::AwaitLock { .. } => return Input::LockFree,
            Job::AwaitUser => return Input::UserFree,
            Job::Build { .. } | Job::Hook { .. } | Job::Substitute { .. } => {}
        }
        if self.choices.once_in(8) {
            let path = path('f', 0, "locked");
            return Input::LockBusy(path);
        }
        if self.choices.once_in(40) {
            return Input::Failed(Failure::Engine("no thread".into()));
        }
        match &running.job {
            Job::Build { drv, mode, outputs } => {
                if *mode == Mode::Normal && self.all_committed(drv, outputs) {
                    return Input::AlreadyValid;
                }
                if self.policy.users.is_some() && self.choices.once_in(6) {
                    return Input::UserBusy;
                }
                match self.fate(drv) {
                    Fate::FailsBuilding => Input::Failed(Failure::ExitCode(1)),
                    Fate::Good | Fate::FailsIngesting | Fate::FailsRegistering => Input::Exited,
                }
            }
            Job::Hook { drv, outputs, .. } => {
                if self.all_committed(drv, outputs) {
                    return Input::AlreadyValid;
                }
                let replies = [HookReply::Accepted, HookReply::Declined, HookReply::Postponed];
                Input::HookSaid(replies[self.choices.pick(3)])
            }
            Job::Substitute { path, source, .. } => {
                if self.committed.contains(path) {
                    return Input::AlreadyValid;
                }
                match self.stock.get(&(source.0, path.clone())) {
                    Some(Stock::Has(_, true)) => Input::Exited,
                    Some(Stock::Has(_, false) | Stock::Nothing | Stock::Broken) | None => {
                        Input::Failed(Failure::ExitCode(1))
                    }
                }
            }
            Job::AwaitLock { .. } | Job::AwaitUser => Input::Failed(Failure::Cancelled),
        }
    }

    fn fate(&self, drv: &StorePath) -> Fate {
        self.by_path.get(drv).map_or(Fate::FailsBuilding, |&number| self.drvs[number].fate)
    }

    fn all_committed(&self, drv: &StorePath, wanted: &Outputs) -> bool {
        self.outputs_of(drv).all(|(n, p)| !wanted.contains(n) || self.committed.contains(p))
    }

    fn ingest(&mut self, running: &mut Running) -> Input {
        let makes = match &running.job {
            Job::Build { drv, mode, .. } => {
                if self.fate(drv) == Fate::FailsIngesting {
                    return Input::Failed(Failure::NoSpace { place: "store".into() });
                }
                // A second build of valid paths puts nothing into the store.
                if *mode == Mode::Check { Vec::new() } else { self.makes(running) }
            }
            Job::Hook { .. } | Job::Substitute { .. } => self.makes(running),
            Job::AwaitLock { .. } | Job::AwaitUser => Vec::new(),
        };
        running.made = makes.into_iter().filter(|path| !self.committed.contains(path)).collect();
        self.pending.extend(running.made.iter().cloned());
        Input::Ingested
    }

    /// `None`: an input is not committed yet.
    fn register(&mut self, running: &Running) -> Option<Input> {
        let (inputs, fate) = match &running.job {
            Job::Build { drv, .. } | Job::Hook { drv, .. } => (self.inputs_of(drv), self.fate(drv)),
            Job::Substitute { .. } | Job::AwaitLock { .. } | Job::AwaitUser => {
                (Vec::new(), Fate::Good)
            }
        };
        if inputs.iter().any(|input| self.pending.contains(input)) {
            return None;
        }
        for path in &running.made {
            self.pending.remove(path);
        }
        let whole = inputs.iter().all(|input| self.committed.contains(input));
        if fate == Fate::FailsRegistering || !whole {
            return Some(Input::Failed(Failure::Engine("cannot register".into())));
        }
        self.committed.extend(running.made.iter().cloned());
        Some(Input::Registered)
    }

    // ---- at the end ----

    fn look_back(&mut self) -> Result<(), String> {
        if !self.machine.is_finished() {
            return Err("nothing is under way and it is not finished".into());
        }
        if !self.pending.is_empty() {
            return Err("it ends with something uncommitted".into());
        }
        let shared = &self.machine.shared;
        if shared.builds.used() + shared.fetches.used() + shared.users.used() > 0 {
            return Err("a slot or a user is lost".into());
        }
        if !shared.claims.is_empty() {
            return Err("a claim is left over".into());
        }
        if self.finished.len() != self.machine.goals.len() {
            return Err("a goal has not said how it ended".into());
        }
        let summary = self.machine.summary();
        for top in &summary.tops {
            self.check_top(&top.request, &top.outcome)?;
        }
        let keep_going = self.policy.on_failure == OnFailure::KeepGoing && !self.interrupted;
        for failed in &summary.failures {
            self.check_failure(&failed.key, &failed.failure, keep_going)?;
        }
        let circle = |f: &FailedGoal| matches!(f.failure, Failure::DependencyCycle { .. });
        let circular = summary.failures.iter().any(circle);
        if keep_going && !circular && summary.tally.cancelled > 0 {
            return Err("something was cancelled though all was to go on".into());
        }
        let counted: usize = summary.failures.iter().map(|failed| failed.blocked).sum();
        let blocked = self.machine.blame.roots.keys().filter(|id| self.machine.is_derivation(**id));
        if counted != blocked.count() {
            return Err("a blocked derivation belongs to no failure that is listed".into());
        }
        Ok(())
    }

    fn check_top(&self, request: &Request, outcome: &Outcome) -> Result<(), String> {
        if !outcome.is_success() || request.key.mode == Mode::Check {
            return Ok(());
        }
        let there = match request.key.kind {
            Kind::Path => self.committed.contains(&request.key.path),
            Kind::Derivation => self.all_committed(&request.key.path, &request.outputs),
        };
        if there { Ok(()) } else { Err(format!("{request:?} is {outcome:?} and not valid")) }
    }

    /// Nobody fails without a reason.
    fn check_failure(&self, key: &Key, why: &Failure, whole: bool) -> Result<(), String> {
        match why {
            Failure::Engine(text) if text.starts_with("stuck") || text.starts_with("internal") => {
                Err(text.clone())
            }
            Failure::DependencyCycle { .. } if !self.cyclic && self.policy.sources == 0 => {
                Err("a cycle is seen where none is".into())
            }
            Failure::InputsFailed { .. } if whole && key.kind == Kind::Derivation => {
                let Some(&number) = self.by_path.get(&key.path) else { return Ok(()) };
                let drv = &self.drvs[number];
                let bad = |path: &StorePath, kind| {
                    self.machine.goals.iter().any(|goal| {
                        goal.key.kind == kind
                            && goal.key.path == *path
                            && !goal.outcome.as_deref().is_some_and(Outcome::is_success)
                    })
                };
                let inputs = drv.inputs.iter().map(|(input, _)| *input).chain(drv.forced.clone());
                let because = inputs.map(drv_path).any(|input| bad(&input, Kind::Derivation))
                    || drv.srcs.iter().any(|src| bad(src, Kind::Path));
                if because { Ok(()) } else { Err(format!("{key:?} failed for no input")) }
            }
            _ => Ok(()),
        }
    }
}

impl Open {
    fn goal(&self) -> GoalId {
        match self {
            Self::Probe(goal, _) | Self::Query(goal, ..) => *goal,
            Self::Job(running) => running.goal,
        }
    }
}

fn c_has_dev(drv: &Drv) -> usize {
    drv.outputs.len()
}

/// Outputs that a derivation with this many has, or rarely one that none has.
fn some_outputs(c: &mut dyn Choices, count: usize) -> Outputs {
    match c.pick(if count > 1 { 40 } else { 20 }) {
        0 => Outputs::named(["no-such"]),
        1..=7 => Outputs::All,
        8..=29 => Outputs::named(["out"]),
        _ => Outputs::named(["dev"]),
    }
}

fn make_drv(
    c: &mut dyn Choices,
    number: usize,
    count: usize,
    cyclic: bool,
    committed: &mut BTreeSet<StorePath>,
) -> Drv {
    // A few paths are shared: fixed outputs that several derivations make.
    let main = if c.once_in(5) { path('s', c.pick(2), "x") } else { path('a', number, "x") };
    let mut outputs: Vec<(Arc<str>, StorePath)> = vec![("out".into(), main)];
    if c.once_in(3) {
        let dev = if c.once_in(3) { path('r', 0, "x") } else { path('b', number, "x") };
        outputs.insert(0, ("dev".into(), dev));
    }
    for (_, path) in &outputs {
        if c.once_in(8) {
            committed.insert(path.clone());
        }
    }
    let limit = if cyclic { count } else { number };
    let mut inputs = Vec::new();
    let mut forced = Vec::new();
    if limit > 0 {
        for _ in 0..c.pick(4) {
            inputs.push((c.pick(limit), some_outputs(c, 1)));
        }
        if c.once_in(10) {
            forced.push(c.pick(limit));
        }
    }
    let mut srcs = Vec::new();
    if c.once_in(6) {
        let src = path('c', c.pick(3), "s");
        if c.pick(3) > 0 {
            committed.insert(src.clone());
        }
        srcs.push(src);
    }
    let fates = [Fate::FailsBuilding, Fate::FailsIngesting, Fate::FailsRegistering];
    Drv {
        outputs,
        inputs,
        srcs,
        forced,
        fate: if c.once_in(5) { fates[c.pick(3)] } else { Fate::Good },
        here: !c.once_in(12),
        class: ["x86", "arm"][c.pick(2)].into(),
        local_first: c.once_in(4),
        substitutes: !c.once_in(6),
        obstacle: c.once_in(30),
        bad: c.once_in(40),
    }
}

fn make_stock(
    c: &mut dyn Choices,
    policy: &Policy,
    drvs: &[Drv],
) -> BTreeMap<(u16, StorePath), Stock> {
    let mut stock = BTreeMap::new();
    for source in 0..policy.sources {
        for number in 0..drvs.len() {
            let outputs = drvs[number].outputs.iter().map(|(_, path)| path.clone());
            let srcs = drvs[number].srcs.iter().cloned();
            let paths: Vec<StorePath> = outputs.chain(srcs).chain([drv_path(number)]).collect();
            for path in paths {
                let other = drvs[c.pick(number + 1)].outputs[0].1.clone();
                let has = match c.pick(6) {
                    0 | 1 => Stock::Has(vec![], true),
                    2 => Stock::Has(vec![path.clone(), other], true),
                    3 => Stock::Has(vec![], false),
                    4 if c.once_in(3) => Stock::Broken,
                    _ => Stock::Nothing,
                };
                stock.insert((source, path), has);
            }
        }
    }
    stock
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_thousand_worlds_keep_every_invariant() {
        let mut events = 0;
        for seed in 0..24_000_u64 {
            match run(&mut Seed(seed)) {
                Ok(outcomes) => events += outcomes.events,
                Err(broken) => panic!("world {seed}: {broken}"),
            }
        }
        assert!(events > 200_000, "the worlds are too small to mean anything: {events}");
    }

    #[test]
    fn the_same_seed_gives_the_same_trace() {
        for seed in 0..500_u64 {
            assert_eq!(run(&mut Seed(seed)), run(&mut Seed(seed)), "world {seed}");
        }
        let traces: BTreeSet<u64> =
            (0..500).filter_map(|seed| run(&mut Seed(seed)).ok()).map(|o| o.trace).collect();
        assert!(traces.len() > 450, "the trace says too little");
    }

    /// What the fuzzer found once stays found.
    #[test]
    fn the_fuzzers_worlds_keep_every_invariant() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/machine");
        for file in std::fs::read_dir(folder).unwrap() {
            let file = file.unwrap().path();
            let bytes = std::fs::read(&file).unwrap();
            run(&mut Bytes(&bytes)).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        }
    }
}
