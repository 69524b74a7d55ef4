//! Folders on disk: who may look into them, which process owns them, which format they hold.
//!
//! Each store owns one folder. In it, `lock` is held by the process that has the store open (the
//! operating system lets go of it when the process ends, so nothing ever has to be cleaned up) and
//! names its process id for the next one's error message; `format` names the version of everything
//! beside it, so that an older program refuses a newer store instead of misreading it.

use super::{Result, StorageError};
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The version of the files that this program writes. Up to 1 small bodies had no checksum among the records; up
/// to 2 the journal had one file.
pub const FORMAT_VERSION: u32 = 3;
/// The oldest version that it reads. A store of an older one than [`FORMAT_VERSION`] becomes one of that when it
/// is opened.
pub const FORMAT_VERSION_MIN: u32 = 2;

/// A store's folder and the one above it are made at the first start.
const FOLDERS_ABOVE_SYNCED: usize = 2;

const LOCK_FILE: &str = "lock";
const FORMAT_FILE: &str = "format";

/// How long a folder that is in use is asked for.
const LOCK_WAIT: Duration = Duration::from_millis(500);

/// The pause between two times.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A format file or the process id in a lock file is shorter than this.
const LINE_BYTES_MAX: u64 = 64;

/// A store's folder, owned by this process for as long as the value lives.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Whether there is no format file yet, or one of an older version.
    fresh: bool,
    /// Open and locked. Never read again.
    _lock: File,
}

impl Folder {
    /// Creates the folder (mode 0700) if it is absent, takes its lock and checks its format.
    ///
    /// # Errors
    /// `Unavailable` with a sentence for the user when another process owns the folder or when a
    /// newer version of the program wrote it; `Io` when the system refuses.
    pub fn open(path: &Path) -> Result<Folder> {
        create_folder(path).map_err(|error| named(path, error))?;
        let lock = take_lock(path)?;
        let fresh = !has_format(path)?;
        Ok(Folder { path: path.to_path_buf(), fresh, _lock: lock })
    }

    /// Takes a folder that exists, to look at what is in it. Nothing in it is changed: the process id
    /// that `lock` names stays that of the last owner.
    ///
    /// # Errors
    /// As [`Folder::open`]; `Unavailable` with a sentence as well when the folder holds no store.
    pub fn open_existing(path: &Path) -> Result<Folder> {
        let lock_path = path.join(LOCK_FILE);
        let mut lock = match private_file().read(true).open(&lock_path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let sentence = format!("{} is not a store of s3pail: it has no lock file", path.display());
                return Err(StorageError::Unavailable(sentence));
            }
            Err(error) => return Err(named(&lock_path, error)),
        };
        match try_lock(&lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(path, &mut lock)),
            Err(TryLockError::Error(error)) => return Err(named(&lock_path, error)),
        }
        let fresh = !has_format(path)?;
        Ok(Folder { path: path.to_path_buf(), fresh, _lock: lock })
    }

    /// Ends the creation of a store, after its files have been created: makes their names durable
    /// (where anything is, `synced`) and then writes the format file. Later starts find that
    /// file and need not sync anything; if one of the steps is missing after a crash, so is the file.
    pub fn settle(&self, synced: bool) -> Result<()> {
        if !self.fresh {
            return Ok(());
        }
        if synced {
            self.sync_names()?;
        }
        let path = self.path.join(FORMAT_FILE);
        write_format(&path, synced).map_err(|error| named(&path, error))?;
        match synced {
            false => Ok(()),
            true => sync_folder(&self.path).map_err(|error| named(&self.path, error)),
        }
    }

    /// Makes durable what [`Folder::settle`] does, for a folder that was made without syncs.
    pub(super) fn settle_again(&self) -> Result<()> {
        let path = self.path.join(FORMAT_FILE);
        let format = private_file().write(true).open(&path).and_then(|file| file.sync_all());
        format.map_err(|error| named(&path, error))?;
        self.sync_names()
    }

    fn sync_names(&self) -> Result<()> {
        sync_folder(&self.path).map_err(|error| named(&self.path, error))?;
        // The folders above may belong to somebody who does not let us open them; then their names are
        // theirs to make durable.
        for above in self.path.ancestors().skip(1).take(FOLDERS_ABOVE_SYNCED) {
            let _ = sync_folder(if above.as_os_str().is_empty() { Path::new(".") } else { above });
        }
        Ok(())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// An I/O error whose text says which path it is about.
pub(super) fn named(path: &Path, error: io::Error) -> StorageError {
    io::Error::new(error.kind(), format!("{}: {error}", path.display())).into()
}

/// Creates a folder and its missing parents, readable by nobody else.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Options for a file that nobody else may read and whose last path element is not a symbolic link.
pub(crate) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600).custom_flags(NO_FOLLOW);
    }
    options
}

