//! Numbers as Nix's JSON library writes them, and as its shell writer truncates them.
//!
//! These texts end up in `.attrs.json` and `.attrs.sh`, where a builder sees each digit, so they
//! must be those that Nix writes, oddities of its conversions included. `serde_json` prints numbers
//! in another way.

use serde_json::Number;

/// The text in JSON: integers as they are, others with the shortest digits, a fraction always, and
/// an exponent of two digits or more outside 1e-5..1e15.
pub(super) fn json(number: &Number) -> String {
    match number.as_f64() {
        Some(value) if number.is_f64() => float(value),
        _ => number.to_string(),
    }
}

fn float(value: f64) -> String {
    if value == 0.0 {
        return if value.is_sign_negative() { "-0.0" } else { "0.0" }.to_owned();
    }
    let sign = if value < 0.0 { "-" } else { "" };
    // `d.ddde±x`: the shortest digits that read back as the same number.
    let text = format!("{:e}", value.abs());
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let digits = mantissa.replace('.', "");
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // Digits before the decimal point.
    let point = exponent + 1;
    let len = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    if len <= point && point <= 15 {
        let zeros = "0".repeat(usize::try_from(point - len).unwrap_or(0));
        format!("{sign}{digits}{zeros}.0")
    } else if 0 < point && point <= 15 {
        let (whole, fraction) = digits.split_at(usize::try_from(point).unwrap_or(0));
        format!("{sign}{whole}.{fraction}")
    } else if -4 < point && point <= 0 {
        let zeros = "0".repeat(usize::try_from(-point).unwrap_or(0));
        format!("{sign}0.{zeros}{digits}")
    } else {
        let (first, rest) = digits.split_at(1);
        let dot = if rest.is_empty() { "" } else { "." };
        let mark = if exponent < 0 { '-' } else { '+' };
        format!("{sign}{first}{dot}{rest}e{mark}{:02}", exponent.abs())
    }
}

/// The word in bash: none for numbers with a fraction, the low 32 bits of integers.
pub(super) fn shell(number: &Number) -> Option<String> {
    #[expect(clippy::cast_possible_truncation, reason = "Nix keeps the low 32 bits")]
    let integer = number.as_i64().map(|i| i as i32).or_else(|| number.as_u64().map(|u| u as i32));
    if let Some(integer) = integer {
        return Some(integer.to_string());
    }
    let value = number.as_f64()?;
    #[expect(clippy::cast_possible_truncation, reason = "Nix looks for a fraction in a float")]
    let rounded = value as f32;
    if rounded.ceil() != rounded {
        return None;
    }
    // The instruction that Nix compiles to gives the least integer for what does not fit.
    let fits = value.trunc() >= f64::from(i32::MIN) && value.trunc() <= f64::from(i32::MAX);
    #[expect(clippy::cast_possible_truncation, reason = "checked above")]
    let integer = if fits { value as i32 } else { i32::MIN };
    Some(integer.to_string())
}
