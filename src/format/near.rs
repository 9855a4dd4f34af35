//! The name that was meant: the nearest of those that exist.
//!
//! For error messages alone: nothing is ever used in place of what was written. The comparison is
//! bounded, since names may be as long as the file they stand in.

use super::store_path::MAX_NAME_LEN;

/// `: did you mean …?`, or nothing where no name is near.
#[must_use]
pub fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> String {
    // Comparing costs the product of the lengths, and what is longer than any name is none.
    if name.len() > MAX_NAME_LEN {
        return String::new();
    }
    let limit = 1 + name.len() / 4;
    let near = names
        .filter(|other| other.len().abs_diff(name.len()) <= limit)
        .map(|other| (distance(name.as_bytes(), other.as_bytes()), other))
        .min();
    match near {
        Some((steps, other)) if steps <= limit => format!(": did you mean `{other}`?"),
        _ => String::new(),
    }
}

/// Letters to add, drop or change to get from `a` to `b`.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut left_above = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let change = left_above + usize::from(x != y);
            left_above = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(left_above + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_near() {
        let names = ["builder", "args", "env"];
        assert_eq!(nearest("bilder", names.into_iter()), ": did you mean `builder`?");
        assert_eq!(nearest("arg", names.into_iter()), ": did you mean `args`?");
        assert_eq!(nearest("unrelated", names.into_iter()), "");
        assert_eq!(nearest(&"x".repeat(1 << 20), names.into_iter()), "");
    }
}