/// `O_NOFOLLOW`, which the standard library does not name. 0 where its value is not known here.
#[cfg(unix)]
const NO_FOLLOW: i32 = if cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "x86"))) {
    0o400_000
} else if cfg!(all(target_os = "linux", any(target_arch = "aarch64", target_arch = "arm"))) {
    0o100_000
} else if cfg!(target_os = "macos") {
    0x100
} else {
    0
};

/// Makes the names in a folder durable. Nothing to do where folders cannot be opened as files.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(path)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Writes at a position, with one call where the system has it. The file's own position is undefined
/// afterwards.
#[cfg(unix)]
pub(super) fn write_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

/// Writes at a position. The file's own position is undefined afterwards.
#[cfg(not(unix))]
pub(super) fn write_at(mut file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    std::io::Seek::seek(&mut file, io::SeekFrom::Start(at))?;
    file.write_all(bytes)
}

fn take_lock(folder: &Path) -> Result<File> {
    let path = folder.join(LOCK_FILE);
    let mut file = private_file()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| named(&path, error))?;
    match try_lock(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(in_use(folder, &mut file)),
        Err(TryLockError::Error(error)) => return Err(named(&path, error)),
    }
    // Only for the message of a second process, so a failure (a full disk) does not matter.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// Locks a file. A process that is just ending, or a child that has not yet become another program, may hold it
/// for a moment longer, so it is asked for a while.
fn try_lock(file: &File) -> std::result::Result<(), TryLockError> {
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_WAIT => std::thread::sleep(LOCK_PAUSE),
            result => return result,
        }
    }
}

/// The sentence for a folder that another process holds.
fn in_use(folder: &Path, lock: &mut File) -> StorageError {
    let mut holder = String::new();
    // Windows refuses reads of a locked file; then the sentence goes without the number.
    let _ = lock.take(LINE_BYTES_MAX).read_to_string(&mut holder);
    let holder = match holder.trim() {
        "" => String::new(),
        id => format!(" (process {id})"),
    };
    StorageError::Unavailable(format!("another process{holder} is using the folder {}", folder.display()))
}

/// Whether the folder has a format file of this program's version; an error if it has one that it does not
/// understand.
fn has_format(folder: &Path) -> Result<bool> {
    let path = folder.join(FORMAT_FILE);
    let mut text = String::new();
    match private_file().read(true).open(&path) {
        Ok(file) => {
            file.take(LINE_BYTES_MAX).read_to_string(&mut text).map_err(|error| named(&path, error))?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(named(&path, error)),
    }
    // Empty is what a power cut leaves of a file whose first bytes never reached the disk.
    if text.is_empty() {
        return Ok(false);
    }
    let version = text.trim_end().strip_prefix("s3pail ").and_then(|version| version.parse::<u32>().ok());
    match version {
        Some(FORMAT_VERSION) => Ok(true),
        Some(FORMAT_VERSION_MIN..FORMAT_VERSION) => Ok(false),
        Some(version) if version < FORMAT_VERSION_MIN => Err(StorageError::Unavailable(format!(
            "the folder {} was written by an older s3pail (format {version}, this one knows {FORMAT_VERSION_MIN} to \
             {FORMAT_VERSION}): \
             let that one serve it, and copy the objects with an S3 client",
            folder.display()
        ))),
        Some(version) => Err(StorageError::Unavailable(format!(
            "the folder {} was written by a newer s3pail (format {version}, this one knows {FORMAT_VERSION})",
            folder.display()
        ))),
        None => Err(StorageError::Unavailable(format!("{} is not a format file of s3pail", path.display()))),
    }
}

/// An empty or absent format file is written again at the next start, so that no order of these steps can
/// go wrong.
fn write_format(path: &Path, synced: bool) -> io::Result<()> {
    let mut file = private_file().write(true).create(true).truncate(true).open(path)?;
    writeln!(file, "s3pail {FORMAT_VERSION}")?;
    if synced { file.sync_all() } else { Ok(()) }
}
