//! The record store of a folder, opened to be looked at: nothing on the disk is written.
//!
//! A store that was not closed has a database that redb must mend and a journal that must be applied. Here
//! both happen in memory, so that a check sees exactly what the next start would see.

use super::database::{CACHE_BYTES, Database};
use super::file_meta::DATABASE_FILE;
use super::journals::{self, Replayed};
use super::layout::Folder;
use super::recent::{Changes, Layers};
use super::{Batch, Health, MetaStore, Outcome, Result, StorageError, Visit};
use std::ops::Range;
use std::path::Path;

/// The records of a folder that no server has open.
pub struct RecordView {
    database: Database,
    changes: Layers,
    /// What the journal has and the database has not.
    replayed: Replayed,
    _folder: Folder,
}

impl RecordView {
    /// Opens the records in `folder` and keeps others from opening them.
    ///
    /// # Errors
    /// `Unavailable` with a sentence when another process has it open, when it holds no store or one of
    /// a newer format; `Corrupt` when the database or the journal cannot be read.
    pub fn open(folder: &Path) -> Result<RecordView> {
        let folder = Folder::open_existing(folder)?;
        let database = Database::open_to_read(&folder.path().join(DATABASE_FILE), CACHE_BYTES)?;
        let mut changes = Changes::default();
        let replayed = journals::replay_in(folder.path(), database.sequence()?, &mut |writes| {
            writes.iter().for_each(|(key, value)| changes.set(key, value.as_deref()));
            Ok(())
        })?;
        let changes = Layers { newer: changes.into(), older: None };
        Ok(RecordView { database, changes, replayed, _folder: folder })
    }

    /// How many entries of the journal the next start will apply.
    pub fn recovered(&self) -> u64 {
        self.replayed.entries
    }

    /// Whether every entry of the journal that is there can be applied.
    pub fn journal_is_sound(&self) -> bool {
        !self.replayed.broken
    }

    /// Reads every page of the database and compares it with its checksum.
    ///
    /// # Errors
    /// `Corrupt` when what is there cannot be read.
    pub fn database_is_sound(&mut self) -> Result<bool> {
        self.database.is_sound()
    }
}

impl MetaStore for RecordView {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.changes.get(key) {
            Some(changed) => Ok(changed.map(<[u8]>::to_vec)),
            None => self.database.snapshot()?.get(key, |value| value.map(<[u8]>::to_vec)),
        }
    }

    fn scan(&self, range: Range<&[u8]>, visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit) -> Result<()> {
        self.database.snapshot()?.scan(range, &self.changes, visit)
    }

    fn commit(&self, _: Batch) -> Result<Outcome> {
        Err(StorageError::ReadOnly("it was opened to be looked at".to_owned()))
    }

    fn health(&self) -> Health {
        Health { code: 503, message: "read-only: opened to be looked at".to_owned() }
    }
}
