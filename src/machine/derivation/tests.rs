//! The table in the module head, row by row, and that no state takes an input without a row.

use std::collections::BTreeSet;

use super::*;
use crate::machine::vocab::{
    Here, Hook, HookReply, Job, Loaded, Locality, OutputFacts, Substitutes, Waited,
};
use crate::machine::vocab::{LocalSlot, Validity};

const STATES: [State; 18] = [
    State::New,
    State::Loading,
    State::DrvWanted,
    State::OutputsWanted,
    State::Checking,
    State::InputsWanted,
    State::Claiming,
    State::Asking,
    State::Offloaded,
    State::Postponed,
    State::SlotWanted,
    State::Building,
    State::Ingesting,
    State::Registering,
    State::LockWanted,
    State::UserWanted,
    State::Stopping,
    State::Done,
];

fn path(digit: char, name: &str) -> StorePath {
    let digits = digit.to_string().repeat(32);
    StorePath::from_base_name(format!("{digits}-{name}").as_bytes()).unwrap()
}

fn facts() -> DrvFacts {
    let output = |name: &str, digit, validity| OutputFacts {
        name: name.into(),
        path: path(digit, "x"),
        validity,
    };
    DrvFacts {
        outputs: vec![output("dev", '2', Validity::Valid), output("out", '1', Validity::Invalid)],
        input_drvs: vec![(path('3', "i.drv"), Outputs::named(["out"]))],
        invalid_srcs: vec![path('4', "src")],
        forced_drvs: vec![],
        needs: "x86".into(),
        here: Here::Can,
        locality: Locality::HookFirst,
        substitutes: Substitutes::Allowed,
        obstacle: None,
    }
}

/// A goal that wants `out`, knows its facts and has its inputs.
fn ready() -> Derivation {
    let mut goal =
        Derivation::new(path('0', "d.drv"), Mode::Normal, Outputs::named(["out"]), Forced::No);
    goal.facts = Some(Box::new(facts()));
    goal.inputs = Inputs::Realised(Forced::No);
    goal
}

fn with(change: impl FnOnce(&mut Derivation)) -> Derivation {
    let mut goal = ready();
    change(&mut goal);
    goal
}

fn with_facts(change: impl FnOnce(&mut DrvFacts)) -> Input {
    let mut facts = facts();
    change(&mut facts);
    Input::Loaded(Loaded::Facts(Box::new(facts)))
}

fn policy(change: impl FnOnce(&mut Policy)) -> Policy {
    let mut policy = Policy::default();
    change(&mut policy);
    policy
}

fn plain() -> Policy {
    Policy::default()
}

fn hook() -> Policy {
    policy(|p| p.hook = Hook::Asked)
}

fn word<T: std::fmt::Debug>(value: &T) -> String {
    let text = format!("{value:?}");
    text.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
}

fn brief(order: &Order) -> String {
    match order {
        Order::Need { requests, edge, on_bad, .. } => {
            format!("Need {} {edge:?} {on_bad:?}", requests.len())
        }
        Order::Ask(question) => format!("Ask {}", word(question)),
        Order::Launch(job) => format!("Launch {}", word(job)),
        Order::Finish(Outcome::Failed(why)) => format!("Finish {}", word(why)),
        Order::Finish(outcome) => format!("Finish {outcome:?}"),
        Order::WantSlot(_, place) => format!("WantSlot {place:?}"),
        Order::Claim(paths) => format!("Claim {}", paths.len()),
        Order::AskSource(_)
        | Order::Unclaim
        | Order::FreeSlot(_)
        | Order::FreeUser
        | Order::WantUser
        | Order::Postpone
        | Order::HookSettled
        | Order::Kill
        | Order::Release
        | Order::Say(_) => word(order),
    }
}

