//! What a run has left in the page cache, written down for the next one.
//!
//! ```text
//! localData/blobs/unsynced   bodies that have not been synced: the id of one in each line
//! localData/blobs/never      the same for those that are never synced, in a run in which others are
//! localMetadata/unsynced     empty: a run in `none` had the folder open
//! ```
//!
//! A process that is killed leaves what it wrote in the page cache. The next one reads it there and makes
//! records durable that were not, so it has to make the bodies that they name durable first, and must know
//! which those are. In `strict` there never is one, and no such file.
//!
//! The file itself is never synced. After a power cut the page cache is gone, and with it everything that
//! there was to make durable.

use super::BlobId;
use super::Result;
use super::fault::{DiskFaults, DiskStep};
use super::ids::is_id;
use super::layout::{named, private_file, write_at};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bodies that are listed. Where there are more (only in `none`, where nothing is ever synced), the next run
/// in another mode syncs all that there are.
pub const LISTED_MAX: usize = 100_000;

/// The list of what is to be synced sooner or later or, where nothing ever is, of everything.
pub const LIST: &str = "unsynced";
/// The list of what is never synced among others that are.
pub const NEVER: &str = "never";
/// An id and the end of its line.
const LINE_BYTES: usize = 33;
const BYTES_MAX: u64 = (LISTED_MAX * LINE_BYTES) as u64;

/// What an earlier run has left unsynced.
#[derive(Debug, PartialEq, Eq)]
pub enum Earlier {
    /// Nothing.
    Nothing,
    /// These bodies, and the names in the folder.
    Listed(Vec<BlobId>),
    /// Any of its bodies.
    Any,
}

/// The list of a folder.
pub struct Unsynced {
    path: PathBuf,
    /// Opened when the first line is written.
    file: Option<File>,
    /// Where the next line goes.
    end: u64,
    faults: Option<Arc<DiskFaults>>,
}

impl Unsynced {
    /// The list of that name in a folder. Nothing is opened or made yet.
    pub fn of(folder: &Path, name: &str, faults: Option<Arc<DiskFaults>>) -> Unsynced {
        Unsynced { path: folder.join(name), file: None, end: 0, faults }
    }

    /// What is on it.
    ///
    /// # Errors
    /// What the system says when it cannot be read.
    pub fn earlier(&self) -> Result<Earlier> {
        let file = match private_file().read(true).open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Earlier::Nothing),
            Err(error) => return Err(named(&self.path, error)),
        };
        let mut bytes = Vec::new();
        file.take(BYTES_MAX).read_to_end(&mut bytes).map_err(|error| named(&self.path, error))?;
        if bytes.len() as u64 == BYTES_MAX {
            return Ok(Earlier::Any);
        }
        // A line that a kill has cut is of a body that nobody was told of.
        let lines = bytes.chunks_exact(LINE_BYTES).filter_map(|line| std::str::from_utf8(line).ok());
        let ids = lines.filter_map(|line| line.strip_suffix('\n')).filter(|id| is_id(id));
        Ok(Earlier::Listed(ids.map(|id| BlobId(id.to_owned())).collect()))
    }

    /// Makes the file, and goes on behind what is in it.
    ///
    /// # Errors
    /// What the system says.
    pub fn begin(&mut self) -> Result<()> {
        let opened = self.open().map(drop);
        opened.map_err(|error| named(&self.path, error))
    }

    /// Adds a body. It has to be there before anybody is told of the body.
    ///
    /// # Errors
    /// What the system says; the body counts as not listed then.
    pub fn add(&mut self, id: &BlobId) -> Result<()> {
        self.begin()?;
        let at = self.end;
        if at + LINE_BYTES as u64 > BYTES_MAX {
            return Ok(());
        }
        self.write(&line(id), at).map_err(|error| named(&self.path, error))?;
        self.end = at + LINE_BYTES as u64;
        Ok(())
    }

    /// Says that nothing is unsynced but these bodies, which are on the list.
    ///
    /// # Errors
    /// What the system says; the list names more than it has to then.
    pub fn keep<'i>(&mut self, ids: impl Iterator<Item = &'i str>) -> Result<()> {
        if self.end == 0 {
            return Ok(());
        }
        let lines: Vec<u8> = ids.flat_map(|id| line(&BlobId(id.to_owned()))).collect();
        let end = lines.len() as u64;
        // In front first, so that no moment is without them.
        let written = if lines.is_empty() { Ok(()) } else { self.write(&lines, 0) };
        let shortened = written.and_then(|()| {
            DiskFaults::before(&self.faults, DiskStep::SetLength(&self.path, end))?;
            self.open()?.set_len(end)
        });
        shortened.map_err(|error| named(&self.path, error))?;
        self.end = end;
        Ok(())
    }

    /// Removes the file, after everything that an earlier run left has been made durable.
    ///
    /// # Errors
    /// What the system says; the next start does the work once more then.
    pub fn remove(&self) -> Result<()> {
        let removed = DiskFaults::before(&self.faults, DiskStep::Remove(&self.path))
            .and_then(|()| fs::remove_file(&self.path));
        removed.map_err(|error| named(&self.path, error))
    }

    fn open(&mut self) -> io::Result<&File> {
        if self.file.is_none() {
            DiskFaults::before(&self.faults, DiskStep::Create(&self.path))?;
            let file = private_file().write(true).create(true).truncate(false).open(&self.path)?;
            // Behind whole lines.
            self.end = file.metadata()?.len() / LINE_BYTES as u64 * LINE_BYTES as u64;
            self.file = Some(file);
        }
        self.file.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn write(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        DiskFaults::before(&self.faults, DiskStep::Write(&self.path, at, bytes))?;
        write_at(self.open()?, bytes, at)
    }
}

