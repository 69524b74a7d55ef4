//! Changes to records that the journal has and the database has not, in memory.
//!
//! Their number is bounded (see `RECENT_RECORDS_MAX` and `JOURNAL_BYTES_MAX`). Keys and values are
//! shared, so that a copy of the whole, which a writer has to make while a scan holds on to it, copies
//! no bytes.

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

#[cfg(test)]
mod tests {
    use super::*;

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
