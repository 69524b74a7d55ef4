//! Where bytes and records live: two small traits and the contracts that every backend keeps.
//!
//! [`BlobStore`] keeps bodies, named by ids that it makes itself; [`MetaStore`] keeps small records
//! under ordered byte keys. Neither knows HTTP, XML, identities or S3's rules: a bucket, an object,
//! a multipart upload are all just records to them. What keys and records mean is decided in
//! [`crate::model`].
//!
//! The order of a write is always: body first ([`BlobStore::write`] returns when it is as durable as
//! the mode promises), record second ([`MetaStore::commit`]), answer third. A crash in between
//! leaves a body that no record names, which the sweep removes; never a record without its body.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::ops::Range;

pub mod buffers;
pub mod checkpoint;
pub mod data_client;
pub mod database;
pub mod drafts;
pub mod fault;
pub mod file_blobs;
pub mod file_meta;
mod group;
pub mod ids;
pub mod inspect;
pub mod journal;
pub mod journals;
mod kept;
pub mod layout;
pub mod memory;
pub mod meta_wire;
mod names;
mod overlay;
pub mod recent;
pub mod remote;
pub mod remote_meta;
pub mod room;
mod s3_drafts;
pub mod s3_upstream;
pub mod shared_folder;
pub mod sproxyd;
pub mod sweep;
mod sync;
pub mod unsynced;

pub use overlay::Pace;

/// How much a write promises when it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncMode {
    /// On stable storage before the answer. The default for files.
    Strict,
    /// In the page cache; a flusher syncs within [`RELAXED_WINDOW_MS`].
    Relaxed,
    /// Never synced. Survives the end of the process, not that of the machine.
    None,
}

/// The longest time that `relaxed` leaves an acknowledged write unsynced.
pub const RELAXED_WINDOW_MS: u64 = 1_000;

impl SyncMode {
    /// All of them, the strictest first.
    pub const ALL: [SyncMode; 3] = [SyncMode::Strict, SyncMode::Relaxed, SyncMode::None];

    /// The mode of a name.
    pub fn of_name(name: &str) -> Option<SyncMode> {
        SyncMode::ALL.into_iter().find(|mode| mode.as_str() == name)
    }

    /// The mode of bodies whose records are in another process: that makes records durable when it wants to,
    /// and no record may be durable before its body, so what `relaxed` would leave for later is synced now.
    pub fn apart_from_records(self) -> SyncMode {
        match self {
            SyncMode::Relaxed => SyncMode::Strict,
            other => other,
        }
    }

    /// The name in configuration, in the start line and in the health answer.
    pub fn as_str(self) -> &'static str {
        match self {
            SyncMode::Strict => "strict",
            SyncMode::Relaxed => "relaxed",
            SyncMode::None => "none",
        }
    }
}

/// What writes to a store promise: all of them the same, or single ones more or less than the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncModes {
    usual: SyncMode,
    some_strict: bool,
    some_relaxed: bool,
    some_never: bool,
}

impl From<SyncMode> for SyncModes {
    fn from(usual: SyncMode) -> SyncModes {
        let is = |mode| usual == mode;
        let (some_strict, some_relaxed) = (is(SyncMode::Strict), is(SyncMode::Relaxed));
        SyncModes { usual, some_strict, some_relaxed, some_never: is(SyncMode::None) }
    }
}

impl SyncModes {
    /// With writes that may ask for `mode`.
    #[must_use]
    pub fn and(self, mode: SyncMode) -> SyncModes {
        let added = SyncModes::from(mode);
        SyncModes {
            usual: self.usual,
            some_strict: self.some_strict || added.some_strict,
            some_relaxed: self.some_relaxed || added.some_relaxed,
            some_never: self.some_never || added.some_never,
        }
    }

    /// Each of them by [`SyncMode::apart_from_records`].
    #[must_use]
    pub fn apart_from_records(self) -> SyncModes {
        let some_strict = self.some_strict || self.some_relaxed;
        SyncModes { usual: self.usual.apart_from_records(), some_strict, some_relaxed: false, ..self }
    }

    /// Whether anything is ever made durable. Where nothing is, no write can ask for it either.
    pub fn any_synced(self) -> bool {
        self.some_strict || self.some_relaxed
    }

    /// Whether there are writes that are left to a flusher.
    pub fn any_relaxed(self) -> bool {
        self.some_relaxed
    }

