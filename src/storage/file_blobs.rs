//! Bodies on disk: one file each, checksummed by block.
//!
//! ```text
//! localData/blobs/lock, format        see `layout`
//! localData/blobs/<2 digits>/<id>     a body; the folder is named by the id's first two digits
//! localData/blobs/unsynced, never     see `unsynced`
//! localData/blobs/quarantine/<id>     a damaged body, kept for whoever wants to save what can be saved of it
//!
//! file    := block* trailer
//! block   := 256 KiB of the body (the last one: the rest) | CRC-32C u32
//! trailer := body bytes u64 | CRC-32C u32 | magic "s3pail\0" | format 1     (little-endian)
//! ```
//!
//! Each checksum also covers the body's id, and a block's its number, so that a block or a file in the
//! wrong place is as bad as a changed one. The checksum stands behind its block rather than in a list
//! at the end: any block can be read and checked with one read, and neither writing nor reading needs
//! memory that grows with the body.
//!
//! Why not a temporary file and a rename? The name is fresh and random, and nothing knows it until
//! the record that names it is committed. A file that a crash leaves half written is the same orphan
//! under either name, and the sweep removes it.

use super::buffers::{Buffer, BufferPool, fill, fill_at_least};
use super::fault::{DiskFaults, DiskStep};
use super::ids::{IdSource, is_id};
use super::layout::{Folder, create_folder, named, private_file, sync_folder};
use super::room;
use super::unsynced::{Earlier, LIST, NEVER, Unsynced};
use super::{
    BlobHint, BlobId, BlobStore, Health, RELAXED_WINDOW_MS, Result, StorageError, SyncMode, SyncModes, Usage,
    WriteError, WrittenBlob,
};
use crate::codec::read_buffered;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Bytes of the body in a block, and so in the unit that is checked.
pub const BLOCK_BYTES: usize = 256 * 1024;
/// Bodies up to this size are better kept as records. See [`BlobStore::inline_max`].
pub const INLINE_BYTES_MAX: usize = 16 * 1024;
/// In `relaxed`, files that wait for their sync are open; a writer that finds this many syncs them.
pub const UNSYNCED_FILES_MAX: usize = 256;

const FOLDER: &str = "blobs";
const QUARANTINE: &str = "quarantine";
/// Folders of bodies: one for each pair of hexadecimal digits.
const FOLDERS: usize = 256;
const CHECKSUM_BYTES: usize = 4;
const TRAILER_BYTES: usize = 20;
const MAGIC: &[u8; 8] = b"s3pail\0\x01";
/// What is read to fetch a one-block body whole: with one byte more, to see that the file ends there.
const BUFFER_BYTES: usize = BLOCK_BYTES + CHECKSUM_BYTES + TRAILER_BYTES + 1;

/// Bodies in a folder of local files.
///
/// After a failed sync of the flusher it answers writes with `ReadOnly` until it is opened again;
/// reads go on.
pub struct FileBlobs {
    store: Arc<Store>,
    flusher: Option<(Sender<()>, JoinHandle<()>)>,
}

struct Store {
    sync: SyncModes,
    folder: Folder,
    ids: IdSource,
    buffers: BufferPool,
    /// What has been acknowledged and not synced.
    waiting: Mutex<Waiting>,
    /// Held during a sync, so that a second one does not return before the first has done its work.
    syncing: Mutex<()>,
    /// Why the store takes no more writes.
    stopped: OnceLock<String>,
    /// Failures to simulate, for tests.
    faults: Option<Arc<DiskFaults>>,
    /// The folders of bodies whose own names this run has made durable. That one is there does not say
    /// so: an earlier run may have been killed, or another thread not be done.
    named_folders: [AtomicBool; FOLDERS],
    /// Reads that found damage.
    corrupt_reads: Arc<AtomicU64>,
    /// Bodies in quarantine.
    quarantined: AtomicU64,
}

struct Waiting {
    /// What is relaxed. The files stay open, because an error of the write-back is reported to descriptors that
    /// were open when it happened.
    files: Vec<(PathBuf, File)>,
    /// The same for the next run and, where nothing is ever synced, everything.
    list: Unsynced,
    /// What is never synced among others that are.
    never: Unsynced,
}

