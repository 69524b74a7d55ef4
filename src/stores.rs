//! From the configuration to the stores it asks for: where records go, and which store each location
//! stands for.
//!
//! With data backend `mem` or `file` there is one store for all bodies. With `multiple` each location
//! has the store of its type: all of type `file` share one folder, all of type `mem` one memory, every
//! other one is a client of its own. Where a data daemon elsewhere is configured, it takes the place of the
//! folder: it has the bodies of all locations of type `file`.

use crate::config::{Backend, Config, Location};
use crate::crypto::keyring::Keyring;
use crate::housekeeping::{self, Sweep};
use crate::log::Log;
use crate::model::keys;
use crate::model::object::Piece;
use crate::ops::service::{Service, unreserve};
use crate::storage::data_client::{self, DataClient};
use crate::storage::file_meta::{FileMeta, FileMetaOptions};
use crate::storage::memory::{self, Budget, MemoryBlobs, MemoryMeta};
use crate::storage::s3_upstream::{self, S3Blobs};
use crate::storage::shared_folder::SharedFolder;
use crate::storage::sproxyd::{self, SproxydBlobs};
use crate::storage::sweep::DeleteQueue;
use crate::storage::{BlobStore, MetaStore, Outcome, StorageError, Visit};
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
        let budget = Budget::new(u64::MAX);
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
                let files = SharedFolder::open(&config.data_path, config.sync, lend)
                    .map_err(|error| format!("{}: {error}", config.data_path.display()))?;
                folder.insert(Arc::new(files)).clone()
            }
        };
        let meta: Arc<dyn MetaStore> = match config.metadata {
            Backend::Memory => {
                let records = Arc::new(MemoryMeta::new(budget));
                if config.data == Backend::Memory && config.data_client.is_none() {
                    in_memory = Some(MemoryStores { meta: records.clone(), blobs: memory_blobs });
                }
                records
            }
            _ => {
                let options =
                    FileMetaOptions { blobs: Some(blobs.clone()), ..FileMetaOptions::new(config.sync) };
                let records = FileMeta::open(&config.metadata_path, options)
                    .map_err(|error| format!("{}: {error}", config.metadata_path.display()))?;
                Arc::new(records)
            }
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

    /// The folder of bodies, where there is one.
    pub fn folder(&self) -> Option<&Arc<SharedFolder>> {
        self.folder.as_ref()
    }

    /// Starts the sweep, unless the last run ended in order or there is nothing that outlives a run.
    ///
    /// # Errors
    /// A sentence that says what failed.
    pub fn sweep_after_crash(&self, log: &Arc<Log>) -> Result<Option<Sweep>, String> {
        let clean = housekeeping::take_clean_mark(self.meta.as_ref())
            .map_err(|error| format!("cannot read how the last run ended: {error}"))?;
        let Some(folder) = self.folder.as_ref().filter(|_| !clean) else { return Ok(None) };
        let sweep = Sweep::start(self.meta.clone(), folder.own().clone(), log.clone());
        sweep.map(Some).map_err(|error| format!("cannot start the sweep: {error}"))
    }

    /// Makes them a service.
    ///
    /// # Errors
    /// A sentence that says what failed.
    pub fn into_service(self, config: Config) -> Result<Service, String> {
        let discard = self.start_deleting()?;
        let mut service = Service::new(config, self.meta, self.blobs, discard);
        if service.config.metadata != Backend::Memory {
            service.keyring = Arc::new(Keyring::open(&service.config.metadata_path)?);
        }
        service.locations = self.locations;
        Ok(service)
    }

    /// Starts to delete in the background what commits put on the to-delete list, beginning with what
    /// an earlier run left there. Returns what is to be told of every such body.
    ///
    /// # Errors
    /// A sentence that says what failed.
    fn start_deleting(&self) -> Result<Box<dyn Fn(Piece) + Send + Sync>, String> {
        let mut queues = Queues::default();
        let failed = |error| format!("cannot start the deleting thread: {error}");
        for (name, blobs) in std::iter::once(("", &self.blobs)).chain(each(&self.locations)) {
            queues.add(name, blobs, &self.meta).map_err(failed)?;
        }
        feed_leftovers(self.meta.as_ref(), &queues)
            .map_err(|error| format!("cannot read the to-delete list: {error}"))?;
        Ok(Box::new(move |piece: Piece| {
            if let Some(queue) = queues.of(&piece.location) {
                let record_key = keys::garbage(&piece.location, &piece.id);
                queue.push(piece.id, record_key);
            }
        }))
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

/// One deleting thread for each store, and which location has which.
#[derive(Default)]
struct Queues {
    queues: Vec<(Arc<dyn BlobStore>, DeleteQueue)>,
    by_location: HashMap<String, usize>,
}

impl Queues {
    fn add(
        &mut self,
        name: &str,
        blobs: &Arc<dyn BlobStore>,
        meta: &Arc<dyn MetaStore>,
    ) -> Result<(), StorageError> {
        let index = match self.queues.iter().position(|(known, _)| Arc::ptr_eq(known, blobs)) {
            Some(index) => index,
            None => {
                self.queues.push((blobs.clone(), DeleteQueue::start(blobs.clone(), meta.clone())?));
                self.queues.len() - 1
            }
        };
        self.by_location.insert(name.to_owned(), index);
        Ok(())
    }

    fn of(&self, location: &str) -> Option<&DeleteQueue> {
        self.by_location.get(location).map(|index| &self.queues[*index].1)
    }
}

/// Hands what an earlier run left on the to-delete list to the deleting threads, a page at a time.
/// Bodies of a location that is not configured any more stay on the list.
fn feed_leftovers(meta: &dyn MetaStore, queues: &Queues) -> Result<(), StorageError> {
    const PAGE: usize = 1_000;
    let range = keys::all_garbage();
    let mut start = range.start.clone();
    loop {
        let mut page: Vec<(Vec<u8>, bool)> = Vec::new();
        meta.scan(&start..&range.end, &mut |key, value| {
            page.push((key.to_vec(), value == keys::RESERVED));
            if page.len() < PAGE { Visit::Next } else { Visit::Stop }
        })?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        start = [last.as_slice(), b"\0"].concat();
        for (key, reserved) in page {
            let Some((location, id)) = keys::split_garbage(&key) else { continue };
            let Some(queue) = queues.of(&location) else { continue };
            if !reserved || unreserve(meta, key.clone())? == Outcome::Committed {
                queue.push(id, key);
            }
        }
    }
}
