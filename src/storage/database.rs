//! The database of the record store: one redb file, written only at checkpoints.
//!
//! redb keeps two commit slots and never overwrites a page that the last commit needs, so the file is
//! always what it was at some checkpoint. Every checkpoint also writes down the allocator's state
//! (redb calls it quick repair): without it, opening the file after a crash walks all of it, 1.1 s for
//! a million records even from the page cache.

use super::fault::{DiskFaults, DiskStep};
use super::layout::{named, private_file};
use super::overlay::Overlay;
use super::recent::{Changes, Layers};
use super::{Pace, Result, StorageError, Visit, seek_target};
use redb::backends::FileBackend;
use redb::{ReadOnlyTable, ReadableDatabase, StorageBackend, TableDefinition};
use std::cmp::Ordering::{Equal, Greater, Less};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The default bound of redb's page cache. It is filled by use, not at start.
pub const CACHE_BYTES: usize = 16 * 1024 * 1024;

const RECORDS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");
/// The sequence number of the last journal entry that the database holds, under [`SEQUENCE`].
const STATE: TableDefinition<&str, u64> = TableDefinition::new("state");
const SEQUENCE: &str = "sequence";
/// The database's header has its place on the disk from the beginning, so that a full disk, real or
/// simulated, does not keep it from being written, unless the file system writes nothing in place (btrfs, ZFS).
const HEADER_BYTES: u64 = 4096;
/// The page cache of a check, which reads everything once.
const CHECK_CACHE_BYTES: usize = 1024 * 1024;

/// The first page of the database's file at some checkpoint: it says where everything else is.
pub struct FirstPage(Vec<u8>);

/// Where the database is and how to open it, as often as that is necessary.
pub struct DatabaseFile {
    /// The file.
    pub path: PathBuf,
    /// The bound of the page cache in bytes.
    pub cache_bytes: usize,
    /// Whether checkpoints are synced.
    pub synced: bool,
    /// Failures to simulate.
    pub faults: Option<Arc<DiskFaults>>,
    /// The number of the handle that may use the file.
    pub current: Arc<AtomicU64>,
    /// How many handles could be opened to write.
    pub opened: Arc<AtomicU64>,
}

/// An open database. After a failed write it refuses everything and has to be opened again.
pub struct Database {
    redb: redb::Database,
    /// Why it can only be read.
    view: Option<String>,
}

impl DatabaseFile {
    /// Opens or creates the database, or a view of it where there is no room for the little that opening it
    /// writes ([`Database::view`]). Handles that were opened before no longer work.
    ///
    /// # Errors
    /// What the system says; `Full` only when there is nothing to be seen.
    pub fn open(&self) -> Result<Database> {
        match self.open_to_write() {
            Err(StorageError::Full(why)) if self.bytes() > 0 => self.open_view(why),
            opened => opened,
        }
    }

    /// Opens or creates the database. Handles that were opened before no longer work.
    ///
    /// # Errors
    /// What the system says; views go on working then.
    pub fn open_to_write(&self) -> Result<Database> {
        let mut options = private_file();
        let file = options.read(true).write(true).create(true).truncate(false).open(&self.path);
        let file = file.map_err(|error| named(&self.path, error))?;
        let file = FileBackend::new(file).map_err(|error| named(&self.path, io::Error::other(error)))?;
        let disk = Disk {
            file,
            path: self.path.clone(),
            synced: self.synced,
            number: self.current.fetch_add(1, Ordering::AcqRel) + 1,
            current: Arc::clone(&self.current),
            faults: self.faults.clone(),
        };
        let mut builder = redb::Database::builder();
        let redb = builder.set_cache_size(self.cache_bytes).create_with_backend(disk).map_err(redb_error)?;
        let database = Database { redb, view: None };
        database.create_tables()?;
        self.opened.fetch_add(1, Ordering::AcqRel);
        Ok(database)
    }

    /// The database as the last checkpoint left it. It works until the file has been opened to write: an attempt
    /// touches nothing of that checkpoint.
    ///
    /// # Errors
    /// What the system says.
    pub fn open_view(&self, why: String) -> Result<Database> {
        let number = self.opened.load(Ordering::Acquire);
        let opened = Arc::clone(&self.opened);
        let pace = Pace::new(move |_| check_current(&opened, number));
        let overlay = self.open_to_look().and_then(Overlay::new).map_err(|error| named(&self.path, error))?;
        let database = Database::over(overlay.told_to(pace), self.cache_bytes)?;
        Ok(Database { view: Some(why), ..database })
    }