impl FileBlobs {
    /// Opens or creates the store in `data_path`. What earlier runs left unsynced is durable then, unless
    /// nothing ever is: one sync for each body on the list and each folder that has one.
    pub fn open(data_path: &Path, sync: impl Into<SyncModes>) -> Result<FileBlobs> {
        FileBlobs::open_watched(data_path, sync, None)
    }

    /// [`FileBlobs::open`], with failures to simulate.
    pub fn open_watched(
        data_path: &Path,
        sync: impl Into<SyncModes>,
        faults: Option<Arc<DiskFaults>>,
    ) -> Result<FileBlobs> {
        let sync = sync.into();
        let folder = Folder::open(&data_path.join(FOLDER))?;
        folder.settle(sync.any_synced())?;
        let store = Store::new(folder, sync, faults);
        match sync.any_synced() {
            false => lock(&store.waiting).list.begin()?,
            true => store.settle_earlier()?,
        }
        let flusher = match sync.any_relaxed() {
            true => Some(start_flusher(Arc::clone(&store))?),
            false => None,
        };
        Ok(FileBlobs { store, flusher })
    }

    /// Opens the range that `choose` picks when it is told the size of the body, and returns the size as
    /// well; `Ok(None)` if the body is absent.
    ///
    /// # Errors
    /// Those of [`BlobStore::read`].
    pub fn read_chosen(
        &self,
        id: &BlobId,
        choose: &mut dyn FnMut(u64) -> Range<u64>,
    ) -> Result<Option<(u64, Box<dyn BufRead + Send>)>> {
        let Some((path, file)) = self.store.open_file(id)? else { return Ok(None) };
        let length = file.metadata().map_err(|error| named(&path, error))?.len();
        // The reader holds the file's length against its trailer.
        let size = body_bytes(length).ok_or_else(|| {
            self.store.corrupt_reads.fetch_add(1, Ordering::Relaxed);
            StorageError::Corrupt(format!("body {} has a wrong length", id.0))
        })?;
        let reader = self.store.reader(file, &path, id, choose(size))?;
        Ok(Some((size, reader)))
    }

    /// Opens a store that is there, to look at it: nothing is changed unless it is asked for, and
    /// nothing is synced.
    ///
    /// # Errors
    /// As [`Folder::open_existing`].
    pub fn open_existing(data_path: &Path) -> Result<FileBlobs> {
        let folder = Folder::open_existing(&data_path.join(FOLDER))?;
        Ok(FileBlobs { store: Store::new(folder, SyncMode::None.into(), None), flusher: None })
    }

    /// Makes durable what earlier runs left unsynced, in a store that was opened to be looked at.
    ///
    /// # Errors
    /// What the system says.
    pub fn settle_earlier(&self) -> Result<()> {
        self.store.settle_earlier()
    }

    /// The length of a body, as its own file says it; `None` if it is absent.
    ///
    /// # Errors
    /// `Corrupt` when the file is not one that [`BlobStore::write`] has finished.
    pub fn size(&self, id: &BlobId) -> Result<Option<u64>> {
        let Some((path, file)) = self.store.open_file(id)? else {
            return Ok(None);
        };
        let reader = reader_of(file, id, 0..0, &self.store.corrupt_reads);
        let size = reader.check_trailer().map_err(|error| read_error(&path, error))?;
        Ok(Some(size))
    }

    /// Whether the file of a body is shorter than one of `size` bytes has to be.
    pub fn is_shorter_than(&self, id: &BlobId, size: u64) -> bool {
        let length = self.store.path(id).and_then(|path| path.symlink_metadata().ok());
        length.is_some_and(|found| found.is_file() && Some(found.len()) < file_bytes(size))
    }

    /// Moves a damaged body, which a record says has `size` bytes, out of the way of readers and into
    /// `quarantine`: from then on a read is `Corrupt`, and nothing ever deletes it. A file that has not the
    /// length of such a body stays where it is (`false`), as one does that cannot be read at all: those may be
    /// a failing disk, or half a copy that somebody is putting back.
    ///
    /// # Errors
    /// What the system says; the body is in one of the two places.
    pub fn quarantine(&self, id: &BlobId, size: u64) -> Result<bool> {
        self.store.quarantine(id, size)
    }

