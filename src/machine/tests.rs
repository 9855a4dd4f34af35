//! The machine as a whole, in worlds made for one question each; `sim` has the random ones.

use super::vocab::{
    DrvFacts, Forced, Here, Job, Loaded, Locality, Mode, OutputFacts, Outputs, Question,
    Substitutes, Validity,
};
use super::*;

/// Derivations by number: their inputs, and whether the build fails.
struct Graph {
    inputs: Vec<Vec<usize>>,
    fails: BTreeSet<usize>,
    machine: Machine,
    built: Vec<usize>,
    notices: Vec<Notice>,
    launched: usize,
}

fn name(number: usize) -> StorePath {
    StorePath::from_base_name(format!("{number:0>32}-n.drv").as_bytes()).unwrap()
}

fn number(path: &StorePath) -> usize {
    path.hash_part().parse().unwrap()
}

fn request(number: usize) -> Request {
    let key = Key::derivation(name(number), Mode::Normal);
    Request { key, outputs: Outputs::All, forced: Forced::No }
}

impl Graph {
    fn new(inputs: Vec<Vec<usize>>, fails: &[usize], policy: Policy) -> Self {
        Self {
            inputs,
            fails: fails.iter().copied().collect(),
            machine: Machine::new(policy),
            built: Vec::new(),
            notices: Vec::new(),
            launched: 0,
        }
    }

    fn load(&self, path: &StorePath) -> Loaded {
        let out = number(path);
        let output = StorePath::from_base_name(format!("a{out:0>31}-n").as_bytes()).unwrap();
        let inputs = self.inputs[out].iter();
        Loaded::Facts(Box::new(DrvFacts {
            outputs: vec![OutputFacts {
                name: "out".into(),
                path: output,
                validity: Validity::Invalid,
            }],
            input_drvs: inputs.map(|input| (name(*input), Outputs::named(["out"]))).collect(),
            invalid_srcs: vec![],
            forced_drvs: vec![],
            needs: "x86".into(),
            here: Here::Can,
            locality: Locality::HookFirst,
            substitutes: Substitutes::Allowed,
            obstacle: None,
        }))
    }

    /// Runs to the end, oldest effect first.
    fn run(&mut self, tops: impl IntoIterator<Item = usize>) -> Summary {
        let wanted = tops.into_iter().map(request).collect();
        let mut effects = VecDeque::from(self.machine.handle(Event::Wanted(wanted)));
        while let Some(effect) = effects.pop_front() {
            for event in self.answer(effect) {
                effects.extend(self.machine.handle(event));
            }
        }
        assert!(self.machine.is_finished());
        self.machine.summary()
    }

    fn answer(&mut self, effect: Effect) -> Vec<Event> {
        match effect {
            Effect::Probe { goal, question: Question::Load { drv, .. } } => {
                vec![Event::For(goal, Input::Loaded(self.load(&drv)))]
            }
            Effect::Probe { goal, question: Question::Check { .. } } => {
                vec![Event::For(goal, Input::Checked(vec![]))]
            }
            Effect::Launch { goal, job: Job::Build { drv, .. } } => {
                self.launched += 1;
                if self.fails.contains(&number(&drv)) {
                    return vec![Event::For(goal, Input::Failed(Failure::ExitCode(1)))];
                }
                self.built.push(number(&drv));
                let words = [Input::Exited, Input::Ingested, Input::Registered];
                words.map(|word| Event::For(goal, word)).into()
            }
            Effect::Tell(notice) => {
                self.notices.push(notice);
                vec![]
            }
            Effect::Launch { .. } | Effect::Query { .. } | Effect::Kill { .. } => vec![],
        }
    }
}

fn keep_going() -> Policy {
    Policy { on_failure: OnFailure::KeepGoing, ..Policy::default() }
}

#[test]
fn a_diamond_is_built_once_and_in_order() {
    let mut graph = Graph::new(vec![vec![], vec![0], vec![0], vec![1, 2]], &[], Policy::default());
    let summary = graph.run([3]);
    assert_eq!(graph.built, [0, 1, 2, 3]);
    assert_eq!((summary.tally.built, summary.end), (4, End::Completed));
    assert_eq!(summary.tops[0].outcome, Outcome::Built);
    assert_eq!(graph.machine.progress(), Progress { done: 4, ..Progress::default() });
}

