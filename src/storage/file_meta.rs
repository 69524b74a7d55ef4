//! Records on disk: a journal of what is recent, and a database for the rest.
//!
//! ```text
//! localMetadata/lock, format      see `layout`
//! localMetadata/s3pail.redb       the records, as they were at the last checkpoint; see `database`
//! localMetadata/s3pail.journal    what was committed since; see `journal`
//! localMetadata/s3pail.journal2   what was committed since the last checkpoint began; see `journals`
//! localMetadata/unsynced          see `unsynced`
//! ```
//!
//! A commit is evaluated, appended to the journal (and synced, where it promises that), and then added to the
//! recent changes in memory, which makes it visible: whoever reads looks there first and then in the
//! database. Threads that commit at the same time form groups with one journal entry and one sync; see `group`.
//!
//! A checkpoint writes the recent changes into the database in one durable transaction and lets their
//! journal start again. It happens when the journal is long or many records have changed, on
//! [`MetaStore::sync`], when the store is closed and, after relaxed commits, every half second while there is
//! something to do, always after the bodies have been synced. Commits go on beside it, into the other file
//! of the journal, and wait for it only when the next one is due before it has ended.
//!
//! Commits of all modes may follow each other ([`SyncModes`]). A group with one that is strict is synced as a
//! whole; before it is appended, bodies that were left to the flusher are synced, and the entries in front of
//! it. So what a lax commit has left costs the next strict one up to two syncs, and nothing where there is none.
//!
//! Why not a durable commit of redb for every group? It has to write every page on the way to each
//! changed record, and after a crash it needs a walk of the whole database unless each commit also
//! writes down the allocator's state, which doubles its price. And without syncs (`relaxed`) a power
//! cut can leave neither of its two commit slots usable.
//!
//! Why not redb's commits without durability? They stay in the memory of the process until the next
//! durable one, so its end would lose acknowledged writes; and as they cannot reuse each other's
//! pages, a journal's worth of them (10,000 commits) left up to 200 MB of pages to write at once.

use super::checkpoint::{Checkpoints, Ended, Problem, Running, Work};
use super::database::{CACHE_BYTES, Database, DatabaseFile, Snapshot};
use super::fault::DiskFaults;
use super::group::{Groups, Lead};
use super::journal::{AppendError, Entry};
use super::journals::{FIRST_FILE, Journals, SECOND_FILE};
use super::layout::Folder;
use super::recent::{Changes, Layers};
use super::room::Reserve;
use super::unsynced::{Earlier, LIST, Unsynced};
use super::{
    Batch, BlobStore, Expect, Health, MetaStore, Outcome, Pace, RELAXED_WINDOW_MS, Result, StorageError,
    SyncMode, SyncModes, Usage, Visit, check_batch,
};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::Duration;

/// The most batches that are committed together.
pub const GROUP_BATCHES_MAX: usize = 1024;
/// A group is closed when its keys and values have this many bytes.
pub const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A checkpoint is due when this many records have changed, because its time grows with their number.
pub const RECENT_RECORDS_MAX: usize = 2048;
/// Where records are slow to write, checkpoints come after fewer, but not after fewer than this: their syncs
/// cost the same however few there are.
pub const RECENT_RECORDS_MIN: usize = 512;
/// Whoever commits faster than checkpoints are made waits for one at times, so it should not take longer than
/// this.
pub const CHECKPOINT_TARGET: Duration = Duration::from_millis(50);

/// A database that is not longer is checked whenever it is opened. One of this size takes some 10 ms.
pub const CHECKED_AT_START_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// By how much, and by which part of itself, a database may grow while it is checked beside commits: what these
/// replace is kept until then.
const CHECK_GROWTH_BYTES_MAX: u64 = 64 * 1024 * 1024;
const CHECK_GROWTH_PART_MAX: u64 = 4;

pub(super) const DATABASE_FILE: &str = "s3pail.redb";
const PANICKED: &str = "a commit ended in a panic";
const DAMAGED_DATABASE: &str = "the database is damaged; run s3pail check";
const DAMAGED_JOURNAL: &str = "the journal is damaged; run s3pail check";

