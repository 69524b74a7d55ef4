//! Pages of a bucket: one fold over the ordered index, used by every list operation.
//!
//! A page is a seek and then a walk of at most the page's length: a group of keys behind a delimiter
//! is left with one more seek, however many keys it holds.

use super::object::{ObjectHead, ObjectRecord};
use super::{BucketName, SortedId, keys};
use crate::storage::{MetaStore, StorageError, Visit};

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct Select {
    /// Only keys that start with this.
    pub prefix: String,
    /// Group keys that have this after the prefix. Empty: no groups.
    pub delimiter: String,
    /// Only what comes after this.
    pub after: After,
    /// The most entries (objects and groups together) on the page.
    pub max: usize,
}

/// Where a page starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum After {
    /// At the beginning.
    #[default]
    Start,
    /// After this key; if it is a group's common prefix, after the group.
    Key(String),
    /// After this version (or upload) of this key.
    Version(String, SortedId),
    /// After this key and all of its versions.
    WholeKey(String),
}

/// One line of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry<T> {
    /// A key and what is under it.
    Item(String, T),
    /// A common prefix.
    Group(String),
}

impl<T> Entry<T> {
    /// The key or the common prefix.
    pub fn name(&self) -> &str {
        match self {
            Entry::Item(key, _) => key,
            Entry::Group(prefix) => prefix,
        }
    }
}

/// A page and whether more follows.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// In order.
    pub entries: Vec<Entry<T>>,
    /// Whether there is more behind the last entry.
    pub truncated: bool,
}

/// A version in a version listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedVersion {
    /// What the listing shows.
    pub head: ObjectHead,
    /// Whether it is the newest of its key.
    pub latest: bool,
}

impl Select {
    /// The common prefix that `key` (which starts with the prefix) belongs to.
    fn group_of<'k>(&self, key: &'k str) -> Option<&'k str> {
        if self.delimiter.is_empty() {
            return None;
        }
        let found = key.get(self.prefix.len()..)?.find(&self.delimiter)?;
        key.get(..self.prefix.len() + found + self.delimiter.len())
    }

    /// The group that `after` names as a whole, which a page then starts behind.
    fn group_to_skip(&self) -> Option<&str> {
        match &self.after {
            After::Key(key) | After::WholeKey(key) if key.starts_with(&self.prefix) => {
                self.group_of(key).filter(|group| *group == key)
            }
            _ => None,
        }
    }

    /// The first key that can be on the page.
    fn first_key(&self) -> String {
        match &self.after {
            After::Key(key) | After::WholeKey(key) | After::Version(key, _) if *key > self.prefix => {
                key.clone()
            }
            _ => self.prefix.clone(),
        }
    }
}

/// What a fold does with the key of the record that it is shown.
enum Step {
    /// The key lies behind the prefix: stop.
    Stop,
    /// Leave the group and go on behind it.
    Skip(Vec<u8>),
    /// Put the item on the page.
    Item,
    /// Put the group on the page and go on behind it.
    Group(String, Vec<u8>),
}

/// The smallest byte string greater than every string that starts with `prefix`. Prefixes are UTF-8
/// and so never all 0xff.
fn behind(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            break;
        }
    }
    end
}

fn step(select: &Select, skip: Option<&str>, family: &[u8], key: &str) -> Step {
    if !key.starts_with(&select.prefix) {
        return Step::Stop;
    }
    let Some(group) = select.group_of(key) else { return Step::Item };
    let next = behind(&[family, group.as_bytes()].concat());
    if skip == Some(group) { Step::Skip(next) } else { Step::Group(group.to_owned(), next) }
}

/// Lists the current objects of a bucket; delete markers are passed over.
///
/// # Errors
/// Whatever the store says; a record that cannot be decoded is [`StorageError::Corrupt`].
pub fn objects(
    meta: &dyn MetaStore,
    bucket: &BucketName,
    select: &Select,
) -> Result<Page<ObjectHead>, StorageError> {
    let range = keys::objects(bucket);
    let family = range.start.clone();
    let start = keys::object(bucket, &select.first_key());
    let skip = select.group_to_skip();
    let mut page = Page { entries: Vec::new(), truncated: false };
    let mut failed = None;
    meta.scan_few(&start..&range.end, select.max + 2, &mut |record_key, value| {
        let Some(key) = keys::object_key_of(bucket, record_key) else { return Visit::Next };
        if matches!(&select.after, After::Key(after) if key == after) {
            return Visit::Next;
        }
        let step = step(select, skip, &family, key);
        if let Step::Stop = step {
            return Visit::Stop;
        }
        if let Step::Skip(next) = step {
            return Visit::Seek(next);
        }
        let head = match ObjectRecord::decode_head(value) {
            Ok(head) => head,
            Err(error) => {
                failed = Some(error);
                return Visit::Stop;
            }
        };
        if head.delete_marker {
            return Visit::Next;
        }
        if page.entries.len() >= select.max {
            page.truncated = true;
            return Visit::Stop;
        }
        match step {
            Step::Group(group, next) => {
                page.entries.push(Entry::Group(group));
                Visit::Seek(next)
            }
            _ => {
                page.entries.push(Entry::Item(key.to_owned(), head));
                Visit::Next
            }
        }
    })?;
    failed.map_or(Ok(page), Err)
}

