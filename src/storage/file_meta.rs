//! Records on disk: a redb database, with a journal in front of it that makes commits cheap.
//!
//! ```text
//! localMetadata/lock, format      see `layout`
//! localMetadata/s3pail.redb       the records, as they were at the last checkpoint
//! localMetadata/s3pail.journal    what was committed since, see `journal`
//! ```
//!
//! A commit is evaluated in a redb transaction, appended to the journal (and synced, in `strict`),
//! and then committed to redb without durability, which makes it visible. Threads that commit at the
//! same time form groups: each puts its batch into a queue, and whoever gets the writer's lock next
//! commits everything that is in the queue with one journal entry and one sync; the others find their
//! answers when they get the lock. No thread of its own is needed, so a lone commit costs no switch.
//!
//! A checkpoint makes redb durable and lets the journal start again. It happens when the journal is
//! long, on [`MetaStore::sync`], when the store is closed and, in `relaxed`, every half second while
//! there is something to do, always after the bodies have been synced.
//!
//! Why not redb's durable commits alone? They have to write every changed page and, after a crash, to
//! walk the whole database (1.1 s per million records even from the page cache), unless each commit
//! also writes down the allocator's state, which doubles its price. And without syncs (`relaxed`)
//! a power cut can leave neither of redb's two commit slots usable.
//!
//! Why not redb's commits without durability alone? They stay in the process's memory until the next
//! durable one, so the end of the process would lose acknowledged writes.

use super::fault::DiskFaults;
use super::journal::{AppendError, Entry, Journal};
use super::layout::{Folder, named, private_file};
use super::{
    Batch, BlobStore, Expect, Health, MetaStore, Outcome, RELAXED_WINDOW_MS, Result, StorageError, SyncMode,
    Visit, check_batch, seek_target,
};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use redb::backends::FileBackend;
use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, StorageBackend, Table, TableDefinition,
    WriteTransaction,
};
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

/// The default bound of redb's page cache. It is filled by use, not at start.
pub const CACHE_BYTES: usize = 32 * 1024 * 1024;
/// The most batches that are committed together.
pub const GROUP_BATCHES_MAX: usize = 1024;
/// A group is closed when its keys and values have this many bytes.
pub const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;

const DATABASE_FILE: &str = "s3pail.redb";
const JOURNAL_FILE: &str = "s3pail.journal";
const RECORDS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");
/// The sequence number of the last journal entry that the database holds, under [`SEQUENCE`].
const STATE: TableDefinition<&str, u64> = TableDefinition::new("state");
const SEQUENCE: &str = "sequence";
/// The database's header has its place on the disk from the beginning, so that a full disk, real or
/// simulated, does not keep it from being written.
const HEADER_BYTES: u64 = 4096;
const PANICKED: &str = "a commit ended in a panic";

/// How to open a [`FileMeta`].
pub struct FileMetaOptions {
    /// What a commit promises.
    pub sync: SyncMode,
    /// The bound of the page cache in bytes.
    pub cache_bytes: usize,
    /// The store whose bodies the records name. Outside of `strict` it is synced before the records
    /// become durable, so that no record ever is durable before its body.
    pub blobs: Option<Arc<dyn BlobStore>>,
    /// Failures to simulate, for tests.
    pub faults: Option<Arc<DiskFaults>>,
}

impl FileMetaOptions {
    /// The defaults for a mode.
    pub fn new(sync: SyncMode) -> FileMetaOptions {
        FileMetaOptions { sync, cache_bytes: CACHE_BYTES, blobs: None, faults: None }
    }
}

/// Records in a folder of local files.
///
/// After a failed sync, or any failure that leaves the state of the files unknown, it answers commits
/// with `ReadOnly` until it is opened again; reads go on.
pub struct FileMeta {
    store: Arc<Store>,
    flusher: Option<Flusher>,
}

