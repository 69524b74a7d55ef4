//! What a crash leaves behind, cleaned up in the background after the next start.
//!
//! A server that stops in order says so in a record. One that starts without finding it looks for
//! bodies that no record names (uploads that were cut off with the process) and removes them, while it
//! already serves.
//!
//! Records that were never beside these bodies must not decide about them: somebody who starts with the
//! wrong or an empty metadata folder would lose everything. So the two are paired, by a body whose id
//! stands in a record, when both are new; only a pair is swept.

use crate::log::{Level, Log};
use crate::model::multipart::PartRecord;
use crate::model::object::{ObjectRecord, Piece};
use crate::model::{codec, keys};
use crate::storage::file_blobs::FileBlobs;
use crate::storage::sweep::{Swept, sweep_orphans};
use crate::storage::{
    Batch, BlobHint, BlobId, BlobStore, MetaStore, Outcome, Result, StorageError, Visit, WriteError,
};
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Notes in the store that this run has ended in order.
///
/// # Errors
/// What the store says.
pub fn mark_clean(meta: &dyn MetaStore) -> Result<()> {
    let mut batch = Batch::new();
    batch.put(keys::CLEAN_STOP, Vec::new());
    meta.commit(batch).map(|_| ())
}

/// Takes the mark of the last run away, and says whether it was there.
///
/// # Errors
/// What the store says.
pub fn take_clean_mark(meta: &dyn MetaStore) -> Result<bool> {
    let marked = meta.get(keys::CLEAN_STOP)?.is_some();
    if marked {
        let mut batch = Batch::new();
        batch.remove(keys::CLEAN_STOP);
        meta.commit(batch)?;
    }
    Ok(marked)
}

/// A sweep in the background. Dropping it ends it.
pub struct Sweep {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sweep {
    /// Starts the sweep of a folder of bodies, if they have been those of the records before. Whether they
    /// are is decided before anything is served, so that a new pair has no body of a client between its two
    /// halves. `None` when there is nothing to sweep.
    ///
    /// # Errors
    /// What the system says when no thread can be made.
    pub fn start(
        meta: Arc<dyn MetaStore>,
        blobs: Arc<FileBlobs>,
        log: Arc<Log>,
    ) -> std::io::Result<Option<Sweep>> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        match pair(meta.as_ref(), &blobs) {
            Ok(Pairing::Old) => {}
            Ok(Pairing::New) => return Ok(None),
            Err(error) => {
                ended_early(&log, &error);
                return Ok(None);
            }
        }
        let run = move || match sweep(meta.as_ref(), &blobs, &stopped) {
            Ok(Swept { seen, removed }) => {
                let fields = [("seen", seen.into()), ("removed", removed.into())];
                log.write(Level::Info, "swept after an unclean stop", &fields);
            }
            Err(error) => ended_early(&log, &error),
        };
        let thread = std::thread::Builder::new().name("sweep".to_owned()).spawn(run)?;
        Ok(Some(Sweep { stop, thread: Some(thread) }))
    }
}

fn ended_early(log: &Log, error: &StorageError) {
    let text = error.to_string();
    log.write(Level::Warn, "the sweep ended early", &[("cause", (&text).into())]);
}