    /// Whether every write is durable when it returns.
    pub fn all_strict(self) -> bool {
        !self.some_relaxed && !self.some_never
    }

    /// What a write promises that asks for `asked`, if for anything.
    pub fn of(self, asked: Option<SyncMode>) -> SyncMode {
        match asked {
            _ if !self.any_synced() => SyncMode::None,
            None => self.usual,
            // There is no flusher to leave it to.
            Some(SyncMode::Relaxed) if !self.some_relaxed => SyncMode::Strict,
            Some(asked) => asked,
        }
    }
}

/// What can go wrong in a store. Absence is never an error: it is `Ok(None)`.
#[derive(Debug)]
pub enum StorageError {
    /// The device is full (ENOSPC, EDQUOT) or the memory budget is used up.
    Full(String),
    /// Stored bytes do not match their checksum, or a record cannot be decoded.
    Corrupt(String),
    /// The store has stopped taking writes after a failed sync.
    ReadOnly(String),
    /// A remote store cannot be reached or answered with an error.
    Unavailable(String),
    /// A commit was sent and no answer came: it may have been applied, now or any moment later. Nothing
    /// may be concluded from it; above all, no body that it names may be deleted.
    InDoubt(String),
    /// Anything else the operating system said.
    Io(io::Error),
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StorageError::Full(what) => write!(f, "no space left: {what}"),
            StorageError::Corrupt(what) => write!(f, "corrupt: {what}"),
            StorageError::ReadOnly(why) => write!(f, "the store is read-only: {why}"),
            StorageError::Unavailable(what) => write!(f, "unavailable: {what}"),
            StorageError::InDoubt(what) => write!(f, "a commit is in doubt: {what}"),
            StorageError::Io(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for StorageError {}

impl From<io::Error> for StorageError {
    fn from(error: io::Error) -> StorageError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                StorageError::Full(error.to_string())
            }
            _ => StorageError::Io(error),
        }
    }
}

/// Shorthand for store results.
pub type Result<T> = std::result::Result<T, StorageError>;

/// The name of a stored body. Made by the store, opaque to everything else, never a client's text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct BlobId(pub String);

/// A body that has been written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenBlob {
    /// Its name.
    pub id: BlobId,
    /// Its length in bytes.
    pub size: u64,
}

/// Why a body was not written.
#[derive(Debug)]
pub enum WriteError {
    /// The reader failed (client gone, digest wrong). Nothing is kept.
    Body(io::Error),
    /// The store failed. Nothing is kept.
    Store(StorageError),
}

impl From<StorageError> for WriteError {
    fn from(error: StorageError) -> WriteError {
        WriteError::Store(error)
    }
}

/// What a store says of itself to the health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// 200 when writes would succeed.
    pub code: u16,
    /// One phrase for a person.
    pub message: String,
}

/// What a store can cheaply tell of itself, for `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes that it takes; `None` when that would have to be summed up.
    pub used_bytes: Option<u64>,
    /// Bytes that this process may still use where it lies; `None` when it lies in no folder.
    pub free_bytes: Option<u64>,
    /// Reads since the start that found other bytes than were written.
    pub corrupt_reads: u64,
    /// Damaged bodies that have been moved out of the way.
    pub quarantined: u64,
}

/// What a store is told of a body before it is written; remote stores build their keys from it.
#[derive(Clone, Copy, Debug)]
pub struct BlobHint<'a> {
    /// The bucket that the object goes to.
    pub bucket: &'a str,
    /// The object's key.
    pub key: &'a str,
    /// The canonical id of the account that owns the object.
    pub owner: &'a str,
    /// The declared length, if the client gave one. A claim: never allocate by it.
    pub length: Option<u64>,
    /// What the write is to promise, if not what is usual in the store. Stores elsewhere have their own rule.
    pub sync: Option<SyncMode>,
}

