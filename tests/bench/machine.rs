//! What the machine alone costs a goal: `cargo bench --bench machine`.
//!
//! Answers every probe at once and ends every build at once. Only the machine's own time is
//! counted, not that of making up derivations; the peak of memory is that of the whole process,
//! one for each shape. Prints seconds, peak and the cost of a goal beside that in a run of a
//! thousand.

use std::collections::VecDeque;
use std::process::Command;
use std::time::{Duration, Instant};

use drover::format::StorePath;
use drover::machine::Machine;
use drover::machine::vocab::{
    DrvFacts, Effect, Event, Forced, Here, Input, Job, Key, Loaded, Locality, Mode, OutputFacts,
    Outputs, Policy, Question, Request, Substitutes, Validity,
};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const SMALL: usize = 1_000;
const LARGE: usize = 100_000;

/// The path of goal `number`: of its derivation or of its output.
fn path(number: usize, suffix: &str) -> Outcome<StorePath> {
    let mut digest = [0; 20];
    let mixed = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    digest[..8].copy_from_slice(&mixed.to_be_bytes());
    Ok(StorePath::from_parts(&digest, &format!("goal-{number}{suffix}"))?)
}

/// What the goal `number` of a shape needs.
fn inputs(shape: &str, count: usize, number: usize) -> Vec<usize> {
    let width = count / 100;
    match shape {
        "star" if number + 1 == count => (0..number).collect(),
        "layers" if number >= width => {
            let below = number - number % width - width;
            (0..10).map(|step| below + (number + step * 7) % width).collect()
        }
        _ => Vec::new(),
    }
}

/// Reads a derivation as a store would: every path is a text of its own.
fn facts(shape: &str, count: usize, drv: &StorePath) -> Outcome<DrvFacts> {
    let number: usize = drv.name().trim_start_matches("goal-").trim_end_matches(".drv").parse()?;
    let needs = inputs(shape, count, number).into_iter();
    let needs: Outcome<Vec<_>> =
        needs.map(|n| Ok((path(n, ".drv")?, Outputs::named(["out"])))).collect();
    let output = path(number, "")?;
    Ok(DrvFacts {
        outputs: vec![OutputFacts {
            name: "out".into(),
            path: output,
            validity: Validity::Invalid,
        }],
        input_drvs: needs?,
        invalid_srcs: vec![],
        forced_drvs: vec![],
        needs: "x86_64-linux".into(),
        here: Here::Can,
        locality: Locality::HookFirst,
        substitutes: Substitutes::Never,
        obstacle: None,
    })
}

/// Runs a shape to its end; how long the machine took for it.
fn run(shape: &str, count: usize) -> Outcome<Duration> {
    let mut machine = Machine::new(Policy { max_jobs: 8, ..Policy::default() });
    let tops = match shape {
        "fan" => 0..count,
        "star" => count - 1..count,
        _ => count - count / 100..count,
    };
    let request = |n| {
        let key = Key::derivation(path(n, ".drv")?, Mode::Normal);
        Ok(Request { key, outputs: Outputs::All, forced: Forced::No })
    };
    let wanted: Outcome<Vec<Request>> = tops.map(request).collect();
    let mut events = VecDeque::from([Event::Wanted(wanted?)]);
    let (mut built, mut spent) = (0, Duration::ZERO);
    while let Some(event) = events.pop_front() {
        let began = Instant::now();
        let effects = machine.handle(event);
        spent += began.elapsed();
        for effect in effects {
            match effect {
                Effect::Probe { goal, question: Question::Load { drv, .. } } => {
                    let facts = Loaded::Facts(Box::new(facts(shape, count, &drv)?));
                    events.push_back(Event::For(goal, Input::Loaded(facts)));
                }
                Effect::Probe { goal, question: Question::Check { .. } } => {
                    events.push_back(Event::For(goal, Input::Checked(vec![])));
                }
                Effect::Launch { goal, job: Job::Build { .. } } => {
                    built += 1;
                    let moments = [Input::Exited, Input::Ingested, Input::Registered];
                    events.extend(moments.map(|moment| Event::For(goal, moment)));
                }
                _ => {}
            }
        }
    }
    if !machine.is_finished() || built != count {
        return Err(format!("{shape}: {built} of {count} were built").into());
    }
    Ok(spent)
}

/// Peak of resident memory in MB.
fn peak() -> Outcome<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0 / 1e6)
}

fn seconds(shape: &str, count: usize) -> Outcome<f64> {
    Ok(run(shape, count)?.as_secs_f64())
}

#[expect(clippy::print_stdout, reason = "its output is what it is for")]
fn measure(shape: &str) -> Outcome<()> {
    let mut small = f64::MAX;
    for _ in 0..20 {
        small = small.min(seconds(shape, SMALL)?);
    }
    let large = seconds(shape, LARGE)?;
    let peak = peak()?;
    let each = |seconds: f64, count: usize| seconds / count as f64 * 1e6;
    println!(
        "machine {shape:<7} {LARGE} goals: {large:.2} s, {peak:.0} MB (goal 2 s, 300 MB); \
         {:.2} us a goal, {:.2} us in a run of {SMALL}",
        each(large, LARGE),
        each(small, SMALL)
    );
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "each shape is measured in a process of its own")]
fn main() -> Outcome<()> {
    let shape = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    if let Some(shape) = shape {
        return measure(&shape);
    }
    for shape in ["fan", "star", "layers"] {
        let status = Command::new(std::env::current_exe()?).arg(shape).status()?;
        if !status.success() {
            return Err(format!("{shape}: {status}").into());
        }
    }
    Ok(())
}