/// How to open a [`FileMeta`].
pub struct FileMetaOptions {
    /// What commits promise.
    pub sync: SyncModes,
    /// The bound of the page cache in bytes.
    pub cache_bytes: usize,
    /// The store whose bodies the records name; that it is open says that what earlier runs left unsynced in
    /// it is durable. Where writes are relaxed it is synced before the records become durable, so that no record
    /// ever is durable before its body.
    pub blobs: Option<Arc<dyn BlobStore>>,
    /// Failures to simulate, for tests.
    pub faults: Option<Arc<DiskFaults>>,
}

impl FileMetaOptions {
    /// The defaults for commits that promise this.
    pub fn new(sync: impl Into<SyncModes>) -> FileMetaOptions {
        FileMetaOptions { sync: sync.into(), cache_bytes: CACHE_BYTES, blobs: None, faults: None }
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
    /// What readers see. Locked for writing only to exchange its parts, never over I/O.
    state: RwLock<State>,
    /// Batches that wait.
    groups: Groups<Batch, Result<Outcome>>,
    /// The right to write.
    writer: Mutex<Writer>,
    /// Room for commits on a full device.
    reserve: Reserve,
    /// Why the store takes no more writes.
    stopped: OnceLock<String>,
    /// That something in the database or the journal was not what its checksum says. A record that is found has
    /// a checksum of its own; that one is not found says nothing any more.
    damaged: OnceLock<&'static str>,
    sync: SyncModes,
    blobs: Option<Arc<dyn BlobStore>>,
    database_file: DatabaseFile,
    folder: Folder,
}

/// The records are the database's with the recent changes applied.
struct State {
    recent: Layers,
    /// The database as it was at the last checkpoint. To open it anew for each lookup cost 2 to 3 us of a small GET.
    /// It goes before the database does.
    snapshot: Arc<Snapshot>,
    database: Arc<Database>,
}

impl State {
    fn new(recent: Layers, database: Database) -> Result<State> {
        Ok(State { recent, snapshot: Arc::new(database.snapshot()?), database: Arc::new(database) })
    }
}

struct Writer {
    journals: Journals,
    entry: Entry,
    checkpoints: Checkpoints,
    /// The checkpoint that writes the older ones of the recent changes. Without one, there are such changes
    /// only after it has failed.
    running: Option<Running>,
    /// The sequence number of the last entry among the older changes.
    older_sequence: u64,
    /// The sequence number up to which the database has everything.
    durable: u64,
    /// How many changed records make a checkpoint due.
    records_max: usize,
    /// The database could not be opened for want of space, but for reading; the next writer tries again.
    database_lost: bool,
}

impl FileMeta {
    /// Opens or creates the store in `folder` and recovers what a crash left: the work is bounded by
    /// the journal's length, not by the number of records.
    pub fn open(folder: &Path, options: FileMetaOptions) -> Result<FileMeta> {
        let folder = Folder::open(folder)?;
        let FileMetaOptions { sync, cache_bytes, blobs, faults } = options;
        let synced = sync.any_synced();
        let mut journals = Journals::open(folder.path(), synced, faults.clone())?;
        let path = folder.path().join(DATABASE_FILE);
        let reserve = Reserve::open(folder.path(), faults.clone());
        let mut unsynced = Unsynced::of(folder.path(), LIST, faults.clone());
        if !synced {
            unsynced.begin()?;
        }
        let database_file = DatabaseFile {
            path,
            cache_bytes,
            synced,
            faults,
            current: Arc::default(),
            opened: Arc::default(),
        };
        let mut damaged = (!is_sound_at_start(&database_file)?).then_some(DAMAGED_DATABASE);
        let database = match damaged {
            None => database_file.open()?,
            Some(_) => Database::open_to_read(&database_file.path, cache_bytes)?,
        };
        let mut changes = Changes::default();
        let replayed = journals.replay(database.sequence()?, &mut |writes| {
            writes.iter().for_each(|(key, value)| changes.set(key, value.as_deref()));
            Ok(())
        })?;
        if replayed.broken {
            damaged.get_or_insert(DAMAGED_JOURNAL);
        }
        let (database, recent) = match damaged {
            None => recover(database, changes, &database_file, &mut journals)?,
            // Nothing is written: whatever is still there is worth more than order.
            Some(_) => (database, Layers { newer: changes.into(), older: None }),
        };
        let (durable, database_lost) = (database.sequence()?, database.view().is_some());
        folder.settle(synced)?;
        if synced && unsynced.earlier()? != Earlier::Nothing {
            // The bodies are durable since their store was opened. A commit that was synced on top of
            // records that are not would be lost with them.
            database_file.sync()?;
            folder.settle_again()?;
            unsynced.remove()?;
        }
        let store = Arc::new(Store {
            state: RwLock::new(State::new(recent, database)?),
            groups: Groups::new(),
            writer: Mutex::new(Writer {
                journals,
                entry: Entry::default(),
                checkpoints: Checkpoints::start()?,
                running: None,
                older_sequence: 0,
                durable,
                records_max: RECENT_RECORDS_MAX,
                database_lost,
            }),
            reserve,
            stopped: OnceLock::new(),
            damaged: OnceLock::new(),
            sync,
            blobs,
            database_file,
            folder,
        });
        if let Some(why) = damaged {
            store.condemn(why);
        }
        let flusher = match sync.any_relaxed() {
            true => Some(Flusher::start(Arc::clone(&store))?),
            false => None,
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

/// Brings the database up to the journal's end. The journal then starts again, so that nothing of an
/// earlier run ever precedes an entry of this one.
///
/// On a full disk, where the database cannot grow or not even be opened, the changes stay in the journal and come
/// back in memory: a server must start there too, or nobody could delete anything.
fn recover(
    database: Database,
    changes: Changes,
    database_file: &DatabaseFile,
    journals: &mut Journals,
) -> Result<(Database, Layers)> {
    let taken_in = match database.view() {
        Some(why) => Err(StorageError::Full(why.to_owned())),
        None if changes.is_empty() => Ok(()),
        None => database.write(&changes, journals.sequence()),
    };
    match taken_in {
        Ok(()) => {
            journals.restart()?;
            Ok((database, Layers::default()))
        }
        Err(StorageError::Full(_)) => {
            // After a failed write redb refuses everything.
            drop(database);
            journals.resume()?;
            Ok((database_file.open()?, Layers { newer: changes.into(), older: None }))
        }
        Err(error) => Err(error),
    }
}

/// Whether a database can be opened as far as is known. A large one is left to the scrub, because a start takes
/// no longer for many records than for few.
fn is_sound_at_start(file: &DatabaseFile) -> Result<bool> {
    match file.bytes() {
        1..=CHECKED_AT_START_BYTES_MAX => file.is_sound(&file.first_page()?, Pace::new(|_| Ok(()))),
        _ => Ok(true),
    }
}

impl MetaStore for FileMeta {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let (snapshot, found) = self.store.get(key);
        let found = match found {
            Err(_) if self.store.heal(&snapshot) => self.store.get(key).1,
            result => result,
        }?;
        if found.is_none() {
            self.store.check_undamaged()?;
        }
        Ok(found)
    }

    fn scan(&self, range: Range<&[u8]>, visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit) -> Result<()> {
        // What is missing in a listing cannot be told from what is not there.
        self.store.check_undamaged()?;
        let mut visited = false;
        let (snapshot, recent) = self.store.snapshot();
        let scanned = snapshot.scan(range.clone(), &recent, &mut |key, value| {
            visited = true;
            visit(key, value)
        });
        drop(recent);
        match scanned {
            // What has been shown cannot be taken back.
            Err(_) if self.store.heal(&snapshot) && !visited => {
                let (snapshot, recent) = self.store.snapshot();
                snapshot.scan(range, &recent, visit)
            }
            result => result,
        }
    }

    fn commit(&self, batch: Batch) -> Result<Outcome> {
        check_batch(&batch)?;
        let is_relaxed = self.store.sync.of(batch.sync) == SyncMode::Relaxed;
        let answer = self.store.commit(batch);
        if is_relaxed {
            self.wake_flusher();
        }
        answer
    }

    fn check_room(&self) -> Result<()> {
        self.store.check_writable()?;
        self.store.reserve.check()
    }

    fn settle(&self) -> Result<()> {
        self.store.vouch()
    }

    fn health(&self) -> Health {
        match self.store.stopped.get() {
            None => Health { code: 200, message: "OK".into() },
            Some(why) => Health { code: 503, message: format!("read-only: {why}") },
        }
    }

    fn usage(&self) -> Usage {
        let folder = self.store.folder.path();
        let bytes = |name| std::fs::metadata(folder.join(name)).map_or(0, |file| file.len());
        Usage {
            used_bytes: Some(bytes(DATABASE_FILE) + bytes(FIRST_FILE) + bytes(SECOND_FILE)),
            free_bytes: fs2::available_space(folder).ok(),
            ..Usage::default()
        }
    }

    fn sync(&self) -> Result<()> {
        self.store.sync()
    }

    fn check_index(&self, pace: Pace) -> Result<bool> {
        self.store.check_index(&pace)
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
        let synced = self.store.sync();
        let mut writer = self.store.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // The next to open the files must find nobody there.
        writer.running.as_ref().map(Running::wait);
        if synced.is_ok() {
            writer.journals.tidy();
        }
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
        if let Err(StorageError::Full(_)) = store.sync() {
            // The database cannot grow, but the journal has its place.
            let _ = store.vouch();
        }
        // Any other failure has stopped the store, which every later commit and the health check report.
    }
}

impl Store {
    /// The records at one moment.
    fn snapshot(&self) -> (Arc<Snapshot>, Layers) {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        (Arc::clone(&state.snapshot), state.recent.clone())
    }

    /// The record under a key, and what it was looked up in.
    fn get(&self, key: &[u8]) -> (Arc<Snapshot>, Result<Option<Vec<u8>>>) {
        let snapshot = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            let snapshot = Arc::clone(&state.snapshot);
            if let Some(recent) = state.recent.get(key) {
                return (snapshot, Ok(recent.map(<[u8]>::to_vec)));
            }
            snapshot
        };
        let found = snapshot.get(key, |value| value.map(<[u8]>::to_vec));
        (snapshot, found)
    }

    /// The changes that no checkpoint has begun to write.
    fn newer(&self) -> Arc<Changes> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner).recent.newer)
    }

    /// The changes that a checkpoint writes or has failed to write.
    fn older(&self) -> Option<Arc<Changes>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).recent.older.clone()
    }

    fn database(&self) -> Arc<Database> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner).database)
    }

    fn state_to_change(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_writable(&self) -> Result<()> {
        match self.stopped.get() {
            None => Ok(()),
            Some(why) => Err(StorageError::ReadOnly(why.clone())),
        }
    }

    fn check_undamaged(&self) -> Result<()> {
        match self.damaged.get() {
            None => Ok(()),
            Some(why) => Err(StorageError::Corrupt((*why).to_owned())),
        }
    }

    /// From now on the records are known to be damaged.
    fn condemn(&self, why: &'static str) {
        self.damaged.get_or_init(|| why);
        self.stop(why);
    }

    /// Compares the database with its checksums, first as it was at its last checkpoint while commits go on;
    /// only if that looks damaged, and to be sure, once more while nothing is written.
    fn check_index(&self, pace: &Pace) -> Result<bool> {
        self.check_undamaged()?;
        self.check_writable()?;
        let (snapshot, first_page) = {
            let _writer = self.at_rest()?;
            let (snapshot, _) = self.snapshot();
            (snapshot, self.database_file.first_page()?)
        };
        let sound = self.database_file.is_sound(&first_page, self.within_growth(pace.clone()))?;
        drop(snapshot);
        if sound {
            return Ok(true);
        }
        let _writer = self.at_rest()?;
        // Without waiting, because commits do.
        let pace = pace.clone();
        let pace = Pace::new(move |_| pace.before(0));
        let sound = self.database_file.is_sound(&self.database_file.first_page()?, pace)?;
        if !sound {
            self.condemn(DAMAGED_DATABASE);
        }
        Ok(sound)
    }

    /// The right to write, after the checkpoint that may run has ended: the database's file stays as it is.
    fn at_rest(&self) -> Result<MutexGuard<'_, Writer>> {
        let mut writer = self.writer()?;
        self.with_reserve(&mut writer, &mut |writer| self.await_checkpoint(writer))?;
        Ok(writer)
    }

    /// Ends a check that keeps too much of what has been replaced meanwhile.
    fn within_growth(&self, pace: Pace) -> Pace {
        let before = self.database_file.bytes();
        let most = before + (before / CHECK_GROWTH_PART_MAX).max(CHECK_GROWTH_BYTES_MAX);
        let path = self.database_file.path.clone();
        let looked = AtomicU64::new(0);
        Pace::new(move |bytes| {
            let before = looked.fetch_add(bytes as u64, Ordering::Relaxed);
            if before >> 20 != (before + bytes as u64) >> 20 && std::fs::metadata(&path)?.len() > most {
                return Err(io::Error::other("the database grows too fast to be checked beside"));
            }
            pace.before(bytes)
        })
    }

    fn writer(&self) -> Result<MutexGuard<'_, Writer>> {
        self.writer.lock().map_err(|_| self.stop(PANICKED))
    }

    fn stop(&self, why: &str) -> StorageError {
        StorageError::ReadOnly(self.stopped.get_or_init(|| why.to_string()).clone())
    }

    fn commit(&self, batch: Batch) -> Result<Outcome> {
        self.check_writable()?;
        if self.is_strict(&batch) {
            // The bulk of the bodies that wait for the flusher, while nobody has to wait for this.
            self.sync_bodies()?;
        }
        self.groups.submit(batch, &|lead| self.lead(lead), &|| Err(self.stop(PANICKED)))
    }

    /// Commits a group of batches with one journal entry and one sync.
    fn lead(&self, lead: &mut Lead<'_, Batch, Result<Outcome>>) {
        let writer = self.writer();
        let mut bytes = 0;
        let batches = lead.take(|group| {
            bytes += group.last().map_or(0, Batch::written_bytes);
            group.len() < GROUP_BATCHES_MAX && bytes < GROUP_BYTES_MAX
        });
        let answers = writer.and_then(|mut writer| {
            self.with_reserve(&mut writer, &mut |writer| self.commit_group(writer, &batches))
        });
        let failed = |error| batches.iter().map(|_| Err(copy_error(&error))).collect();
        lead.answer(answers.unwrap_or_else(failed));
    }

    /// Does what may need room on the device; once more, with the reserve's, if there is none. Who writes
    /// new data has been refused before it comes to that ([`MetaStore::check_room`]): it is for deletes.
    fn with_reserve<T>(
        &self,
        writer: &mut Writer,
        work: &mut dyn FnMut(&mut Writer) -> std::result::Result<T, Failure>,
    ) -> Result<T> {
        match work(writer).map_err(|failure| self.fail(writer, failure)) {
            Err(StorageError::Full(_)) if self.reserve.release() => {
                work(writer).map_err(|failure| self.fail(writer, failure))
            }
            other => other,
        }
    }

    fn commit_group(
        &self,
        writer: &mut Writer,
        batches: &[Batch],
    ) -> std::result::Result<Vec<Result<Outcome>>, Failure> {
        self.check_writable().map_err(Failure::Refused)?;
        self.find_database(writer)?;
        self.note_checkpoint(writer)?;
        if writer.journals.is_long() || self.newer().len() >= writer.records_max {
            self.await_checkpoint(writer)?;
            self.begin_checkpoint(writer)?;
        }
        let (snapshot, recent) = self.snapshot();
        let mut group = Group { snapshot, recent, changes: Changes::default() };
        writer.entry.clear();
        let mut outcomes = Vec::with_capacity(batches.len());
        for batch in batches {
            outcomes.push(Ok(group.apply(batch, &mut writer.entry).map_err(Failure::Database)?));
        }
        let changes = group.into_changes();
        let synced = batches.iter().any(|batch| self.is_strict(batch));
        if !writer.entry.is_empty() || (synced && writer.journals.is_unsynced()) {
            // Journal first: what becomes visible below is durable already.
            self.append(writer, synced)?;
            Arc::make_mut(&mut self.state_to_change().recent.newer).extend(changes);
        }
        Ok(outcomes)
    }

    fn is_strict(&self, batch: &Batch) -> bool {
        self.sync.of(batch.sync) == SyncMode::Strict
    }

    /// Makes what has been committed durable without a checkpoint, where anything ever is.
    fn vouch(&self) -> Result<()> {
        if !self.sync.any_synced() {
            return Ok(());
        }
        self.sync_bodies()?;
        let mut writer = self.writer()?;
        self.check_writable()?;
        self.with_reserve(&mut writer, &mut |writer| {
            if !writer.journals.is_unsynced() {
                return Ok(());
            }
            writer.entry.clear();
            self.append(writer, true)
        })
    }

    /// Appends the entry to the journal. A synced one, even without changes, vouches for those in front of it.
    fn append(&self, writer: &mut Writer, synced: bool) -> std::result::Result<(), Failure> {
        if let Some(blobs) = self.lazy_blobs().filter(|_| synced) {
            blobs.sync().map_err(Failure::Sync)?;
        }
        writer.journals.append(&mut writer.entry, synced).map_err(|error| match error {
            AppendError::Write(error) => Failure::Refused(error.into()),
            AppendError::Sync(error) => Failure::Sync(error.into()),
        })
    }

    /// Lets a checkpoint begin with everything that has been committed, after the one before has ended. Returns
    /// at once, unless there is no other file for the entries to come.
    fn begin_checkpoint(&self, writer: &mut Writer) -> std::result::Result<(), Failure> {
        if writer.journals.sequence() == writer.durable {
            return Ok(());
        }
        let sequence = writer.journals.sequence();
        let turned = writer.journals.turn().map_err(Failure::Sync)?;
        {
            let mut state = self.state_to_change();
            state.recent.older = Some(std::mem::take(&mut state.recent.newer));
        }
        writer.older_sequence = sequence;
        self.write_older(writer);
        if turned { Ok(()) } else { self.await_checkpoint(writer) }
    }

    fn sync_bodies(&self) -> Result<()> {
        let synced = self.lazy_blobs().map_or(Ok(()), |blobs| blobs.sync());
        synced.map_err(|error| self.stop(&format!("syncing bodies failed: {error}")))
    }

    /// The store of bodies, if there may be some that it has left unsynced.
    fn lazy_blobs(&self) -> Option<&Arc<dyn BlobStore>> {
        self.blobs.as_ref().filter(|_| !self.sync.all_strict())
    }

    /// Begins to write the older changes into the database.
    fn write_older(&self, writer: &mut Writer) {
        let (database, changes) = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            (Arc::clone(&state.database), state.recent.older.clone().unwrap_or_default())
        };
        let blobs = self.lazy_blobs().cloned();
        let work = Work { database, changes, sequence: writer.older_sequence, blobs };
        writer.running = Some(writer.checkpoints.begin(work));
    }

    /// Takes note of a checkpoint that has ended. One that has failed is made again first.
    fn note_checkpoint(&self, writer: &mut Writer) -> std::result::Result<(), Failure> {
        match &writer.running {
            Some(running) => match running.poll() {
                Some(ended) => self.end_checkpoint(writer, ended),
                None => Ok(()),
            },
            None if self.older().is_some() => self.await_checkpoint(writer),
            None => Ok(()),
        }
    }

    /// Waits until there are no older changes.
    fn await_checkpoint(&self, writer: &mut Writer) -> std::result::Result<(), Failure> {
        if writer.running.is_none() && self.older().is_some() {
            self.write_older(writer);
        }
        match writer.running.as_ref().map(Running::wait) {
            Some(ended) => self.end_checkpoint(writer, ended),
            None => Ok(()),
        }
    }

    fn end_checkpoint(
        &self,
        writer: &mut Writer,
        (ended, took): (Ended, Duration),
    ) -> std::result::Result<(), Failure> {
        let Some(Running { sequence, records, .. }) = writer.running.take() else { return Ok(()) };
        ended.map_err(|problem| match problem {
            Problem::Bodies(error) => Failure::Sync(error),
            Problem::Database(error) => Failure::Database(error),
        })?;
        let snapshot = self.database().snapshot().map_err(Failure::Database)?;
        writer.records_max = records_within_target(writer.records_max, records, took);
        writer.durable = sequence;
        writer.journals.settled(sequence);
        // Until here, readers saw these records beside the database, as it was before.
        let (written, before) = {
            let mut state = self.state_to_change();
            (state.recent.older.take(), std::mem::replace(&mut state.snapshot, Arc::new(snapshot)))
        };
        // Freed after the lock.
        drop((written, before));
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        // The bulk of the bodies is synced before a checkpoint is begun, which then finds only those that came in
        // the meantime.
        self.sync_bodies()?;
        let goal = self.writer()?.journals.sequence();
        loop {
            let over = {
                let mut writer = self.writer()?;
                self.check_writable()?;
                self.with_reserve(&mut writer, &mut |writer| self.sync_step(writer, goal))?
            };
            let Some(over) = over else { return Ok(()) };
            // Commits go on meanwhile. Nothing is ever sent: it ends.
            let _ = over.recv();
        }
    }

    /// Does what can be done without waiting to make everything up to `goal` durable. Returns what has to be
    /// waited for before the next step, or `None` when it is.
    fn sync_step(
        &self,
        writer: &mut Writer,
        goal: u64,
    ) -> std::result::Result<Option<Receiver<()>>, Failure> {
        self.find_database(writer)?;
        self.note_checkpoint(writer)?;
        if writer.running.is_none() && writer.durable < goal {
            self.begin_checkpoint(writer)?;
        }
        Ok(writer.running.as_ref().filter(|_| writer.durable < goal).map(Running::over))
    }

    /// Decides whether the store can go on after a failure, and returns the error to report.
    fn fail(&self, writer: &mut Writer, failure: Failure) -> StorageError {
        let error = match self.cause(writer, failure) {
            Failure::Refused(error) => return error,
            Failure::Sync(error) => return self.stop(&format!("a sync failed: {error}")),
            Failure::Database(error) => error,
        };
        // Once a write has failed, redb refuses everything, reads included. A new handle on the same
        // file starts from the last checkpoint, which the failure cannot have hurt; what has been
        // committed since is in memory and in the journal.
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

    /// What a failure comes from. Where a checkpoint runs it is waited for: it must not write any more when the
    /// database is opened again, and if it has failed, that is why the database refused something.
    fn cause(&self, writer: &mut Writer, failure: Failure) -> Failure {
        let Failure::Database(error) = failure else {
            // The checkpoint goes on, and its end is noted by whoever commits next.
            return failure;
        };
        match writer.running.as_ref().map(Running::wait) {
            Some(ended) => self.end_checkpoint(writer, ended).err().unwrap_or(Failure::Database(error)),
            None => Failure::Database(error),
        }
    }

    /// Deals with a checkpoint that has failed beside, after which the database refuses to be read through the
    /// snapshot that `failed`. Whether there is another one to be read now.
    fn heal(&self, failed: &Arc<Snapshot>) -> bool {
        let is_replaced = || !Arc::ptr_eq(failed, &self.snapshot().0);
        let Ok(mut writer) = self.writer.lock() else { return false };
        if !is_replaced() {
            // What is wrong has been told to the health check, or will be to the next commit.
            let _ = self.with_reserve(&mut writer, &mut |writer| self.await_checkpoint(writer));
        }
        is_replaced()
    }

    /// Opens the database again if it has been lost. Where there is no room for that, reads go on in a view of it.
    fn find_database(&self, writer: &mut Writer) -> std::result::Result<(), Failure> {
        if !writer.database_lost {
            return Ok(());
        }
        let database = match self.database_file.open_to_write() {
            // The view that there is goes on: who reads in it must not be disturbed by each try.
            Err(StorageError::Full(why)) if self.database().view().is_none() => {
                self.database_file.open_view(why)
            }
            opened => opened,
        };
        let database = database.map_err(Failure::Database)?;
        let snapshot = Arc::new(database.snapshot().map_err(Failure::Database)?);
        let full = database.view().map(|why| StorageError::Full(why.to_owned()));
        writer.database_lost = full.is_some();
        let mut state = self.state_to_change();
        (state.snapshot, state.database) = (snapshot, Arc::new(database));
        full.map_or(Ok(()), |full| Err(Failure::Database(full)))
    }
}