struct Row(State, Derivation, Input, Policy, &'static str);

fn failed() -> Input {
    Input::Failed(Failure::ExitCode(1))
}

fn grown() -> Derivation {
    with(|g| g.grown = Growth::Grew)
}

fn checked(valid: &[char]) -> Input {
    Input::Checked(valid.iter().map(|digit| path(*digit, "x")).collect())
}

fn needs(failed: usize, absent: usize) -> Input {
    Input::Needs { failed, absent }
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn early_rows() -> Vec<Row> {
    use State::*;
    let fresh = || Derivation::new(path('0', "d.drv"), Mode::Normal, Outputs::All, Forced::No);
    let wants = |name: &'static str| with(|g| g.wanted = Outputs::named([name]));
    let missing = || Input::Loaded(Loaded::Missing);
    let open = || with(|g| g.inputs = Inputs::Open);
    let check = || with(|g| g.mode = Mode::Check);
    let sources = || policy(|p| p.sources = 1);
    let fallback = || policy(|p| p.fallback = Fallback::Build);
    let keep = || policy(|p| p.on_failure = OnFailure::KeepGoing);
    let bad = || Input::Loaded(Loaded::Bad(Failure::BadDerivation(String::new())));
    let obstacle = || with_facts(|f| f.obstacle = Some(Failure::NotSupported(String::new())));
    let asked = || with(|g| g.search.sought = Some(Outputs::All));
    let no_substitutes = || with_facts(|f| f.substitutes = Substitutes::Never);
    let leaf = || {
        with_facts(|f| {
            f.input_drvs.clear();
            f.invalid_srcs.clear();
        })
    };
    let forced = || {
        with(|g| {
            g.wanted = Outputs::named(["dev"]);
            g.forced = Forced::Yes;
        })
    };
    vec![
        Row(New, fresh(), Input::Start, plain(), "Loading: Ask Load"),
        Row(Loading, fresh(), missing(), plain(), "DrvWanted: Need 1 Registered AwaitAll"),
        Row(
            Loading,
            with(|g| g.search.tries = Tries::Second),
            missing(),
            plain(),
            "Done: Finish MissingDerivation",
        ),
        Row(Loading, fresh(), bad(), plain(), "Done: Finish BadDerivation"),
        Row(Loading, wants("dev"), with_facts(|_| {}), plain(), "Claiming: Claim 2"),
        Row(Loading, wants("man"), with_facts(|_| {}), plain(), "Done: Finish NoSuchOutputs"),
        Row(
            Loading,
            fresh(),
            with_facts(|_| {}),
            plain(),
            "InputsWanted: Unclaim, Need 2 Ingested ForgetRest",
        ),
        Row(
            Loading,
            fresh(),
            with_facts(|_| {}),
            keep(),
            "InputsWanted: Unclaim, Need 2 Ingested AwaitAll",
        ),
        Row(
            Loading,
            fresh(),
            with_facts(|_| {}),
            hook(),
            "InputsWanted: Unclaim, Need 2 Registered ForgetRest",
        ),
        Row(
            Loading,
            fresh(),
            with_facts(|_| {}),
            sources(),
            "OutputsWanted: Unclaim, Need 1 Registered ForgetRest",
        ),
        Row(
            Loading,
            fresh(),
            no_substitutes(),
            sources(),
            "InputsWanted: Unclaim, Need 2 Ingested ForgetRest",
        ),
        Row(Loading, fresh(), leaf(), plain(), "Claiming: Claim 2"),
        Row(Loading, fresh(), obstacle(), plain(), "Done: Finish NotSupported"),
        Row(Loading, check(), with_facts(|_| {}), plain(), "Done: Finish CheckImpossible"),
        Row(DrvWanted, fresh(), needs(0, 0), plain(), "Loading: Ask Load"),
        Row(DrvWanted, fresh(), needs(0, 1), plain(), "Done: Finish MissingDerivation"),
        Row(DrvWanted, fresh(), needs(1, 0), plain(), "Done: Finish MissingDerivation"),
        Row(OutputsWanted, ready(), needs(1, 0), plain(), "Done: Finish SubstitutesFailed"),
        Row(OutputsWanted, ready(), needs(1, 0), fallback(), "Checking: Ask Check"),
        Row(OutputsWanted, ready(), needs(0, 1), plain(), "Checking: Ask Check"),
        Row(Checking, ready(), checked(&['1', '2']), plain(), "Claiming: Claim 2"),
        Row(Checking, ready(), checked(&[]), plain(), "Claiming: Claim 2"),
        Row(
            Checking,
            open(),
            checked(&[]),
            plain(),
            "InputsWanted: Unclaim, Need 2 Ingested ForgetRest",
        ),
        Row(Checking, asked(), checked(&[]), sources(), "Claiming: Claim 2"),
        Row(
            Checking,
            ready(),
            checked(&[]),
            sources(),
            "OutputsWanted: Unclaim, Need 1 Registered ForgetRest",
        ),
        Row(Checking, forced(), checked(&['2']), plain(), "Loading: Unclaim, Ask Load"),
        Row(Checking, check(), checked(&['1']), plain(), "Claiming: Claim 2"),
        Row(Checking, check(), checked(&['2']), plain(), "Done: Finish CheckImpossible"),
        Row(InputsWanted, ready(), needs(0, 0), plain(), "Claiming: Claim 2"),
        Row(
            InputsWanted,
            with(|g| g.grown = Growth::Grew),
            needs(0, 0),
            plain(),
            "Checking: Ask Check",
        ),
        Row(InputsWanted, ready(), needs(1, 1), plain(), "Done: Finish InputsFailed"),
        Row(
            InputsWanted,
            with(|g| g.ending.spoiled = 1),
            needs(0, 0),
            plain(),
            "Done: Finish InputsFailed",
        ),
    ]
}

fn middle_rows() -> Vec<Row> {
    use State::*;
    let no_jobs = || policy(|p| p.max_jobs = 0);
    let now = || Input::Claimed(Waited::No);
    let said = Input::HookSaid;
    let busy = || Input::LockBusy(path('1', "x"));
    let dev = || with(|g| g.wanted = Outputs::named(["dev"]));
    let check = || with(|g| g.mode = Mode::Check);
    let about = |change: fn(&mut DrvFacts)| with(|g| change(g.facts.as_mut().unwrap()));
    let foreign = || about(|f| f.here = Here::Cannot { offered: "arm".into() });
    let local = || about(|f| f.locality = Locality::LocalFirst);
    vec![
        Row(Claiming, ready(), Input::Claimed(Waited::Yes), plain(), "Checking: Ask Check"),
        Row(Claiming, grown(), now(), plain(), "Checking: Ask Check"),
        Row(Claiming, dev(), now(), plain(), "Done: Finish AlreadyValid"),
        Row(Claiming, ready(), now(), plain(), "SlotWanted: WantSlot Tail"),
        Row(Claiming, ready(), now(), hook(), "Asking: Launch Hook"),
        Row(Claiming, local(), now(), hook(), "SlotWanted: WantSlot Tail"),
        Row(Claiming, check(), now(), hook(), "SlotWanted: WantSlot Tail"),
        Row(Claiming, ready(), now(), no_jobs(), "Done: Finish NobodyCanBuild"),
        Row(Claiming, foreign(), now(), plain(), "Done: Finish NobodyCanBuild"),
        Row(Asking, ready(), said(HookReply::Accepted), hook(), "Offloaded: HookSettled"),
        Row(
            Asking,
            ready(),
            said(HookReply::Declined),
            hook(),
            "SlotWanted: HookSettled, WantSlot Tail",
        ),
        Row(
            Asking,
            foreign(),
            said(HookReply::Declined),
            hook(),
            "Done: HookSettled, Finish NobodyCanBuild",
        ),
        Row(Asking, ready(), said(HookReply::Postponed), hook(), "Postponed: Postpone"),
        Row(Asking, ready(), busy(), hook(), "LockWanted: HookSettled, Launch AwaitLock"),
        Row(Asking, ready(), Input::AlreadyValid, hook(), "Done: HookSettled, Finish AlreadyValid"),
        Row(Asking, grown(), Input::AlreadyValid, hook(), "Checking: HookSettled, Ask Check"),
        Row(Asking, ready(), failed(), hook(), "Done: HookSettled, Finish ExitCode"),
        Row(Offloaded, ready(), Input::Ingested, hook(), "Registering: FreeUser, Release"),
        Row(Offloaded, ready(), failed(), hook(), "Done: Finish ExitCode"),
        Row(Postponed, ready(), Input::AskAgain, hook(), "Asking: Launch Hook"),
        Row(Postponed, grown(), Input::AskAgain, hook(), "Checking: Ask Check"),
        Row(
            Postponed,
            ready(),
            Input::Failed(Failure::InappropriatePostpone),
            hook(),
            "Done: Finish InappropriatePostpone",
        ),
        Row(SlotWanted, ready(), Input::Slot, plain(), "Building: Launch Build"),
        Row(SlotWanted, grown(), Input::Slot, plain(), "Checking: FreeSlot, FreeUser, Ask Check"),
    ]
}

fn late_rows() -> Vec<Row> {
    use State::*;
    let busy = || Input::LockBusy(path('1', "x"));
    let stopping = || with(|g| g.ending.verdict = Some(Box::new(Outcome::Cancelled)));
    let spoilt = || {
        with(|g| {
            let why = Failure::InputsFailed { count: 1 };
            g.ending.verdict = Some(Box::new(Outcome::Failed(why)));
        })
    };
    let said = Input::HookSaid;
    let loaded = || Input::Loaded(Loaded::Missing);
    let cancelled = "Done: Finish Cancelled";
    vec![
        Row(Building, ready(), Input::Exited, plain(), "Ingesting: FreeSlot"),
        Row(Building, ready(), busy(), plain(), "LockWanted: FreeSlot, FreeUser, Launch AwaitLock"),
        Row(
            Building,
            ready(),
            Input::UserBusy,
            plain(),
            "UserWanted: FreeSlot, FreeUser, WantUser",
        ),
        Row(Building, ready(), Input::AlreadyValid, plain(), "Done: Finish AlreadyValid"),
        Row(
            Building,
            grown(),
            Input::AlreadyValid,
            plain(),
            "Checking: FreeSlot, FreeUser, Ask Check",
        ),
        Row(Building, ready(), failed(), plain(), "Done: Finish ExitCode"),
        Row(Ingesting, ready(), Input::Ingested, plain(), "Registering: FreeUser, Release"),
        Row(Ingesting, ready(), failed(), plain(), "Done: Finish ExitCode"),
        Row(Registering, ready(), Input::Registered, plain(), "Done: Finish Built"),
        Row(Registering, ready(), failed(), plain(), "Done: Finish ExitCode"),
        Row(LockWanted, ready(), Input::LockFree, plain(), "Checking: Ask Check"),
        Row(LockWanted, ready(), failed(), plain(), "Done: Finish ExitCode"),
        Row(UserWanted, ready(), Input::UserFree, plain(), "SlotWanted: WantSlot Head"),
        Row(UserWanted, ready(), failed(), plain(), "Done: Finish ExitCode"),
        Row(Stopping, stopping(), Input::Exited, plain(), "Stopping: FreeSlot"),
        Row(Stopping, stopping(), Input::Ingested, plain(), "Stopping: "),
        Row(Stopping, stopping(), said(HookReply::Accepted), plain(), "Stopping: "),
        Row(Stopping, stopping(), Input::Registered, plain(), "Done: Finish Built"),
        Row(Stopping, spoilt(), Input::Registered, plain(), "Done: Finish InputsFailed"),
        Row(Stopping, stopping(), loaded(), plain(), cancelled),
        Row(Stopping, stopping(), checked(&['1']), plain(), cancelled),
        Row(Stopping, stopping(), busy(), plain(), cancelled),
        Row(Stopping, stopping(), Input::LockFree, plain(), cancelled),
        Row(Stopping, stopping(), Input::UserBusy, plain(), cancelled),
        Row(Stopping, stopping(), Input::UserFree, plain(), cancelled),
        Row(Stopping, stopping(), said(HookReply::Declined), plain(), cancelled),
        Row(Stopping, stopping(), Input::AlreadyValid, plain(), cancelled),
        Row(Stopping, spoilt(), failed(), plain(), "Done: Finish InputsFailed"),
    ]
}

/// The rows that nearly every state has.
fn common_rows() -> Vec<Row> {
    let widen = || Input::Widen { outputs: Outputs::named(["out"]), forced: Forced::No };
    let mut rows = Vec::new();
    for state in STATES {
        let (stop, spoiled) = match state {
            State::New | State::Claiming | State::SlotWanted | State::Postponed => {
                ("Done: Finish Cancelled", "Done: Finish InputsFailed")
            }
            State::DrvWanted => ("Done: Finish Cancelled", "DrvWanted: "),
            State::OutputsWanted => ("Done: Finish Cancelled", "OutputsWanted: "),
            State::InputsWanted => ("Done: Finish Cancelled", "InputsWanted: "),
            State::Loading | State::Checking => ("Stopping: ", "Stopping: "),
            State::Asking
            | State::Offloaded
            | State::Building
            | State::Ingesting
            | State::LockWanted
            | State::UserWanted => ("Stopping: Kill", "Stopping: Kill"),
            State::Registering => ("Registering: ", "Registering: "),
            State::Stopping => ("Stopping: ", "Stopping: "),
            State::Done => continue,
        };
        rows.push(Row(state, ready(), Input::Stop, plain(), stop));
        rows.push(Row(state, ready(), Input::Spoiled, plain(), spoiled));
        if state != State::Stopping {
            let same: &'static str = Box::leak(format!("{state:?}: ").into_boxed_str());
            rows.push(Row(state, ready(), widen(), plain(), same));
        }
    }
    rows
}

fn all_rows() -> Vec<Row> {
    [early_rows(), middle_rows(), late_rows(), common_rows()].into_iter().flatten().collect()
}

#[test]
fn every_row_of_the_table() {
    for Row(state, mut goal, input, policy, expected) in all_rows() {
        let told = format!("{input:?}");
        let (next, orders) = goal.step(state, input, &policy).unwrap();
        let orders: Vec<String> = orders.iter().map(brief).collect();
        assert_eq!(format!("{next:?}: {}", orders.join(", ")), expected, "{state:?} on {told}");
    }
}

/// One input of each kind.
fn samples() -> Vec<Input> {
    vec![
        Input::Start,
        Input::Widen { outputs: Outputs::named(["out"]), forced: Forced::No },
        needs(0, 0),
        Input::Spoiled,
        Input::Claimed(Waited::No),
        Input::Loaded(Loaded::Missing),
        checked(&[]),
        Input::Answered(crate::machine::vocab::Answer::HasNot),
        Input::Slot,
        Input::LockBusy(path('1', "x")),
        Input::LockFree,
        Input::UserBusy,
        Input::UserFree,
        Input::HookSaid(HookReply::Accepted),
        Input::AskAgain,
        Input::AlreadyValid,
        Input::Exited,
        Input::Ingested,
        Input::Registered,
        failed(),
        Input::Stop,
    ]
}

#[test]
fn no_state_takes_an_input_that_has_no_row() {
    let rows: BTreeSet<(State, String)> =
        all_rows().iter().map(|Row(state, _, input, ..)| (*state, word(input))).collect();
    for state in STATES {
        for input in samples() {
            let name = word(&input);
            let taken = ready().step(state, input, &plain()).is_ok();
            let has_row = rows.contains(&(state, name.clone()));
            assert_eq!(taken, has_row, "{state:?} on {name}: taken is not as in the table");
        }
    }
}

#[test]
fn late_wants_join_only_what_can_still_serve_them() {
    let more = Outputs::named(["dev"]);
    let none = Outputs::named(["man"]);
    for state in STATES {
        let goal = ready();
        let before_building = state < State::Asking
            || [State::Postponed, State::SlotWanted, State::LockWanted, State::UserWanted]
                .contains(&state);
        let over = matches!(state, State::Stopping | State::Done);
        assert_eq!(goal.can_join(state, &more, Forced::No), !over, "{state:?}");
        assert_eq!(goal.can_join(state, &more, Forced::Yes), before_building, "{state:?}");
        assert!(!goal.can_join(state, &none, Forced::No), "{state:?}");
    }
}

#[test]
fn a_name_that_no_output_has_is_an_error_also_beside_all() {
    let (named, all) = (Outputs::named(["man"]), Outputs::All);
    for (first, then) in [(named.clone(), all.clone()), (all, named)] {
        let mut goal = Derivation::new(path('d', "d.drv"), Mode::Normal, first, Forced::No);
        goal.step(State::New, Input::Start, &plain()).unwrap();
        let widen = Input::Widen { outputs: then, forced: Forced::No };
        goal.step(State::Loading, widen, &plain()).unwrap();
        let (state, orders) = goal.step(State::Loading, with_facts(|_| {}), &plain()).unwrap();
        assert_eq!(state, State::Done);
        let [Order::Finish(Outcome::Failed(why))] = &orders[..] else { panic!("{orders:?}") };
        assert!(matches!(why, Failure::NoSuchOutputs { outputs, .. } if outputs == &["man"]));
    }
}

#[test]
fn a_hook_is_told_whether_this_host_could() {
    let policy = policy(|p| (p.hook, p.max_jobs) = (Hook::Asked, 0));
    let (_, orders) = ready().step(State::Postponed, Input::AskAgain, &policy).unwrap();
    let Some(Order::Launch(Job::Hook { local_slot, .. })) = orders.first() else { panic!() };
    assert_eq!(*local_slot, LocalSlot::Taken);
}