    /// Bodies in quarantine.
    pub fn quarantined(&self) -> u64 {
        self.store.quarantined.load(Ordering::Relaxed)
    }

    /// Whether the body was written since the store was opened. The sweep must leave such bodies
    /// alone: their records may be about to be committed.
    pub fn is_of_this_run(&self, id: &BlobId) -> bool {
        self.store.ids.made(id)
    }
}

impl BlobStore for FileBlobs {
    fn write(
        &self,
        body: &mut dyn Read,
        hint: &BlobHint<'_>,
    ) -> std::result::Result<WrittenBlob, WriteError> {
        let store = &self.store;
        if let Some(why) = store.stopped.get() {
            return Err(StorageError::ReadOnly(why.clone()).into());
        }
        let mut buffer = store.buffers.take();
        // The first block is read before the file exists, so that most failing clients cost nothing.
        let first = fill(body, &mut buffer[..BLOCK_BYTES]).map_err(WriteError::Body)?;
        let id = store.ids.next();
        let (file, unfinished) = store.create(&id)?;
        let size = store.write_blocks(body, &file, &unfinished.path, &id, &mut buffer, first)?;
        store.settle(&id, &unfinished.path, file, store.sync.of(hint.sync))?;
        unfinished.finish();
        Ok(WrittenBlob { id, size })
    }

    fn read(&self, id: &BlobId, range: Range<u64>) -> Result<Option<Box<dyn BufRead + Send>>> {
        let Some((path, file)) = self.store.open_file(id)? else { return Ok(None) };
        self.store.reader(file, &path, id, range).map(Some)
    }

    fn delete(&self, id: &BlobId) -> Result<()> {
        let Some(path) = self.store.path(id) else {
            return Ok(());
        };
        let removed = self.store.before(DiskStep::Remove(&path)).and_then(|()| fs::remove_file(&path));
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(named(&path, error)),
            _ => Ok(()),
        }
    }

    fn list(&self, visit: &mut dyn FnMut(BlobId)) -> Result<()> {
        (0..=u8::MAX).try_for_each(|digits| self.store.list_folder(digits, visit))
    }

    fn inline_max(&self) -> usize {
        INLINE_BYTES_MAX
    }

    fn check_room(&self) -> Result<()> {
        if let Some(why) = self.store.stopped.get() {
            return Err(StorageError::ReadOnly(why.clone()));
        }
        room::check(self.store.folder.path(), self.store.faults.as_deref())
    }

    fn health(&self) -> Health {
        match self.store.stopped.get() {
            None => Health { code: 200, message: "OK".into() },
            Some(why) => Health { code: 503, message: format!("read-only: {why}") },
        }
    }

    fn usage(&self) -> Usage {
        Usage {
            used_bytes: None,
            free_bytes: fs2::available_space(self.store.folder.path()).ok(),
            corrupt_reads: self.store.corrupt_reads.load(Ordering::Relaxed),
            quarantined: self.quarantined(),
        }
    }

    fn sync(&self) -> Result<()> {
        self.store.sync()
    }
}

impl Drop for FileBlobs {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.flusher.take() {
            drop(stop);
            // A panic there has left files unsynced, which the sync below makes up for.
            let _ = thread.join();
        }
        // Whoever has to know calls `sync` before.
        let _ = self.store.sync();
    }
}

fn start_flusher(store: Arc<Store>) -> Result<(Sender<()>, JoinHandle<()>)> {
    let (stop, stopped) = bounded(0);
    let run = move || flush_regularly(&store, &stopped);
    let thread = std::thread::Builder::new().name("blob-flusher".into()).spawn(run)?;
    Ok((stop, thread))
}

/// Half the window passes between flushes; the other half is for the flush itself.
fn flush_regularly(store: &Store, stopped: &Receiver<()>) {
    let pause = Duration::from_millis(RELAXED_WINDOW_MS / 2);
    while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        // A failure has stopped the store, which every later write and the health check report.
        let _ = store.sync();
    }
}

