//! Who descends from this process, as the kernel tells it. For those who end a family: it looks and
//! kills nobody.
//!
//! A look is of one moment: who forks meanwhile is found by the next one.

use std::collections::{BTreeMap, BTreeSet};

/// All living descendants of this process but `spared` and theirs.
pub(super) fn descendants(spared: &BTreeSet<i32>) -> Vec<i32> {
    let me = nix::unistd::getpid().as_raw();
    // The kernel's own lists are read in no time, whatever else runs on the machine: those who fork
    // all the time have no time to get away. Not every kernel has them.
    if std::fs::exists(format!("/proc/self/task/{me}/children")).unwrap_or(false) {
        return below(me, spared, children_of);
    }
    let mut children = all_children();
    below(me, spared, |pid| children.remove(&pid).unwrap_or_default())
}

/// All below `top` by `children`, but `spared` and theirs.
fn below(top: i32, spared: &BTreeSet<i32>, mut children: impl FnMut(i32) -> Vec<i32>) -> Vec<i32> {
    let mut found = Vec::new();
    let mut open = vec![top];
    while let Some(pid) = open.pop() {
        for child in children(pid) {
            if !spared.contains(&child) {
                found.push(child);
                open.push(child);
            }
        }
    }
    found
}

/// The children of a process, by all its threads.
fn children_of(pid: i32) -> Vec<i32> {
    let mut found = Vec::new();
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    for task in tasks {
        let list = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(list.split_whitespace().filter_map(|word| word.parse::<i32>().ok()));
    }
    found
}

/// Every living process by its parent, from one look over `/proc`.
fn all_children() -> BTreeMap<i32, Vec<i32>> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    let Ok(entries) = std::fs::read_dir("/proc") else { return children };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if let Some(parent) = parent_of(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    children
}

/// The parent of a process that lives, from `/proc/PID/stat`: state and parent follow the last `)`,
/// since the name before it may hold anything.
fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse_parent(&stat)
}

fn parse_parent(stat: &[u8]) -> Option<i32> {
    let after = stat.iter().rposition(|b| *b == b')')? + 1;
    let mut words = stat[after..].split(|b| *b == b' ').filter(|word| !word.is_empty());
    if matches!(words.next()?, b"Z" | b"X") {
        return None;
    }
    std::str::from_utf8(words.next()?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_any_name() {
        assert_eq!(parse_parent(b"12 (sh) S 7 12 12 0"), Some(7));
        assert_eq!(parse_parent(b"12 (a) R 1 (b) S 9 12"), Some(9));
        assert_eq!(parse_parent(b"12 (sh) Z 7 12 12 0"), None);
        assert_eq!(parse_parent(b"12 (sh"), None);
        let me = nix::unistd::getpid().as_raw();
        assert_eq!(parent_of(me), Some(nix::unistd::getppid().as_raw()));
    }
}