fn line(id: &BlobId) -> Vec<u8> {
    format!("{}\n", id.0).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("s3pail-unsynced-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn id(number: usize) -> BlobId {
        BlobId(format!("{number:032x}"))
    }

    #[test]
    fn what_is_not_synced_is_found_by_the_next_run() {
        let folder = folder("list");
        let mut list = Unsynced::of(&folder, LIST, None);
        assert_eq!(list.earlier().unwrap(), Earlier::Nothing);
        (0..4).for_each(|number| list.add(&id(number)).unwrap());
        // The first two have been synced, the others came meanwhile.
        list.keep([id(2), id(3)].iter().map(|id| id.0.as_str())).unwrap();
        list.add(&id(4)).unwrap();
        let mut next = Unsynced::of(&folder, LIST, None);
        assert_eq!(next.earlier().unwrap(), Earlier::Listed(vec![id(2), id(3), id(4)]));
        next.begin().unwrap();
        next.add(&id(5)).unwrap();
        assert_eq!(next.earlier().unwrap(), Earlier::Listed((2..6).map(id).collect()));
        next.keep(std::iter::empty()).unwrap();
        assert_eq!(next.earlier().unwrap(), Earlier::Listed(Vec::new()));
        next.remove().unwrap();
        assert_eq!(next.earlier().unwrap(), Earlier::Nothing);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_cut_line_is_no_body_and_a_full_list_means_any() {
        let folder = folder("full");
        let mut list = Unsynced::of(&folder, LIST, None);
        list.add(&id(1)).unwrap();
        let cut = [line(&id(1)), line(&id(2))[..20].to_vec()].concat();
        fs::write(folder.join(LIST), &cut).unwrap();
        assert_eq!(list.earlier().unwrap(), Earlier::Listed(vec![id(1)]));
        let mut next = Unsynced::of(&folder, LIST, None);
        next.begin().unwrap();
        next.add(&id(3)).unwrap();
        assert_eq!(next.earlier().unwrap(), Earlier::Listed(vec![id(1), id(3)]));
        fs::write(folder.join(LIST), line(&id(7)).repeat(LISTED_MAX)).unwrap();
        let mut next = Unsynced::of(&folder, LIST, None);
        next.begin().unwrap();
        next.add(&id(8)).unwrap();
        assert_eq!(next.earlier().unwrap(), Earlier::Any);
        assert_eq!(folder.join(LIST).metadata().unwrap().len(), BYTES_MAX);
        fs::remove_dir_all(folder).unwrap();
    }
}
