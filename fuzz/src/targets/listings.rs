//! Pages of a listing, compared with what a list in memory says.

use super::{outcome, texts};
use s3pail::model::listing::{After, Entry, Select, objects};
use s3pail::model::object::ObjectRecord;
use s3pail::model::{BucketName, SortedId, keys};
use s3pail::storage::memory::{Budget, MemoryMeta};
use s3pail::storage::{Batch, MetaStore};
use std::collections::BTreeMap;

const KEYS_MAX: usize = 64;

/// Prefix, delimiter, page length, then a key in each line; `!` before it is a delete marker.
pub fn buckets() -> Vec<Vec<u8>> {
    texts(&[
        "\n/\n1\na/b\na/c\nb\nc/d/e\n!c/f\n!d/g",
        "a/\n/\n2\na\na/\na//\na/b\na/b/c\na0\nb",
        "\n\n3\nx\ny\n!z",
        "p\npp\n1\np\npp\nppp\npppp\nq",
        "é\n\u{10ffff}\n2\né\u{10ffff}a\né\u{10ffff}\u{10ffff}\nê",
    ])
}

/// FZ-14: the pages together are every key and group once, in order, whatever their length.
pub fn listing(input: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(input).replace('\0', "");
    let mut lines = text.split('\n');
    let prefix = lines.next().unwrap_or("").to_owned();
    let delimiter = lines.next().unwrap_or("").to_owned();
    let max = 1 + lines.next().map_or(0, |line| line.bytes().map(usize::from).sum::<usize>()) % 5;
    let mut model: BTreeMap<String, bool> = BTreeMap::new();
    for line in lines.filter(|line| !line.is_empty() && line.len() <= 1024).take(KEYS_MAX) {
        match line.strip_prefix('!') {
            Some("") => {}
            Some(key) => _ = model.insert(key.to_owned(), true),
            None => _ = model.insert(line.to_owned(), false),
        }
    }
    let bucket = BucketName::parse("bucket").expect("a bucket's name");
    let meta = MemoryMeta::new(Budget::new(u64::MAX));
    let mut batch = Batch::new();
    for (number, (key, deleted)) in model.iter().enumerate() {
        let mut record =
            ObjectRecord::delete_marker(SortedId([number as u8; 16]), false, 1, "owner".to_owned());
        record.head.delete_marker = *deleted;
        batch.put(keys::object(&bucket, key), record.encode());
    }
    meta.commit(batch).expect("memory takes it");
    // What is to be seen, key by key.
    let mut wanted: Vec<String> = Vec::new();
    for key in
        model.iter().filter(|(key, deleted)| !**deleted && key.starts_with(&prefix)).map(|(key, _)| key)
    {
        let rest = &key[prefix.len()..];
        let group = (!delimiter.is_empty()).then(|| rest.find(&delimiter)).flatten();
        let name = group.map_or(key.as_str(), |at| &key[..prefix.len() + at + delimiter.len()]);
        if group.is_none() || wanted.last().map(String::as_str) != Some(name) {
            wanted.push(name.to_owned());
        }
    }
    let (mut seen, mut groups, mut after) = (Vec::new(), 0, After::Start);
    loop {
        let select = Select { prefix: prefix.clone(), delimiter: delimiter.clone(), after, max };
        let page = objects(&meta, &bucket, &select).expect("memory can be listed");
        assert!(page.entries.len() <= max, "{} entries, at most {max}", page.entries.len());
        groups += page.entries.iter().filter(|entry| matches!(entry, Entry::Group(_))).count();
        seen.extend(page.entries.iter().map(|entry| entry.name().to_owned()));
        assert_eq!(page.truncated, seen.len() < wanted.len(), "{seen:?} of {wanted:?}");
        if !page.truncated {
            break;
        }
        after = After::Key(seen.last().expect("a page that is not the last has entries").clone());
    }
    assert_eq!(seen, wanted);
    outcome((seen.len().min(9), groups.min(5), max))
}
