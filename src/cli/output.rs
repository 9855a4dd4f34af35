//! Standard output: the one way to it.
//!
//! A reader that has gone away (`drover query … | head -1`) is no error: the rest is thrown away
//! and the command ends as if all had been read.

use std::io::{self, ErrorKind, Write};

/// Writes `bytes` to standard output at once.
///
/// # Errors
/// What the system says, except that nobody reads any more.
pub fn write(bytes: &[u8]) -> io::Result<()> {
    let mut out = Named(io::stdout().lock());
    forgive(out.write_all(bytes).and_then(|()| out.flush()))
}

/// Writes `text` and a line end.
///
/// # Errors
/// As [`write()`].
pub fn line(text: &str) -> io::Result<()> {
    write(format!("{text}\n").as_bytes())
}

/// Lets `fill` write through a buffer: for what is long.
///
/// # Errors
/// As [`write()`], and whatever `fill` says.
pub fn stream(fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = io::BufWriter::with_capacity(1 << 16, Named(io::stdout().lock()));
    let result = fill(&mut out).and_then(|()| out.flush());
    // What is left in the buffer must not be written again on drop.
    let _ = out.into_parts();
    forgive(result)
}

/// Standard output, named in its errors.
struct Named<W>(W);

impl<W: Write> Write for Named<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(named)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(named)
    }
}

fn named(error: io::Error) -> io::Error {
    match error.kind() {
        // Whoever writes tries again.
        ErrorKind::Interrupted => error,
        kind => io::Error::new(kind, format!("cannot write to standard output: {error}")),
    }
}

fn forgive(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
