//! Room on the device: below a mark new data is refused before it is read, and a reserve is kept for the
//! requests that make room again.
//!
//! ```text
//! localMetadata/reserve    allocated and never written to; given up when the device is full
//! ```
//!
//! On a full device a delete has to write: a journal entry, pages of the database. It writes them where
//! the reserve was. While the reserve is gone, new data is refused whatever the device says, so that
//! nothing else uses its room up; when there is room again it is made anew, and with that writes resume.

use super::fault::DiskFaults;
use super::layout::{named, private_file};
use super::{Result, StorageError};
use fs2::FileExt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The size of the reserve, in bytes: four journals' worth.
pub const RESERVE_BYTES: u64 = 16 * 1024 * 1024;
/// New data is refused when less than one part in this many of the device is available,
pub const LOW_WATER_DIVISOR: u64 = 100;
/// or less than this many bytes,
pub const LOW_WATER_BYTES: u64 = 256 * 1024 * 1024;
/// but on a small device only when it is less than one part in this many.
pub const LOW_WATER_DIVISOR_SMALL: u64 = 20;
/// The reserve takes at most one part in this many of the device.
const RESERVE_DIVISOR_SMALL: u64 = 16;

const RESERVE_FILE: &str = "reserve";

/// Room on a device, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    /// What this process may still use.
    pub available: u64,
    /// What is free, for whomever.
    pub free: u64,
    /// All of it.
    pub total: u64,
}

impl Space {
    /// The room on the device that a path is on.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn of(path: &Path) -> Result<Space> {
        let stats = fs2::statvfs(path).map_err(|error| named(path, error))?;
        Ok(Space { available: stats.available_space(), free: stats.free_space(), total: stats.total_space() })
    }

    /// Below this many available bytes new data is refused.
    pub fn low_water(&self) -> u64 {
        (self.total / LOW_WATER_DIVISOR).max(LOW_WATER_BYTES).min(self.total / LOW_WATER_DIVISOR_SMALL)
    }
}

/// Whether new data may be written to the device that a folder is on. A device that does not say how much
/// room it has (a total of 0, as some remote file systems report) is asked by writing.
///
/// # Errors
/// `Full` below the mark.
pub fn check(folder: &Path, faults: Option<&DiskFaults>) -> Result<()> {
    let space = Space::of(folder)?;
    let available = faults.and_then(DiskFaults::available).unwrap_or(space.available);
    let low_water = space.low_water();
    if space.total > 0 && available < low_water {
        let place = folder.display();
        let text = format!("{place}: {available} bytes are available, {low_water} are kept for deletes");
        return Err(StorageError::Full(text));
    }
    Ok(())
}

/// Room that is taken so that it can be given up.
pub struct Reserve {
    folder: PathBuf,
    path: PathBuf,
    held: AtomicBool,
    /// Held by whoever makes the reserve anew.
    making: Mutex<()>,
    faults: Option<Arc<DiskFaults>>,
}

impl Reserve {
    /// Finds or makes the reserve in a folder. On a full device there is none until there is room.
    pub fn open(folder: &Path, faults: Option<Arc<DiskFaults>>) -> Reserve {
        let path = folder.join(RESERVE_FILE);
        let reserve = Reserve {
            folder: folder.to_path_buf(),
            path,
            held: AtomicBool::new(false),
            making: Mutex::default(),
            faults,
        };
        // `check` says so to those who write while it fails.
        let _ = reserve.make();
        reserve
    }

    /// Gives the reserve up. True when there was one, and so it is worth trying again what failed.
    pub fn release(&self) -> bool {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        self.held.swap(false, Ordering::AcqRel) && std::fs::remove_file(&self.path).is_ok() && {
            if let Some(faults) = &self.faults {
                faults.reserve_released();
            }
            true
        }
    }

    /// Whether new data may be written: there is room on the device, and the reserve is there or can be
    /// made anew.
    ///
    /// # Errors
    /// `Full` when not.
    pub fn check(&self) -> Result<()> {
        check(&self.folder, self.faults.as_deref())?;
        if self.held.load(Ordering::Acquire) {
            return Ok(());
        }
        self.make().map_err(|error| {
            let place = self.path.display();
            StorageError::Full(format!("{place}: there is no room for the reserve: {error}"))
        })
    }

    fn make(&self) -> Result<()> {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if self.held.load(Ordering::Acquire) {
            return Ok(());
        }
        let bytes = RESERVE_BYTES.min(Space::of(&self.folder)?.total / RESERVE_DIVISOR_SMALL);
        let made = self.allocate(bytes);
        match made {
            Ok(()) => self.held.store(true, Ordering::Release),
            // Half a reserve would only take room away.
            Err(_) => drop(std::fs::remove_file(&self.path)),
        }
        made.map_err(|error| named(&self.path, error))
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        if self.faults.as_deref().and_then(DiskFaults::available).is_some_and(|available| available < bytes) {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "a planned fault"));
        }
        let mut options = private_file();
        let file = options.read(true).write(true).create(true).truncate(false).open(&self.path)?;
        if file.metadata()?.len() == bytes && file.allocated_size()? >= bytes {
            return Ok(());
        }
        file.set_len(0)?;
        file.allocate(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_one_percent_and_fits_small_devices() {
        let mark = |total| Space { available: 0, free: 0, total }.low_water();
        assert_eq!(mark(1 << 40), (1 << 40) / 100);
        assert_eq!(mark(10 << 30), 256 << 20);
        assert_eq!(mark(1 << 30), (1 << 30) / 20);
        assert_eq!(mark(0), 0);
    }

    #[test]
    fn the_reserve_is_given_up_once_and_made_anew_when_there_is_room() {
        let folder = std::env::temp_dir().join(format!("s3pail-room-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let faults = Arc::new(DiskFaults::default());
        let reserve = Reserve::open(&folder, Some(faults.clone()));
        let file = folder.join(RESERVE_FILE);
        reserve.check().unwrap();
        assert!(file.metadata().unwrap().len() > 0);
        faults.set_available(Some(0));
        assert!(matches!(reserve.check(), Err(StorageError::Full(_))) && file.exists());
        assert!(reserve.release() && !file.exists());
        assert!(!reserve.release());
        // Room for new data, by the mark, but none for the reserve.
        faults.set_available(None);
        std::fs::create_dir(&file).unwrap();
        assert!(matches!(reserve.check(), Err(StorageError::Full(_))));
        std::fs::remove_dir(&file).unwrap();
        reserve.check().unwrap();
        assert!(file.metadata().unwrap().len() > 0);
        // What an earlier run left is taken over.
        drop(reserve);
        let again = Reserve::open(&folder, None);
        assert!(again.held.load(Ordering::Acquire));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
