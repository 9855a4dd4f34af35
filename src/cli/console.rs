//! The one writer to standard error while a run goes on.
//!
//! It runs on a thread of its own, so that a slow terminal holds nobody up. Notices of state go
//! through an unbounded channel and are never lost; log lines go through a bounded one, and where
//! that is full they are counted instead and the count is shown. What a notice looks like is
//! decided in `status`, the end of the run in `summary`. Invariant: a line of text never lands in
//! the middle of the status line.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, never, select, unbounded};
use parking_lot::Mutex;

use crate::engine::report::Notice;
use crate::format::{StoreDir, StorePath};

use super::environment::Environment;
use super::sanitise::Colours;
use super::status::{Manner, Status};

/// Log lines that may wait for a slow terminal.
const WAITING_LINES: usize = 4096;
/// The status line is drawn no more often.
const REDRAW: Duration = Duration::from_millis(100);

/// Whether log lines are shown (`-L`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logs {
    /// They are.
    Shown,
    /// They are not.
    Hidden,
}

/// What the user asked for with `-v` and `--quiet`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Talk {
    /// `--quiet`.
    Quiet,
    /// Neither.
    Normal,
    /// `-v`: every change of state on a terminal, too.
    Verbose,
}

/// How the console shows things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// How much while the run goes on.
    pub manner: Manner,
    /// A status line is drawn.
    pub live: bool,
    /// Whether colours of logs stay.
    pub colours: Colours,
    /// Whether log lines are shown.
    pub logs: Logs,
}

impl Look {
    /// Decides by what standard error is and what the environment says.
    #[must_use]
    pub fn of(env: &Environment, talk: Talk, logs: Logs) -> Self {
        let dumb = env.get("TERM").is_none_or(|term| term == "dumb");
        let terminal = io::stderr().is_terminal();
        let live = terminal && !dumb && talk != Talk::Quiet;
        let manner = match talk {
            Talk::Quiet => Manner::Quiet,
            Talk::Normal if live => Manner::Live,
            Talk::Normal | Talk::Verbose => Manner::Lines,
        };
        let plain = !terminal || dumb || env.get("NO_COLOR").is_some();
        let colours = if plain { Colours::Strip } else { Colours::Keep };
        Self { manner, live, colours, logs }
    }

    /// Whether a notice changes anything that is shown. There are several for each build, and
    /// waking a thread for one costs as much as handling it.
    fn heeds(self, notice: &Notice) -> bool {
        match notice {
            Notice::Progress(_) => self.live,
            Notice::BuildStarted { .. } => self.live || self.manner > Manner::Quiet,
            _ => true,
        }
    }
}

/// Where notices are told. Cheap to clone; telling never blocks.
#[derive(Debug, Clone)]
pub struct Teller {
    control: Sender<Message>,
    lines: Sender<Notice>,
    dropped: Arc<Mutex<BTreeMap<StorePath, u64>>>,
    look: Look,
}

#[derive(Debug)]
enum Message {
    Tell(Notice),
    End(String),
}

impl Teller {
    /// Tells a notice. A log line may be dropped and counted, everything else will be shown.
    pub fn tell(&self, notice: Notice) {
        let Notice::LogLine { drv, .. } = &notice else {
            if !self.look.heeds(&notice) {
                return;
            }
            // The console outlives the run; where it does not, nobody is left to tell.
            let _ = self.control.send(Message::Tell(notice));
            return;
        };
        if self.look.logs == Logs::Hidden {
            return;
        }
        let drv = drv.clone();
        if let Err(TrySendError::Full(_)) = self.lines.try_send(notice) {
            *self.dropped.lock().entry(drv).or_default() += 1;
        }
    }
}

/// The running console.
#[derive(Debug)]
pub struct Console {
    teller: Teller,
    thread: JoinHandle<()>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
}

impl Console {
    /// Starts the thread that writes to standard error.
    ///
    /// # Errors
    /// If no thread can be made.
    pub fn start(dir: StoreDir, look: Look) -> io::Result<Self> {
        Self::start_on(Box::new(io::stderr()), dir, look)
    }