/// How many records the next checkpoint may have, when one of `records` took so long. Few records say more
/// about syncs than about records, and change nothing.
fn records_within_target(before: usize, records: usize, took: Duration) -> usize {
    if records < RECENT_RECORDS_MIN {
        return before;
    }
    let share = CHECKPOINT_TARGET.as_secs_f64() / took.as_secs_f64().max(1e-6);
    ((records as f64 * share) as usize).clamp(RECENT_RECORDS_MIN, RECENT_RECORDS_MAX)
}

/// The batches of a group see those before them.
struct Group {
    snapshot: Arc<Snapshot>,
    recent: Layers,
    /// What the group's batches have changed so far.
    changes: Changes,
}

impl Group {
    /// Applies a batch if its expectations hold, and adds its changes to the journal's entry.
    fn apply(&mut self, batch: &Batch, entry: &mut Entry) -> Result<Outcome> {
        for expect in &batch.expects {
            if !self.holds(expect)? {
                return Ok(Outcome::Conflict);
            }
        }
        for (key, value) in &batch.writes {
            entry.push(key, value.as_deref());
            self.changes.set(key, value.as_deref());
        }
        Ok(Outcome::Committed)
    }

    /// What has changed. The snapshot is let go: while anybody holds the recent changes, they have to
    /// be copied to be changed.
    fn into_changes(self) -> Changes {
        self.changes
    }

