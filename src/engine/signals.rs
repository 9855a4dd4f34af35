//! SIGINT, SIGTERM and SIGHUP become words to whoever watches; nothing is done in a handler.
//!
//! The first one asks the run, or whatever is under a [`Guard`], to end and starts its last second,
//! whose end is heard too. Once the run is over, or is only tidying up, a signal ends the process
//! at once with 128 + its number: the handlers stay, and without this nobody would hear a signal
//! while the last words of a run wait for a terminal that is stuck.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag::register_conditional_shutdown;
use signal_hook::iterator::{Handle, Signals};

use crate::base::process::is_ignored;
use crate::base::{Cancel, Urgency};

/// How long an interrupted run ends processes and tidies up.
const LAST_SECOND: Duration = Duration::from_secs(1);

/// Whether a signal ends the process at once.
static AT_ONCE: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// What there is to hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// A signal, of this number.
    Signal(i32),
    /// A second has passed since the first one.
    TimeUp,
}

/// Whether anybody listens any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listening {
    Yes,
    No,
}

/// Watches signals until dropped.
pub(super) struct Watch {
    handle: Handle,
    end: Arc<OnceLock<Instant>>,
}

impl Watch {
    /// Starts watching; `hear` is called on threads of its own.
    ///
    /// # Errors
    /// The system's word if handlers or the thread cannot be made.
    pub(super) fn start(
        hear: impl Fn(Heard) -> Listening + Send + Sync + 'static,
    ) -> io::Result<Self> {
        // The flag's handlers run before ours: else who hears a signal could set the flag in time
        // for that same signal. Until we listen it is set: no signal is lost in between.
        let flag = at_once()?;
        let mut signals = Signals::new(watched())?;
        flag.store(false, Ordering::SeqCst);
        let handle = signals.handle();
        let end = Arc::new(OnceLock::new());
        let (set_end, hear) = (Arc::clone(&end), Arc::new(hear));
        thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in signals.forever() {
                if set_end.set(Instant::now() + LAST_SECOND).is_ok() {
                    start_clock(Arc::clone(&hear));
                }
                if hear(Heard::Signal(signal)) == Listening::No {
                    return;
                }
            }
        })?;
        Ok(Self { handle, end })
    }

    /// From now on a signal ends the process at once: nothing is left that should not be cut off.
    pub(super) fn over(&self) {
        next_one_ends_it();
    }

    /// What is left of the last second; `None` without a signal.
    pub(super) fn time_left(&self) -> Option<Duration> {
        self.end.get().map(|end| end.saturating_duration_since(Instant::now()))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over();
        self.handle.close();
    }
}

/// Makes work that is no run stop at a signal and tidy up after itself, for a second at most; a
/// second signal ends the process at once, as it does when this is dropped.
pub struct Guard {
    _watch: Watch,
    cancel: Cancel,
    signal: Arc<OnceLock<i32>>,
}

impl Guard {
    /// Starts watching.
    ///
    /// # Errors
    /// The system's word if handlers, the thread or a descriptor cannot be made.
    pub fn start() -> io::Result<Self> {
        let cancel = Cancel::new().map_err(io::Error::other)?;
        let signal = Arc::new(OnceLock::new());
        let (token, first) = (cancel.clone(), Arc::clone(&signal));
        let watch = Watch::start(move |heard| {
            match heard {
                Heard::Signal(number) => {
                    let _ = first.set(number);
                    next_one_ends_it();
                    token.trigger(Urgency::Stop);
                }
                Heard::TimeUp => {
                    signal_hook::low_level::exit(128 + first.get().copied().unwrap_or(SIGTERM));
                }
            }
            Listening::Yes
        })?;
        Ok(Self { _watch: watch, cancel, signal })
    }

    /// What the first signal triggers.
    #[must_use]
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// The first signal, if there was one.
    #[must_use]
    pub fn signal(&self) -> Option<i32> {
        self.signal.get().copied()
    }
}

/// The signals that are ours to hear. Who starts a program with SIGHUP ignored (`nohup`) wants it
/// to outlive the terminal. SIGINT, which shells without job control ignore for what runs in their
/// background, is heard all the same, as real Nix does: that is how scripts stop us.
fn watched() -> Vec<i32> {
    static HUNG_UP: OnceLock<bool> = OnceLock::new();
    // Asked once: later the answer is our own handler.
    let deaf = *HUNG_UP.get_or_init(|| is_ignored(SIGHUP));
    let all = [SIGINT, SIGTERM, SIGHUP];
    all.into_iter().filter(|&signal| !(deaf && signal == SIGHUP)).collect()
}

fn next_one_ends_it() {
    if let Ok(flag) = at_once() {
        flag.store(true, Ordering::SeqCst);
    }
}

/// The flag, with the handlers that look at it.
fn at_once() -> io::Result<&'static Arc<AtomicBool>> {
    if let Some(flag) = AT_ONCE.get() {
        return Ok(flag);
    }
    let flag = Arc::new(AtomicBool::new(true));
    for signal in watched() {
        register_conditional_shutdown(signal, 128 + signal, Arc::clone(&flag))?;
    }
    Ok(AT_ONCE.get_or_init(|| flag))
}

/// Says when the last second is over. Without a thread for it, a second signal does.
fn start_clock(hear: Arc<impl Fn(Heard) -> Listening + Send + Sync + 'static>) {
    let wait = move || {
        let _ = crossbeam_channel::after(LAST_SECOND).recv();
        hear(Heard::TimeUp);
    };
    let _ = thread::Builder::new().name("last second".into()).spawn(wait);
}
