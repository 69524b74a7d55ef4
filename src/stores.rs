//! From the configuration to the stores it asks for: where records go, and which store each location
//! stands for.
//!
//! With data backend `mem` or `file` there is one store for all bodies. With `multiple` each location
//! has the store of its type: all of type `file` share one folder, all of type `mem` one memory, every
//! other one is a client of its own. Where a data daemon elsewhere is configured, it takes the place of the
//! folder: it has the bodies of all locations of type `file`.

use crate::config::{Backend, Config, Location, Remote};
use crate::crypto::keyring::Keyring;
use crate::housekeeping::{self, Sweep};
use crate::leftovers::{Leftovers, Queues};
use crate::log::Log;
use crate::model::object::Piece;
use crate::ops::service::Service;
use crate::sharing::{self, KeyClaims};
use crate::storage::data_client::{self, DataClient};
use crate::storage::fault::DiskFaults;
use crate::storage::file_meta::{FileMeta, FileMetaOptions};
use crate::storage::memory::{self, Budget, MemoryBlobs, MemoryMeta};
use crate::storage::remote_meta::{self, RemoteMeta};
use crate::storage::s3_upstream::{self, S3Blobs};
use crate::storage::shared_folder::SharedFolder;
use crate::storage::sproxyd::{self, SproxydBlobs};
use crate::storage::{BlobStore, MetaStore, StorageError};
use std::collections::HashMap;
use std::sync::Arc;

/// The stores of a server.
pub struct Stores {
    /// Records.
    pub meta: Arc<dyn MetaStore>,
    /// Bodies that name no location.
    pub blobs: Arc<dyn BlobStore>,
    /// The same as `blobs`, when it is a folder of files.
    folder: Option<Arc<SharedFolder>>,
    /// Bodies by location.
    pub locations: HashMap<String, Arc<dyn BlobStore>>,
    /// The same stores, when everything is in memory.
    memory: Option<MemoryStores>,
}

/// Records and bodies in memory, which can be copied in no time.
#[derive(Clone)]
pub struct MemoryStores {
    meta: Arc<MemoryMeta>,
    blobs: Arc<MemoryBlobs>,
}

impl MemoryStores {
    /// Without anything in them.
    pub fn empty() -> MemoryStores {
        let budget = Budget::new(u64::MAX);
        let blobs = Arc::new(MemoryBlobs::new(budget.clone()));
        MemoryStores { meta: Arc::new(MemoryMeta::new(budget)), blobs }
    }

    /// A copy as of now, see [`memory::fork`].
    ///
    /// # Errors
    /// A sentence that says what failed.
    pub fn fork(&self) -> Result<MemoryStores, String> {
        let (meta, blobs) = memory::fork(&self.meta, &self.blobs).map_err(|error| error.to_string())?;
        Ok(MemoryStores { meta: Arc::new(meta), blobs: Arc::new(blobs) })
    }

    /// The stores of a server.
    pub fn stores(&self) -> Stores {
        Stores {
            meta: self.meta.clone(),
            blobs: self.blobs.clone(),
            folder: None,
            locations: HashMap::new(),
            memory: Some(self.clone()),
        }
    }
}

impl Stores {
    /// Opens them. Remote stores are not asked yet: one that is away does not stop the start.
    ///
    /// # Errors
    /// A sentence that says what cannot be opened, and why.
    pub fn open(config: &Config) -> Result<Stores, String> {
        Stores::open_watched(config, None)
    }

