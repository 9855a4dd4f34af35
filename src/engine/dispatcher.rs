//! The dispatcher: channels on one side, threads on the other. It has no rules and no clock; what
//! is to be done the machine says.
//!
//! One turn: take every message that has arrived, feed the machine, perform its effects. Probes of
//! a turn go to the prober in one batch. Nothing here blocks but the wait for messages.

use std::collections::BTreeMap;
use std::sync::Arc;

use crossbeam_channel::Sender;

use super::jobs::{self, Threads};
use super::moments::Message;
use super::probe::Probe;
use super::report::Notice;
use super::shared::Shared;
use crate::base::mailbox::{Inbox, Outbox};
use crate::base::{Cancel, Urgency};
use crate::machine::vocab::{self, Answer, Effect, Event, GoalId, Input, Job, Report, Request};
use crate::machine::{Failure, Machine};

/// Threads, channels and the machine of one run.
pub(super) struct Dispatcher {
    machine: Machine,
    shared: Arc<Shared>,
    threads: Threads,
    running: BTreeMap<GoalId, Cancel>,
    probes: Outbox<Vec<Probe>>,
    outbox: Outbox<Message>,
    inbox: Inbox<Message>,
    /// Cloned into every job thread: its receiver learns when the last one is over.
    alive: Sender<()>,
    ended_by: EndedBy,
}

/// What ended the run before its time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct EndedBy {
    /// The first signal.
    pub signal: Option<i32>,
    /// Whether it is to be over at once.
    pub urgency: Option<Urgency>,
    /// Why the store cannot be written.
    pub broken: Option<String>,
}

/// The channels a dispatcher lives on.
pub(super) struct Wiring {
    /// To the prober.
    pub probes: Outbox<Vec<Probe>>,
    /// To the dispatcher itself, for its jobs.
    pub outbox: Outbox<Message>,
    /// From jobs, prober, registrar and signals.
    pub inbox: Inbox<Message>,
    /// See [`Dispatcher`].
    pub alive: Sender<()>,
}

impl Dispatcher {
    pub(super) fn new(machine: Machine, shared: Arc<Shared>, wiring: Wiring) -> Self {
        let Wiring { probes, outbox, inbox, alive } = wiring;
        Self {
            machine,
            shared,
            threads: Threads::default(),
            running: BTreeMap::new(),
            probes,
            outbox,
            inbox,
            alive,
            ended_by: EndedBy::default(),
        }
    }

    /// Runs until every goal has ended, or a second signal or the end of the last second wants an
    /// end at once.
    pub(super) fn run(mut self, requests: Vec<Request>) -> (Machine, EndedBy) {
        self.feed(vec![Event::Wanted(requests)]);
        while !self.machine.is_finished() && self.ended_by.urgency != Some(Urgency::AtOnce) {
            // The dispatcher holds a sender itself, so the channel never closes.
            let Ok(first) = self.inbox.recv() else { break };
            let mut events = self.events_of(first);
            while let Ok(next) = self.inbox.try_recv() {
                events.extend(self.events_of(next));
            }
            self.feed(events);
        }
        (self.machine, self.ended_by)
    }

    fn feed(&mut self, events: Vec<Event>) {
        let mut effects = Vec::new();
        for event in events {
            effects.extend(self.machine.handle(event));
        }
        let mut probes = Vec::new();
        for effect in effects {
            match effect {
                Effect::Probe { goal, question } => probes.push(Probe { goal, question }),
                Effect::Query { paths, .. } => self.answer_without_sources(paths),
                Effect::Launch { goal, job } => self.launch(goal, job),
                Effect::Kill { goal } => self.kill(goal),
                Effect::Tell(notice) => self.tell(notice),
            }
        }
        if !probes.is_empty() {
            // The prober lives as long as the run; a goal without answer would be a hang.
            if let Err(lost) = self.probes.send(probes) {
                self.ended_by.broken.get_or_insert("the thread that asks the store is gone".into());
                let lost = lost.into_inner();
                let words = lost.iter().map(Probe::without_answer);
                let words = words.map(|(goal, input)| (goal, input())).collect();
                let _ = self.outbox.send(Message::Goals(words));
            }
        }
        self.shared.tell(Notice::Progress(self.machine.progress()));
    }

    fn events_of(&mut self, message: Message) -> Vec<Event> {
        match message {
            Message::Goals(list) => {
                list.into_iter().map(|(g, input)| self.heard(g, input)).collect()
            }
            Message::Signal(signal) => self.signalled(signal),
            Message::TimeUp => self.end_at_once(),
            Message::Broken(why) => {
                self.ended_by.broken.get_or_insert(why);
                vec![Event::Interrupted]
            }
        }
    }

    fn heard(&mut self, goal: GoalId, input: Input) -> Event {
        if input.report() == Report::LastWord {
            self.running.remove(&goal);
        }
        Event::For(goal, input)
    }

    fn signalled(&mut self, signal: i32) -> Vec<Event> {
        if self.ended_by.signal.is_some() {
            return self.end_at_once();
        }
        self.ended_by.signal = Some(signal);
        self.ended_by.urgency = Some(Urgency::Stop);
        vec![Event::Interrupted]
    }

    fn end_at_once(&mut self) -> Vec<Event> {
        self.ended_by.urgency = Some(Urgency::AtOnce);
        for cancel in self.running.values() {
            cancel.trigger(Urgency::AtOnce);
        }
        Vec::new()
    }

    fn launch(&mut self, goal: GoalId, job: Job) {
        let cancel = match Cancel::new() {
            Ok(cancel) => cancel,
            Err(error) => {
                let why = super::failures::failure("starting a job", &error);
                return self.fail_all(vec![goal], &why);
            }
        };
        self.running.insert(goal, cancel.clone());
        jobs::start(
            &self.threads,
            &self.shared,
            goal,
            job,
            jobs::Line { outbox: self.outbox.clone(), cancel, alive: self.alive.clone() },
        );
    }

    fn kill(&mut self, goal: GoalId) {
        if let Some(cancel) = self.running.get(&goal) {
            cancel.trigger(Urgency::Stop);
        }
    }

    /// No source is configured yet, so none has any path.
    fn answer_without_sources(&self, paths: Vec<(GoalId, crate::format::StorePath)>) {
        let answers = paths.into_iter().map(|(goal, _)| (goal, Input::Answered(Answer::HasNot)));
        let _ = self.outbox.send(Message::Goals(answers.collect()));
    }

    fn fail_all(&self, goals: Vec<GoalId>, why: &Failure) {
        let words = goals.into_iter().map(|goal| (goal, Input::Failed(why.clone()))).collect();
        let _ = self.outbox.send(Message::Goals(words));
    }

    fn tell(&self, notice: vocab::Notice) {
        match notice {
            vocab::Notice::Finished { key, outcome, .. } => {
                if let Some(notice) = self.shared.finished(&key, outcome) {
                    self.shared.tell(notice);
                }
            }
            // The waiting job itself says who holds the lock, once it has waited for a while.
            vocab::Notice::WaitsForLock { .. } | vocab::Notice::WaitsForUser { .. } => {}
            vocab::Notice::Unexpected { what, .. } => {
                self.shared.tell(Notice::Warning(format!("internal error: {what}")));
            }
        }
    }
}