impl Sweep {
    /// Ends the sweep where it is. Whether it had come to its end by itself.
    pub fn end(self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Sweep {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How records and bodies came together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pairing {
    /// They have been a pair since before this run.
    Old,
    /// They became one now.
    New,
}

/// Makes sure that the bodies of a folder are those of records in another process.
///
/// # Errors
/// `Unavailable` when they are not, and what the stores say.
pub fn check_pair(meta: &dyn MetaStore, blobs: &FileBlobs) -> Result<()> {
    pair(meta, blobs).map(|_| ())
}

/// Finds or makes the pair.
///
/// # Errors
/// `Unavailable` when the bodies are not those of the records.
fn pair(meta: &dyn MetaStore, blobs: &FileBlobs) -> Result<Pairing> {
    if let Some(id) = meta.get(keys::PAIRED_BODY)? {
        let id = BlobId(String::from_utf8_lossy(&id).into_owned());
        return match blobs.read(&id, 0..0)? {
            Some(_) => Ok(Pairing::Old),
            None => Err(StorageError::Unavailable(
                "the folder of bodies is not the one of these records".to_owned(),
            )),
        };
    }
    let (mut foreign, mut left) = (false, Vec::new());
    blobs.list(&mut |id| match () {
        () if foreign || blobs.is_of_this_run(&id) => {}
        () if is_left_by_a_start(blobs, &id) => left.push(id),
        () => foreign = true,
    })?;
    if foreign {
        let message = "the folder has bodies that these records never knew; they are left alone";
        return Err(StorageError::Unavailable(message.to_owned()));
    }
    // A start was killed before its commit; or the folder is that of other records, which have nothing in it,
    // and will find that it is theirs no more.
    left.iter().try_for_each(|id| blobs.delete(id))?;
    let hint =
        BlobHint { bucket: "", key: "", owner: "", length: Some(PAIRED_TEXT.len() as u64), sync: None };
    let written = blobs.write(&mut &PAIRED_TEXT[..], &hint).map_err(|error| match error {
        WriteError::Store(error) => error,
        WriteError::Body(error) => StorageError::Io(error),
    })?;
    let mut batch = Batch::new();
    batch.expect(keys::PAIRED_BODY, None);
    batch.put(keys::PAIRED_BODY, written.id.0.into_bytes());
    match meta.commit(batch)? {
        Outcome::Committed => Ok(Pairing::New),
        Outcome::Conflict => {
            let message = "the records have become those of another folder of bodies at this moment";
            Err(StorageError::Unavailable(message.to_owned()))
        }
    }
}

/// Whether a body is one that a start makes to find the pair, or the beginning of one: nobody's data.
fn is_left_by_a_start(blobs: &FileBlobs, id: &BlobId) -> bool {
    let length = PAIRED_TEXT.len() as u64;
    match blobs.size(id) {
        Ok(Some(size)) if size == length => {
            let mut text = Vec::new();
            let reader = blobs.read(id, 0..length).ok().flatten();
            reader.is_some_and(|mut reader| reader.read_to_end(&mut text).is_ok()) && text == PAIRED_TEXT
        }
        // The beginning of one, or of a body that was never whole.
        Err(StorageError::Corrupt(_)) => blobs.is_shorter_than(id, length),
        _ => false,
    }
}

/// What the body of a pair says to whoever looks into it.
const PAIRED_TEXT: &[u8] = b"This body says that its folder belongs to the records that name it.";

/// Removes the bodies that no record names. A record that cannot be read ends the sweep: nothing is
/// removed on the word of what is not understood.
///
/// # Errors
/// What the stores say.
pub fn sweep(meta: &dyn MetaStore, blobs: &FileBlobs, stop: &AtomicBool) -> Result<Swept> {
    let is_of_this_run = |id: &BlobId| blobs.is_of_this_run(id);
    sweep_orphans(blobs, &is_of_this_run, &mut |visit| each_named_body(meta, visit), stop)
}

/// Visits every body that any record names, in one state of the store.
fn each_named_body(meta: &dyn MetaStore, visit: &mut dyn FnMut(&BlobId)) -> Result<()> {
    let mut failed = None;
    // The families that name bodies lie between these two; see `model::keys`.
    meta.scan(b"g/".as_slice()..b"w".as_slice(), &mut |key, value| match named_in(key, value) {
        Ok(Named::Pieces(pieces)) => {
            pieces.iter().filter(|piece| !piece.inline).for_each(|piece| visit(&piece.id));
            Visit::Next
        }
        Ok(Named::Body(id)) => {
            visit(&id);
            Visit::Next
        }
        Ok(Named::InlineBodies) => Visit::Seek(b"i0".to_vec()),
        Ok(Named::Nothing) => Visit::Next,
        Err(error) => {
            failed = Some(error);
            Visit::Stop
        }
    })?;
    failed.map_or(Ok(()), Err)
}

/// What a record names.
pub enum Named {
    /// These bodies.
    Pieces(Vec<Piece>),
    /// This body, which is a file or in another store.
    Body(BlobId),
    /// Nothing: it is a body, and so are its neighbours.
    InlineBodies,
    /// Nothing.
    Nothing,
}

/// The bodies that a record names.
///
/// # Errors
/// `Corrupt` for a record that cannot be decoded.
pub fn named_in(key: &[u8], value: &[u8]) -> codec::Result<Named> {
    match key.first() {
        Some(b'g') => Ok(keys::split_garbage(key).map_or(Named::Nothing, |(_, id)| Named::Body(id))),
        Some(b'i') => Ok(Named::InlineBodies),
        Some(b'o' | b'v') => Ok(Named::Pieces(ObjectRecord::decode(value)?.detail.pieces)),
        Some(b'p') => Ok(Named::Pieces(PartRecord::decode(value)?.pieces)),
        Some(b's') if key == keys::PAIRED_BODY => {
            Ok(Named::Body(BlobId(String::from_utf8_lossy(value).into_owned())))
        }
        _ => Ok(Named::Nothing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BucketName, SortedId};
    use crate::storage::SyncMode;
    use crate::storage::memory::{Budget, MemoryMeta};

    #[test]
    fn only_bodies_that_no_record_names_are_removed() {
        let folder = std::env::temp_dir().join(format!("s3pail-sweep-{}", std::process::id()));
        let hint = BlobHint { bucket: "abc", key: "k", owner: "o", length: None, sync: None };
        let write = |blobs: &FileBlobs| blobs.write(&mut b"body".as_slice(), &hint).unwrap().id;
        let earlier = FileBlobs::open(&folder, SyncMode::None).unwrap();
        let [named, part, garbage, orphan] = [(); 4].map(|()| write(&earlier));
        drop(earlier);
        let blobs = FileBlobs::open(&folder, SyncMode::None).unwrap();
        let fresh = write(&blobs);

        let meta = MemoryMeta::new(Budget::new(u64::MAX));
        let piece = |id: &BlobId| Piece::whole(id.clone(), 4, "");
        let bucket = BucketName::parse("abc").unwrap();
        let mut record = ObjectRecord::delete_marker(SortedId::new(1, None), true, 1, "o".to_owned());
        record.detail.pieces = vec![piece(&named)];
        let part_record = PartRecord {
            modified_ms: 1,
            size: 4,
            etag: String::new(),
            checksum: None,
            pieces: vec![piece(&part)],
            drafted: None,
        };
        let mut batch = Batch::new();
        batch.put(keys::object(&bucket, "k"), record.encode());
        batch.put(keys::part(SortedId::new(1, None), 1), part_record.encode());
        batch.put(keys::garbage("", &garbage), Vec::new());
        meta.commit(batch).unwrap();

        let swept = sweep(&meta, &blobs, &AtomicBool::new(false)).unwrap();
        assert_eq!(swept.removed, 1);
        let mut left = Vec::new();
        blobs.list(&mut |id| left.push(id)).unwrap();
        assert_eq!(left.len(), 4);
        assert!([named, part, garbage, fresh].iter().all(|id| left.contains(id)) && !left.contains(&orphan));
        drop(blobs);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn bodies_are_never_swept_by_records_that_are_not_theirs() {
        let folder = std::env::temp_dir().join(format!("s3pail-pair-{}", std::process::id()));
        let records = || MemoryMeta::new(Budget::new(u64::MAX));
        let hint = BlobHint { bucket: "abc", key: "k", owner: "o", length: None, sync: None };
        let blobs = FileBlobs::open(&folder, SyncMode::None).unwrap();
        let (mine, wrong) = (records(), records());
        assert_eq!(pair(&mine, &blobs).unwrap(), Pairing::New);
        blobs.write(&mut b"body".as_slice(), &hint).unwrap();
        drop(blobs);
        let blobs = FileBlobs::open(&folder, SyncMode::None).unwrap();
        assert_eq!(pair(&mine, &blobs).unwrap(), Pairing::Old);
        assert!(pair(&wrong, &blobs).is_err());
        let other = FileBlobs::open(&folder.join("other"), SyncMode::None).unwrap();
        assert!(pair(&mine, &other).is_err());
        drop((blobs, other));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    /// A start that is killed between the two halves of a pair leaves a body that no record names.
    #[test]
    fn a_start_that_was_killed_does_not_keep_records_and_bodies_apart() {
        let folder = std::env::temp_dir().join(format!("s3pail-killed-{}", std::process::id()));
        let hint = BlobHint { bucket: "abc", key: "k", owner: "o", length: None, sync: None };
        let earlier = FileBlobs::open(&folder, SyncMode::None).unwrap();
        let whole = earlier.write(&mut &PAIRED_TEXT[..], &hint).unwrap().id;
        let half = earlier.write(&mut &PAIRED_TEXT[..], &hint).unwrap().id;
        let path = folder.join("blobs").join(&half.0[..2]).join(&half.0);
        drop(earlier);
        let length = path.metadata().unwrap().len();
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length / 2).unwrap();

        let meta = MemoryMeta::new(Budget::new(u64::MAX));
        let blobs = FileBlobs::open(&folder, SyncMode::None).unwrap();
        assert_eq!(pair(&meta, &blobs).unwrap(), Pairing::New);
        let mut listed = Vec::new();
        blobs.list(&mut |id| listed.push(id)).unwrap();
        assert!(listed.len() == 1 && !listed.contains(&whole) && !listed.contains(&half));
        drop(blobs);
        // With a body of somebody in it, it is somebody's.
        let blobs = FileBlobs::open(&folder, SyncMode::None).unwrap();
        let other = MemoryMeta::new(Budget::new(u64::MAX));
        let theirs = blobs.write(&mut b"body".as_slice(), &hint).unwrap().id;
        drop(blobs);
        let blobs = FileBlobs::open(&folder, SyncMode::None).unwrap();
        assert!(pair(&other, &blobs).is_err() && blobs.size(&theirs).unwrap() == Some(4));
        assert_eq!(pair(&meta, &blobs).unwrap(), Pairing::Old);
        drop(blobs);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_clean_stop_is_remembered_once() {
        let meta = MemoryMeta::new(Budget::new(u64::MAX));
        assert!(!take_clean_mark(&meta).unwrap());
        mark_clean(&meta).unwrap();
        assert!(take_clean_mark(&meta).unwrap());
        assert!(!take_clean_mark(&meta).unwrap());
    }
}
