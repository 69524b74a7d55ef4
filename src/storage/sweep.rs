//! Getting rid of bodies that no record names any more.
//!
//! Two ways lead there. [`DeleteQueue`] removes what a commit has just replaced: the commit writes a
//! record that names the old body, the queue removes first the body and then that record, and after a
//! crash the records that are left are fed to the queue again. There is one queue for each store, and
//! that of a remote store, which may be away for hours, neither holds up writers nor the end of the
//! process. [`sweep_orphans`] removes what a crash
//! left before any record named it.

use super::{Batch, BlobId, BlobStore, MetaStore, Result};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

/// Deletes that may wait; whoever adds one more waits for the thread.
pub const DELETES_WAITING_MAX: usize = 4096;
/// Deletes that are made together: their commits are settled once and their records removed by one commit.
pub const DELETES_TOGETHER_MAX: usize = 1024;
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
    pub fn start(blobs: Arc<dyn BlobStore>, meta: Arc<dyn MetaStore>) -> Result<DeleteQueue> {
        let (sender, entries) = bounded(DELETES_WAITING_MAX);
        let failed = Arc::new(AtomicU64::new(0));
        let failures = Arc::clone(&failed);
        let (remote, leave) = (!blobs.lists(), Arc::new(AtomicBool::new(false)));
        let leaving = Arc::clone(&leave);
        let run = move || delete_all(&*blobs, &*meta, &entries, &failures, &leaving);
        let thread = std::thread::Builder::new().name("delete".into()).spawn(run)?;
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

    /// How many deletes have failed since the start. Their records are still there.
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

fn delete_all(
    blobs: &dyn BlobStore,
    meta: &dyn MetaStore,
    entries: &Receiver<Entry>,
    failed: &AtomicU64,
    leave: &AtomicBool,
) {
    while let Ok(first) = entries.recv() {
        let more = entries.try_iter().take(DELETES_TOGETHER_MAX - 1);
        let group: Vec<Entry> = std::iter::once(first).chain(more).collect();
        if meta.settle().is_err() {
            failed.fetch_add(group.len() as u64, Ordering::Relaxed);
            continue;
        }
        let mut done = Batch::new();
        for (id, record_key) in group {
            if leave.load(Ordering::Acquire) {
                break;
            }
            match blobs.delete(&id) {
                Ok(()) => done.remove(record_key),
                Err(_) => _ = failed.fetch_add(1, Ordering::Relaxed),
            }
        }
        let records = done.writes.len() as u64;
        if records > 0 && meta.commit(done).is_err() {
            failed.fetch_add(records, Ordering::Relaxed);
        }
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