    /// How long the file is; 0 where there is none.
    pub fn bytes(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    /// The first page, which must not be written meanwhile.
    ///
    /// # Errors
    /// What the system says.
    pub fn first_page(&self) -> Result<FirstPage> {
        let mut page = Vec::new();
        let read = self.open_to_look().and_then(|file| file.take(HEADER_BYTES).read_to_end(&mut page));
        read.map_err(|error| named(&self.path, error))?;
        Ok(FirstPage(page))
    }

    /// Whether every page of a checkpoint is what its checksum says. The checkpoint's pages must not be used
    /// for anything else meanwhile: nothing is written, or somebody holds a [`Snapshot`] of it. Takes time in
    /// proportion to the file, and a MiB.
    ///
    /// # Errors
    /// What the system or `pace` says.
    pub fn is_sound(&self, first_page: &FirstPage, pace: Pace) -> Result<bool> {
        let overlay = self.open_to_look().and_then(|file| Overlay::of_checkpoint(file, &first_page.0, pace));
        let overlay = overlay.map_err(|error| named(&self.path, error))?;
        // Some damage redb takes for a mistake of its own.
        let sound = catch_unwind(AssertUnwindSafe(|| Database::over(overlay, CHECK_CACHE_BYTES)?.is_sound()));
        let is_damage =
            |error: &io::Error| [ErrorKind::UnexpectedEof, ErrorKind::InvalidData].contains(&error.kind());
        match sound.unwrap_or(Ok(false)) {
            Err(StorageError::Corrupt(_)) => Ok(false),
            // A page that is not in the file, or a file that is none of redb's.
            Err(StorageError::Io(error)) if is_damage(&error) => Ok(false),
            sound => sound,
        }
    }

    fn open_to_look(&self) -> io::Result<File> {
        private_file().read(true).open(&self.path)
    }

    /// Makes durable what a run without syncs has written.
    ///
    /// # Errors
    /// What the system says.
    pub fn sync(&self) -> Result<()> {
        let file = private_file().write(true).open(&self.path);
        let synced = file.and_then(|file| {
            DiskFaults::before(&self.faults, DiskStep::SyncFile(&self.path))?;
            file.sync_data()
        });
        synced.map_err(|error| named(&self.path, error))
    }
}

impl Database {
    /// Opens an existing database to look at it: what opening it would write stays in memory.
    pub fn open_to_read(path: &Path, cache_bytes: usize) -> Result<Database> {
        let file = private_file().read(true).open(path).map_err(|error| named(path, error))?;
        Database::over(Overlay::new(file).map_err(|error| named(path, error))?, cache_bytes)
    }

    fn over(overlay: Overlay, cache_bytes: usize) -> Result<Database> {
        let mut builder = redb::Database::builder();
        let redb = builder.set_cache_size(cache_bytes).create_with_backend(overlay).map_err(redb_error)?;
        let database = Database { redb, view: None };
        database.create_tables()?;
        Ok(database)
    }

    /// Why the device had no room for opening the database, if so: then it is read as the last checkpoint left it,
    /// and has to be opened once more before anything can be written.
    pub fn view(&self) -> Option<&str> {
        self.view.as_deref()
    }

    /// Reads every page and compares it with its checksum. Takes time in proportion to the file.
    ///
    /// # Errors
    /// `Corrupt` when what is there cannot be read.
    pub fn is_sound(&mut self) -> Result<bool> {
        self.redb.check_integrity().map_err(redb_error)
    }

    /// Reading from a table that does not exist is an error, so both exist from the beginning.
    fn create_tables(&self) -> Result<()> {
        let transaction = self.redb.begin_read().map_err(redb_error)?;
        if transaction.open_table(STATE).is_ok() {
            return Ok(());
        }
        drop(transaction);
        self.write(&Changes::default(), 0)
    }

    /// The state at this moment.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let transaction = self.redb.begin_read().map_err(redb_error)?;
        Ok(Snapshot { table: transaction.open_table(RECORDS).map_err(redb_error)? })
    }

    /// The sequence number of the last checkpoint.
    pub fn sequence(&self) -> Result<u64> {
        let transaction = self.redb.begin_read().map_err(redb_error)?;
        let state = transaction.open_table(STATE).map_err(redb_error)?;
        Ok(state.get(SEQUENCE).map_err(redb_error)?.map_or(0, |sequence| sequence.value()))
    }

    /// Applies changes durably: all of them together with the sequence number, or none.
    ///
    /// # Errors
    /// `Full` also where this is a view: what is written to it would be lost.
    pub fn write(&self, changes: &Changes, sequence: u64) -> Result<()> {
        if let Some(why) = &self.view {
            return Err(StorageError::Full(why.clone()));
        }
        // While somebody reads, redb makes no commit of its own behind this one, of which the first page of the
        // file would know nothing.
        let _read = self.redb.begin_read().map_err(redb_error)?;
        let mut transaction = self.redb.begin_write().map_err(redb_error)?;
        transaction.set_quick_repair(true);
        let mut table = transaction.open_table(RECORDS).map_err(redb_error)?;
        for (key, value) in changes.iter() {
            match value {
                Some(value) => table.insert(key, value).map(drop).map_err(redb_error)?,
                None => table.remove(key).map(drop).map_err(redb_error)?,
            }
        }
        drop(table);
        let mut state = transaction.open_table(STATE).map_err(redb_error)?;
        state.insert(SEQUENCE, sequence).map_err(redb_error)?;
        drop(state);
        transaction.commit().map_err(redb_error)
    }
}

