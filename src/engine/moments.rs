//! The words of a job: its moments in order, and exactly one last word, whatever happens.
//!
//! Jobs talk to the dispatcher through this and nothing else. Which moments are last words is the
//! machine's to say ([`Input::report`]). Sending never blocks, so a job is never held up by a
//! dispatcher that is busy.

use std::cell::Cell;

use crate::base::mailbox::Outbox;
use crate::machine::Failure;
use crate::machine::vocab::{GoalId, Input, Report};

/// What reaches the dispatcher.
#[derive(Debug)]
pub(super) enum Message {
    /// Something happened to these goals.
    Goals(Vec<(GoalId, Input)>),
    /// A signal that asks the run to end.
    Signal(i32),
    /// The last second after such a signal is over.
    TimeUp,
    /// The store cannot be written any more: the run ends with this error.
    Broken(String),
}

/// The mouth of one job. Dropped without a last word, it reports a failure: a goal never waits
/// for a thread that is gone.
#[derive(Debug)]
pub(super) struct Moments {
    goal: GoalId,
    outbox: Outbox<Message>,
    over: Cell<bool>,
}

impl Moments {
    pub(super) fn new(goal: GoalId, outbox: Outbox<Message>) -> Self {
        Self { goal, outbox, over: Cell::new(false) }
    }

    /// Tells a moment. What comes after the last word is dropped.
    pub(super) fn say(&self, input: Input) {
        if self.over.get() {
            return;
        }
        self.over.set(input.report() == Report::LastWord);
        // A dispatcher that is gone needs no word.
        let _ = self.outbox.send(Message::Goals(vec![(self.goal, input)]));
    }
}

impl Drop for Moments {
    fn drop(&mut self) {
        let why = "its thread ended without a word (could not be started, or panicked)";
        self.say(Input::Failed(Failure::Engine(why.to_owned())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::mailbox::{Inbox, mailbox};

    fn words(inbox: &Inbox<Message>) -> Vec<Input> {
        inbox
            .try_iter()
            .flat_map(|message| match message {
                Message::Goals(list) => list.into_iter().map(|(_, input)| input).collect(),
                Message::Signal(_) | Message::TimeUp | Message::Broken(_) => Vec::new(),
            })
            .collect()
    }

    #[test]
    fn a_thread_without_a_last_word_has_failed() {
        let (outbox, inbox) = mailbox();
        let moments = Moments::new(GoalId(1), outbox);
        moments.say(Input::Exited);
        drop(moments);
        let heard = words(&inbox);
        assert!(matches!(heard[..], [Input::Exited, Input::Failed(Failure::Engine(_))]));
    }

    #[test]
    fn nothing_follows_the_last_word() {
        let (outbox, inbox) = mailbox();
        let moments = Moments::new(GoalId(1), outbox);
        moments.say(Input::Registered);
        moments.say(Input::Exited);
        drop(moments);
        assert_eq!(words(&inbox), vec![Input::Registered]);
    }
}