/// Bodies of objects and parts: written once, read by range, deleted.
///
/// Contract, checked by the conformance suite in `tests/it/storage.rs`:
/// * `write` reads `body` to its end in bounded memory. If the reader fails, nothing is kept.
/// * When `write` returns, the body is durable as the store's mode promises.
/// * `read` yields exactly the bytes of the range, or an error; never other bytes. Stored checksums
///   are verified before the bytes they cover are yielded.
/// * A reader obtained before a `delete` still reads the whole body.
/// * `delete` of an absent id is `Ok`.
pub trait BlobStore: Send + Sync {
    /// Stores everything `body` yields.
    fn write(&self, body: &mut dyn Read, hint: &BlobHint<'_>)
    -> std::result::Result<WrittenBlob, WriteError>;

    /// Opens `range` (which must lie within the body) of a stored body. `Ok(None)` if it is absent.
    fn read(&self, id: &BlobId, range: Range<u64>) -> Result<Option<Box<dyn BufRead + Send>>>;

    /// Forgets a body. Idempotent.
    fn delete(&self, id: &BlobId) -> Result<()>;

    /// Calls `visit` with every stored id, in no order, for the sweep and the check. Stores that
    /// cannot enumerate (remote ones) visit nothing.
    fn list(&self, visit: &mut dyn FnMut(BlobId)) -> Result<()>;

    /// Whether `list` visits every body. Where it does not, nothing can be swept.
    fn lists(&self) -> bool {
        true
    }

    /// Whether bodies are written under names that were made durable first ([`BlobStore::reserve`]), so
    /// that a crash leaves none that nobody knows: in stores that do not list, unless the other side
    /// makes the names.
    fn reserves(&self) -> bool {
        !self.lists()
    }

    /// Chooses the name of a body before it is written, in stores that reserve.
    fn reserve(&self, _hint: &BlobHint<'_>) -> Option<BlobId> {
        None
    }

    /// [`BlobStore::write`] under a name that [`BlobStore::reserve`] chose. If it fails, a body of
    /// that name may or may not be there: the caller deletes it.
    fn write_reserved(
        &self,
        _id: &BlobId,
        body: &mut dyn Read,
        hint: &BlobHint<'_>,
    ) -> std::result::Result<WrittenBlob, WriteError> {
        self.write(body, hint)
    }

    /// Bodies that are written in pieces, where the store has a way of its own to make them whole; elsewhere
    /// such pieces are bodies.
    fn drafts(&self) -> Option<&dyn drafts::Drafts> {
        None
    }

    /// Bodies up to this many bytes may be kept as records in the [`MetaStore`] instead, where they
    /// cost no sync of their own. 0 when everything must go through `write`.
    fn inline_max(&self) -> usize {
        0
    }

    /// Whether there is room for new bodies. Asked before a body is read; those that make room do not ask.
    ///
    /// # Errors
    /// `Full` below the low-water mark of the device, `ReadOnly` when the store takes no more writes.
    fn check_room(&self) -> Result<()> {
        Ok(())
    }

    /// Whether writes would succeed now.
    fn health(&self) -> Health;

    /// What is cheap to know of its size and state; asked about every few seconds.
    fn usage(&self) -> Usage {
        Usage::default()
    }

    /// Makes everything written so far durable (in every mode but `none`).
    fn sync(&self) -> Result<()> {
        Ok(())
    }
}

/// What a [`MetaStore::scan`] does after a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visit {
    /// Go on to the next record.
    Next,
    /// Go on at the first record whose key is not less than this one (which must lie ahead).
    Seek(Vec<u8>),
    /// Stop.
    Stop,
}

/// Something that must hold at the moment of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The record under `key` is exactly `value`, or absent when `None`.
    Record {
        /// The key.
        key: Vec<u8>,
        /// The value that was read when the decision was made.
        value: Option<Vec<u8>>,
    },
    /// There is no record in `start..end`.
    Empty {
        /// First key of the range.
        start: Vec<u8>,
        /// First key behind it.
        end: Vec<u8>,
    },
}

/// An atomic change: all expectations hold and all writes happen, or nothing happens.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// What must hold.
    pub expects: Vec<Expect>,
    /// Key and new value; `None` removes the record.
    pub writes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// What the commit is to promise, if not what is usual in the store.
    pub sync: Option<SyncMode>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Demands that the record under `key` still is what was read.
    pub fn expect(&mut self, key: impl Into<Vec<u8>>, value: Option<Vec<u8>>) {
        self.expects.push(Expect::Record { key: key.into(), value });
    }

    /// Demands that a range has no records.
    pub fn expect_empty(&mut self, range: Range<Vec<u8>>) {
        self.expects.push(Expect::Empty { start: range.start, end: range.end });
    }

    /// Writes a record.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.writes.push((key.into(), Some(value.into())));
    }

    /// Removes a record.
    pub fn remove(&mut self, key: impl Into<Vec<u8>>) {
        self.writes.push((key.into(), None));
    }

    /// The bytes of the keys and values that it writes.
    pub fn written_bytes(&self) -> usize {
        let bytes =
            |(key, value): &(Vec<u8>, Option<Vec<u8>>)| key.len() + value.as_ref().map_or(0, Vec::len);
        self.writes.iter().map(bytes).fold(0, usize::saturating_add)
    }
}

