//! The thread that writes checkpoints.
//!
//! Whoever needs one waits for it, so the thread makes nothing faster. It bounds memory: a checkpoint makes
//! megabytes of changed pages, and memory allocators keep what a thread has freed for that thread. With
//! checkpoints in every worker's turn each of them would keep the memory of one.

use super::database::Database;
use super::recent::Changes;
use super::{Result, StorageError};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io;
use std::sync::Arc;

/// Changes that are to be written, and where the result goes.
struct Job {
    database: Arc<Database>,
    changes: Arc<Changes>,
    sequence: u64,
    done: Sender<Result<()>>,
}

/// The way to the thread, which ends when this goes.
pub struct Checkpoints {
    jobs: Sender<Job>,
}

impl Checkpoints {
    /// Starts the thread.
    ///
    /// # Errors
    /// What the system says when there is no thread.
    pub fn start() -> Result<Checkpoints> {
        let (jobs, waiting) = bounded(0);
        std::thread::Builder::new().name("checkpoint".into()).spawn(move || work(&waiting))?;
        Ok(Checkpoints { jobs })
    }

    /// [`Database::write`], in the thread.
    ///
    /// # Errors
    /// As there; `Io` when the thread has panicked.
    pub fn write(&self, database: Arc<Database>, changes: Arc<Changes>, sequence: u64) -> Result<()> {
        let gone = || StorageError::Io(io::Error::other("the checkpoint thread is gone"));
        let (done, result) = bounded(1);
        self.jobs.send(Job { database, changes, sequence, done }).map_err(|_| gone())?;
        result.recv().map_err(|_| gone())?
    }
}

fn work(jobs: &Receiver<Job>) {
    for Job { database, changes, sequence, done } in jobs {
        let result = database.write(&changes, sequence);
        // Before anybody can go on: the next to open the files must find nobody there.
        drop((database, changes));
        // Whoever asked is waiting.
        let _ = done.send(result);
    }
}