/// Lists every version of every key, newest first within a key.
///
/// The newest versions and the older ones lie in two ranges. The walk goes along the newest, which
/// every key has, and looks into the older ones of a key as it passes.
///
/// # Errors
/// As [`objects`].
pub fn versions(
    meta: &dyn MetaStore,
    bucket: &BucketName,
    select: &Select,
) -> Result<Page<ListedVersion>, StorageError> {
    let mut page = Page { entries: Vec::new(), truncated: false };
    let mut next = Some(keys::object(bucket, &select.first_key()));
    // Each round takes one key's newest record, then the key's older ones.
    while let Some(start) = next.take() {
        let Some(found) = next_newest(meta, bucket, select, &start)? else { break };
        match found {
            Newest::Group(group, behind) => {
                if page.entries.len() >= select.max {
                    page.truncated = true;
                    break;
                }
                page.entries.push(Entry::Group(group));
                next = Some(behind);
            }
            Newest::Skip(behind) => next = Some(behind),
            Newest::Key(key, head) => {
                let mut behind_key = keys::object(bucket, &key);
                behind_key.push(0);
                if !push_versions(meta, bucket, select, &key, head, &mut page)? {
                    break;
                }
                next = Some(behind_key);
            }
        }
    }
    Ok(page)
}

enum Newest {
    Key(String, ObjectHead),
    Group(String, Vec<u8>),
    Skip(Vec<u8>),
}

fn next_newest(
    meta: &dyn MetaStore,
    bucket: &BucketName,
    select: &Select,
    start: &[u8],
) -> Result<Option<Newest>, StorageError> {
    let range = keys::objects(bucket);
    let skip = select.group_to_skip();
    let mut found = None;
    // The one after a marker, or the one at it and the next.
    meta.scan_few(start..&range.end, 2, &mut |record_key, value| {
        let Some(key) = keys::object_key_of(bucket, record_key) else { return Visit::Next };
        if matches!(&select.after, After::Key(after) | After::WholeKey(after) if key == after) {
            return Visit::Next;
        }
        found = match step(select, skip, &range.start, key) {
            Step::Stop => None,
            Step::Skip(behind) => Some(Ok(Newest::Skip(behind))),
            Step::Group(group, behind) => Some(Ok(Newest::Group(group, behind))),
            Step::Item => {
                Some(ObjectRecord::decode_head(value).map(|head| Newest::Key(key.to_owned(), head)))
            }
        };
        Visit::Stop
    })?;
    found.transpose()
}

/// Puts a key's versions on the page; `false` when the page is full.
fn push_versions(
    meta: &dyn MetaStore,
    bucket: &BucketName,
    select: &Select,
    key: &str,
    newest: ObjectHead,
    page: &mut Page<ListedVersion>,
) -> Result<bool, StorageError> {
    let after = match &select.after {
        After::Version(marker, id) if marker == key => Some(*id),
        _ => None,
    };
    let is_behind = |id: SortedId| after.is_none_or(|after| id > after);
    // Most keys have few older versions.
    let wanted = select.max.saturating_sub(page.entries.len()).clamp(1, 16);
    let mut push = |head: ObjectHead, latest: bool| {
        if page.entries.len() >= select.max {
            page.truncated = true;
            return false;
        }
        page.entries.push(Entry::Item(key.to_owned(), ListedVersion { head, latest }));
        true
    };
    if is_behind(newest.id) && !push(newest, true) {
        return Ok(false);
    }
    let range = keys::versions(bucket, key);
    let start = after.map_or(range.start.clone(), |id| keys::version(bucket, key, id));
    let mut outcome = Ok(true);
    meta.scan_few(&start..&range.end, wanted, &mut |_, value| match ObjectRecord::decode_head(value) {
        Ok(head) if !is_behind(head.id) => Visit::Next,
        Ok(head) => {
            if push(head, false) {
                return Visit::Next;
            }
            outcome = Ok(false);
            Visit::Stop
        }
        Err(error) => {
            outcome = Err(error);
            Visit::Stop
        }
    })?;
    outcome
}

/// Lists the open uploads of a bucket by key, then oldest first.
///
/// # Errors
/// As [`objects`].
pub fn uploads(
    meta: &dyn MetaStore,
    bucket: &BucketName,
    select: &Select,
) -> Result<Page<(SortedId, Vec<u8>)>, StorageError> {
    let range = keys::uploads(bucket);
    let start = match &select.after {
        After::Version(key, id) if *key >= select.prefix => keys::upload(bucket, key, *id),
        _ => [range.start.as_slice(), select.first_key().as_bytes()].concat(),
    };
    let skip = select.group_to_skip();
    let mut page = Page { entries: Vec::new(), truncated: false };
    meta.scan_few(&start..&range.end, select.max + 2, &mut |record_key, value| {
        let Some((key, id)) = keys::upload_of(bucket, record_key) else { return Visit::Next };
        let seen = match &select.after {
            After::Key(after) | After::WholeKey(after) => key == after,
            After::Version(after, marker) => key == after && id >= *marker,
            After::Start => false,
        };
        if seen {
            return Visit::Next;
        }
        let (entry, visit) = match step(select, skip, &range.start, key) {
            Step::Stop => return Visit::Stop,
            Step::Skip(next) => return Visit::Seek(next),
            Step::Item => (Entry::Item(key.to_owned(), (id, value.to_vec())), Visit::Next),
            Step::Group(group, next) => (Entry::Group(group), Visit::Seek(next)),
        };
        if page.entries.len() >= select.max {
            page.truncated = true;
            return Visit::Stop;
        }
        page.entries.push(entry);
        visit
    })?;
    Ok(page)
}
