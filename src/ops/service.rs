//! What every operation works with: the stores, the accounts, the clock, the settings.

use crate::auth::account::Accounts;
use crate::auth::policy::Policy;
use crate::codec::clock::Clock;
use crate::codec::hex;
use crate::config::Config;
use crate::crypto::keyring::Keyring;
use crate::error::{Code, Error, Result};
use crate::model::bucket::BucketRecord;
use crate::model::object::{Piece, bodies};
use crate::model::{BucketName, keys};
use crate::storage::{Batch, BlobStore, MetaStore, Outcome, StorageError, SyncMode};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, RwLock};

/// How often a write decides again after another write changed what it had read. Some write always
/// succeeds, so this only bounds a pathological crowd on one key.
pub const COMMIT_TRIES_MAX: u32 = 1_000;

/// The most decoded bucket records that are kept.
const BUCKETS_CACHED_MAX: usize = 1_024;

/// Decides whether one key of a DeleteObjects is refused, and how.
pub type RefuseKey = Box<dyn Fn(&super::Context<'_>, &str) -> Option<Error> + Send + Sync>;

/// A bucket as it was when the request began.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// Its name.
    pub name: BucketName,
    /// Its record.
    pub record: BucketRecord,
    /// The stored form, which commits expect to find unchanged.
    pub stored: Vec<u8>,
    /// The policy, read when it is first asked for; `None` inside when it cannot be read.
    policy: OnceLock<Option<Policy>>,
}

impl Bucket {
    /// A bucket as it was found.
    pub fn new(name: BucketName, record: BucketRecord, stored: Vec<u8>) -> Bucket {
        Bucket { name, record, stored, policy: OnceLock::new() }
    }

    /// The policy, if the bucket has one.
    ///
    /// # Errors
    /// `InternalError` for one that was accepted once and cannot be read now: nobody must be let in as
    /// if it were not there.
    pub fn policy(&self) -> Result<Option<&Policy>> {
        let Some(document) = &self.record.policy else { return Ok(None) };
        let read = || Policy::parse(document.as_bytes(), self.name.as_str()).ok();
        match self.policy.get_or_init(read) {
            Some(policy) => Ok(Some(policy)),
            None => Err(Error::internal(format!("the policy of {} cannot be read", self.name))),
        }
    }
}

/// The shared state of a server. Immutable but for the caches.
pub struct Service {
    /// Checked settings.
    pub config: Config,
    /// The source of time.
    pub clock: Clock,
    /// Records.
    pub meta: Arc<dyn MetaStore>,
    /// Bodies that have no location of their own.
    pub blobs: Arc<dyn BlobStore>,
    /// Bodies by location, when there is more than one store.
    pub locations: HashMap<String, Arc<dyn BlobStore>>,
    /// Hosts that carry buckets in front.
    pub hosts: Vec<String>,
    /// The master keys of server-side encryption.
    pub keyring: Arc<Keyring>,
    /// Told of every body that a commit put on the to-delete list.
    pub discard: Box<dyn Fn(Piece) + Send + Sync>,
    /// Lets one lifecycle walk run at a time.
    pub lifecycle: crate::lifecycle::Turn,
    /// Wakes the scrub.
    pub scrub: crate::scrub::Turn,
    /// The way into the access logs of buckets.
    pub access_log: crate::access_log::AccessLog,
    /// Events that wait for others, or to be polled.
    pub notifications: crate::notifications::Notifications,
    /// Counts for `/metrics`.
    pub metrics: crate::metrics::Metrics,
    /// Lets a test fixture refuse single keys of DeleteObjects; `None` refuses nothing.
    pub refuse_key: Option<RefuseKey>,
    /// Counts of requests, when there is a Redis to keep them in.
    pub statistics: Option<crate::statistics::Statistics>,
    /// Reads that met bit rot.
    pub damage: Arc<crate::damage::Damage>,
    /// Decoded bucket records, each valid while the stored bytes are the same.
    buckets: RwLock<HashMap<BucketName, Arc<Bucket>>>,
}

impl Service {
    /// Puts the parts together.
    pub fn new(
        config: Config,
        meta: Arc<dyn MetaStore>,
        blobs: Arc<dyn BlobStore>,
        discard: Box<dyn Fn(Piece) + Send + Sync>,
    ) -> Service {
        let endpoints = config.rest_endpoints.keys().chain(&config.website_endpoints);
        let hosts = endpoints.map(|host| host.to_ascii_lowercase()).collect();
        let statistics = config.local_cache.as_ref().map(|_| crate::statistics::Statistics::default());
        Service {
            config,
            statistics,
            metrics: crate::metrics::Metrics::default(),
            clock: Clock::system(),
            meta,
            blobs,
            locations: HashMap::new(),
            hosts,
            keyring: Arc::new(Keyring::in_memory()),
            discard,
            lifecycle: crate::lifecycle::Turn::default(),
            scrub: crate::scrub::Turn::default(),
            access_log: crate::access_log::AccessLog::default(),
            notifications: crate::notifications::Notifications::default(),
            damage: Arc::default(),
            refuse_key: None,
            buckets: RwLock::default(),
        }
    }

