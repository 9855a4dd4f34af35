//! SIGINT, SIGTERM and SIGHUP become messages; nothing is done in a handler.
//!
//! The first one asks the run to end and starts its last second, whose end is a message too. Once
//! the run is over, or is only tidying up, a signal ends the process at once with 128 + its number:
//! the handlers stay, and without this nobody would hear a signal while the last words of a run
//! wait for a terminal that is stuck.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag::register_conditional_shutdown;
use signal_hook::iterator::{Handle, Signals};

use super::moments::Message;
use crate::base::mailbox::Outbox;

const WATCHED: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// How long an interrupted run ends processes and tidies up.
const LAST_SECOND: Duration = Duration::from_secs(1);

/// Whether a signal ends the process at once.
static AT_ONCE: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Watches signals until dropped.
pub(super) struct Watch {
    handle: Handle,
    end: Arc<OnceLock<Instant>>,
}

impl Watch {
    /// Starts watching.
    ///
    /// # Errors
    /// The system's word if handlers or the thread cannot be made.
    pub(super) fn start(outbox: Outbox<Message>) -> io::Result<Self> {
        // The signals first: one that came between both would reach nobody.
        let mut signals = Signals::new(WATCHED)?;
        at_once()?.store(false, Ordering::SeqCst);
        let handle = signals.handle();
        let end = Arc::new(OnceLock::new());
        let set_end = Arc::clone(&end);
        thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in signals.forever() {
                if set_end.set(Instant::now() + LAST_SECOND).is_ok() {
                    start_clock(outbox.clone());
                }
                if outbox.send(Message::Signal(signal)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { handle, end })
    }

    /// From now on a signal ends the process at once: nothing is left that should not be cut off.
    pub(super) fn over(&self) {
        if let Ok(flag) = at_once() {
            flag.store(true, Ordering::SeqCst);
        }
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

/// The flag, with the handlers that look at it.
fn at_once() -> io::Result<&'static Arc<AtomicBool>> {
    if let Some(flag) = AT_ONCE.get() {
        return Ok(flag);
    }
    let flag = Arc::new(AtomicBool::new(false));
    for signal in WATCHED {
        register_conditional_shutdown(signal, 128 + signal, Arc::clone(&flag))?;
    }
    Ok(AT_ONCE.get_or_init(|| flag))
}

/// Says when the last second is over. Without a thread for it, a second signal does.
fn start_clock(outbox: Outbox<Message>) {
    let wait = move || {
        let _ = crossbeam_channel::after(LAST_SECOND).recv();
        let _ = outbox.send(Message::TimeUp);
    };
    let _ = thread::Builder::new().name("last second".into()).spawn(wait);
}
