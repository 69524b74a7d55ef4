//! Failures on demand, so that tests can see what the rest of the program does with them.
//!
//! [`Faulty`] wraps any store of either trait and fails the calls that a test has planned.
//! [`DiskFaults`] sits between the stores and their files, where the wrapper cannot reach: it sees every
//! step that changes something, so that a test can make any one of them fail, or write down all of them
//! to find out what would be left if the machine lost its power between two.

use super::room::Space;
use super::shared_folder::Lender;
use super::{
    Batch, BlobHint, BlobId, BlobStore, Health, MetaStore, Outcome, Pace, Result, StorageError, Visit,
    WriteError, WrittenBlob,
};
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A call that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// `BlobStore::write`, before anything is read.
    BlobWrite,
    /// `BlobStore::write`, after this many bytes of the body.
    BlobWriteAt(u64),
    /// `BlobStore::read`, when it is called.
    BlobRead,
    /// The reader of a body, after this many bytes.
    BlobReadAt(u64),
    /// `BlobStore::delete`.
    BlobDelete,
    /// `BlobStore::list`.
    BlobList,
    /// `BlobStore::sync`.
    BlobSync,
    /// `MetaStore::get`.
    Get,
    /// `MetaStore::scan`.
    Scan,
    /// `MetaStore::commit`; nothing is changed.
    Commit,
    /// `MetaStore::commit`, after it has happened: what a lost answer of a remote store looks like.
    CommitUnknown,
    /// `MetaStore::sync`.
    MetaSync,
}

/// How it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No space left.
    Full,
    /// Stored bytes are wrong.
    Corrupt,
    /// No more writes.
    ReadOnly,
    /// The remote side does not answer.
    Unavailable,
    /// EIO.
    Io,
}

impl Fault {
    fn error(self) -> StorageError {
        let text = "a planned fault".to_string();
        match self {
            Fault::Full => StorageError::Full(text),
            Fault::Corrupt => StorageError::Corrupt(text),
            Fault::ReadOnly => StorageError::ReadOnly(text),
            Fault::Unavailable => StorageError::Unavailable(text),
            Fault::Io => StorageError::Io(io::Error::other(text)),
        }
    }
}

/// A store that fails as planned and otherwise does what the wrapped one does.
pub struct Faulty<S> {
    inner: S,
    plan: Mutex<VecDeque<(Step, Fault)>>,
}

impl<S> Faulty<S> {
    /// Wraps a store. Nothing fails yet.
    pub fn new(inner: S) -> Faulty<S> {
        Faulty { inner, plan: Mutex::default() }
    }

    /// Makes the next call of `step` that is not planned to fail already fail once.
    pub fn plan(&self, step: Step, fault: Fault) {
        self.planned().push_back((step, fault));
    }

    /// Faults that have not happened yet.
    pub fn left(&self) -> usize {
        self.planned().len()
    }

    fn planned(&self) -> std::sync::MutexGuard<'_, VecDeque<(Step, Fault)>> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take<T>(&self, wanted: impl Fn(Step) -> Option<T>) -> Option<(T, Fault)> {
        let mut plan = self.planned();
        let (at, found) = plan.iter().enumerate().find_map(|(at, (step, _))| Some((at, wanted(*step)?)))?;
        let (_, fault) = plan.remove(at)?;
        Some((found, fault))
    }

    fn check(&self, step: Step) -> Result<()> {
        match self.take(|planned| (planned == step).then_some(())) {
            Some(((), fault)) => Err(fault.error()),
            None => Ok(()),
        }
    }
}

/// Ends with an error after some bytes.
struct Cut<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Cut<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !out.is_empty() {
            return Err(io::Error::other("a planned fault"));
        }
        let room = out.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.inner.read(&mut out[..room])?;
        self.left -= count as u64;
        Ok(count)
    }
}

