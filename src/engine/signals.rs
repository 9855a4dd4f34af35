//! SIGINT, SIGTERM and SIGHUP become messages; nothing is done in a handler.

use std::io;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use super::moments::Message;
use crate::base::mailbox::Outbox;

/// Watches signals until dropped.
pub(super) struct Watch {
    handle: Handle,
}

impl Watch {
    /// Starts watching.
    ///
    /// # Errors
    /// The system's word if handlers or the thread cannot be made.
    pub(super) fn start(outbox: Outbox<Message>) -> io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let handle = signals.handle();
        thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in signals.forever() {
                if outbox.send(Message::Signal(signal)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { handle })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.handle.close();
    }
}
