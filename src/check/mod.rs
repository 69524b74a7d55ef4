//! `s3pail check`: reads a whole store of files and says what is wrong with it.
//!
//! Nothing is written: what a crash left (a journal to be applied, a database to be mended) is dealt with
//! in memory. The folders' locks are held meanwhile, so that no server changes what is being looked at.
//! With `--repair` the store is opened as a server opens it, and what can be put right without losing
//! anything is put right; see `repair.rs`.

use crate::config::{Backend, Config};
use crate::storage::file_meta::{FileMeta, FileMetaOptions};
use crate::storage::inspect::RecordView;
use crate::storage::shared_folder::SharedFolder;
use crate::storage::{MetaStore, StorageError};
use progress::Progress;
use report::{Kind, Report};
use std::collections::HashSet;

mod bodies;
mod orphans;
mod progress;
mod records;
mod repair;
pub mod report;

/// Everything is as it should be, or has been put right.
pub const EXIT_CLEAN: u8 = 0;
/// Something is damaged or left over.
pub const EXIT_DAMAGED: u8 = 1;
/// The store could not be looked at: in use, not there, of a newer format, or no store of files at all.
pub const EXIT_NOT_CHECKED: u8 = 2;

/// What the command line asks of a check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Put right what can be put right.
    pub repair: bool,
    /// Print one JSON object instead of lines for people.
    pub json: bool,
}

/// The stores under check.
struct Stores<'s> {
    meta: &'s dyn MetaStore,
    /// The folder of bodies, where this configuration has one.
    blobs: Option<&'s SharedFolder>,
    /// The locations whose bodies are in that folder.
    locations: HashSet<String>,
}

impl Stores<'_> {
    /// The folder that has the bodies of a location, if they are in one.
    fn folder_of(&self, location: &str) -> Option<&SharedFolder> {
        self.blobs.filter(|_| location.is_empty() || self.locations.contains(location))
    }
}

/// Checks the store of a configuration.
///
/// # Errors
/// A sentence that says why it could not be looked at.
pub fn check(config: &Config, repair: bool) -> Result<Report, String> {
    if config.metadata == Backend::Memory {
        return Err("there is no store of files to check: the metadata backend is memory".to_owned());
    }
    let failed = |error: StorageError| error.to_string();
    let blobs = match config.stores_body_files() {
        true => Some(SharedFolder::open_existing(&config.data_path).map_err(failed)?),
        false => None,
    };
    let mut view = RecordView::open(&config.metadata_path).map_err(failed)?;
    let quarantined = blobs.as_ref().map_or(0, SharedFolder::quarantined);
    let mut report = Report { quarantined, recovered: view.recovered(), ..Report::default() };
    match view.database_is_sound() {
        Ok(true) => {}
        Ok(false) => report.add(Kind::Database, "s3pail.redb", "a page does not match its checksum"),
        Err(error) => report.add(Kind::Database, "s3pail.redb", &error.to_string()),
    }
    if !view.journal_is_sound() {
        report.add(
            Kind::Database,
            "the journal",
            "an entry does not match its checksum, and others follow it",
        );
    }
    let locations = file_locations(config);
    if !repair || report.damaged() {
        // A damaged database is not written to: whatever it still has is worth more than order.
        walk(&Stores { meta: &view, blobs: blobs.as_ref(), locations }, &mut report);
        if repair {
            report.say("nothing was repaired: the database is damaged".to_owned());
        }
        return Ok(report);
    }
    drop(view);
    if let Some(blobs) = blobs.as_ref().filter(|_| config.sync_modes().any_synced()) {
        blobs.settle_earlier().map_err(failed)?;
    }
    let meta =
        FileMeta::open(&config.metadata_path, FileMetaOptions::new(config.sync_modes())).map_err(failed)?;
    if report.recovered > 0 {
        report.say(format!("applied {} journal entries to the database", report.recovered));
    }
    let stores = Stores { meta: &meta, blobs: blobs.as_ref(), locations };
    let found = walk(&stores, &mut report);
    repair::repair(&stores, &found, &mut report);
    meta.sync().map_err(failed)?;
    Ok(report)
}

/// Looks at everything, and returns what could be put right.
fn walk(stores: &Stores<'_>, report: &mut Report) -> repair::Repairable {
    let mut progress = Progress::start();
    let mut records = records::Walk::new(stores, report, &mut progress);
    let mut found = match records.run() {
        Ok(()) => records.into_repairable(),
        Err(error) => {
            let mut found = records.into_repairable();
            report.add(Kind::Database, "s3pail.redb", &format!("cannot be read to its end: {error}"));
            found.unclear = true;
            found
        }
    };
    if let Err(error) = orphans::find(stores, report, &mut progress, &mut found) {
        report.add(Kind::Database, "bodies and records", &format!("cannot be compared: {error}"));
        found.unclear = true;
    }
    progress.end();
    found
}

fn file_locations(config: &Config) -> HashSet<String> {
    let files = config.locations.iter().filter(|(_, location)| location.kind == "file");
    files.map(|(name, _)| name.clone()).collect()
}

/// Checks, prints, and returns the process's exit code.
pub fn run(config: &Config, options: Options) -> u8 {
    match check(config, options.repair) {
        Ok(report) => {
            let text = if options.json { report.to_json() } else { report.to_text() };
            crate::server::say(text.trim_end());
            if report.damaged() { EXIT_DAMAGED } else { EXIT_CLEAN }
        }
        Err(sentence) => {
            crate::server::complain(&sentence);
            EXIT_NOT_CHECKED
        }
    }
}