fn reader_of(file: File, id: &BlobId, range: Range<u64>, corrupt_reads: &Arc<AtomicU64>) -> BlobReader {
    let corrupt_reads = corrupt_reads.clone();
    BlobReader { file, id: id.clone(), block: Block::default(), buffer: None, range, corrupt_reads }
}

fn read_error(path: &Path, error: io::Error) -> StorageError {
    match error.kind() {
        io::ErrorKind::InvalidData => StorageError::Corrupt(error.to_string()),
        _ => named(path, error),
    }
}

/// How many bodies are in a folder that may be absent.
fn files_in(folder: &Path) -> u64 {
    let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.filter(|name| name.to_str().is_some_and(is_id)).count() as u64
}

/// The folder that an id belongs to: its first two digits.
fn folder_of(id: &str) -> &str {
    &id[..2]
}

/// Removes its file unless it is finished.
struct Unfinished {
    faults: Option<Arc<DiskFaults>>,
    path: PathBuf,
    finished: bool,
}

impl Unfinished {
    fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.finished {
            // If this fails the file is an orphan, which the next start's sweep removes.
            let _ = DiskFaults::before(&self.faults, DiskStep::Remove(&self.path))
                .and_then(|()| fs::remove_file(&self.path));
        }
    }
}

impl Store {
    fn new(folder: Folder, sync: SyncModes, faults: Option<Arc<DiskFaults>>) -> Arc<Store> {
        let list = Unsynced::of(folder.path(), LIST, faults.clone());
        let never = Unsynced::of(folder.path(), NEVER, faults.clone());
        let quarantined = AtomicU64::new(files_in(&folder.path().join(QUARANTINE)));
        Arc::new(Store {
            sync,
            folder,
            ids: IdSource::new(),
            buffers: BufferPool::new(BUFFER_BYTES),
            waiting: Mutex::new(Waiting { files: Vec::new(), list, never }),
            syncing: Mutex::default(),
            stopped: OnceLock::new(),
            corrupt_reads: Arc::default(),
            quarantined,
            faults,
            named_folders: [const { AtomicBool::new(false) }; FOLDERS],
        })
    }

    fn before(&self, step: DiskStep<'_>) -> io::Result<()> {
        DiskFaults::before(&self.faults, step)
    }

    fn sync_file(&self, path: &Path, file: &File) -> Result<()> {
        let synced = self.before(DiskStep::SyncFile(path)).and_then(|()| file.sync_data());
        synced.map_err(|error| named(path, error))
    }

    /// Makes the names in a folder of bodies durable, and the folder's own.
    ///
    /// # Errors
    /// `ReadOnly`, from then on for every write: the next sync of the same folder may succeed without the
    /// names that this one lost, and other writers would take that for theirs.
    fn sync_names(&self, folder: &Path) -> Result<()> {
        let digits = folder.file_name().and_then(|name| name.to_str());
        let number = digits.and_then(|digits| usize::from_str_radix(digits, 16).ok());
        let named = number.and_then(|number| self.named_folders.get(number));
        let synced = self.sync_folder(folder).and_then(|()| {
            if named.is_some_and(|named| named.load(Ordering::Acquire)) {
                return Ok(());
            }
            self.sync_folder(self.folder.path())?;
            named.inspect(|named| named.store(true, Ordering::Release));
            Ok(())
        });
        synced.map_err(|error| {
            let why = self.stopped.get_or_init(|| format!("a sync failed: {error}"));
            StorageError::ReadOnly(why.clone())
        })
    }

    fn sync_folder(&self, folder: &Path) -> Result<()> {
        let synced = self.before(DiskStep::SyncFolder(folder)).and_then(|()| sync_folder(folder));
        synced.map_err(|error| named(folder, error))
    }