impl<S: BlobStore> BlobStore for Faulty<S> {
    fn write(
        &self,
        body: &mut dyn Read,
        hint: &BlobHint<'_>,
    ) -> std::result::Result<WrittenBlob, WriteError> {
        self.check(Step::BlobWrite)?;
        let cut = self.take(|step| match step {
            Step::BlobWriteAt(bytes) => Some(bytes),
            _ => None,
        });
        let Some((bytes, fault)) = cut else {
            return self.inner.write(body, hint);
        };
        let mut cut = Cut { inner: body, left: bytes };
        match self.inner.write(&mut cut, hint) {
            // The store saw its reader fail, so it has kept nothing; the caller sees the store fail.
            Err(WriteError::Body(_)) if cut.left == 0 => Err(fault.error().into()),
            other => other,
        }
    }

    fn read(&self, id: &BlobId, range: Range<u64>) -> Result<Option<Box<dyn BufRead + Send>>> {
        self.check(Step::BlobRead)?;
        let cut = self.take(|step| match step {
            Step::BlobReadAt(bytes) => Some(bytes),
            _ => None,
        });
        let reader = self.inner.read(id, range)?;
        Ok(match (reader, cut) {
            (Some(inner), Some((left, _))) => Some(Box::new(BufReader::new(Cut { inner, left }))),
            (reader, _) => reader,
        })
    }

    fn delete(&self, id: &BlobId) -> Result<()> {
        self.check(Step::BlobDelete)?;
        self.inner.delete(id)
    }

    fn list(&self, visit: &mut dyn FnMut(BlobId)) -> Result<()> {
        self.check(Step::BlobList)?;
        self.inner.list(visit)
    }

    fn lists(&self) -> bool {
        self.inner.lists()
    }

    fn inline_max(&self) -> usize {
        self.inner.inline_max()
    }

    fn check_room(&self) -> Result<()> {
        self.inner.check_room()
    }

    fn health(&self) -> Health {
        self.inner.health()
    }

    fn sync(&self) -> Result<()> {
        self.check(Step::BlobSync)?;
        self.inner.sync()
    }
}

impl<S: Lender> Lender for Faulty<S> {
    fn write_lent(&self, body: &mut dyn Read) -> std::result::Result<WrittenBlob, WriteError> {
        self.check(Step::BlobWrite)?;
        let cut = self.take(|step| match step {
            Step::BlobWriteAt(bytes) => Some(bytes),
            _ => None,
        });
        let Some((bytes, fault)) = cut else { return self.inner.write_lent(body) };
        let mut cut = Cut { inner: body, left: bytes };
        match self.inner.write_lent(&mut cut) {
            Err(WriteError::Body(_)) if cut.left == 0 => Err(fault.error().into()),
            other => other,
        }
    }

    fn read_chosen(
        &self,
        id: &BlobId,
        choose: &mut dyn FnMut(u64) -> Range<u64>,
    ) -> Result<Option<(u64, Box<dyn BufRead + Send>)>> {
        self.check(Step::BlobRead)?;
        let cut = self.take(|step| match step {
            Step::BlobReadAt(bytes) => Some(bytes),
            _ => None,
        });
        let read = self.inner.read_chosen(id, choose)?;
        Ok(match (read, cut) {
            (Some((size, inner)), Some((left, _))) => {
                Some((size, Box::new(BufReader::new(Cut { inner, left }))))
            }
            (read, _) => read,
        })
    }

    fn space(&self) -> Result<Space> {
        self.inner.space()
    }
}

impl<S: MetaStore> MetaStore for Faulty<S> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.check(Step::Get)?;
        self.inner.get(key)
    }

    fn scan(&self, range: Range<&[u8]>, visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit) -> Result<()> {
        self.check(Step::Scan)?;
        self.inner.scan(range, visit)
    }

    fn commit(&self, batch: Batch) -> Result<Outcome> {
        self.check(Step::Commit)?;
        let outcome = self.inner.commit(batch)?;
        self.check(Step::CommitUnknown)?;
        Ok(outcome)
    }

    fn settle(&self) -> Result<()> {
        self.inner.settle()
    }

    fn check_room(&self) -> Result<()> {
        self.inner.check_room()
    }

    fn health(&self) -> Health {
        self.inner.health()
    }

    fn sync(&self) -> Result<()> {
        self.check(Step::MetaSync)?;
        self.inner.sync()
    }

    fn check_index(&self, pace: Pace) -> Result<bool> {
        self.inner.check_index(pace)
    }
}

