//! Every row of the tables is named by a test, or says here why no test can have it.
//!
//! A test names its rows in the comment above it (`BI-001`, or `BI-001 to BI-003`) or in the table that it
//! runs; this reads the sources and finds what nobody names. The tables of durability (known ways to lose data,
//! crash methods, properties, concurrency) are among them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rows of the bad-input table, of the list of vulnerabilities, of the defaults for operation, of known ways to
/// lose data, of crash tests, of properties and of concurrency.
const ROWS: [(&str, usize); 7] =
    [("BI", 236), ("SE", 119), ("OP", 26), ("DL", 17), ("CR", 19), ("PT", 12), ("CC", 12)];

/// Rows without a test, and why.
const WITHOUT: &[(&str, &str)] = &[
    ("SE-19", "there is no login by web identity"),
    ("SE-23", "there is no other protocol than HTTP"),
    ("SE-34", "accounts are read before the port is bound, and not again"),
    ("SE-45", "there are no operations on users; accounts come from a file"),
    ("SE-46", "as SE-45"),
    ("SE-55", "as SE-45"),
    ("SE-67", "no operation but S3's takes a path"),
    ("SE-72", "concerns programs that read from this server"),
    ("SE-78", "there is no console"),
    ("SE-107", "there is no listener between nodes in a server"),
    ("SE-110", "no parameter of a request becomes a URL"),
    ("SE-111", "targets of notifications come from the configuration alone"),
    ("SE-112", "as SE-111"),
    ("SE-114", "there is no console"),
    ("SE-116", "there is no mode without authentication"),
    ("CR-11", "torn and lost writes are imagined in power_cut, lost ones are real in the crash test"),
    ("CR-12", "every prefix of the steps, and random subsets between syncs, are imagined in power_cut"),
    ("CR-13", "needs kernel modules that are not everywhere; the crash test shuts file systems down"),
    ("CR-19", "a bound of memory needs a control group; ci/bench measures what the server takes"),
    ("CC-08", "needs every lock and thread behind a module that can be exchanged, which there is not"),
    ("CC-09", "there is no unsafe code here, and a sanitizer needs another compiler"),
    ("OP-08", "not held: the process keeps the user that starts it; SECURITY.md says so"),
    ("OP-10", "not held: limits and core dumps are set by who starts it; SECURITY.md says so"),
    (
        "OP-15",
        "every connection is opened by the clients in src/storage, src/notifications.rs and src/redis.rs",
    ),
    ("OP-20", "ring's generator of the system is the only one outside of --fixture with a seed"),
    ("OP-22", "ci/audit"),
    ("OP-23", "clippy.toml, and the profile `release` in Cargo.toml"),
    ("OP-24", "held by snapshots of the file system only; SECURITY.md says so"),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("bad_input/index.rs") {
            found.push(path);
        }
    }
}

/// The number that follows `PREFIX-`, if one does.
fn number(text: &str, prefix: &str) -> Option<usize> {
    let digits = text.strip_prefix(prefix)?.strip_prefix('-')?;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

/// Adds the rows that a line names, ranges with all between.
fn note(line: &str, prefix: &str, named: &mut BTreeSet<usize>) {
    let starts: Vec<usize> = line.match_indices(prefix).map(|(start, _)| start).collect();
    for (index, start) in starts.iter().enumerate() {
        let Some(first) = number(&line[*start..], prefix) else { continue };
        let next = starts.get(index + 1).filter(|next| line[*start..**next].trim_end().ends_with(" to"));
        let last = next.and_then(|next| number(&line[*next..], prefix)).unwrap_or(first);
        named.extend(first..=last);
    }
}

#[test]
fn every_row_has_a_test_or_a_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("tests"), &mut files);
    sources(&root.join("src"), &mut files);
    for (prefix, rows) in ROWS {
        let mut named = BTreeSet::new();
        for file in &files {
            let text = fs::read_to_string(file).unwrap();
            // In src only what stands in tests counts.
            let is_test = file.starts_with(root.join("tests")) || file.ends_with("tests.rs");
            let text =
                if is_test { &text } else { text.split_once("#[cfg(test)]").map_or("", |(_, tests)| tests) };
            let counts = |line: &&str| line.contains("///") || line.contains('"');
            text.lines().filter(counts).for_each(|line| note(line, prefix, &mut named));
        }
        for row in 1..=rows {
            let id = format!("{prefix}-{row:0width$}", width = if prefix == "BI" { 3 } else { 2 });
            let without = WITHOUT.iter().find(|(known, _)| *known == id);
            match without {
                None => assert!(named.contains(&row), "{id}: no test names it, and no reason is given"),
                Some((_, reason)) => {
                    assert!(!reason.is_empty() && !named.contains(&row), "{id}: has a test after all");
                }
            }
        }
    }
}

#[test]
fn names_of_rows_are_found() {
    let mut named = BTreeSet::new();
    note("/// BI-003, BI-005 to BI-007; (\"BI-010\", SE-04 to SE-05", "BI", &mut named);
    assert_eq!(named.into_iter().collect::<Vec<_>>(), [3, 5, 6, 7, 10]);
}
