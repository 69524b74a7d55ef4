//! What `s3pail check --repair` does. Only four things, and it says each:
//!
//! - the journal is applied to the database (that happens when the store is opened);
//! - a key with older versions and no newest gets the newest of those back;
//! - parts of uploads that are not open go, and their bodies go on the to-delete list;
//! - bodies that no record names are removed.
//!
//! The last two only if every record could be read and bodies and records belong together: nothing is
//! removed on the word of what is not understood. Nothing else is touched.

use super::Stores;
use super::report::Report;
use crate::model::multipart::PartRecord;
use crate::model::{SortedId, keys};
use crate::storage::{Batch, BlobId, BlobStore, Outcome, StorageError, Visit};

/// A body that no record names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Orphan {
    /// A file.
    File(BlobId),
    /// A record.
    Inline(BlobId),
}

impl Orphan {
    /// Its name.
    pub fn id(&self) -> &BlobId {
        match self {
            Orphan::File(id) | Orphan::Inline(id) => id,
        }
    }
}

/// What a check found that can be put right.
#[derive(Debug, Default)]
pub struct Repairable {
    /// Something was not understood, so that nothing may be removed.
    pub unclear: bool,
    /// Record keys of older versions that ought to be the newest.
    pub newest: Vec<Vec<u8>>,
    /// Uploads that are not open and have parts.
    pub uploads: Vec<[u8; 16]>,
    /// Bodies that no record names.
    pub orphans: Vec<Orphan>,
}

/// Puts right what can be put right.
pub fn repair(stores: &Stores<'_>, found: &Repairable, report: &mut Report) {
    for version_key in &found.newest {
        done(report, restore_newest(stores, version_key));
    }
    if found.unclear {
        if !found.uploads.is_empty() || !found.orphans.is_empty() {
            let why = "no orphan was removed: not every record could be read, or bodies and records differ";
            report.say(why.to_owned());
        }
        return;
    }
    for upload in &found.uploads {
        done(report, drop_parts(stores, SortedId(*upload)));
    }
    for orphan in &found.orphans {
        done(report, drop_orphan(stores, orphan));
    }
}

fn done(report: &mut Report, outcome: Result<String, StorageError>) {
    match outcome {
        Ok(what) => report.say_repaired(what),
        Err(error) => report.say(format!("failed: {error}")),
    }
}

fn commit(stores: &Stores<'_>, batch: Batch) -> Result<(), StorageError> {
    match stores.meta.commit(batch)? {
        Outcome::Committed => Ok(()),
        Outcome::Conflict => Err(StorageError::Unavailable("a record has changed meanwhile".to_owned())),
    }
}

fn restore_newest(stores: &Stores<'_>, version_key: &[u8]) -> Result<String, StorageError> {
    let stored = stores.meta.get(version_key)?;
    // v/<bucket> 00 <key> 00 <id>
    let mut object_key = version_key[..version_key.len() - 17].to_vec();
    object_key[0] = b'o';
    let mut batch = Batch::new();
    batch.expect(version_key, stored.clone());
    batch.expect(object_key.clone(), None);
    batch.remove(version_key);
    batch.writes.push((object_key.clone(), stored));
    commit(stores, batch)?;
    let shown = object_key[2..].escape_ascii().to_string().replacen("\\x00", "/", 1);
    Ok(format!("made the newest older version of {shown} its newest version"))
}

fn drop_parts(stores: &Stores<'_>, upload: SortedId) -> Result<String, StorageError> {
    let range = keys::parts(upload);
    let mut parts = Vec::new();
    stores.meta.scan(&range.start..&range.end, &mut |key, value| {
        parts.push((key.to_vec(), value.to_vec()));
        Visit::Next
    })?;
    for (key, value) in &parts {
        let mut batch = Batch::new();
        batch.expect(key.clone(), Some(value.clone()));
        batch.remove(key.clone());
        for piece in PartRecord::decode(value)?.pieces {
            match piece.inline {
                true => batch.remove(keys::inline_body(&piece.id)),
                false => batch.put(keys::garbage(&piece.location, &piece.id), Vec::new()),
            }
        }
        commit(stores, batch)?;
    }
    Ok(format!("removed {} parts of upload {upload}, which is not open", parts.len()))
}

fn drop_orphan(stores: &Stores<'_>, orphan: &Orphan) -> Result<String, StorageError> {
    match orphan {
        Orphan::File(id) => {
            if let Some(blobs) = stores.blobs {
                blobs.delete(id)?;
            }
            Ok(format!("removed body {}, a file that no record names", id.0))
        }
        Orphan::Inline(id) => {
            let mut batch = Batch::new();
            batch.remove(keys::inline_body(id));
            commit(stores, batch)?;
            Ok(format!("removed body {}, a record that no other names", id.0))
        }
    }
}
