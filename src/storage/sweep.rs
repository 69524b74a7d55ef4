//! Getting rid of bodies that no record names any more.
//!
//! Two ways lead there. [`DeleteQueue`] removes what a commit has just replaced: the commit writes a
//! record that names the old body, the queue removes first the body and then that record, and after a
//! crash the records that are left are fed to the queue again. A delete that fails is tried again a few
//! times, with growing pauses, and then left to the next start. There is one queue for each store, and
//! that of a remote store, which may be away for hours, neither holds up writers nor the end of the
//! process. [`sweep_orphans`] removes what a crash
//! left before any record named it.

use super::{Batch, BlobId, BlobStore, MetaStore, Result};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Deletes that may wait; whoever adds one more waits for the thread.
pub const DELETES_WAITING_MAX: usize = 4096;
/// Deletes that are made together: their commits are settled once and their records removed by one commit.
pub const DELETES_TOGETHER_MAX: usize = 1024;
/// How often a delete is tried before it is left to the next start. Scality S3 Server does the same.
pub const DELETE_TRIES_MAX: u32 = 3;
/// The pause before the second try.
pub const DELETE_BACK_OFF: Duration = Duration::from_secs(1);
/// How many times longer the pause before each further try is.
const BACK_OFF_GROWTH: u32 = 5;
/// Ids that a sweep holds in memory at once, roughly; about 100 bytes each.
pub const SWEEP_IDS_MAX: usize = 100_000;

/// A body to be deleted and the key of the record that says so.
type Entry = (BlobId, Vec<u8>);

/// Deletes bodies in the background.
pub struct DeleteQueue {
    sender: Option<Sender<Entry>>,
    failed: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
    /// The store is a remote one: what does not fit or cannot be finished is left to the next start.
    remote: bool,
    leave: Arc<AtomicBool>,
}

impl DeleteQueue {
    /// Starts the thread.
    ///
    /// # Errors
    /// What the system says when there is no thread.
    pub fn start(blobs: Arc<dyn BlobStore>, meta: Arc<dyn MetaStore>) -> Result<DeleteQueue> {
        DeleteQueue::start_with(blobs, meta, DELETE_BACK_OFF)
    }

    /// [`DeleteQueue::start`] with another pause before the second try than [`DELETE_BACK_OFF`].
    ///
    /// # Errors
    /// What the system says when there is no thread.
    pub fn start_with(
        blobs: Arc<dyn BlobStore>,
        meta: Arc<dyn MetaStore>,
        back_off: Duration,
    ) -> Result<DeleteQueue> {
        let (sender, entries) = bounded(DELETES_WAITING_MAX);
        let (failed, leave) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let remote = !blobs.lists();
        let (failures, leaving) = (Arc::clone(&failed), Arc::clone(&leave));
        let deleter =
            Deleter { blobs, meta, entries, retries: Vec::new(), back_off, failed: failures, leave: leaving };
        let thread = std::thread::Builder::new().name("delete".into()).spawn(move || deleter.run())?;
        Ok(DeleteQueue { sender: Some(sender), failed, thread: Some(thread), remote, leave })
    }

    /// Adds a body whose record, under `record_key`, has been committed. Waits while the queue is
    /// full, which keeps writers from outrunning the disk. A full queue of a remote store does not take
    /// it: the record stays.
    pub fn push(&self, id: BlobId, record_key: Vec<u8>) {
        if let Some(sender) = &self.sender {
            if self.remote {
                let _ = sender.try_send((id, record_key));
                return;
            }
            // The thread only ends after the sender; if it has panicked, the record stays, and the
            // next start feeds it to the queue again.
            let _ = sender.send((id, record_key));
        }
    }