    /// Opens the file of a body to read it; `None` if there is none.
    fn open_file(&self, id: &BlobId) -> Result<Option<(PathBuf, File)>> {
        let Some(path) = self.path(id) else {
            return Ok(None);
        };
        match private_file().read(true).open(&path) {
            Ok(file) => Ok(Some((path, file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !self.folder.path().join(QUARANTINE).join(&id.0).exists() {
                    return Ok(None);
                }
                self.corrupt_reads.fetch_add(1, Ordering::Relaxed);
                Err(StorageError::Corrupt(format!("body {} is in quarantine", id.0)))
            }
            Err(error) => Err(named(&path, error)),
        }
    }

    fn quarantine(&self, id: &BlobId, size: u64) -> Result<bool> {
        let Some(path) = self.path(id) else { return Ok(false) };
        let found = match path.symlink_metadata() {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(named(&path, error)),
        };
        if !found.is_file() || Some(found.len()) != file_bytes(size) {
            return Ok(false);
        }
        let folder = self.folder.path().join(QUARANTINE);
        let target = folder.join(&id.0);
        if target.symlink_metadata().is_ok() {
            // Somebody has put back another copy, which is bad as well. The first may have other good parts.
            return Ok(false);
        }
        let moved = self
            .before(DiskStep::MakeFolder(&folder))
            .and_then(|()| create_folder(&folder))
            .and_then(|()| self.before(DiskStep::Rename(&path, &target)))
            .and_then(|()| fs::rename(&path, &target));
        moved.map_err(|error| named(&path, error))?;
        self.quarantined.fetch_add(1, Ordering::Relaxed);
        if self.sync.any_synced() {
            // The new name first: a power cut in between may leave both, but not neither.
            self.sync_folder(&folder)?;
            // A failure here is one for everybody who has just put a name beside it.
            self.sync_names(path.parent().unwrap_or(&path))?;
            self.sync_folder(self.folder.path())?;
        }
        Ok(true)
    }

    /// Where a body is; `None` for what is no id, which therefore names no body.
    fn path(&self, id: &BlobId) -> Option<PathBuf> {
        is_id(&id.0).then(|| self.folder.path().join(folder_of(&id.0)).join(&id.0))
    }

    /// A reader of a range of an open file.
    fn reader(
        &self,
        file: File,
        path: &Path,
        id: &BlobId,
        range: Range<u64>,
    ) -> Result<Box<dyn BufRead + Send>> {
        let mut reader = reader_of(file, id, range, &self.corrupt_reads);
        reader.open(&self.buffers).map_err(|error| read_error(path, error))?;
        Ok(Box::new(reader))
    }

    fn create(&self, id: &BlobId) -> Result<(File, Unfinished)> {
        let folder = self.folder.path().join(folder_of(&id.0));
        let path = folder.join(&id.0);
        let mut options = private_file();
        options.write(true).create_new(true);
        let create = || self.before(DiskStep::Create(&path)).and_then(|()| options.open(&path));
        let file = match create() {
            // The folders are made when they are first needed: a start must not pay for 256 of them.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self
                .before(DiskStep::MakeFolder(&folder))
                .and_then(|()| create_folder(&folder))
                .and_then(|()| create()),
            other => other,
        };
        let file = file.map_err(|error| named(&path, error))?;
        Ok((file, Unfinished { faults: self.faults.clone(), path, finished: false }))
    }

    /// Makes a written file as durable as promised before the body is acknowledged.
    fn settle(&self, id: &BlobId, path: &Path, file: File, promise: SyncMode) -> Result<()> {
        match promise {
            // Its record may become durable without it in this run, but not when a later one promises more.
            SyncMode::None if self.sync.any_synced() => lock(&self.waiting).never.add(id),
            SyncMode::None => lock(&self.waiting).list.add(id),
            SyncMode::Strict => {
                self.sync_file(path, &file)?;
                self.sync_names(path.parent().unwrap_or(path))
            }
            SyncMode::Relaxed => {
                let waiting = {
                    let mut waiting = lock(&self.waiting);
                    waiting.list.add(id)?;
                    waiting.files.push((path.to_path_buf(), file));
                    waiting.files.len()
                };
                if waiting >= UNSYNCED_FILES_MAX { self.sync() } else { Ok(()) }
            }
        }
    }

    fn sync(&self) -> Result<()> {
        let _syncing = lock(&self.syncing);
        if let Some(why) = self.stopped.get() {
            return Err(StorageError::ReadOnly(why.clone()));
        }
        let files = std::mem::take(&mut lock(&self.waiting).files);
        if files.is_empty() {
            return Ok(());
        }
        self.sync_files(&files).map_err(|error| {
            // The bodies have been acknowledged and may be lost; a second try would not tell.
            let why = self.stopped.get_or_init(|| format!("a sync failed: {error}"));
            StorageError::ReadOnly(why.clone())
        })?;
        let Waiting { files, list, .. } = &mut *lock(&self.waiting);
        // If it cannot be shortened, the next start syncs some files once more.
        let _ = list.keep(files.iter().filter_map(|(path, _)| path.file_name()?.to_str()));
        Ok(())
    }

    /// Makes durable what earlier runs left unsynced: their records may be made durable next.
    fn settle_earlier(&self) -> Result<()> {
        for name in [LIST, NEVER] {
            self.settle_list(&Unsynced::of(self.folder.path(), name, self.faults.clone()))?;
        }
        Ok(())
    }

    fn settle_list(&self, list: &Unsynced) -> Result<()> {
        match list.earlier()? {
            Earlier::Nothing => return Ok(()),
            Earlier::Listed(ids) => self.sync_bodies(&ids)?,
            Earlier::Any => {
                for digits in 0..=u8::MAX {
                    let mut ids = Vec::new();
                    self.list_folder(digits, &mut |id| ids.push(id))?;
                    self.sync_bodies(&ids)?;
                }
            }
        }
        self.folder.settle_again()?;
        list.remove()
    }

    /// Syncs bodies that an earlier run wrote, as far as they have not been deleted since.
    fn sync_bodies(&self, ids: &[BlobId]) -> Result<()> {
        let mut folders = BTreeSet::new();
        for path in ids.iter().filter_map(|id| self.path(id)) {
            match private_file().write(true).open(&path) {
                Ok(file) => self.sync_file(&path, &file)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(named(&path, error)),
            }
            folders.extend(path.parent().map(Path::to_path_buf));
        }
        folders.iter().try_for_each(|folder| self.sync_names(folder))
    }

    /// Visits the bodies of one of the 256 folders.
    fn list_folder(&self, digits: u8, visit: &mut dyn FnMut(BlobId)) -> Result<()> {
        let path = self.folder.path().join(format!("{digits:02x}"));
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(named(&path, error)),
        };
        for entry in entries {
            let name = entry.map_err(|error| named(&path, error))?.file_name();
            // Whatever else lies in the folder is not ours to name, let alone to remove.
            if let Some(name) = name.to_str().filter(|name| is_id(name) && name.starts_with(folder_of(name)))
            {
                visit(BlobId(name.to_string()));
            }
        }
        Ok(())
    }

    /// Writes the whole body, whose first `filled` bytes are in the buffer, and returns its size.
    fn write_blocks(
        &self,
        body: &mut dyn Read,
        mut file: &File,
        path: &Path,
        id: &BlobId,
        buffer: &mut Buffer,
        mut filled: usize,
    ) -> std::result::Result<u64, WriteError> {
        let failed = |error: io::Error| WriteError::Store(error.into());
        let (mut size, mut at) = (0, 0);
        let mut write = |bytes: &[u8]| {
            self.before(DiskStep::Write(path, at, bytes))?;
            at += bytes.len() as u64;
            file.write_all(bytes)
        };
        for number in 0_u64.. {
            let mut end = filled;
            if filled > 0 {
                let sum = block_checksum(id, number, &buffer[..filled]);
                buffer[filled..filled + CHECKSUM_BYTES].copy_from_slice(&sum.to_le_bytes());
                end += CHECKSUM_BYTES;
                size += filled as u64;
            }
            if filled < BLOCK_BYTES {
                // The last block and the trailer go out with one write, which for a small body is all.
                buffer[end..end + TRAILER_BYTES].copy_from_slice(&trailer(id, size));
                write(&buffer[..end + TRAILER_BYTES]).map_err(failed)?;
                break;
            }
            write(&buffer[..end]).map_err(failed)?;
            filled = fill(body, &mut buffer[..BLOCK_BYTES]).map_err(WriteError::Body)?;
        }
        Ok(size)
    }

    fn sync_files(&self, files: &[(PathBuf, File)]) -> Result<()> {
        let mut folders = BTreeSet::new();
        for (path, file) in files {
            self.sync_file(path, file)?;
            folders.extend(path.parent());
        }
        folders.into_iter().try_for_each(|folder| self.sync_names(folder))
    }
}

fn block_checksum(id: &BlobId, number: u64, data: &[u8]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(data);
    digest.update(&number.to_le_bytes());
    digest.update(id.0.as_bytes());
    digest.finalize() as u32
}

fn trailer(id: &BlobId, size: u64) -> [u8; TRAILER_BYTES] {
    let mut bytes = [0; TRAILER_BYTES];
    bytes[..8].copy_from_slice(&size.to_le_bytes());
    // No block has this number.
    bytes[8..12].copy_from_slice(&block_checksum(id, u64::MAX, &size.to_le_bytes()).to_le_bytes());
    bytes[12..].copy_from_slice(MAGIC);
    bytes
}

/// The bytes that a body of `size` bytes takes in its file; `None` when that is no possible length.
fn file_bytes(size: u64) -> Option<u64> {
    let sums = size.div_ceil(BLOCK_BYTES as u64).checked_mul(CHECKSUM_BYTES as u64)?;
    size.checked_add(sums)?.checked_add(TRAILER_BYTES as u64)
}

/// The size of the body in a file of `length` bytes; `None` when no body makes such a file.
fn body_bytes(length: u64) -> Option<u64> {
    let blocks = length.checked_sub(TRAILER_BYTES as u64)?;
    let sums = blocks.div_ceil((BLOCK_BYTES + CHECKSUM_BYTES) as u64) * CHECKSUM_BYTES as u64;
    let size = blocks.checked_sub(sums)?;
    (file_bytes(size) == Some(length)).then_some(size)
}

/// A checked block in the buffer: which bytes of the body it has.
#[derive(Default)]
struct Block {
    start: u64,
    bytes: usize,
}

/// Reads a range of a body, each block checked before any of its bytes is yielded.
struct BlobReader {
    file: File,
    id: BlobId,
    block: Block,
    buffer: Option<BlockBuffer>,
    /// What is still to be yielded.
    range: Range<u64>,
    corrupt_reads: Arc<AtomicU64>,
}

/// A small body gets memory of its own size, a larger one a buffer from the pool; beside it, the body's size.
enum BlockBuffer {
    Own(Vec<u8>),
    Pooled(Buffer, u64),
}

impl BlockBuffer {
    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            BlockBuffer::Own(bytes) => bytes,
            BlockBuffer::Pooled(buffer, _) => buffer,
        }
    }
}