    /// All accounts.
    pub fn accounts(&self) -> &Accounts {
        &self.config.accounts
    }

    /// The display name of an account, for `Owner` elements.
    pub fn display_name(&self, canonical_id: &str) -> Option<&str> {
        self.accounts().by_canonical_id(canonical_id).map(|account| account.name.as_str())
    }

    /// Reads a bucket's record.
    ///
    /// # Errors
    /// `InternalError` when the store fails.
    pub fn find_bucket(&self, name: &BucketName) -> Result<Option<Arc<Bucket>>> {
        let Some(stored) = self.meta.get(&keys::bucket(name)).map_err(store_error)? else { return Ok(None) };
        let cached = self.buckets.read().unwrap_or_else(|poisoned| poisoned.into_inner()).get(name).cloned();
        if let Some(bucket) = cached.filter(|bucket| bucket.stored == stored) {
            return Ok(Some(bucket));
        }
        let record = BucketRecord::decode(&stored).map_err(store_error)?;
        let bucket = Arc::new(Bucket::new(name.clone(), record, stored));
        let mut cache = self.buckets.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        if cache.len() >= BUCKETS_CACHED_MAX {
            cache.clear();
        }
        cache.insert(name.clone(), bucket.clone());
        Ok(Some(bucket))
    }

    /// Reads the record of a bucket that must exist.
    ///
    /// # Errors
    /// `NoSuchBucket`, `InternalError`.
    pub fn bucket(&self, name: &BucketName) -> Result<Arc<Bucket>> {
        self.find_bucket(name)?.ok_or_else(|| no_such_bucket(name))
    }

    /// Changes a bucket's record, deciding again whenever somebody else changed it first.
    ///
    /// # Errors
    /// What `change` returns, `NoSuchBucket`, `OperationAborted`.
    pub fn update_bucket(
        &self,
        name: &BucketName,
        change: &mut dyn FnMut(&mut BucketRecord) -> Result<()>,
    ) -> Result<()> {
        for _ in 0..COMMIT_TRIES_MAX {
            let bucket = self.bucket(name)?;
            let mut record = bucket.record.clone();
            change(&mut record)?;
            let mut batch = Batch::new();
            batch.expect(keys::bucket(name), Some(bucket.stored.clone()));
            batch.put(keys::bucket(name), record.encode());
            if self.commit_settings(batch)? == Outcome::Committed {
                return Ok(());
            }
        }
        Err(Code::OperationAborted.into())
    }

    /// Commits a batch that creates, removes or configures a bucket: durable before the answer wherever anything
    /// is ever made durable.
    ///
    /// # Errors
    /// As [`store_error`].
    pub fn commit_settings(&self, batch: Batch) -> Result<Outcome> {
        self.commit(Batch { sync: Some(SyncMode::Strict), ..batch })
    }

    /// What changes to the objects of a bucket promise, if not what is usual: what the bucket's location says.
    /// Where a request sends a single object does not count, because no header may choose a promise.
    pub fn sync_in(&self, bucket: &BucketRecord) -> Option<SyncMode> {
        self.config.sync_in(&bucket.location)
    }

    /// An empty batch for changes to the objects of a bucket.
    pub fn batch_in(&self, bucket: &BucketRecord) -> Batch {
        Batch { sync: self.sync_in(bucket), ..Batch::new() }
    }

    /// Commits a batch.
    ///
    /// # Errors
    /// As [`store_error`].
    pub fn commit(&self, batch: Batch) -> Result<Outcome> {
        self.meta.commit(batch).map_err(store_error)
    }

    /// The store that has (or will have) the bodies of a location.
    ///
    /// # Errors
    /// `InternalError` for a location that is not configured any more.
    pub fn blobs_of(&self, location: &str) -> Result<&Arc<dyn BlobStore>> {
        if location.is_empty() {
            return Ok(&self.blobs);
        }
        self.locations
            .get(location)
            .ok_or_else(|| Error::internal(format!("location {location:?} is not configured any more")))
    }

    /// Adds the removal of bodies to a batch: a body kept as a record goes at once, another one goes
    /// on the to-delete list in the same transaction that stops naming it.
    pub fn discard_in(&self, batch: &mut Batch, pieces: &[Piece]) {
        for piece in bodies(pieces) {
            if piece.inline {
                batch.remove(keys::inline_body(&piece.id));
            } else {
                batch.put(keys::garbage(&piece.location, &piece.id), Vec::new());
            }
        }
    }

    /// Tells the deleting thread of bodies that a commit has put on the to-delete list.
    pub fn discarded(&self, pieces: Vec<Piece>) {
        let on_list = bodies(&pieces).filter(|piece| !piece.inline);
        on_list.for_each(|piece| (self.discard)(piece.clone()));
    }

