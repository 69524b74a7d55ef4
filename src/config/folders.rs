//! The folders that a server writes to: made when they are missing, and refused with a sentence that
//! helps (which folder, which user) when they cannot be written.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::given::ConfigError;
use super::settings::{Id, setting};
use super::{Backend, Config, Role};
use crate::storage::layout;

/// Makes and tries the folders that `config` writes to. Nothing outside them is touched.
pub fn prepare(config: &Config) -> Result<(), ConfigError> {
    if config.stores_body_files() {
        prepare_one(&config.data_path, Id::DataPath)?;
    }
    if config.stores_record_files() {
        prepare_one(&config.metadata_path, Id::MetadataPath)?;
    }
    Ok(())
}

impl Config {
    /// Whether any body may go to local files.
    pub fn stores_body_files(&self) -> bool {
        match self.data {
            Backend::Memory => false,
            _ if self.role == Role::Metadata || self.data_client.is_some() => false,
            _ if self.role == Role::Data => true,
            Backend::File => true,
            Backend::Multiple => self.locations.values().any(|location| location.kind == "file"),
        }
    }

    /// Whether other front ends may use the same records: those of a daemon, or of this process while its
    /// own daemon serves them.
    pub fn shares_records(&self) -> bool {
        self.metadata_client.is_some() || self.metadata_daemon.is_some()
    }

    /// Whether records, or the keys of a front end whose records are elsewhere, go to local files.
    pub fn stores_record_files(&self) -> bool {
        self.metadata == Backend::File && self.role != Role::Data
    }
}

fn prepare_one(folder: &Path, id: Id) -> Result<(), ConfigError> {
    try_writing(folder).map_err(|error| {
        let setting = setting(id);
        ConfigError(format!(
            "{}: cannot be written{}: {error}; allowed for {} or {}: a folder that this user can write",
            folder.display(),
            user(),
            setting.flag,
            setting.variables.join(", "),
        ))
    })
}

/// A file is really made: permission bits do not tell about read-only mounts. A full device says nothing about
/// permissions, and a server must start there, or nobody could delete anything.
fn try_writing(folder: &Path) -> io::Result<()> {
    layout::create_folder(folder)?;
    let probe = folder.join(format!(".s3pail-probe-{}", std::process::id()));
    match layout::private_file().write(true).create_new(true).open(&probe) {
        Ok(_) => fs::remove_file(&probe),
        Err(error) if [ErrorKind::StorageFull, ErrorKind::QuotaExceeded].contains(&error.kind()) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
fn user() -> String {
    use std::os::unix::fs::MetadataExt;
    // The owner of a process's own folder is its effective user; elsewhere than on Linux the sentence
    // goes without.
    fs::metadata("/proc/self").map_or(String::new(), |process| format!(" by uid {}", process.uid()))
}

#[cfg(not(unix))]
fn user() -> String {
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_folder_that_is_a_file_is_refused_by_name() {
        let folder = std::env::temp_dir().join(format!("s3pail-folders-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut config = Config { data_path: folder.join("a/b"), ..Config::embedded() };
        config.metadata_path = folder.join("file");
        File::create(&config.metadata_path).unwrap();
        let error = prepare(&config).unwrap_err();
        assert!(config.data_path.is_dir());
        assert!(error.0.starts_with(&config.metadata_path.display().to_string()), "{error}");
        assert!(error.0.contains("--metadata-path"), "{error}");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn memory_needs_no_folder() {
        assert!(!Config::in_memory().stores_body_files());
        assert!(prepare(&Config::in_memory()).is_ok());
    }
}