impl BlobReader {
    /// Checks the file's length and trailer, and loads the first block, so that most damage is found
    /// before anything has been answered.
    fn open(&mut self, buffers: &BufferPool) -> io::Result<()> {
        if self.range.start == 0 && self.range.end <= BLOCK_BYTES as u64 && self.open_small(buffers)? {
            return Ok(());
        }
        let size = self.check_trailer()?;
        if self.range.start > self.range.end || self.range.end > size {
            return Err(self.corrupt(&format!("has {size} bytes, which {:?} is not within", self.range)));
        }
        self.buffer = Some(BlockBuffer::Pooled(buffers.take(), size));
        if self.range.is_empty() { Ok(()) } else { self.load() }
    }

    /// Checks the file's length and trailer, and returns the length of the body.
    fn check_trailer(&self) -> io::Result<u64> {
        let file_length = self.file.metadata()?.len();
        let mut end = [0; TRAILER_BYTES];
        let at = file_length.checked_sub(TRAILER_BYTES as u64).ok_or_else(|| self.corrupt("is too short"))?;
        read_at(&self.file, &mut end, at)?;
        let size = u64::from_le_bytes(end[..8].try_into().expect("eight bytes"));
        if end != trailer(&self.id, size) || file_bytes(size) != Some(file_length) {
            return Err(self.corrupt("has a wrong trailer"));
        }
        Ok(size)
    }

