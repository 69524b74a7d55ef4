//! The two files of the journal, which take turns.
//!
//! ```text
//! s3pail.journal     takes the first entries of every run, unless the disk is so full that one goes on in the second
//! s3pail.journal2    made when a checkpoint begins while commits go on; removed when the store is opened
//! ```
//!
//! When a checkpoint begins, what is committed from then on goes to the other file, so that nobody has to wait
//! for the database. When it ends, the file that was left has nothing that the database has not, and is free to
//! be the next. At most one of the two has entries that only an unfinished checkpoint is to make superfluous.
//!
//! Entries are numbered throughout, so after a crash the file whose first entry is older is read first. Both
//! are of the same run: the second file of an earlier run has been removed, durably, before the first entry of
//! this one, because it may hold entries that a gap keeps from being applied now and that later numbers would
//! make fit. Should the runs differ nevertheless, the first file is right.

use super::Result;
use super::fault::{DiskFaults, DiskStep};
use super::journal::{AppendError, Doubtful, Entry, Journal, Write1};
use super::layout::{named, sync_folder};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file that a run begins with.
pub(super) const FIRST_FILE: &str = "s3pail.journal";
/// The other one.
pub(super) const SECOND_FILE: &str = "s3pail.journal2";

/// Both files, open for appending.
pub struct Journals {
    /// Takes entries.
    active: Journal,
    /// The other file, once there is one.
    idle: Option<Journal>,
    /// The last entry of the other file that the database may lack; 0 if there is none.
    idle_needed: u64,
    /// Whether this run has made the name of the second file durable.
    second_named: bool,
    folder: PathBuf,
    /// Whether entries are ever to be durable before a checkpoint.
    any_synced: bool,
    faults: Option<Arc<DiskFaults>>,
}

impl Journals {
    /// Opens or creates the files in `folder`. What is in them is read by [`Journals::replay`].
    ///
    /// # Errors
    /// What the system says.
    pub fn open(folder: &Path, any_synced: bool, faults: Option<Arc<DiskFaults>>) -> Result<Journals> {
        let active = Journal::open(&folder.join(FIRST_FILE), faults.clone())?;
        let second = folder.join(SECOND_FILE);
        let there = second.try_exists().map_err(|error| named(&second, error))?;
        let idle = there.then(|| Journal::open(&second, faults.clone())).transpose()?;
        let folder = folder.to_owned();
        Ok(Journals { active, idle, idle_needed: 0, second_named: false, folder, any_synced, faults })
    }

    /// Hands every entry behind `checkpoint` (the sequence number that the database holds) to `apply`, in
    /// order.
    ///
    /// # Errors
    /// As [`Journal::replay`].
    pub fn replay(
        &mut self,
        checkpoint: u64,
        apply: &mut dyn FnMut(Vec<Write1>) -> Result<()>,
    ) -> Result<Replayed> {
        let replayed = replay_both(&mut self.active, self.idle.as_mut(), checkpoint, apply)?;
        // What follows has to be numbered behind the last entry of both.
        if let Some(idle) = self.idle.as_mut().filter(|idle| idle.sequence() > self.active.sequence()) {
            std::mem::swap(&mut self.active, idle);
        }
        Ok(replayed)
    }

    /// Begins anew after the database has taken in everything that was replayed: at the first byte of the
    /// first file, and without the second.
    ///
    /// # Errors
    /// What the system says; nothing may be appended then.
    pub fn restart(&mut self) -> Result<()> {
        if let Some(mut second) = self.idle.take() {
            let sequence = self.active.sequence();
            if self.active.is_at(&self.folder.join(SECOND_FILE)) {
                std::mem::swap(&mut self.active, &mut second);
            }
            self.active.number_behind(sequence);
            drop(second);
            self.remove_second()?;
            self.sync_names()?;
        }
        self.active.restart();
        Ok(())
    }

    /// Goes on behind the entries that were replayed, when the database has no room to take them in.
    ///
    /// # Errors
    /// When the name of the second file cannot be made durable.
    pub fn resume(&mut self) -> Result<()> {
        if let Some(idle) = &mut self.idle {
            self.idle_needed = if idle.is_empty() { 0 } else { idle.sequence() };
            idle.resume();
            // Should the active file have had nothing to apply, it goes on as the same run nevertheless.
            self.active.share_run(idle);
            self.name_second()?;
        }
        self.active.resume();
        Ok(())
    }