    /// The same on another writer.
    ///
    /// # Errors
    /// As [`Console::start`].
    pub fn start_on(out: Box<dyn Write + Send>, dir: StoreDir, look: Look) -> io::Result<Self> {
        let (control, controls) = unbounded();
        let (lines, logs) = bounded(WAITING_LINES);
        let dropped = Arc::new(Mutex::new(BTreeMap::new()));
        let teller = Teller { control, lines, dropped: Arc::clone(&dropped), look };
        let screen = Screen {
            out,
            live: look.live,
            status: Status::new(dir, look.manner, look.colours),
            drawn: String::new(),
            due: None,
            last: None,
        };
        let inbox = Inbox { controls, logs, dropped };
        let (end, ended) = bounded(0);
        let work = move || {
            inbox.run(screen);
            drop::<Sender<()>>(end);
        };
        let short = |e: io::Error| {
            let text =
                format!("starting a thread: {e}; raise the limit of processes (`ulimit -u`)");
            io::Error::new(e.kind(), text)
        };
        let thread =
            std::thread::Builder::new().name("console".into()).spawn(work).map_err(short)?;
        Ok(Self { teller, thread, ended })
    }

    /// Where notices are told.
    #[must_use]
    pub fn teller(&self) -> Teller {
        self.teller.clone()
    }

    /// Shows what is still waiting, then `text`, and ends the thread.
    pub fn finish(self, text: String) {
        let _ = self.teller.control.send(Message::End(text));
        // A console that panicked has said so itself.
        let _ = self.thread.join();
    }

    /// The same for a run that was interrupted: a terminal that takes nothing must not hold up
    /// the end for longer than `patience`.
    pub fn finish_within(self, text: String, patience: Duration) {
        let _ = self.teller.control.send(Message::End(text));
        // Nothing is ever sent: this returns when the thread has ended.
        let _ = self.ended.recv_timeout(patience);
    }
}

struct Inbox {
    controls: Receiver<Message>,
    logs: Receiver<Notice>,
    dropped: Arc<Mutex<BTreeMap<StorePath, u64>>>,
}

impl Inbox {
    fn run(self, mut screen: Screen) {
        loop {
            let due = screen.due.map_or_else(never, crossbeam_channel::at);
            select! {
                recv(self.controls) -> message => {
                    // What was logged before a change of state is shown before it.
                    self.drain(&mut screen);
                    match message {
                        Ok(Message::Tell(notice)) => screen.show(&notice),
                        Ok(Message::End(text)) => return screen.end(&text),
                        Err(_) => return screen.end(""),
                    }
                }
                recv(self.logs) -> line => {
                    line.iter().for_each(|line| screen.show(line));
                    self.drain(&mut screen);
                }
                recv(due) -> _ => screen.draw(),
            }
        }
    }

    /// Shows what waits now and no more, so that a chatty builder cannot hold up a state change.
    fn drain(&self, screen: &mut Screen) {
        self.logs.try_iter().take(WAITING_LINES).for_each(|line| screen.show(&line));
        let dropped = std::mem::take(&mut *self.dropped.lock());
        for (drv, count) in dropped {
            screen.show(&Notice::LogLinesDropped { drv, count });
        }
    }
}

/// The terminal, or what stands in for it.
struct Screen {
    out: Box<dyn Write + Send>,
    live: bool,
    status: Status,
    /// The status line as it stands there now.
    drawn: String,
    /// When it is to be drawn again.
    due: Option<Instant>,
    /// When it was drawn last.
    last: Option<Instant>,
}

impl Screen {
    fn show(&mut self, notice: &Notice) {
        if let Some(text) = self.status.take(notice) {
            self.print(&format!("{text}\n"));
        }
        if self.live && self.due.is_none() {
            let now = Instant::now();
            let next = self.last.map_or(now, |last| last + REDRAW);
            self.due = Some(next.max(now));
        }
    }

    /// Text above the status line.
    fn print(&mut self, text: &str) {
        let clear = if self.drawn.is_empty() { "" } else { "\r\x1b[K" };
        self.write(&format!("{clear}{text}"));
        self.drawn.clear();
    }

    fn draw(&mut self) {
        self.due = None;
        self.last = Some(Instant::now());
        let width = terminal_size::terminal_size_of(io::stderr()).map_or(80, |(w, _)| w.0);
        // The last column stays free: some terminals wrap there.
        let line = self.status.line(usize::from(width.saturating_sub(1)));
        if line != self.drawn {
            self.write(&format!("\r\x1b[K{line}"));
            self.drawn = line;
        }
    }

    fn end(mut self, text: &str) {
        self.print(text);
    }

    fn write(&mut self, text: &str) {
        // A terminal that is gone must not end the builds.
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

#[cfg(test)]
#[path = "console_tests.rs"]
mod tests;
