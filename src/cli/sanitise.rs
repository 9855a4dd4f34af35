//! Makes foreign text harmless on a terminal.
//!
//! A builder may write anything: moves of the cursor, window titles, answers that the terminal
//! types back. Colours (SGR) may stay, everything else that is not text or a tab goes. Like Nix, a
//! carriage return starts the line anew.

/// Whether colours stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colours {
    /// They do.
    Keep,
    /// They go.
    Strip,
}

/// One line of foreign text without what could harm.
#[must_use]
pub fn line(raw: &[u8], colours: Colours) -> String {
    let raw = raw.strip_suffix(b"\n").unwrap_or(raw);
    let raw = raw.strip_suffix(b"\r").unwrap_or(raw);
    let raw = raw.rsplit(|&b| b == b'\r').next().unwrap_or_default();
    let text = String::from_utf8_lossy(raw);
    let mut out = String::with_capacity(text.len());
    let mut coloured = false;
    let mut rest = text.as_ref();
    while let Some(c) = rest.chars().next() {
        let (sequence, after) = match c {
            '\x1b' => escape(rest),
            _ => rest.split_at(c.len_utf8()),
        };
        if c == '\x1b' {
            if colours == Colours::Keep && is_colour(sequence) {
                coloured = true;
                out.push_str(sequence);
            }
        } else if c == '\t' || !c.is_control() {
            out.push(c);
        }
        rest = after;
    }
    if coloured {
        out.push_str("\x1b[0m");
    }
    out
}

/// Splits off the escape sequence at the start of `text`, which begins with ESC.
fn escape(text: &str) -> (&str, &str) {
    let body = &text[1..];
    let end = match body.chars().next() {
        None => 0,
        Some('[') => csi_end(body),
        // Operating system commands and other strings end at BEL or ESC \ .
        Some(']' | 'P' | 'X' | '^' | '_') => {
            let bell = body.find('\x07').map(|i| i + 1);
            let string_end = body.find("\x1b\\").map(|i| i + 2);
            bell.into_iter().chain(string_end).min().unwrap_or(body.len())
        }
        Some(c) => c.len_utf8(),
    };
    text.split_at(1 + end)
}

/// Length of `[`, parameters and the final byte; parameters alone if there is none.
fn csi_end(body: &str) -> usize {
    let parameters = body[1..].bytes().take_while(|b| (0x20..=0x3f).contains(b)).count();
    let last = body.as_bytes().get(1 + parameters).is_some_and(|b| (0x40..=0x7e).contains(b));
    1 + parameters + usize::from(last)
}

fn is_colour(sequence: &str) -> bool {
    let inner = sequence.strip_prefix("\x1b[").and_then(|s| s.strip_suffix('m'));
    inner.is_some_and(|p| {
        p.len() <= 32 && p.bytes().all(|b| b.is_ascii_digit() || b";:".contains(&b))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_stay_and_are_ended() {
        let raw = b"\x1b[1;31mred\x1b[0m text";
        assert_eq!(line(raw, Colours::Keep), "\x1b[1;31mred\x1b[0m text\x1b[0m");
        assert_eq!(line(raw, Colours::Strip), "red text");
    }

    #[test]
    fn everything_else_goes() {
        let cases: [(&[u8], &str); 12] = [
            (b"a\x1b[2Jb", "ab"),
            (b"a\x1b[10;10Hb", "ab"),
            (b"\x1b]0;title\x07x", "x"),
            (b"\x1b]52;c;aGk=\x1b\\x", "x"),
            (b"\x1b]never ended", ""),
            (b"a\x1b", "a"),
            (b"a\x1b[", "a"),
            (b"a\x1bcb", "ab"),
            (b"a\x08\x07\x00b\tc\x7f", "ab\tc"),
            ("a\u{9b}2Jb".as_bytes(), "a2Jb"),
            (b"10%\r50%\r100%\r\n", "100%"),
            (b"\xffok", "\u{fffd}ok"),
        ];
        for (raw, want) in cases {
            assert_eq!(line(raw, Colours::Keep), want, "{raw:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_but_text_and_colours_comes_out(raw: Vec<u8>) {
            let plain = line(&raw, Colours::Strip);
            proptest::prop_assert!(plain.chars().all(|c| c == '\t' || !c.is_control()));
            let kept = line(&raw, Colours::Keep);
            proptest::prop_assert_eq!(line(kept.as_bytes(), Colours::Strip), plain);
        }
    }
}
