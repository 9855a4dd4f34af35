//! A channel whose receiver sleeps at once when there is nothing to receive.
//!
//! A receiver of the channel beneath first yields the processor a dozen times. On a busy machine
//! each yield costs it a time slice, and the message that it waits for then finds it at the end of
//! the queue; one that sleeps is woken ahead of those. Invariant: a message is sent before the bell
//! rings, and the bell stays rung until somebody looked, so none is slept through.

use std::sync::Arc;

use crossbeam_channel::{Receiver, RecvError, SendError, Sender, TryRecvError, unbounded};
use parking_lot::{Condvar, Mutex};

/// A new unbounded channel.
#[must_use]
pub fn mailbox<T>() -> (Outbox<T>, Inbox<T>) {
    let (sender, receiver) = unbounded();
    let bell = Arc::new(Bell::default());
    (Outbox { sender: Some(sender), bell: Arc::clone(&bell) }, Inbox { receiver, bell })
}

#[derive(Debug, Default)]
struct Bell {
    rung: Mutex<bool>,
    ring: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock() = true;
        self.ring.notify_one();
    }

    fn wait(&self) {
        let mut rung = self.rung.lock();
        while !*rung {
            self.ring.wait(&mut rung);
        }
        *rung = false;
    }
}

/// The sending end.
#[derive(Debug)]
pub struct Outbox<T> {
    /// `None` only while it is dropped.
    sender: Option<Sender<T>>,
    bell: Arc<Bell>,
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), bell: Arc::clone(&self.bell) }
    }
}

impl<T> Outbox<T> {
    /// Sends without ever waiting.
    ///
    /// # Errors
    /// The message, if nobody will receive it.
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        match &self.sender {
            Some(sender) => sender.send(message)?,
            None => return Err(SendError(message)),
        }
        self.bell.ring();
        Ok(())
    }
}

impl<T> Drop for Outbox<T> {
    fn drop(&mut self) {
        // Gone before the bell rings: the receiver must see that this was the last one.
        drop(self.sender.take());
        self.bell.ring();
    }
}

/// The receiving end, for one thread.
#[derive(Debug)]
pub struct Inbox<T> {
    receiver: Receiver<T>,
    bell: Arc<Bell>,
}

impl<T> Inbox<T> {
    /// Waits for a message.
    ///
    /// # Errors
    /// When there is none and every sender is gone.
    pub fn recv(&self) -> Result<T, RecvError> {
        loop {
            match self.receiver.try_recv() {
                Ok(message) => return Ok(message),
                Err(TryRecvError::Disconnected) => return Err(RecvError),
                Err(TryRecvError::Empty) => self.bell.wait(),
            }
        }
    }

    /// A message, if there is one.
    ///
    /// # Errors
    /// When there is none now, or never will be.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.receiver.try_recv()
    }

    /// The messages that are there.
    pub fn try_iter(&self) -> impl Iterator<Item = T> {
        self.receiver.try_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_slept_through() {
        let (ping, pings) = mailbox();
        let (pong, pongs) = mailbox();
        let echo = std::thread::spawn(move || {
            while let Ok(number) = pings.recv() {
                pong.send(number).unwrap();
            }
        });
        for number in 0..20_000_u32 {
            ping.send(number).unwrap();
            assert_eq!(pongs.recv(), Ok(number));
        }
        drop(ping);
        assert_eq!(pongs.recv(), Err(RecvError), "the echo ended and with it its sender");
        echo.join().unwrap();
    }

    #[test]
    fn a_receiver_wakes_when_the_last_sender_goes() {
        let (first, inbox) = mailbox::<()>();
        let second = first.clone();
        let receiver = std::thread::spawn(move || inbox.recv());
        drop(first);
        drop(second);
        assert_eq!(receiver.join().unwrap(), Err(RecvError));
        let (outbox, inbox) = mailbox();
        drop(inbox);
        assert_eq!(outbox.send(7), Err(SendError(7)));
    }
}