    fn holds(&self, expect: &Expect) -> Result<bool> {
        match expect {
            Expect::Record { key, value } => {
                let expected = value.as_deref();
                match self.changes.get(key).or_else(|| self.recent.get(key)) {
                    Some(found) => Ok(found == expected),
                    None => self.snapshot.get(key, |found| found == expected),
                }
            }
            Expect::Empty { start, end } => self.is_empty(start..end),
        }
    }

    fn is_empty(&self, range: Range<&Vec<u8>>) -> Result<bool> {
        let range = range.start.as_slice()..range.end.as_slice();
        if self.changes.range(range.clone()).any(|(_, value)| value.is_some()) {
            return Ok(false);
        }
        let mut empty = true;
        self.snapshot.scan(range, &self.recent, &mut |key, _| {
            // What an earlier batch of the group has changed, it has removed (see above).
            if self.changes.get(key).is_some() {
                return Visit::Next;
            }
            empty = false;
            Visit::Stop
        })?;
        Ok(empty)
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

/// One failure is everybody's in the group, but errors of the system cannot be cloned.
fn copy_error(error: &StorageError) -> StorageError {
    match error {
        StorageError::Full(text) => StorageError::Full(text.clone()),
        StorageError::Corrupt(text) => StorageError::Corrupt(text.clone()),
        StorageError::ReadOnly(text) => StorageError::ReadOnly(text.clone()),
        StorageError::Unavailable(text) => StorageError::Unavailable(text.clone()),
        StorageError::InDoubt(text) => StorageError::InDoubt(text.clone()),
        StorageError::Io(error) => StorageError::Io(io::Error::new(error.kind(), error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_checkpoints_become_smaller_and_fast_ones_larger_within_bounds() {
        let target = CHECKPOINT_TARGET;
        let (least, most) = (RECENT_RECORDS_MIN, RECENT_RECORDS_MAX);
        assert_eq!(records_within_target(most, most, target), most);
        assert_eq!(records_within_target(most, most, target * 4), most / 4);
        assert_eq!(records_within_target(most, most, target * 1000), least);
        assert_eq!(records_within_target(least, least, target / 4), least * 4);
        assert_eq!(records_within_target(least, least, Duration::ZERO), most);
        // A checkpoint of a single record (a sync on request) says nothing.
        assert_eq!(records_within_target(most, 1, target * 1000), most);
    }
}