    /// Reads a body of one block whole with one read, if the range ends where it does. False if it
    /// turns out to be otherwise.
    fn open_small(&mut self, buffers: &BufferPool) -> io::Result<bool> {
        let size = self.range.end as usize;
        let sums = if size == 0 { 0 } else { CHECKSUM_BYTES };
        let length = size + sums + TRAILER_BYTES + 1;
        // Clearing fresh memory would cost as much as reading into it.
        let mut buffer = match size <= INLINE_BYTES_MAX {
            true => BlockBuffer::Own(vec![0; length]),
            false => BlockBuffer::Pooled(buffers.take(), size as u64),
        };
        let bytes = &mut buffer.bytes_mut()[..length];
        // A longer file would have filled the buffer.
        let read = fill_at_least(&mut self.file, bytes, length - 1)?;
        if read != length - 1 || bytes[size + sums..read] != trailer(&self.id, size as u64) {
            return Ok(false);
        }
        let sum = &bytes[size..size + sums];
        if size > 0 && sum != block_checksum(&self.id, 0, &bytes[..size]).to_le_bytes() {
            return Err(self.corrupt("has a damaged block"));
        }
        self.block = Block { start: 0, bytes: size };
        self.buffer = Some(buffer);
        Ok(true)
    }

    /// Loads and checks the block that the range begins in.
    fn load(&mut self) -> io::Result<()> {
        let Some(BlockBuffer::Pooled(buffer, size)) = &mut self.buffer else {
            return Err(self.corrupt("ends too early"));
        };
        let number = self.range.start / BLOCK_BYTES as u64;
        let start = number * BLOCK_BYTES as u64;
        let bytes = usize::try_from(*size - start).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
        let at = start + number * CHECKSUM_BYTES as u64;
        read_at(&self.file, &mut buffer[..bytes + CHECKSUM_BYTES], at)?;
        let sum = block_checksum(&self.id, number, &buffer[..bytes]).to_le_bytes();
        if buffer[bytes..bytes + CHECKSUM_BYTES] != sum {
            return Err(self.corrupt("has a damaged block"));
        }
        self.block = Block { start, bytes };
        Ok(())
    }