/// The longest key of a record in bytes.
pub const KEY_BYTES_MAX: usize = 4096;
/// The most bytes of keys and values that one batch may write.
pub const BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Refuses what no store takes: an overlong key or too large a batch.
fn check_batch(batch: &Batch) -> Result<()> {
    let refused = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text).into());
    if let Some((key, _)) = batch.writes.iter().find(|(key, _)| key.len() > KEY_BYTES_MAX) {
        return refused(format!("a key of {} bytes is longer than {KEY_BYTES_MAX}", key.len()));
    }
    let bytes = batch.written_bytes();
    if bytes > BATCH_BYTES_MAX {
        return refused(format!("a batch of {bytes} bytes is larger than {BATCH_BYTES_MAX}"));
    }
    Ok(())
}

/// Where a scan goes on after a [`Visit::Seek`]: never back, so that a wrong target cannot make a scan
/// endless.
fn seek_target(current: &[u8], target: Vec<u8>) -> Vec<u8> {
    if target.as_slice() > current {
        return target;
    }
    let mut following = current.to_vec();
    following.push(0);
    following
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Applied, and as durable as the batch or the store's mode promises.
    Committed,
    /// An expectation did not hold; nothing was changed. Read again and decide again.
    Conflict,
}

/// Small records under ordered byte keys.
///
/// Contract, checked by the conformance suite:
/// * Keys are compared as bytes. Keys and values are any bytes, keys up to 4 KiB.
/// * `commit` is the only way to change anything. It is atomic and serialised with every other
///   commit, and expectations are evaluated at that moment.
/// * When `commit` returns, every later `get` and `scan` on any thread sees it.
/// * One `scan` sees one state: no commit shows half. A store in another process promises this for the
///   first [`meta_wire::PAGE_RECORDS_MAX`] records or [`meta_wire::PAGE_BYTES_MAX`] bytes before a seek,
///   and for each further page by itself. No decision may rest on more: a commit expects what it was
///   decided by.
pub trait MetaStore: Send + Sync {
    /// The record under a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Visits the records of `range` in ascending order of keys until the visitor stops.
    fn scan(&self, range: Range<&[u8]>, visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit) -> Result<()>;

    /// [`MetaStore::scan`] for a visitor that will look at about `records` records: a store in another
    /// process then sends no more than are wanted.
    fn scan_few(
        &self,
        range: Range<&[u8]>,
        _records: usize,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit,
    ) -> Result<()> {
        self.scan(range, visit)
    }

    /// Applies a batch.
    fn commit(&self, batch: Batch) -> Result<Outcome>;

    /// Whether there is room for the records of new objects; see [`BlobStore::check_room`].
    ///
    /// # Errors
    /// As there.
    fn check_room(&self) -> Result<()> {
        Ok(())
    }

    /// Whether writes would succeed now.
    fn health(&self) -> Health;

    /// What is cheap to know of its size and state; asked about every few seconds.
    fn usage(&self) -> Usage {
        Usage::default()
    }

    /// Returns when what was committed before cannot be undone by a power cut, where the mode promises
    /// that at all: bodies that a commit has stopped naming may be removed only then, or the record that
    /// comes back names nothing.
    fn settle(&self) -> Result<()> {
        Ok(())
    }

    /// Makes everything committed so far durable (in every mode but `none`).
    fn sync(&self) -> Result<()> {
        Ok(())
    }

    /// Reads what finding a record rests on, and says whether it is as it was written. If it is not, then from
    /// now on no record is told to be absent (`Corrupt`), and nothing is committed. `pace` is told what is
    /// about to be read. A store that keeps nothing on a disk has nothing to read.
    ///
    /// # Errors
    /// What the system or `pace` says: nothing was found out.
    fn check_index(&self, _pace: Pace) -> Result<bool> {
        Ok(true)
    }
}