struct Flusher {
    /// Says that there is something to make durable.
    wake: Sender<()>,
    /// Never sent on; dropped to end the thread.
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

struct Store {
    /// Replaced when a failed write has made redb refuse everything. Held only to copy the handle.
    database: RwLock<Arc<Database>>,
    /// Batches that wait for a writer. Never held together with another lock but `writer`.
    queue: Mutex<VecDeque<(Batch, Arc<Ticket>)>>,
    /// The right to write.
    writer: Mutex<Writer>,
    /// Why the store takes no more writes.
    stopped: OnceLock<String>,
    options: FileMetaOptions,
    /// Which handle of the database may use the file.
    handle: Arc<AtomicU64>,
    folder: Folder,
}

struct Writer {
    journal: Journal,
    entry: Entry,
    /// The database could not be opened again for want of space; the next writer tries again.
    database_lost: bool,
}

/// Where a waiting thread finds its answer.
#[derive(Default)]
struct Ticket {
    answer: Mutex<Option<Result<Outcome>>>,
}

impl FileMeta {
    /// Opens or creates the store in `folder` and recovers what a crash left: the work is bounded by
    /// the journal's length, not by the number of records.
    pub fn open(folder: &Path, options: FileMetaOptions) -> Result<FileMeta> {
        let folder = Folder::open(folder)?;
        let strict = options.sync == SyncMode::Strict;
        let mut journal = Journal::open(&folder.path().join(JOURNAL_FILE), strict, options.faults.clone())?;
        let handle = Arc::new(AtomicU64::new(0));
        let database = open_database(&folder, &options, &handle)?;
        if replay(&database, &mut journal)? > 0 {
            write_checkpoint(&database, &mut journal).map_err(Failure::into_error)?;
        }
        journal.restart();
        if options.sync != SyncMode::None {
            folder.sync_names()?;
        }
        let store = Arc::new(Store {
            database: RwLock::new(Arc::new(database)),
            queue: Mutex::default(),
            writer: Mutex::new(Writer { journal, entry: Entry::default(), database_lost: false }),
            stopped: OnceLock::new(),
            options,
            handle,
            folder,
        });
        let flusher = match store.options.sync {
            SyncMode::Relaxed => Some(Flusher::start(Arc::clone(&store))?),
            SyncMode::Strict | SyncMode::None => None,
        };
        Ok(FileMeta { store, flusher })
    }

    fn wake_flusher(&self) {
        if let Some(flusher) = &self.flusher {
            // Full means that it has been woken already.
            let _ = flusher.wake.try_send(());
        }
    }
}

impl MetaStore for FileMeta {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let transaction = self.store.database().begin_read().map_err(redb_error)?;
        let table = transaction.open_table(RECORDS).map_err(redb_error)?;
        let found = table.get(key).map_err(redb_error)?;
        Ok(found.map(|value| value.value().to_vec()))
    }