/// The database at one moment.
pub struct Snapshot {
    table: ReadOnlyTable<&'static [u8], &'static [u8]>,
}

impl Snapshot {
    /// Shows the record under a key to `look`.
    pub fn get<T>(&self, key: &[u8], look: impl FnOnce(Option<&[u8]>) -> T) -> Result<T> {
        let found = self.table.get(key).map_err(redb_error)?;
        Ok(look(found.as_ref().map(|value| value.value())))
    }

    /// Visits the records of a range as they are with `changes` applied.
    pub fn scan(
        &self,
        range: Range<&[u8]>,
        changes: &Layers,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit,
    ) -> Result<()> {
        let mut start = range.start.to_vec();
        while start.as_slice() < range.end {
            match self.scan_to_seek(&start..range.end, changes, visit)? {
                Some(target) => start = target,
                None => break,
            }
        }
        Ok(())
    }

    /// Merges the database with the changes, which hide what is stored under the same keys. Returns
    /// where the visitor wants to go on.
    fn scan_to_seek(
        &self,
        range: Range<&[u8]>,
        changes: &Layers,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit,
    ) -> Result<Option<Vec<u8>>> {
        let mut stored = self.table.range(range.clone()).map_err(redb_error)?;
        let mut next_stored = stored.next().transpose().map_err(redb_error)?;
        let mut changed = changes.range(range).peekable();
        loop {
            let order = match (&next_stored, changed.peek()) {
                (None, None) => return Ok(None),
                (Some(_), None) => Less,
                (None, Some(_)) => Greater,
                (Some((key, _)), Some((changed_key, _))) => key.value().cmp(changed_key),
            };
            let seek = match (order, &next_stored) {
                (Less, Some((key, value))) => show(key.value(), Some(value.value()), visit),
                _ => changed.next().and_then(|(key, value)| show(key, value, visit)),
            };
            match seek {
                None => {}
                Some(Visit::Seek(target)) => return Ok(Some(target)),
                Some(_) => return Ok(None),
            }
            if matches!(order, Less | Equal) {
                next_stored = stored.next().transpose().map_err(redb_error)?;
            }
        }
    }
}

/// Shows a record, unless it has been removed. `None` means to go on.
fn show(key: &[u8], value: Option<&[u8]>, visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit) -> Option<Visit> {
    match visit(key, value?) {
        Visit::Next => None,
        Visit::Stop => Some(Visit::Stop),
        Visit::Seek(target) => Some(Visit::Seek(seek_target(key, target))),
    }
}

/// The database's file, without redb's lock: the folder's lock guards it, and after a failure a new
/// handle has to be opened while readers still hold the old one. From then on the old one is refused
/// everything, because what it believes about the file no longer is true.
#[derive(Debug)]
struct Disk {
    file: FileBackend,
    path: PathBuf,
    /// False in `none`: what has been written survives the process, and that is all it promises.
    synced: bool,
    number: u64,
    current: Arc<AtomicU64>,
    faults: Option<Arc<DiskFaults>>,
}

/// Whether a handle of this number may still use the file.
fn check_current(current: &AtomicU64, number: u64) -> io::Result<()> {
    match current.load(Ordering::Acquire) == number {
        true => Ok(()),
        false => Err(io::Error::other("the database has been opened again")),
    }
}

impl Disk {
    fn check_current(&self) -> io::Result<()> {
        check_current(&self.current, self.number)
    }

    fn before_write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check_current()?;
        let step = DiskStep::Write(&self.path, offset, data);
        match offset + data.len() as u64 <= HEADER_BYTES {
            true => DiskFaults::before_in_place(&self.faults, step),
            false => DiskFaults::before(&self.faults, step),
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.check_current()?;
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.check_current()?;
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_current()?;
        DiskFaults::before(&self.faults, DiskStep::SetLength(&self.path, len))?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check_current()?;
        DiskFaults::before(&self.faults, DiskStep::SyncFile(&self.path))?;
        match self.synced {
            true => self.file.sync_data(),
            false => Ok(()),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.before_write(offset, data)?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}

fn redb_error(error: impl Into<redb::Error>) -> StorageError {
    match error.into() {
        redb::Error::Io(error) => error.into(),
        redb::Error::Corrupted(what) => StorageError::Corrupt(what),
        other => StorageError::Io(io::Error::other(other)),
    }
}
