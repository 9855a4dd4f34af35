use std::sync::mpsc;

use super::*;
use crate::engine::report::{Outcome, Progress};

/// A terminal that passes on what is written and waits for leave before each write.
struct Slow {
    leave: mpsc::Receiver<()>,
    seen: Arc<Mutex<Vec<u8>>>,
    entered: mpsc::Sender<()>,
}

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.entered.send(());
        let _ = self.leave.recv();
        self.seen.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn drv(i: usize) -> StorePath {
    StorePath::from_parts(&[1; 20], &format!("d{i}.drv")).unwrap()
}

fn look(live: bool, manner: Manner, logs: Logs) -> Look {
    Look { manner, live, colours: Colours::Strip, logs }
}

type Seen = Arc<Mutex<Vec<u8>>>;

fn start(look: Look) -> (Console, Seen, mpsc::Sender<()>, mpsc::Receiver<()>) {
    let (allow, leave) = mpsc::channel();
    let (entered, enters) = mpsc::channel();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let out = Box::new(Slow { leave, seen: Arc::clone(&seen), entered });
    (Console::start_on(out, StoreDir::default(), look).unwrap(), seen, allow, enters)
}

fn text(seen: &Mutex<Vec<u8>>) -> String {
    String::from_utf8(seen.lock().clone()).unwrap()
}

#[test]
fn a_stuck_terminal_drops_lines_and_holds_nobody() {
    let (console, seen, allow, enters) = start(look(false, Manner::Lines, Logs::Shown));
    let teller = console.teller();
    let line = |i: usize| Notice::LogLine { drv: drv(0), line: format!("l{i}").into_bytes() };
    teller.tell(line(0));
    // The console is in its first write and stays there.
    enters.recv().unwrap();
    let total = 3 * WAITING_LINES;
    (1..total).for_each(|i| teller.tell(line(i)));
    for i in 0..100 {
        let outcome = Outcome::Built;
        teller.tell(Notice::BuildFinished { drv: drv(i), outcome, duration: Duration::ZERO });
    }
    drop(allow);
    console.finish("the end\n".into());
    let text = text(&seen);
    let shown = text.lines().filter(|l| l.starts_with("d0> l")).count();
    let dropped: usize = text
        .lines()
        .filter_map(|l| l.strip_prefix("d0> (")?.split(' ').next()?.parse::<usize>().ok())
        .sum();
    assert!(dropped > 0);
    assert_eq!(shown + dropped, total);
    assert_eq!(text.lines().filter(|l| l.starts_with("built '")).count(), 100);
    assert!(text.ends_with("the end\n"));
}

#[test]
fn hidden_logs_are_not_shown() {
    let (console, seen, allow, _enters) = start(look(false, Manner::Lines, Logs::Hidden));
    drop(allow);
    let teller = console.teller();
    teller.tell(Notice::LogLine { drv: drv(0), line: b"secret".to_vec() });
    teller.tell(Notice::Warning("w".into()));
    console.finish(String::new());
    assert_eq!(text(&seen), "warning: w\n");
}

#[test]
fn logs_come_before_the_end_of_their_build() {
    let (console, seen, allow, _enters) = start(look(false, Manner::Lines, Logs::Shown));
    drop(allow);
    let teller = console.teller();
    teller.tell(Notice::LogLine { drv: drv(0), line: b"last".to_vec() });
    let outcome = Outcome::Built;
    teller.tell(Notice::BuildFinished { drv: drv(0), outcome, duration: Duration::ZERO });
    console.finish(String::new());
    let text = text(&seen);
    assert!(text.starts_with("d0> last\nbuilt '"), "{text}");
}

#[test]
fn text_never_lands_in_the_status_line() {
    let (console, seen, allow, enters) = start(look(true, Manner::Live, Logs::Hidden));
    drop(allow);
    let teller = console.teller();
    teller.tell(Notice::Progress(Progress { running: 1, ..Progress::default() }));
    // The status line is drawn once its time has come.
    enters.recv().unwrap();
    teller.tell(Notice::Warning("w".into()));
    console.finish("end\n".into());
    let text = text(&seen);
    let want = "\r\x1b[K[1 running, 0 done, 0 waiting]\r\x1b[Kwarning: w\n";
    assert!(text.starts_with(want), "{text:?}");
    assert!(text.ends_with("end\n"), "{text:?}");
}