    fn corrupt(&self, what: &str) -> io::Error {
        self.corrupt_reads.fetch_add(1, Ordering::Relaxed);
        io::Error::new(io::ErrorKind::InvalidData, format!("body {} {what}", self.id.0))
    }
}

impl Read for BlobReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, out)
    }
}

impl BufRead for BlobReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.range.is_empty() {
            return Ok(&[]);
        }
        if self.range.start >= self.block.start + self.block.bytes as u64 {
            self.load()?;
        }
        let block: &[u8] = match &self.buffer {
            Some(BlockBuffer::Own(bytes)) => bytes,
            Some(BlockBuffer::Pooled(buffer, _)) => buffer,
            None => &[],
        };
        let left = usize::try_from(self.range.end - self.range.start).unwrap_or(usize::MAX);
        let loaded = &block[(self.range.start - self.block.start) as usize..self.block.bytes];
        Ok(&loaded[..loaded.len().min(left)])
    }

    fn consume(&mut self, count: usize) {
        self.range.start += count as u64;
    }
}

/// Positional reads need no portable twin here: a reader is the only user of its descriptor.
fn read_at(mut file: &File, out: &mut [u8], at: u64) -> io::Result<()> {
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(out)
}

// What these locks guard is complete at every moment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_file_tells_the_size_of_its_body() {
        let block = BLOCK_BYTES as u64;
        for size in [0, 1, 2, block - 1, block, block + 1, 2 * block, 7 * block + 3, 1 << 50] {
            assert_eq!(file_bytes(size).and_then(body_bytes), Some(size));
        }
        for length in [0, 19, 21, 24, 20 + block + 5, 20 + block + 8] {
            assert_eq!(body_bytes(length), None, "{length}");
        }
    }
}