    /// Appends an entry and, with `synced`, makes it durable, after everything in front of it.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn append(&mut self, entry: &mut Entry, synced: bool) -> std::result::Result<(), AppendError> {
        if synced {
            self.settle().map_err(AppendError::Sync)?;
        }
        self.active.append(entry, synced)
    }

    /// Whether there are entries that neither the database has nor a sync has made durable.
    pub fn is_unsynced(&self) -> bool {
        self.active.is_unsynced() || self.needed_idle().is_some_and(Journal::is_unsynced)
    }

    /// Makes what was appended durable. Nothing is written behind an entry that may be torn.
    fn settle(&mut self) -> io::Result<()> {
        if let Some(idle) = self.idle.as_mut().filter(|_| self.idle_needed > 0) {
            idle.settle()?;
        }
        self.active.settle()
    }

    fn needed_idle(&self) -> Option<&Journal> {
        self.idle.as_ref().filter(|_| self.idle_needed > 0)
    }

    /// The sequence number of the last entry.
    pub fn sequence(&self) -> u64 {
        self.active.sequence()
    }

    /// Whether the next entry ought to go to the other file.
    pub fn is_long(&self) -> bool {
        self.active.is_long()
    }

    /// Lets the next entry go to the other file. False if that is not free, or cannot be made: then nothing
    /// may be appended before [`Journals::settled`].
    ///
    /// # Errors
    /// The name of a new file could not be made durable.
    pub fn turn(&mut self) -> Result<bool> {
        if self.idle_needed > 0 {
            return Ok(false);
        }
        let idle = match self.idle.take() {
            Some(idle) => idle,
            None => match self.create_second() {
                Ok(second) => second,
                // Most likely there is no room. The checkpoint that follows will tell.
                Err(_) => return Ok(false),
            },
        };
        self.name_second()?;
        self.idle_needed = self.active.sequence();
        let left = std::mem::replace(&mut self.active, idle);
        self.active.go_on_from(&left);
        self.idle = Some(left);
        Ok(true)
    }

    /// The database has become durable with everything up to `sequence`.
    pub fn settled(&mut self, sequence: u64) {
        if self.idle_needed <= sequence {
            self.idle_needed = 0;
        }
        if self.active.sequence() <= sequence {
            self.active.restart();
        }
    }

    /// Removes the second file of a store that is closed in order, so that the next start need not. It does
    /// no harm if that fails.
    pub fn tidy(&mut self) {
        // The run's last entries may be in it.
        if self.idle.is_some() && self.idle_needed == 0 && self.active.is_empty() {
            self.idle = None;
            let _ = self.remove_second();
        }
    }

    fn name_second(&mut self) -> Result<()> {
        if self.any_synced && !self.second_named {
            self.sync_names()?;
            self.second_named = true;
        }
        Ok(())
    }

    fn sync_names(&self) -> Result<()> {
        let step = DiskStep::SyncFolder(&self.folder);
        let synced = DiskFaults::before(&self.faults, step).and_then(|()| sync_folder(&self.folder));
        synced.map_err(|error| named(&self.folder, error))
    }

    fn create_second(&self) -> Result<Journal> {
        let path = self.folder.join(SECOND_FILE);
        DiskFaults::before(&self.faults, DiskStep::Create(&path)).map_err(|error| named(&path, error))?;
        Journal::open(&path, self.faults.clone())
    }

    fn remove_second(&self) -> Result<()> {
        let path = self.folder.join(SECOND_FILE);
        let removed = DiskFaults::before(&self.faults, DiskStep::Remove(&path))
            .and_then(|()| std::fs::remove_file(&path));
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(named(&path, error)),
            _ => Ok(()),
        }
    }
}

/// What a replay has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// How many entries were applied.
    pub entries: u64,
    /// Whether there are later ones that could not be, because something between is damaged: what was committed
    /// with them is not among the records.
    pub broken: bool,
}

/// Reads the entries of both files without changing them, for [`super::inspect`].
///
/// # Errors
/// As [`Journal::replay`].
pub fn replay_in(
    folder: &Path,
    checkpoint: u64,
    apply: &mut dyn FnMut(Vec<Write1>) -> Result<()>,
) -> Result<Replayed> {
    let second = Journal::open_to_read(&folder.join(SECOND_FILE))?;
    match (Journal::open_to_read(&folder.join(FIRST_FILE))?, second) {
        (Some(mut first), mut second) => replay_both(&mut first, second.as_mut(), checkpoint, apply),
        (None, Some(mut second)) => replay_both(&mut second, None, checkpoint, apply),
        (None, None) => Ok(Replayed::default()),
    }
}

fn replay_both(
    first: &mut Journal,
    mut second: Option<&mut Journal>,
    checkpoint: u64,
    apply: &mut dyn FnMut(Vec<Write1>) -> Result<()>,
) -> Result<Replayed> {
    let mut entries = 0;
    apply_both(first, second.as_deref_mut(), checkpoint, &mut |writes| {
        entries += 1;
        apply(writes)
    })?;
    let mut files = vec![first];
    files.extend(second);
    let last = files.iter().map(|file| file.sequence()).max().unwrap_or(checkpoint);
    let room = files.iter().map(|file| file.entries_max()).sum::<u64>();
    let behind = last.saturating_add(1)..=last.saturating_add(room);
    let mut runs: Vec<u32> = files.iter().filter_map(|file| file.replayed_run()).collect();
    if runs.is_empty() {
        for file in &mut files {
            runs.extend(file.first_run()?);
        }
    }
    // Both files are of one run, as a rule.
    runs.dedup();
    let mut broken = false;
    for file in files {
        for run in &runs {
            broken |= file.has_entry(&behind, *run)?;
        }
    }
    Ok(Replayed { entries, broken })
}

fn apply_both(
    first: &mut Journal,
    second: Option<&mut Journal>,
    checkpoint: u64,
    apply: &mut dyn FnMut(Vec<Write1>) -> Result<()>,
) -> Result<()> {
    let doubtful = &mut Doubtful::default();
    let Some(second) = second else { return first.replay(checkpoint, doubtful, apply) };
    let (older, newer) = match (first.beginning()?, second.beginning()?) {
        (Some((_, run)), Some((_, other))) if run != other => {
            return first.replay(checkpoint, doubtful, apply);
        }
        (Some((at, _)), Some((other_at, _))) if other_at < at => (second, first),
        _ => (first, second),
    };
    older.replay(checkpoint, doubtful, apply)?;
    newer.replay(older.sequence(), doubtful, apply)
}