#[test]
fn what_a_failure_blocks_is_counted_for_its_root() {
    // 0 fails: 2 and 3 are blocked, 4 as well; 1 and 5 are not.
    let inputs = vec![vec![], vec![], vec![0, 1], vec![0], vec![2], vec![1]];
    let mut graph = Graph::new(inputs, &[0], keep_going());
    let summary = graph.run([4, 3, 5]);
    assert_eq!(graph.built, [1, 5]);
    let roots: Vec<_> = summary.failures.iter().map(|f| (number(&f.key.path), f.blocked)).collect();
    assert_eq!(roots[0], (0, 3));
    assert_eq!(roots.len(), 4);
    assert!(summary.failures.iter().all(|f| f.root == summary.failures[0].goal));
    assert_eq!((summary.tally.failed, summary.tally.blocked), (1, 3));
}

#[test]
fn without_keep_going_the_first_failure_ends_the_run() {
    let mut machine = Machine::new(Policy { max_jobs: 2, ..Policy::default() });
    let graph = Graph::new(vec![vec![], vec![], vec![]], &[], Policy::default());
    machine.handle(Event::Wanted((0..3).map(request).collect()));
    for id in 0..3 {
        machine.handle(Event::For(GoalId(id), Input::Loaded(graph.load(&name(id as usize)))));
    }
    let effects = machine.handle(Event::For(GoalId(0), Input::Failed(Failure::ExitCode(1))));
    assert!(effects.contains(&Effect::Kill { goal: GoalId(1) }), "{effects:?}");
    let launched = effects.iter().any(|effect| matches!(effect, Effect::Launch { .. }));
    assert!(!launched, "the freed slot goes to nobody: {effects:?}");
    machine.handle(Event::For(GoalId(1), Input::Failed(Failure::Cancelled)));
    assert!(machine.is_finished());
    let summary = machine.summary();
    assert_eq!((summary.end, summary.tally.cancelled), (End::FailedEarly, 2));
}

#[test]
fn an_interrupt_ends_all_but_the_commit_under_way() {
    let mut machine = Machine::new(Policy { max_jobs: 1, ..keep_going() });
    let graph = Graph::new(vec![vec![], vec![]], &[], Policy::default());
    machine.handle(Event::Wanted((0..2).map(request).collect()));
    for id in 0..2 {
        machine.handle(Event::For(GoalId(id), Input::Loaded(graph.load(&name(id as usize)))));
    }
    machine.handle(Event::For(GoalId(0), Input::Exited));
    machine.handle(Event::For(GoalId(0), Input::Ingested));
    let effects = machine.handle(Event::Interrupted);
    assert!(effects.contains(&Effect::Kill { goal: GoalId(1) }));
    assert!(!effects.contains(&Effect::Kill { goal: GoalId(0) }), "its commit goes on");
    machine.handle(Event::For(GoalId(1), Input::Failed(Failure::Cancelled)));
    machine.handle(Event::For(GoalId(0), Input::Registered));
    let summary = machine.summary();
    let outcomes: Vec<_> = summary.tops.into_iter().map(|top| top.outcome).collect();
    assert_eq!(outcomes, [Outcome::Built, Outcome::Cancelled]);
    assert_eq!(summary.end, End::Interrupted);
}

#[test]
fn a_circle_fails_by_name_and_the_rest_is_built() {
    let inputs = vec![vec![1], vec![2], vec![0], vec![0], vec![]];
    let mut graph = Graph::new(inputs, &[], keep_going());
    let summary = graph.run([3, 4]);
    assert_eq!(graph.built, [4]);
    let Failure::DependencyCycle { paths } = &summary.failures[0].failure else { panic!() };
    assert_eq!(paths.len(), 3);
    assert_eq!(summary.failures[0].blocked, 3, "the two others and what waits for them");
}

#[test]
fn what_cannot_have_happened_fails_the_goal_and_says_so() {
    let mut machine = Machine::new(keep_going());
    machine.handle(Event::Wanted(vec![request(0)]));
    let effects = machine.handle(Event::For(GoalId(0), Input::Registered));
    let told = |effects: &[Effect]| {
        effects.iter().any(|e| matches!(e, Effect::Tell(Notice::Unexpected { .. })))
    };
    assert!(told(&effects));
    assert!(told(&machine.handle(Event::For(GoalId(7), Input::Exited))));
    assert!(told(&machine.handle(Event::For(GoalId(0), Input::Slot))));
    machine.handle(Event::For(GoalId(0), Input::Loaded(Loaded::Missing)));
    assert!(machine.is_finished());
    let outcome = machine.outcome(GoalId(0));
    assert!(matches!(outcome, Some(Outcome::Failed(Failure::Engine(_)))), "{outcome:?}");
}

