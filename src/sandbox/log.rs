//! Lines out of a stream of bytes. Bytes are kept as they are: what a terminal may be shown is the
//! console's business.
//!
//! Both helpers use bounded memory whatever the builder writes: a line of a gigabyte is cut, never
//! held.

use std::collections::VecDeque;

/// Takes the log as it arrives. A write may block: that is not the builder's silence.
pub trait LogSink {
    /// The next bytes, at least one.
    fn write(&mut self, bytes: &[u8]);
}

impl LogSink for Vec<u8> {
    fn write(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Splits a stream into lines: `\n` ends a line; `\r` goes back to its start, so
/// what follows replaces what was there; `\r\n` is one end of line.
#[derive(Debug, Default)]
pub struct Lines {
    line: Vec<u8>,
    returned: Returned,
}

/// Whether a carriage return is waiting for the byte that tells what it means.
#[derive(Debug, Default, PartialEq, Eq)]
enum Returned {
    #[default]
    No,
    Yes,
}

impl Lines {
    /// Bytes of one line that are kept; the rest of a longer one is dropped.
    pub const LONGEST: usize = 64 << 10;

    /// Feeds bytes and calls `each` for every line completed, without its end.
    pub fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) {
        while let Some(at) = memchr::memchr2(b'\n', b'\r', bytes) {
            self.text(&bytes[..at]);
            if bytes[at] == b'\n' {
                each(&self.line);
                self.line.clear();
                self.returned = Returned::No;
            } else {
                self.returned = Returned::Yes;
            }
            bytes = &bytes[at + 1..];
        }
        self.text(bytes);
    }

    /// The last line when it had no end, once.
    pub fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        if !self.line.is_empty() {
            each(&self.line);
            self.line.clear();
        }
        self.returned = Returned::No;
    }

    fn text(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if std::mem::take(&mut self.returned) == Returned::Yes {
            self.line.clear();
        }
        let room = Self::LONGEST.saturating_sub(self.line.len());
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// The last lines of a log, bounded in lines and in bytes.
#[derive(Debug)]
pub struct Tail {
    lines: VecDeque<Vec<u8>>,
    most: usize,
    bytes: usize,
}

impl Tail {
    /// Bytes kept in all, the newest lines first.
    pub const MOST_BYTES: usize = 256 << 10;
    /// Bytes kept of one line.
    pub const LONGEST: usize = 4 << 10;

    /// Keeps the last `most` lines.
    pub fn new(most: usize) -> Tail {
        Tail { lines: VecDeque::new(), most, bytes: 0 }
    }

    /// One more line.
    pub fn push(&mut self, line: &[u8]) {
        if self.most == 0 {
            return;
        }
        let line = &line[..line.len().min(Self::LONGEST)];
        // The oldest line's memory is used again: a log of a million lines allocates a few.
        let mut kept =
            if self.lines.len() >= self.most { self.oldest() } else { None }.unwrap_or_default();
        kept.clear();
        kept.extend_from_slice(line);
        self.bytes += kept.len();
        self.lines.push_back(kept);
        while self.bytes > Self::MOST_BYTES {
            let _ = self.oldest();
        }
    }

    /// The lines kept, oldest first.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.lines.iter().map(Vec::as_slice)
    }

    /// Gives the lines away, oldest first.
    pub fn into_lines(self) -> Vec<Vec<u8>> {
        self.lines.into()
    }

    fn oldest(&mut self) -> Option<Vec<u8>> {
        let line = self.lines.pop_front()?;
        self.bytes -= line.len();
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        let mut each = |l: &[u8]| out.push(String::from_utf8_lossy(l).into_owned());
        for chunk in chunks {
            lines.push(chunk, &mut each);
        }
        lines.finish(&mut each);
        out
    }

    #[test]
    fn lines_whatever_the_chunks() {
        let table: &[(&str, &[&str])] = &[
            ("", &[]),
            ("a\nb\n", &["a", "b"]),
            ("a\n\nb", &["a", "", "b"]),
            ("10%\r20%\rdone\n", &["done"]),
            ("10%\rx\n", &["x"]),
            ("dos\r\nunix\n", &["dos", "unix"]),
            ("kept\r\r\n", &["kept"]),
            ("no end\r", &["no end"]),
        ];
        for (text, want) in table {
            assert_eq!(split(&[text.as_bytes()]), *want, "{text:?} whole");
            let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(split(&bytes), *want, "{text:?} by bytes");
        }
    }

    #[test]
    fn an_endless_line_is_bounded() {
        let mut lines = Lines::default();
        let chunk = [b'x'; 8192];
        for _ in 0..1000 {
            lines.push(&chunk, |_| panic!("no line ended"));
        }
        assert!(lines.line.capacity() <= 4 * Lines::LONGEST);
        let mut seen = 0;
        lines.push(b"\nnext\n", |l| seen += l.len());
        assert_eq!(seen, Lines::LONGEST + 4);
    }

    #[test]
    fn a_tail_is_bounded_in_lines_and_bytes() {
        let mut tail = Tail::new(3);
        for n in 0..100 {
            tail.push(n.to_string().as_bytes());
        }
        assert_eq!(tail.into_lines(), [b"97", b"98", b"99"]);

        let mut tail = Tail::new(usize::MAX);
        for _ in 0..1000 {
            tail.push(&[b'x'; 100_000]);
        }
        assert_eq!(tail.lines().count(), Tail::MOST_BYTES / Tail::LONGEST);
        let mut none = Tail::new(0);
        none.push(b"x");
        assert_eq!(none.lines().count(), 0);
    }
}
