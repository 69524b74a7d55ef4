//! The thread that writes checkpoints, beside the commits that go on.
//!
//! It also bounds memory: a checkpoint makes megabytes of changed pages, and memory allocators keep what a
//! thread has freed for that thread. With checkpoints in every worker's turn each of them would keep the memory
//! of one.

use super::database::Database;
use super::recent::Changes;
use super::{BlobStore, Result, StorageError};
use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is to be written.
pub struct Work {
    /// Where to.
    pub database: Arc<Database>,
    /// The changes.
    pub changes: Arc<Changes>,
    /// The sequence number of the last journal entry among them.
    pub sequence: u64,
    /// The store whose bodies the changes may name, if these are still to be made durable.
    pub blobs: Option<Arc<dyn BlobStore>>,
}

/// Why a checkpoint failed.
pub enum Problem {
    /// Bodies could not be made durable, and nothing was written.
    Bodies(StorageError),
    /// The database could not be written.
    Database(StorageError),
}

/// How a checkpoint ended.
pub type Ended = std::result::Result<(), Problem>;

struct Job {
    work: Work,
    ended: Sender<(Ended, Duration)>,
    /// Dropped when the checkpoint is over.
    _over: Sender<()>,
}

/// The way to the thread, which ends when this goes.
pub struct Checkpoints {
    jobs: Sender<Job>,
}

/// A checkpoint that has begun.
pub struct Running {
    /// The sequence number of the last journal entry that it makes durable.
    pub sequence: u64,
    /// How many records it writes.
    pub records: usize,
    ended: Receiver<(Ended, Duration)>,
    /// Nothing comes from it; it ends with the checkpoint.
    over: Receiver<()>,
}

impl Checkpoints {
    /// Starts the thread.
    ///
    /// # Errors
    /// What the system says when there is no thread.
    pub fn start() -> Result<Checkpoints> {
        let (jobs, waiting) = bounded(1);
        std::thread::Builder::new().name("checkpoint".into()).spawn(move || run(&waiting))?;
        Ok(Checkpoints { jobs })
    }

    /// Begins a checkpoint. The one before must have ended.
    pub fn begin(&self, work: Work) -> Running {
        let (sequence, records) = (work.sequence, work.changes.len());
        let (ended, result) = bounded(1);
        let (over_sender, over) = bounded(0);
        // A thread that is gone drops the job, which its receivers notice.
        let _ = self.jobs.send(Job { work, ended, _over: over_sender });
        Running { sequence, records, ended: result, over }
    }
}

impl Running {
    /// How it ended and how long it took; `None` while it goes on.
    pub fn poll(&self) -> Option<(Ended, Duration)> {
        match self.ended.try_recv() {
            Ok(result) => Some(result),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(gone()),
        }
    }

    /// Waits for its end.
    pub fn wait(&self) -> (Ended, Duration) {
        self.ended.recv().unwrap_or_else(|_| gone())
    }

    /// Something to wait for its end with, while others may take its result.
    pub fn over(&self) -> Receiver<()> {
        self.over.clone()
    }
}

/// The thread has panicked.
fn gone() -> (Ended, Duration) {
    let error = io::Error::other("the checkpoint thread is gone");
    (Err(Problem::Database(StorageError::Io(error))), Duration::ZERO)
}

fn run(jobs: &Receiver<Job>) {
    for Job { work, ended, _over } in jobs {
        let begun = Instant::now();
        let result = write(&work);
        // Before anybody can go on: the next to open the files must find nobody there.
        drop(work);
        // Nobody may wait for it, and the result is then not needed.
        let _ = ended.send((result, begun.elapsed()));
    }
}

fn write(work: &Work) -> Ended {
    if let Some(blobs) = &work.blobs {
        blobs.sync().map_err(Problem::Bodies)?;
    }
    work.database.write(&work.changes, work.sequence).map_err(Problem::Database)
}