    fn scan(&self, range: Range<&[u8]>, visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit) -> Result<()> {
        let transaction = self.store.database().begin_read().map_err(redb_error)?;
        let table = transaction.open_table(RECORDS).map_err(redb_error)?;
        let mut start = range.start.to_vec();
        while start.as_slice() < range.end {
            let mut seek = None;
            for record in table.range(start.as_slice()..range.end).map_err(redb_error)? {
                let (key, value) = record.map_err(redb_error)?;
                match visit(key.value(), value.value()) {
                    Visit::Next => {}
                    Visit::Stop => return Ok(()),
                    Visit::Seek(target) => {
                        seek = Some(seek_target(key.value(), target));
                        break;
                    }
                }
            }
            match seek {
                Some(target) => start = target,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    fn commit(&self, batch: Batch) -> Result<Outcome> {
        check_batch(&batch)?;
        self.store.check_writable()?;
        let ticket = Arc::new(Ticket::default());
        lock(&self.store.queue).push_back((batch, Arc::clone(&ticket)));
        let mut writer = self.store.writer.lock();
        loop {
            // Filled by another thread while this one waited for the lock, or by the group below. It
            // counts even if the store has stopped since.
            if let Some(answer) = lock(&ticket.answer).take() {
                return answer;
            }
            let Ok(writer) = &mut writer else {
                return Err(self.store.stop(PANICKED));
            };
            self.store.commit_queued(writer);
            self.wake_flusher();
        }
    }

    fn health(&self) -> Health {
        match self.store.stopped.get() {
            None => Health { code: 200, message: "OK".into() },
            Some(why) => Health { code: 503, message: format!("read-only: {why}") },
        }
    }

    fn sync(&self) -> Result<()> {
        self.store.sync()
    }
}

impl Drop for FileMeta {
    fn drop(&mut self) {
        if let Some(Flusher { wake, stop, thread }) = self.flusher.take() {
            drop((wake, stop));
            // A panic in there has poisoned the writer's lock, which the sync below reports.
            let _ = thread.join();
        }
        // Nothing is lost if this fails: the journal is there when the store is opened again.
        let _ = self.store.sync();
    }
}

impl Flusher {
    fn start(store: Arc<Store>) -> Result<Flusher> {
        let (wake, woken) = bounded(1);
        let (stop, stopped) = bounded(0);
        let run = move || flush_when_woken(&store, &woken, &stopped);
        let thread = std::thread::Builder::new().name("meta-flusher".into()).spawn(run)?;
        Ok(Flusher { wake, stop, thread })
    }
}

/// Half the window passes before the flush begins; the other half is for the flush itself.
fn flush_when_woken(store: &Store, woken: &Receiver<()>, stopped: &Receiver<()>) {
    let pause = Duration::from_millis(RELAXED_WINDOW_MS / 2);
    while woken.recv().is_ok() {
        if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        // A failure has stopped the store, which every later commit and the health check report.
        let _ = store.sync();
    }
}

impl Store {
    fn database(&self) -> Arc<Database> {
        Arc::clone(&self.database.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn check_writable(&self) -> Result<()> {
        match self.stopped.get() {
            None => Ok(()),
            Some(why) => Err(StorageError::ReadOnly(why.clone())),
        }
    }

    fn stop(&self, why: &str) -> StorageError {
        StorageError::ReadOnly(self.stopped.get_or_init(|| why.to_string()).clone())
    }

    /// Commits the front of the queue as one group and hands out the answers.
    fn commit_queued(&self, writer: &mut Writer) {
        let (batches, tickets): (Vec<Batch>, Vec<Arc<Ticket>>) = self.next_group().into_iter().unzip();
        let answers = self.commit_group(writer, &batches).unwrap_or_else(|failure| {
            let error = self.fail(writer, failure);
            batches.iter().map(|_| Err(copy_error(&error))).collect()
        });
        for (ticket, answer) in tickets.iter().zip(answers) {
            *lock(&ticket.answer) = Some(answer);
        }
    }

    fn next_group(&self) -> Vec<(Batch, Arc<Ticket>)> {
        let mut queue = lock(&self.queue);
        let mut group = Vec::new();
        let mut bytes = 0;
        while group.len() < GROUP_BATCHES_MAX && bytes < GROUP_BYTES_MAX {
            let Some((batch, ticket)) = queue.pop_front() else {
                break;
            };
            bytes += batch
                .writes
                .iter()
                .map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len))
                .sum::<usize>();
            group.push((batch, ticket));
        }
        group
    }

    fn commit_group(
        &self,
        writer: &mut Writer,
        batches: &[Batch],
    ) -> std::result::Result<Vec<Result<Outcome>>, Failure> {
        self.check_writable().map_err(Failure::Refused)?;
        self.find_database(writer)?;
        if writer.journal.is_long() {
            self.checkpoint(writer)?;
        }
        let mut transaction = self.database().begin_write().map_err(database_failure)?;
        transaction.set_durability(Durability::None).map_err(database_failure)?;
        writer.entry.clear();
        let outcomes = apply_batches(&transaction, batches, &mut writer.entry).map_err(Failure::Database)?;
        if writer.entry.is_empty() {
            transaction.abort().map_err(database_failure)?;
            return Ok(outcomes);
        }
        // Journal first: what becomes visible below is durable already.
        if let Err(error) = writer.journal.append(&mut writer.entry) {
            transaction.abort().map_err(database_failure)?;
            return Err(match error {
                AppendError::Write(error) => Failure::Refused(error.into()),
                AppendError::Sync(error) => Failure::Sync(error.into()),
            });
        }
        transaction.commit().map_err(database_failure)?;
        Ok(outcomes)
    }

    /// Makes everything that has been committed durable in the database.
    fn checkpoint(&self, writer: &mut Writer) -> std::result::Result<(), Failure> {
        self.find_database(writer)?;
        if writer.journal.is_empty() {
            return Ok(());
        }
        if let Some(blobs) = &self.options.blobs
            && self.options.sync != SyncMode::Strict
        {
            blobs.sync().map_err(Failure::Sync)?;
        }
        write_checkpoint(&self.database(), &mut writer.journal)
    }

    fn sync(&self) -> Result<()> {
        if let Some(blobs) = &self.options.blobs
            && self.options.sync == SyncMode::Relaxed
        {
            // The bulk of the bodies is synced before commits are held up; the checkpoint then finds
            // only those that came in the meantime.
            if let Err(error) = blobs.sync() {
                return Err(self.stop(&format!("syncing bodies failed: {error}")));
            }
        }
        let mut writer = self.writer.lock().map_err(|_| self.stop(PANICKED))?;
        self.check_writable()?;
        self.checkpoint(&mut writer).map_err(|failure| self.fail(&mut writer, failure))
    }

    /// Decides whether the store can go on after a failure, and returns the error to report.
    fn fail(&self, writer: &mut Writer, failure: Failure) -> StorageError {
        let error = match failure {
            Failure::Refused(error) => return error,
            Failure::Sync(error) => return self.stop(&format!("a sync failed: {error}")),
            Failure::Database(error) => error,
        };
        // Once a write has failed, redb refuses everything, reads included. A new handle on the same
        // file starts from the last checkpoint, which the failure cannot have hurt, and the journal
        // has the rest.
        writer.database_lost = true;
        let reopened = self.find_database(writer);
        match (&error, reopened) {
            (StorageError::Full(_), Ok(()) | Err(Failure::Database(StorageError::Full(_)))) => error,
            (_, Ok(())) => self.stop(&format!("the database failed: {error}")),
            (_, Err(second)) => {
                let second = second.into_error();
                self.stop(&format!("the database failed: {error}; opening it again: {second}"))
            }
        }
    }

    /// Opens the database again if it has been lost.
    fn find_database(&self, writer: &mut Writer) -> std::result::Result<(), Failure> {
        if !writer.database_lost {
            return Ok(());
        }
        let opened = open_database(&self.folder, &self.options, &self.handle);
        let database = opened.map_err(Failure::Database)?;
        replay(&database, &mut writer.journal).map_err(Failure::Database)?;
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(database);
        writer.database_lost = false;
        Ok(())
    }
}

/// What went wrong in a commit or a checkpoint, by what it means for the store.
enum Failure {
    /// Nothing has changed; the next commit may succeed.
    Refused(StorageError),
    /// It is unknown what is on the disk. A second sync would not tell: the kernel reports a lost
    /// page once and then forgets it.
    Sync(StorageError),
    /// The database refuses to go on.
    Database(StorageError),
}

impl Failure {
    fn into_error(self) -> StorageError {
        match self {
            Failure::Refused(error) | Failure::Sync(error) | Failure::Database(error) => error,
        }
    }
}

fn open_database(folder: &Folder, options: &FileMetaOptions, handle: &Arc<AtomicU64>) -> Result<Database> {
    let path = folder.path().join(DATABASE_FILE);
    let file = private_file()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| named(&path, error))?;
    let file = FileBackend::new(file).map_err(|error| named(&path, io::Error::other(error)))?;
    let disk = Disk {
        file,
        synced: options.sync != SyncMode::None,
        number: handle.fetch_add(1, Ordering::AcqRel) + 1,
        current: Arc::clone(handle),
        faults: options.faults.clone(),
    };
    let database = Database::builder()
        .set_cache_size(options.cache_bytes)
        .create_with_backend(disk)
        .map_err(redb_error)?;
    create_tables(&database)?;
    Ok(database)
}

/// Reading from a table that does not exist is an error, so both exist from the beginning.
fn create_tables(database: &Database) -> Result<()> {
    let transaction = database.begin_read().map_err(redb_error)?;
    if transaction.open_table(STATE).is_ok() {
        return Ok(());
    }
    drop(transaction);
    let mut transaction = database.begin_write().map_err(redb_error)?;
    transaction.set_quick_repair(true);
    transaction.open_table(RECORDS).map_err(redb_error)?;
    transaction.open_table(STATE).map_err(redb_error)?;
    transaction.commit().map_err(redb_error)
}

/// Applies what the journal has and the database has not; the result is visible but not durable.
fn replay(database: &Database, journal: &mut Journal) -> Result<u64> {
    let mut transaction = database.begin_write().map_err(redb_error)?;
    transaction.set_durability(Durability::None).map_err(redb_error)?;
    let state = transaction.open_table(STATE).map_err(redb_error)?;
    let checkpoint = state.get(SEQUENCE).map_err(redb_error)?.map_or(0, |sequence| sequence.value());
    drop(state);
    let mut table = transaction.open_table(RECORDS).map_err(redb_error)?;
    let applied = journal.replay(checkpoint, &mut |writes| {
        writes.iter().try_for_each(|(key, value)| write_record(&mut table, key, value.as_deref()))
    })?;
    drop(table);
    match applied {
        0 => transaction.abort().map_err(redb_error)?,
        _ => transaction.commit().map_err(redb_error)?,
    }
    Ok(applied)
}

fn write_checkpoint(database: &Database, journal: &mut Journal) -> std::result::Result<(), Failure> {
    let mut transaction = database.begin_write().map_err(database_failure)?;
    // The allocator's state is written down with every checkpoint, so that opening the database after
    // a crash need not walk it.
    transaction.set_quick_repair(true);
    let mut state = transaction.open_table(STATE).map_err(database_failure)?;
    state.insert(SEQUENCE, journal.sequence()).map_err(database_failure)?;
    drop(state);
    transaction.commit().map_err(database_failure)?;
    journal.restart();
    Ok(())
}

type Records<'t> = Table<'t, &'static [u8], &'static [u8]>;

/// Applies the batches in order, each if its expectations hold after those before it, and collects
/// the changes in `entry`.
fn apply_batches(
    transaction: &WriteTransaction,
    batches: &[Batch],
    entry: &mut Entry,
) -> Result<Vec<Result<Outcome>>> {
    let mut table = transaction.open_table(RECORDS).map_err(redb_error)?;
    let mut outcomes = Vec::with_capacity(batches.len());
    for batch in batches {
        outcomes.push(Ok(apply_batch(&mut table, batch, entry)?));
    }
    Ok(outcomes)
}

fn apply_batch(table: &mut Records<'_>, batch: &Batch, entry: &mut Entry) -> Result<Outcome> {
    for expect in &batch.expects {
        if !holds(table, expect)? {
            return Ok(Outcome::Conflict);
        }
    }
    for (key, value) in &batch.writes {
        entry.push(key, value.as_deref());
        write_record(table, key, value.as_deref())?;
    }
    Ok(Outcome::Committed)
}

fn holds(table: &Records<'_>, expect: &Expect) -> Result<bool> {
    match expect {
        Expect::Record { key, value } => {
            let found = table.get(key.as_slice()).map_err(redb_error)?;
            Ok(found.as_ref().map(|found| found.value()) == value.as_deref())
        }
        Expect::Empty { start, end } if start >= end => Ok(true),
        Expect::Empty { start, end } => {
            let mut range = table.range(start.as_slice()..end.as_slice()).map_err(redb_error)?;
            Ok(range.next().transpose().map_err(redb_error)?.is_none())
        }
    }
}

fn write_record(table: &mut Records<'_>, key: &[u8], value: Option<&[u8]>) -> Result<()> {
    match value {
        Some(value) => table.insert(key, value).map(drop).map_err(redb_error),
        None => table.remove(key).map(drop).map_err(redb_error),
    }
}

/// The database's file, without redb's lock: the folder's lock guards it, and after a failure a new
/// handle has to be opened while readers still hold the old one. From then on the old one is refused
/// everything, because what it believes about the file no longer is true.
#[derive(Debug)]
struct Disk {
    file: FileBackend,
    /// False in `none`: what has been written survives the process, and that is all it promises.
    synced: bool,
    number: u64,
    current: Arc<AtomicU64>,
    faults: Option<Arc<DiskFaults>>,
}

impl Disk {
    fn check_current(&self) -> io::Result<()> {
        match self.current.load(Ordering::Acquire) == self.number {
            true => Ok(()),
            false => Err(io::Error::other("the database has been opened again")),
        }
    }

    fn check_write(&self, end: u64) -> io::Result<()> {
        self.check_current()?;
        match end <= HEADER_BYTES {
            true => Ok(()),
            false => DiskFaults::check_write(&self.faults),
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
        self.check_write(u64::MAX)?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check_current()?;
        DiskFaults::check_sync(&self.faults)?;
        match self.synced {
            true => self.file.sync_data(),
            false => Ok(()),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check_write(offset + data.len() as u64)?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}

fn database_failure(error: impl Into<redb::Error>) -> Failure {
    Failure::Database(redb_error(error))
}

fn redb_error(error: impl Into<redb::Error>) -> StorageError {
    match error.into() {
        redb::Error::Io(error) => error.into(),
        redb::Error::Corrupted(what) => StorageError::Corrupt(what),
        other => StorageError::Io(io::Error::other(other)),
    }
}

/// One failure is everybody's in the group, but errors of the system cannot be cloned.
fn copy_error(error: &StorageError) -> StorageError {
    match error {
        StorageError::Full(text) => StorageError::Full(text.clone()),
        StorageError::Corrupt(text) => StorageError::Corrupt(text.clone()),
        StorageError::ReadOnly(text) => StorageError::ReadOnly(text.clone()),
        StorageError::Unavailable(text) => StorageError::Unavailable(text.clone()),
        StorageError::Io(error) => StorageError::Io(io::Error::new(error.kind(), error.to_string())),
    }
}

// What these locks guard is complete at every moment: a queue, an answer.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