    /// Puts a body that is about to be written on the to-delete list, marked as reserved.
    ///
    /// # Errors
    /// As [`store_error`].
    pub fn reserve(&self, piece: &Piece) -> Result<()> {
        let mut batch = Batch::new();
        batch.put(keys::garbage(&piece.location, &piece.id), keys::reservation(self.clock.now()));
        self.commit(batch).map(|_| ())
    }

    /// Adds to the batch that publishes bodies the end of their reservations.
    ///
    /// # Errors
    /// `ServiceUnavailable` when one is gone: somebody has taken the body for a left-over.
    pub fn publish_in(&self, batch: &mut Batch, pieces: &[Piece]) -> Result<()> {
        for piece in pieces.iter().filter(|piece| self.is_reserved(piece)) {
            let key = keys::garbage(&piece.location, &piece.id);
            let entry = self.meta.get(&key).map_err(store_error)?;
            let Some(entry) = entry.filter(|entry| keys::reserved_at(entry).is_some()) else {
                let cause = format!("the reservation of {} is gone", piece.id.0);
                return Err(Error::new(Code::ServiceUnavailable).cause(cause));
            };
            batch.expect(key.clone(), Some(entry));
            batch.remove(key);
        }
        Ok(())
    }

    fn is_reserved(&self, piece: &Piece) -> bool {
        !piece.inline && self.blobs_of(&piece.location).is_ok_and(|blobs| blobs.reserves())
    }

    /// [`Service::drop_unnamed`] after a commit that failed with an error. When the commit is in doubt, a
    /// record may name the bodies: those that a sweep would find are left to it. A reserved body is given up
    /// by a commit of its own, of which and the one in doubt only one can succeed.
    pub fn drop_after(&self, error: &Error, pieces: &[Piece]) {
        let may_go = |piece: &&Piece| !error.is_in_doubt() || self.is_reserved(piece);
        self.drop_unnamed(&pieces.iter().filter(may_go).cloned().collect::<Vec<_>>());
    }

    /// Removes bodies that no record ever named, after a failed write. What cannot be removed now is
    /// left to the sweep; a reserved body becomes an ordinary entry of the to-delete list.
    ///
    /// When the store of records has stopped (a sync failed), nothing is removed: the commit that was
    /// answered with an error may turn out to have happened at the next start, and then names the body.
    pub fn drop_unnamed(&self, pieces: &[Piece]) {
        if self.meta.health().code != 200 {
            return;
        }
        for piece in pieces.iter().filter(|piece| !piece.inline) {
            if self.is_reserved(piece) {
                let key = keys::garbage(&piece.location, &piece.id);
                if unreserve(&*self.meta, key).unwrap_or(false) {
                    (self.discard)(piece.clone());
                }
            } else if let Ok(blobs) = self.blobs_of(&piece.location) {
                match blobs.lists() {
                    true => _ = blobs.delete(&piece.id),
                    false => self.drop_without_sweep(piece),
                }
            }
        }
    }

    /// Removes a body that no sweep would find, by way of the to-delete list.
    fn drop_without_sweep(&self, piece: &Piece) {
        let mut batch = Batch::new();
        batch.put(keys::garbage(&piece.location, &piece.id), Vec::new());
        if self.meta.commit(batch).is_ok_and(|outcome| outcome == Outcome::Committed) {
            (self.discard)(piece.clone());
        }
    }
}

/// Makes a reserved entry of the to-delete list an ordinary one, unless its body has been published.
/// Whether it did.
///
/// # Errors
/// What the store says.
pub fn unreserve(meta: &dyn MetaStore, entry: Vec<u8>) -> std::result::Result<bool, StorageError> {
    let found = meta.get(&entry)?.filter(|value| keys::reserved_at(value).is_some());
    let Some(value) = found else { return Ok(false) };
    let mut batch = Batch::new();
    batch.expect(entry.clone(), Some(value));
    batch.put(entry, Vec::new());
    Ok(meta.commit(batch)? == Outcome::Committed)
}

/// `NoSuchBucket` with the bucket's name.
pub fn no_such_bucket(name: &BucketName) -> Error {
    Error::new(Code::NoSuchBucket).field("BucketName", name.as_str())
}

/// The S3 error for a failure of a store.
pub fn store_error(error: StorageError) -> Error {
    match &error {
        StorageError::Full(_) => Error::new(Code::InsufficientStorage).cause(error),
        StorageError::ReadOnly(_) | StorageError::Unavailable(_) => {
            Error::new(Code::ServiceUnavailable).cause(error)
        }
        StorageError::InDoubt(_) => Error::new(Code::ServiceUnavailable).cause(error).in_doubt(),
        StorageError::Corrupt(_) | StorageError::Io(_) => Error::internal(error),
    }
}

/// A request id: 16 upper-case hexadecimal digits, as S3's.
pub fn request_id() -> String {
    hex(&crate::codec::ids::id_bytes()).to_ascii_uppercase()
}