    /// [`Stores::open`], with failures of the local files to simulate.
    ///
    /// # Errors
    /// As [`Stores::open`].
    pub fn open_watched(config: &Config, faults: Option<Arc<DiskFaults>>) -> Result<Stores, String> {
        let budget = Budget::new(config.memory_bytes);
        let memory_blobs = Arc::new(MemoryBlobs::new(budget.clone()));
        let memory: Arc<dyn BlobStore> = memory_blobs.clone();
        let mut in_memory = None;
        let mut folder = None;
        let remote = config.data_client.as_ref().map(data_client::Settings::of);
        let blobs: Arc<dyn BlobStore> = match remote {
            Some(settings) => Arc::new(DataClient::new(&settings)),
            None if !config.stores_body_files() => memory.clone(),
            None => {
                let lend = config.data_daemon.is_some();
                let sync = match config.metadata_client {
                    Some(_) => config.sync_modes().apart_from_records(),
                    None => config.sync_modes(),
                };
                let files = SharedFolder::open_watched(&config.data_path, sync, lend, faults.clone())
                    .map_err(|error| format!("{}: {error}", config.data_path.display()))?;
                folder.insert(Arc::new(files)).clone()
            }
        };
        let meta: Arc<dyn MetaStore> = match (&config.metadata_client, config.metadata) {
            (Some(remote), _) => Arc::new(RemoteMeta::new(&authority(remote), remote_meta::DEADLINES)),
            (None, Backend::Memory) => {
                let records = Arc::new(MemoryMeta::new(budget));
                if config.data == Backend::Memory && config.data_client.is_none() {
                    in_memory = Some(MemoryStores { meta: records.clone(), blobs: memory_blobs });
                }
                records
            }
            (None, _) => open_records(config, Some(blobs.clone()), faults)?,
        };
        let locations = match config.data {
            Backend::Memory => HashMap::new(),
            // Bodies that were written with `multiple` into the same folder stay readable.
            Backend::File => file_locations(config, &blobs),
            Backend::Multiple => open_locations(config, &blobs, &memory)?,
        };
        Ok(Stores { meta, blobs, folder, locations, memory: in_memory })
    }

    /// Records and bodies, when everything is in memory.
    pub fn in_memory(&self) -> Option<&MemoryStores> {
        self.memory.as_ref()
    }

    /// Makes sure that records in another process can be had, and that the bodies in this one's folder are
    /// theirs.
    ///
    /// # Errors
    /// A sentence that says which daemon does not answer, or which folder is not the records'.
    pub fn check_remote_records(&self, config: &Config) -> Result<(), String> {
        let Some(remote) = &config.metadata_client else { return Ok(()) };
        sharing::wait_for(self.meta.as_ref(), sharing::DAEMON_WAIT_MAX).map_err(|why| {
            format!("metadataClient: no metadata daemon serves at {}: {why}", authority(remote))
        })?;
        let Some(folder) = &self.folder else { return Ok(()) };
        housekeeping::check_pair(self.meta.as_ref(), folder.own()).map_err(|error| {
            format!(
                "{}: {error}; front ends that share a metadata daemon must share a data daemon too",
                config.data_path.display()
            )
        })
    }

    /// The folder of bodies, where there is one.
    pub fn folder(&self) -> Option<&Arc<SharedFolder>> {
        self.folder.as_ref()
    }

    /// Starts the sweep, unless the last run ended in order or there is nothing that outlives a run.
    ///
    /// Records in another process are changed by others meanwhile, and no scan of them shows one state, so
    /// nothing is swept by them.
    ///
    /// # Errors
    /// A sentence that says what failed.
    pub fn sweep_after_crash(&self, config: &Config, log: &Arc<Log>) -> Result<Option<Sweep>, String> {
        if config.metadata_client.is_some() {
            return Ok(None);
        }
        let clean = match housekeeping::take_clean_mark(self.meta.as_ref()) {
            Ok(clean) => clean,
            // Nothing is removed by records that cannot be trusted or changed. What they still have is served. On a
            // full device the mark of an orderly stop stays, so this run counts as ended in order, too.
            Err(StorageError::Corrupt(_) | StorageError::ReadOnly(_) | StorageError::Full(_)) => {
                return Ok(None);
            }
            Err(error) => return Err(format!("cannot read how the last run ended: {error}")),
        };
        let Some(folder) = self.folder.as_ref().filter(|_| !clean) else { return Ok(None) };
        let sweep = Sweep::start(self.meta.clone(), folder.own().clone(), log.clone());
        sweep.map_err(|error| format!("cannot start the sweep: {error}"))
    }