#[test]
fn what_waits_for_a_failure_is_counted_apart() {
    let links = vec![vec![], vec![0], vec![1], vec![]];
    let mut graph = Graph::new(links, &[0], keep_going());
    graph.run([2, 3]);
    let want = Progress { done: 1, failed: 1, blocked: 2, ..Progress::default() };
    assert_eq!(graph.machine.progress(), want);
}

#[test]
fn what_was_built_on_an_unregistered_input_fails_with_it() {
    let mut machine = Machine::new(keep_going());
    let graph = Graph::new(vec![vec![], vec![0]], &[], Policy::default());
    machine.handle(Event::Wanted(vec![request(1)]));
    machine.handle(Event::For(GoalId(0), Input::Loaded(graph.load(&name(1)))));
    machine.handle(Event::For(GoalId(1), Input::Loaded(graph.load(&name(0)))));
    machine.handle(Event::For(GoalId(1), Input::Exited));
    machine.handle(Event::For(GoalId(1), Input::Ingested));
    assert_eq!(machine.progress().running, 2, "it starts before the commit");
    let why = Failure::Engine("disk".into());
    let effects = machine.handle(Event::For(GoalId(1), Input::Failed(why)));
    assert!(effects.contains(&Effect::Kill { goal: GoalId(0) }), "{effects:?}");
    machine.handle(Event::For(GoalId(0), Input::Failed(Failure::Cancelled)));
    let summary = machine.summary();
    assert_eq!(summary.tops[0].outcome, Outcome::Failed(Failure::InputsFailed { count: 1 }));
    assert_eq!((summary.failures[0].goal, summary.failures[0].blocked), (GoalId(1), 1));
}

/// `layers` layers of `width`, each goal with `degree` inputs in the layer below.
fn layered(layers: usize, width: usize, degree: usize) -> Vec<Vec<usize>> {
    let inputs = |number: usize| {
        let (layer, at) = (number / width, number % width);
        let below = |step: usize| (layer - 1) * width + (at + step * 7) % width;
        if layer == 0 { vec![] } else { (0..degree).map(below).collect() }
    };
    (0..layers * width).map(inputs).collect()
}

fn cost(inputs: Vec<Vec<usize>>, tops: std::ops::Range<usize>) -> usize {
    let count = inputs.len();
    let mut graph = Graph::new(inputs, &[], Policy { max_jobs: 8, ..keep_going() });
    graph.run(tops);
    assert_eq!(graph.launched, count);
    graph.machine.cost()
}

#[test]
fn the_work_grows_with_goals_and_edges_and_no_faster() {
    for count in [1_000_usize, 8_000] {
        let fan = cost(vec![vec![]; count], 0..count);
        assert!(fan <= 8 * count, "fan of {count}: {fan}");
        let layers = cost(layered(10, count / 10, 5), count - count / 10..count);
        assert!(layers <= 16 * count, "layers of {count}: {layers}");
        let mut star = vec![vec![]; count];
        star.push((0..count).collect());
        let star = cost(star, count..count + 1);
        assert!(star <= 10 * count, "star of {count}: {star}");
    }
}

/// `cargo test --release --lib -- --ignored --nocapture hundred_thousand` prints the figures.
#[test]
#[ignore = "a measurement"]
fn hundred_thousand_goals() {
    let count = 100_000;
    let mut star = vec![vec![]; count];
    star.push((0..count).collect());
    let worlds = [
        ("fan", vec![vec![]; count], 0..count),
        ("star", star, count..count + 1),
        ("layers", layered(100, count / 100, 10), count - count / 100..count),
    ];
    for (shape, inputs, tops) in worlds {
        let start = std::time::Instant::now();
        let steps = cost(inputs, tops);
        let peak = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = peak.lines().find(|line| line.starts_with("VmHWM")).unwrap().to_owned();
        let sizes = [size_of::<Goal>(), size_of::<Effect>(), size_of::<Failure>()];
        println!("bytes of a goal, an effect, a failure: {sizes:?}");
        println!("{shape}: {:?}, {steps} steps, {peak}", start.elapsed());
    }
}
