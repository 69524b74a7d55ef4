//! One folder of bodies with two kinds of users: the front end of its own process, and front ends
//! elsewhere that come through its data daemon.
//!
//! ```text
//! localData/blobs/          the front end's own bodies          see `file_blobs`
//! localData/daemon/blobs/   bodies that came through a daemon   the same
//! ```
//!
//! They are kept apart because they have different owners. Whether a body is an orphan is for the
//! records that name it to say; those of the process's own front end say it about its own bodies, and
//! the sweep after a crash looks only at those. Of a body that came through the daemon nobody here knows
//! who names it and when, so it is removed by a request of its owner and by nothing else.
//!
//! Names say to which part a body belongs. A front end calls its own bodies by their ids (32 digits). The
//! daemon's protocol wants 40 digits: an id and eight more, [`OWN`] or [`LENT`]. Both sides understand
//! both, so that front ends that share records (a metadata daemon) find each other's bodies, and so that
//! an installation may move from one process to several, or back, with its folders.

use super::fault::DiskFaults;
use super::file_blobs::FileBlobs;
use super::ids::is_id;
use super::room::Space;
use super::{
    BlobHint, BlobId, BlobStore, Health, Result, StorageError, SyncModes, Usage, WriteError, WrittenBlob,
};
use std::io::{BufRead, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The digits behind the id of a front end's own body.
pub const OWN: &str = "00000000";
/// The digits behind the id of a body that came through a daemon.
pub const LENT: &str = "00000001";
/// Digits of a name in the daemon's protocol.
pub const KEY_DIGITS: usize = 40;

/// Where in the folder of bodies those are that came through a daemon.
const LENT_FOLDER: &str = "daemon";

/// Whether a text is a name in the daemon's protocol.
pub fn is_key(text: &str) -> bool {
    text.len() == KEY_DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The name in the daemon's protocol of a body that records name by `id`; `None` if none has that name.
pub fn key_of(id: &BlobId) -> Option<String> {
    match () {
        () if is_key(&id.0) => Some(id.0.clone()),
        () if is_id(&id.0) => Some(format!("{}{OWN}", id.0)),
        () => None,
    }
}

/// What a data daemon serves.
pub trait Lender: BlobStore {
    /// [`BlobStore::write`] for somebody elsewhere, under a name of [`KEY_DIGITS`] digits.
    ///
    /// # Errors
    /// Those of [`BlobStore::write`].
    fn write_lent(&self, body: &mut dyn Read) -> std::result::Result<WrittenBlob, WriteError>;

    /// Opens the range that `choose` picks when it is told the size of the body, and returns the size as
    /// well; `Ok(None)` if the body is absent. Otherwise as [`BlobStore::read`].
    ///
    /// # Errors
    /// Those of [`BlobStore::read`].
    fn read_chosen(
        &self,
        id: &BlobId,
        choose: &mut dyn FnMut(u64) -> Range<u64>,
    ) -> Result<Option<(u64, Box<dyn BufRead + Send>)>>;

    /// The room on the device.
    ///
    /// # Errors
    /// What the operating system says.
    fn space(&self) -> Result<Space>;
}

/// A folder of bodies with its two parts.
pub struct SharedFolder {
    own: Arc<FileBlobs>,
    /// Absent where nothing ever came through a daemon.
    lent: Option<Arc<FileBlobs>>,
    path: PathBuf,
}

impl SharedFolder {
    /// Opens the folder. With `lend` the part of daemons is made where it is missing.
    ///
    /// # Errors
    /// Those of [`FileBlobs::open`].
    pub fn open(data_path: &Path, sync: impl Into<SyncModes>, lend: bool) -> Result<SharedFolder> {
        SharedFolder::open_watched(data_path, sync, lend, None)
    }

    /// [`SharedFolder::open`], with failures to simulate.
    ///
    /// # Errors
    /// As [`SharedFolder::open`].
    pub fn open_watched(
        data_path: &Path,
        sync: impl Into<SyncModes>,
        lend: bool,
        faults: Option<Arc<DiskFaults>>,
    ) -> Result<SharedFolder> {
        let sync = sync.into();
        let own = Arc::new(FileBlobs::open_watched(data_path, sync, faults.clone())?);
        let folder = data_path.join(LENT_FOLDER);
        let lent = match lend || folder.is_dir() {
            true => Some(Arc::new(FileBlobs::open_watched(&folder, sync.apart_from_records(), faults)?)),
            false => None,
        };
        Ok(SharedFolder { own, lent, path: data_path.to_path_buf() })
    }

    /// Opens a folder that is there, to look at it: nothing is changed unless it is asked for.
    ///
    /// # Errors
    /// Those of [`FileBlobs::open_existing`].
    pub fn open_existing(data_path: &Path) -> Result<SharedFolder> {
        let own = Arc::new(FileBlobs::open_existing(data_path)?);
        let folder = data_path.join(LENT_FOLDER);
        let lent = match folder.is_dir() {
            true => Some(Arc::new(FileBlobs::open_existing(&folder)?)),
            false => None,
        };
        Ok(SharedFolder { own, lent, path: data_path.to_path_buf() })
    }

    /// Makes durable what earlier runs left unsynced, in a folder that was opened to be looked at.
    ///
    /// # Errors
    /// What the system says.
    pub fn settle_earlier(&self) -> Result<()> {
        let lent = self.lent.as_ref().map_or(Ok(()), |lent| lent.settle_earlier());
        self.own.settle_earlier().and(lent)
    }

    /// The length of a body, as its own file says it; `None` if it is absent.
    ///
    /// # Errors
    /// Those of [`FileBlobs::size`].
    pub fn size(&self, name: &BlobId) -> Result<Option<u64>> {
        match self.part(name) {
            Some((part, id)) => part.size(&id),
            None => Ok(None),
        }
    }

    /// [`FileBlobs::quarantine`], in the part that the name belongs to.
    ///
    /// # Errors
    /// As there.
    pub fn quarantine(&self, name: &BlobId, size: u64) -> Result<bool> {
        self.part(name).map_or(Ok(false), |(part, id)| part.quarantine(&id, size))
    }

    /// Bodies in quarantine.
    pub fn quarantined(&self) -> u64 {
        self.own.quarantined() + self.lent.as_ref().map_or(0, |lent| lent.quarantined())
    }

    /// The front end's own bodies: all that its records may judge.
    pub fn own(&self) -> &Arc<FileBlobs> {
        &self.own
    }

    /// The part that a name belongs to, and its id there.
    fn part(&self, name: &BlobId) -> Option<(&Arc<FileBlobs>, BlobId)> {
        if is_id(&name.0) {
            return Some((&self.own, name.clone()));
        }
        let (id, part) = name.0.split_at_checked(KEY_DIGITS - OWN.len()).filter(|(id, _)| is_id(id))?;
        let id = BlobId(id.to_owned());
        match part {
            OWN => Some((&self.own, id)),
            LENT => self.lent.as_ref().map(|lent| (lent, id)),
            _ => None,
        }
    }
}

/// The folder as the front end beside it sees it: it writes and lists its own bodies, and reads and
/// deletes all that records may name.
impl BlobStore for SharedFolder {
    fn write(
        &self,
        body: &mut dyn Read,
        hint: &BlobHint<'_>,
    ) -> std::result::Result<WrittenBlob, WriteError> {
        self.own.write(body, hint)
    }

    fn read(&self, id: &BlobId, range: Range<u64>) -> Result<Option<Box<dyn BufRead + Send>>> {
        self.part(id).map_or(Ok(None), |(part, id)| part.read(&id, range))
    }

    fn delete(&self, id: &BlobId) -> Result<()> {
        self.part(id).map_or(Ok(()), |(part, id)| part.delete(&id))
    }

    fn list(&self, visit: &mut dyn FnMut(BlobId)) -> Result<()> {
        self.own.list(visit)
    }

    fn inline_max(&self) -> usize {
        self.own.inline_max()
    }

    fn check_room(&self) -> Result<()> {
        self.own.check_room()
    }

    fn health(&self) -> Health {
        let own = self.own.health();
        match &self.lent {
            Some(lent) if own.code == 200 => lent.health(),
            _ => own,
        }
    }

    fn usage(&self) -> Usage {
        let lent = self.lent.as_ref().map_or(0, |lent| lent.usage().corrupt_reads);
        let own = self.own.usage();
        Usage { corrupt_reads: own.corrupt_reads + lent, quarantined: self.quarantined(), ..own }
    }

    fn sync(&self) -> Result<()> {
        let lent = self.lent.as_ref().map_or(Ok(()), |lent| lent.sync());
        self.own.sync().and(lent)
    }
}

/// The folder as front ends elsewhere see it.
impl Lender for SharedFolder {
    fn write_lent(&self, body: &mut dyn Read) -> std::result::Result<WrittenBlob, WriteError> {
        let Some(lent) = &self.lent else {
            return Err(StorageError::ReadOnly("the part of daemons is not open".to_owned()).into());
        };
        let hint = BlobHint { bucket: "", key: "", owner: "", length: None, sync: None };
        let WrittenBlob { id, size } = lent.write(body, &hint)?;
        Ok(WrittenBlob { id: BlobId(format!("{}{LENT}", id.0)), size })
    }

    fn read_chosen(
        &self,
        id: &BlobId,
        choose: &mut dyn FnMut(u64) -> Range<u64>,
    ) -> Result<Option<(u64, Box<dyn BufRead + Send>)>> {
        self.part(id).map_or(Ok(None), |(part, id)| part.read_chosen(&id, choose))
    }

    fn space(&self) -> Result<Space> {
        Space::of(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::super::SyncMode;
    use super::*;
    use crate::storage::fault::DiskStep;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn text(folder: &SharedFolder, name: &BlobId) -> Option<String> {
        let mut text = String::new();
        let (size, mut reader) = folder.read_chosen(name, &mut |size| 0..size).unwrap()?;
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(size, text.len() as u64);
        Some(text)
    }

    #[test]
    fn both_parts_are_read_and_deleted_by_either_name_and_only_own_bodies_are_listed() {
        let path = std::env::temp_dir().join(format!("s3pail-shared-{}", std::process::id()));
        let hint = BlobHint { bucket: "b", key: "k", owner: "o", length: None, sync: None };
        let folder = SharedFolder::open(&path, SyncMode::None, true).unwrap();
        let own = folder.write(&mut b"own".as_slice(), &hint).unwrap().id;
        let lent = folder.write_lent(&mut b"lent".as_slice()).unwrap().id;
        assert!(is_key(&lent.0) && lent.0.ends_with(LENT) && is_id(&own.0));
        drop(folder);
        // Without being asked to lend, what is there is still found.
        let folder = SharedFolder::open(&path, SyncMode::None, false).unwrap();
        let own_key = BlobId(key_of(&own).unwrap());
        assert_eq!(text(&folder, &own).as_deref(), Some("own"));
        assert_eq!(text(&folder, &own_key).as_deref(), Some("own"));
        assert_eq!(text(&folder, &lent).as_deref(), Some("lent"));
        let elsewhere = BlobId(format!("{}{OWN}", &lent.0[..32]));
        assert_eq!(text(&folder, &elsewhere), None);
        let mut listed = Vec::new();
        folder.list(&mut |id| listed.push(id)).unwrap();
        assert_eq!(listed, [own]);
        folder.delete(&own_key).unwrap();
        folder.delete(&lent).unwrap();
        assert_eq!((text(&folder, &own_key), text(&folder, &lent)), (None, None));
        drop(folder);
        std::fs::remove_dir_all(&path).unwrap();
    }

    /// The front end that has the record may make it durable at once, and does not ask the daemon before.
    #[test]
    fn a_lent_body_is_durable_before_it_is_acknowledged_in_relaxed_too() {
        let path = std::env::temp_dir().join(format!("s3pail-lent-{}", std::process::id()));
        let (faults, synced) = (Arc::new(DiskFaults::default()), Arc::new(AtomicUsize::new(0)));
        let count = synced.clone();
        faults.watch(move |step| {
            count.fetch_add(usize::from(matches!(step, DiskStep::SyncFile(_))), Ordering::AcqRel);
            Ok(())
        });
        let folder = SharedFolder::open_watched(&path, SyncMode::Relaxed, true, Some(faults)).unwrap();
        folder.write_lent(&mut b"lent".as_slice()).unwrap();
        assert_eq!(synced.load(Ordering::Acquire), 1);
        drop(folder);
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_folder_that_lends_nothing_has_no_second_part() {
        let path = std::env::temp_dir().join(format!("s3pail-unshared-{}", std::process::id()));
        let folder = SharedFolder::open(&path, SyncMode::None, false).unwrap();
        assert!(!path.join(LENT_FOLDER).exists());
        assert!(folder.write_lent(&mut b"x".as_slice()).is_err());
        drop(folder);
        std::fs::remove_dir_all(&path).unwrap();
    }
}