    /// Makes them a service.
    ///
    /// # Errors
    /// A sentence that says what failed.
    pub fn into_service(self, config: Config) -> Result<Service, String> {
        let queues = self.start_deleting()?;
        let leftovers = Leftovers::start(self.meta.clone(), queues.clone(), config.shares_records())?;
        let watched = queues.clone();
        let discard = Box::new(move |piece: Piece| {
            let _runs_as_long_as_this = &leftovers;
            queues.push(piece);
        });
        let meta = self.meta.clone();
        let mut service = Service::new(config, self.meta, self.blobs, discard);
        if service.config.metadata != Backend::Memory {
            let mut keyring = Keyring::open(&service.config.metadata_path)?;
            if service.config.shares_records() {
                keyring = keyring.shared(Box::new(KeyClaims(meta)))?;
            }
            service.keyring = Arc::new(keyring);
        }
        service.locations = self.locations;
        service.metrics.watch_deletes(move || watched.figures());
        Ok(service)
    }

    /// Starts to delete in the background what commits put on the to-delete list, beginning with what
    /// an earlier run left there. Returns what is to be told of every such body.
    ///
    /// # Errors
    /// A sentence that says what failed.
    fn start_deleting(&self) -> Result<Arc<Queues>, String> {
        let mut queues = Queues::default();
        let failed = |error| format!("cannot start the deleting thread: {error}");
        for (name, blobs) in std::iter::once(("", &self.blobs)).chain(each(&self.locations)) {
            queues.add(name, blobs, &self.meta).map_err(failed)?;
        }
        Ok(Arc::new(queues))
    }
}

/// Opens the folder of records.
///
/// # Errors
/// A sentence that says what cannot be opened, and why.
pub fn open_records(
    config: &Config,
    blobs: Option<Arc<dyn BlobStore>>,
    faults: Option<Arc<DiskFaults>>,
) -> Result<Arc<dyn MetaStore>, String> {
    let options = FileMetaOptions { blobs, faults, ..FileMetaOptions::new(config.sync_modes()) };
    let records = FileMeta::open(&config.metadata_path, options)
        .map_err(|error| format!("{}: {error}", config.metadata_path.display()))?;
    Ok(Arc::new(records))
}

/// `host:port` as it stands in a URL.
fn authority(remote: &Remote) -> String {
    match remote.host.contains(':') && !remote.host.starts_with('[') {
        true => format!("[{}]:{}", remote.host, remote.port),
        false => format!("{}:{}", remote.host, remote.port),
    }
}

fn each(
    locations: &HashMap<String, Arc<dyn BlobStore>>,
) -> impl Iterator<Item = (&str, &Arc<dyn BlobStore>)> {
    locations.iter().map(|(name, blobs)| (name.as_str(), blobs))
}

fn file_locations(config: &Config, blobs: &Arc<dyn BlobStore>) -> HashMap<String, Arc<dyn BlobStore>> {
    let files = config.locations.iter().filter(|(_, location)| location.kind == "file");
    files.map(|(name, _)| (name.clone(), blobs.clone())).collect()
}

fn open_locations(
    config: &Config,
    files: &Arc<dyn BlobStore>,
    memory: &Arc<dyn BlobStore>,
) -> Result<HashMap<String, Arc<dyn BlobStore>>, String> {
    let open = |(name, location): (&String, &Location)| {
        let store: Arc<dyn BlobStore> = match location.kind.as_str() {
            "mem" => memory.clone(),
            "file" => files.clone(),
            "scality" => {
                let settings = sproxyd::Settings::from_details(&location.details);
                Arc::new(SproxydBlobs::new(&settings.map_err(|error| format!("location {name}: {error}"))?))
            }
            "aws_s3" => {
                let settings = s3_upstream::Settings::from_details(&location.details);
                Arc::new(S3Blobs::new(settings.map_err(|error| format!("location {name}: {error}"))?))
            }
            kind => return Err(format!("location {name}: type {kind} is not built")),
        };
        Ok((name.clone(), store))
    };
    config.locations.iter().map(open).collect()
}