/// A change to a local file or folder that a store is about to make. Creation of folders by
/// [`super::layout::Folder`] is not among them: it happens before a store exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskStep<'p> {
    /// A folder is made.
    MakeFolder(&'p Path),
    /// A file is made.
    Create(&'p Path),
    /// Bytes are written at a position.
    Write(&'p Path, u64, &'p [u8]),
    /// A file gets another length.
    SetLength(&'p Path, u64),
    /// What was written to a file is made durable.
    SyncFile(&'p Path),
    /// The names in a folder are made durable.
    SyncFolder(&'p Path),
    /// A file is removed.
    Remove(&'p Path),
    /// A file gets another name.
    Rename(&'p Path, &'p Path),
}

/// Sees every step before it is made, and may make it fail.
type Watch = dyn FnMut(DiskStep<'_>) -> io::Result<()> + Send;

/// Failures of the files below the stores, switched on and off while they run.
#[derive(Default)]
pub struct DiskFaults {
    full: AtomicBool,
    sync: AtomicBool,
    /// One more than the bytes that the device claims to have available; 0 for the truth.
    available: AtomicU64,
    /// The device is full only until the reserve is given up.
    until_released: AtomicBool,
    watch: Mutex<Option<Box<Watch>>>,
}

impl fmt::Debug for DiskFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskFaults")
            .field("full", &self.full)
            .field("sync", &self.sync)
            .finish_non_exhaustive()
    }
}

impl DiskFaults {
    /// Makes every write fail with "no space left", or lets them succeed again.
    pub fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Release);
    }

    /// Makes every write fail with "no space left" until the store gives up its reserve.
    pub fn set_full_until_released(&self) {
        self.until_released.store(true, Ordering::Release);
        self.set_full(true);
    }

    pub(super) fn reserve_released(&self) {
        if self.until_released.swap(false, Ordering::AcqRel) {
            self.set_full(false);
        }
    }

    /// Makes the device claim that it has this many bytes available, or tell the truth again.
    pub fn set_available(&self, bytes: Option<u64>) {
        self.available.store(bytes.map_or(0, |bytes| bytes.saturating_add(1)), Ordering::Release);
    }

    pub(super) fn available(&self) -> Option<u64> {
        self.available.load(Ordering::Acquire).checked_sub(1)
    }

    /// Makes every sync fail, or lets them succeed again.
    pub fn set_sync_failing(&self, failing: bool) {
        self.sync.store(failing, Ordering::Release);
    }

    /// Shows every further step to `watch` before it is made; an error is what the step then fails with.
    pub fn watch(&self, watch: impl FnMut(DiskStep<'_>) -> io::Result<()> + Send + 'static) {
        *self.watch.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(watch));
    }

    /// Says that a step is about to be made, unless it is planned to fail.
    pub(super) fn before(faults: &Option<Arc<DiskFaults>>, step: DiskStep<'_>) -> io::Result<()> {
        let Some(faults) = faults else { return Ok(()) };
        let planned = match step {
            DiskStep::SyncFile(_) | DiskStep::SyncFolder(_) => {
                faults.sync.load(Ordering::Acquire).then(|| io::Error::other("a planned fault"))
            }
            DiskStep::Remove(_) => None,
            _ => {
                let full = faults.full.load(Ordering::Acquire);
                full.then(|| io::Error::new(io::ErrorKind::StorageFull, "a planned fault"))
            }
        };
        planned.map_or_else(|| faults.show(step), Err)
    }

    /// [`DiskFaults::before`] for a write that has its place on the disk already, so that a full disk does
    /// not keep it from being made.
    pub(super) fn before_in_place(faults: &Option<Arc<DiskFaults>>, step: DiskStep<'_>) -> io::Result<()> {
        faults.as_ref().map_or(Ok(()), |faults| faults.show(step))
    }

    fn show(&self, step: DiskStep<'_>) -> io::Result<()> {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        watch.as_mut().map_or(Ok(()), |watch| watch(step))
    }
}