    /// How many deletes were given up since the start. Their records are still there.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

impl Drop for DeleteQueue {
    /// Finishes what is in the queue; of a remote store's only what has begun.
    fn drop(&mut self) {
        self.leave.store(self.remote, Ordering::Release);
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A delete that waits for another try.
struct Retry {
    due: Instant,
    tries: u32,
    entry: Entry,
}

/// What the thread of a queue works with.
struct Deleter {
    blobs: Arc<dyn BlobStore>,
    meta: Arc<dyn MetaStore>,
    entries: Receiver<Entry>,
    retries: Vec<Retry>,
    back_off: Duration,
    failed: Arc<AtomicU64>,
    leave: Arc<AtomicBool>,
}

impl Deleter {
    /// Works until the queue is dropped. What then waits for another try is left to the next start.
    fn run(mut self) {
        loop {
            let received = match self.retries.iter().map(|retry| retry.due).min() {
                None => self.entries.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(due) => self.entries.recv_deadline(due),
            };
            let mut batch: Vec<(u32, Entry)> = match received {
                Ok(first) => vec![(1, first)],
                Err(RecvTimeoutError::Timeout) => Vec::new(),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let more = self.entries.try_iter().take(DELETES_TOGETHER_MAX - 1);
            batch.extend(more.map(|entry| (1, entry)));
            let now = Instant::now();
            let due = self.retries.extract_if(.., |retry| retry.due <= now).take(DELETES_TOGETHER_MAX);
            batch.extend(due.map(|retry| (retry.tries + 1, retry.entry)));
            self.delete(batch);
        }
    }

    fn delete(&mut self, batch: Vec<(u32, Entry)>) {
        // What a commit freed may go only once that commit cannot be lost any more.
        if self.meta.settle().is_err() {
            self.failed.fetch_add(batch.len() as u64, Ordering::Relaxed);
            return;
        }
        let mut done = Batch::new();
        for (tries, (id, record_key)) in batch {
            if self.leave.load(Ordering::Acquire) {
                break;
            }
            match self.blobs.delete(&id) {
                Ok(()) => done.remove(record_key),
                Err(_) => self.try_later(tries, (id, record_key)),
            }
        }
        let records = done.writes.len() as u64;
        if records > 0 && self.meta.commit(done).is_err() {
            self.failed.fetch_add(records, Ordering::Relaxed);
        }
    }

    fn try_later(&mut self, tries: u32, entry: Entry) {
        if tries >= DELETE_TRIES_MAX || self.retries.len() >= DELETES_WAITING_MAX {
            self.failed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let due = Instant::now() + self.back_off * BACK_OFF_GROWTH.pow(tries - 1);
        self.retries.push(Retry { due, tries, entry });
    }
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Bodies of earlier runs that were looked at.
    pub seen: u64,
    /// Orphans that were removed.
    pub removed: u64,
}

/// Calls its argument with every body that any record names.
pub type EachLive<'e> = dyn FnMut(&mut dyn FnMut(&BlobId)) -> Result<()> + 'e;

/// Removes the bodies that no record names.
///
/// `is_of_this_run` tells the bodies that were written since the start; they are left alone, because
/// their records may be about to be committed. `each_live` calls its argument with every body that any
/// record names, the records of pending deletes included; it must look at one state (one
/// [`MetaStore::scan`]), or a body whose record moves meanwhile would be lost. It is called once for
/// every [`SWEEP_IDS_MAX`] bodies. A true `stop` ends the sweep between two bodies.
///
/// # Errors
/// The first failure of either store ends the sweep. Nothing that `each_live` did not have the chance
/// to name has been removed.
pub fn sweep_orphans(
    blobs: &dyn BlobStore,
    is_of_this_run: &dyn Fn(&BlobId) -> bool,
    each_live: &mut EachLive<'_>,
    stop: &AtomicBool,
) -> Result<Swept> {
    let mut swept = Swept::default();
    let mut stored = 0;
    blobs.list(&mut |id| stored += usize::from(!is_of_this_run(&id)))?;
    for prefix in prefixes(stored, SWEEP_IDS_MAX) {
        let mut orphans = HashSet::new();
        blobs.list(&mut |id| {
            if id.0.starts_with(&prefix) && !is_of_this_run(&id) {
                orphans.insert(id);
            }
        })?;
        swept.seen += orphans.len() as u64;
        if orphans.is_empty() {
            continue;
        }
        each_live(&mut |id| _ = orphans.remove(id))?;
        for id in orphans {
            if stop.load(Ordering::Acquire) {
                return Ok(swept);
            }
            blobs.delete(&id)?;
            swept.removed += 1;
        }
    }
    Ok(swept)
}

/// Prefixes of ids that cover them all, each of about `together` of `stored` ids or fewer.
pub fn prefixes(stored: usize, together: usize) -> Vec<String> {
    let mut prefixes = vec![String::new()];
    // Four digits are enough for six thousand million bodies.
    while stored / prefixes.len() > together && prefixes[0].len() < 4 {
        let longer = |prefix: &String| (0..16).map(|digit| format!("{prefix}{digit:x}")).collect::<Vec<_>>();
        prefixes = prefixes.iter().flat_map(longer).collect();
    }
    prefixes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_cover_every_id_and_bound_the_memory() {
        for (stored, count) in
            [(0, 1), (SWEEP_IDS_MAX, 1), (2 * SWEEP_IDS_MAX, 16), (20 * SWEEP_IDS_MAX, 256)]
        {
            assert_eq!(prefixes(stored, SWEEP_IDS_MAX).len(), count, "{stored}");
        }
    }
}
