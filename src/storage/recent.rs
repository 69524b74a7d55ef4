//! Changes to records that the journal has and the database has not, in memory.
//!
//! Their number is bounded (see `RECENT_RECORDS_MAX` and `JOURNAL_BYTES_MAX`). Keys and values are
//! shared, so that a copy of the whole, which a writer has to make while a scan holds on to it, copies
//! no bytes.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::Arc;

/// A key and its new value, or `None` for a removal.
type Change<'c> = (&'c [u8], Option<&'c [u8]>);

/// The last change to each of some keys.
#[derive(Clone, Default)]
pub struct Changes {
    map: BTreeMap<Arc<[u8]>, Option<Arc<[u8]>>>,
}

impl Changes {
    /// Records a change.
    pub fn set(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.map.insert(key.into(), value.map(Arc::from));
    }

    /// What became of a key: `None` if nothing has changed.
    pub fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        self.map.get(key).map(Option::as_deref)
    }

    /// The changes in a range, in order of keys.
    pub fn range(&self, range: Range<&[u8]>) -> impl Iterator<Item = Change<'_>> {
        // The map refuses a range that ends before it starts.
        let end = range.end.max(range.start);
        let bounds = (Bound::Included(range.start), Bound::Excluded(end));
        let valid = (range.start < end).then(|| self.map.range::<[u8], _>(bounds));
        valid.into_iter().flatten().map(|(key, value)| (&**key, value.as_deref()))
    }

    /// All changes, in order of keys.
    pub fn iter(&self) -> impl Iterator<Item = Change<'_>> {
        self.map.iter().map(|(key, value)| (&**key, value.as_deref()))
    }

    /// Adds newer changes.
    pub fn extend(&mut self, newer: Changes) {
        self.map.extend(newer.map);
    }

    /// How many keys have changed.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }
}

/// The changes that the database may not have yet: those that a checkpoint is writing, and those that were
/// committed since it began and hide them.
#[derive(Clone, Default)]
pub struct Layers {
    /// What was committed since the last checkpoint began.
    pub newer: Arc<Changes>,
    /// What a checkpoint is writing, or has failed to write.
    pub older: Option<Arc<Changes>>,
}

impl Layers {
    /// What became of a key: `None` if nothing has changed.
    pub fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        self.newer.get(key).or_else(|| self.older.as_ref()?.get(key))
    }

    /// The changes in a range, in order of keys.
    pub fn range(&self, range: Range<&[u8]>) -> impl Iterator<Item = Change<'_>> {
        let mut newer = self.newer.range(range.clone()).peekable();
        let mut older = self.older.iter().flat_map(move |older| older.range(range.clone())).peekable();
        std::iter::from_fn(move || {
            let order = match (newer.peek(), older.peek()) {
                (Some((newer, _)), Some((older, _))) => newer.cmp(older),
                (Some(_), None) => Ordering::Less,
                (None, _) => Ordering::Greater,
            };
            if order == Ordering::Equal {
                older.next();
            }
            if order == Ordering::Greater { older.next() } else { newer.next() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(of: &[(&str, Option<&str>)]) -> Arc<Changes> {
        let mut changes = Changes::default();
        of.iter().for_each(|(key, value)| changes.set(key.as_bytes(), value.map(str::as_bytes)));
        Arc::new(changes)
    }

    #[test]
    fn what_was_committed_during_a_checkpoint_hides_what_the_checkpoint_writes() {
        let newer = changes(&[("b", None), ("c", Some("2")), ("e", Some("2"))]);
        let older = Some(changes(&[("a", Some("1")), ("b", Some("1")), ("c", None), ("d", Some("1"))]));
        let layers = Layers { newer, older };
        let text = |value: Option<&[u8]>| value.map(|value| String::from_utf8_lossy(value).into_owned());
        let all: Vec<_> = layers
            .range(b"a"..b"z")
            .map(|(key, value)| (String::from_utf8_lossy(key).into_owned(), text(value)))
            .collect();
        let expected = [("a", Some("1")), ("b", None), ("c", Some("2")), ("d", Some("1")), ("e", Some("2"))];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.map(str::to_owned)));
        assert_eq!(all, expected);
        for (key, value) in expected {
            assert_eq!(layers.get(key.as_bytes()).map(text), Some(value), "{key}");
        }
        assert_eq!(layers.get(b"f"), None);
        assert_eq!(layers.range(b"b\0"..b"d").count(), 1);
        assert_eq!(Layers::default().range(b"a"..b"z").count(), 0);
    }

    #[test]
    fn a_newer_change_hides_an_older_one() {
        let (mut older, mut newer) = (Changes::default(), Changes::default());
        older.set(b"a", Some(b"1"));
        older.set(b"b", Some(b"1"));
        newer.set(b"a", None);
        older.extend(newer);
        assert_eq!(older.get(b"a"), Some(None));
        assert_eq!(older.get(b"b"), Some(Some(&b"1"[..])));
        assert_eq!(older.get(b"c"), None);
        assert_eq!(older.range(b"a\0"..b"z").count(), 1);
        assert_eq!(older.range(b"z"..b"a").count(), 0);
    }
}
