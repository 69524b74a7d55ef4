//! What front ends agree on that share one store of records: who does what only one may do at a time,
//! and that all have the same encryption keys.
//!
//! Nothing here compares the clocks of two machines. A lease is a record with its owner and a number that
//! the owner raises; whoever wants it watches the record by its own clock and takes it over, in a
//! conditional commit, when it has not changed for [`LEASE_AGE`].

use crate::codec::{hex, random};
use crate::crypto::keyring::{Claims, KeyError};
use crate::model::keys;
use crate::storage::{Batch, MetaStore, Outcome, StorageError};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A lease that its owner has not renewed for so long may be taken over.
pub const LEASE_AGE: Duration = Duration::from_secs(30);

/// An owner renews its lease when it is older than this.
pub const LEASE_RENEWAL: Duration = Duration::from_secs(10);

/// How long a front end waits at its start for its metadata daemon.
pub const DAEMON_WAIT_MAX: Duration = Duration::from_secs(30);

/// The pause between two looks for the daemon.
const DAEMON_PAUSE: Duration = Duration::from_millis(250);

/// How often a claim is tried again when another front end claims something at the same moment.
const CLAIM_TRIES_MAX: u32 = 100;

/// The right to do what only one front end does at a time.
///
/// What an owner does between two calls of [`Lease::hold`] must take less than [`LEASE_AGE`] without
/// [`LEASE_RENEWAL`]; then no two hold the same lease at one time.
pub struct Lease {
    meta: Arc<dyn MetaStore>,
    /// `None` where records are not shared: then everything is this process's.
    record_key: Option<Vec<u8>>,
    owner: String,
    number: u64,
    /// The record that this owner wrote, and when.
    held: Option<(Vec<u8>, Instant)>,
    /// The record of another owner, and since when it has been the same.
    watched: Option<(Vec<u8>, Instant)>,
    age: Duration,
}

impl Lease {
    /// A lease that is not held yet. With `shared` false there are no others, and it costs nothing.
    pub fn new(meta: Arc<dyn MetaStore>, name: &str, shared: bool) -> Lease {
        Lease::of_age(meta, name, shared, LEASE_AGE)
    }

    /// The same, to be taken over after another time than [`LEASE_AGE`].
    pub fn of_age(meta: Arc<dyn MetaStore>, name: &str, shared: bool, age: Duration) -> Lease {
        let record_key = shared.then(|| keys::lease(name));
        Lease { meta, record_key, owner: hex(&random::<8>()), number: 0, held: None, watched: None, age }
    }

    /// Takes or renews the lease; whether it is held now.
    ///
    /// # Errors
    /// What the store says; then it is not held.
    pub fn hold(&mut self) -> Result<bool, StorageError> {
        let Some(record_key) = self.record_key.clone() else { return Ok(true) };
        if self.held.as_ref().is_some_and(|(_, since)| since.elapsed() < LEASE_RENEWAL.min(self.age / 3)) {
            return Ok(true);
        }
        // From before the commit, so that the owner never believes to hold it longer than others do.
        let now = Instant::now();
        let expected = match self.held.take() {
            Some((record, _)) => Some(record),
            None => match self.meta.get(&record_key)? {
                Some(record) if !self.may_take(&record, now) => return Ok(false),
                other => other,
            },
        };
        self.number += 1;
        let record = format!("{} {}", self.owner, self.number).into_bytes();
        let mut batch = Batch::new();
        batch.expect(record_key.clone(), expected);
        batch.put(record_key, record.clone());
        if self.meta.commit(batch)? == Outcome::Conflict {
            return Ok(false);
        }
        self.held = Some((record, now));
        Ok(true)
    }

    fn may_take(&mut self, record: &[u8], now: Instant) -> bool {
        // The answer to a commit of our own was lost.
        if record.starts_with(format!("{} ", self.owner).as_bytes()) {
            return true;
        }
        match &self.watched {
            Some((watched, since)) if watched == record => now.duration_since(*since) >= self.age,
            _ => {
                self.watched = Some((record.to_vec(), now));
                false
            }
        }
    }

    /// Gives the lease up, so that others need not wait.
    pub fn release(&mut self) {
        let (Some(record_key), Some((record, _))) = (self.record_key.clone(), self.held.take()) else {
            return;
        };
        let mut batch = Batch::new();
        batch.expect(record_key.clone(), Some(record));
        batch.remove(record_key);
        // If it cannot be given up, it ages.
        let _ = self.meta.commit(batch);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.release();
    }
}

/// Waits until a store in another process answers.
///
/// # Errors
/// What it said last, after `wait`.
pub fn wait_for(meta: &dyn MetaStore, wait: Duration) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let health = meta.health();
        if health.code == 200 {
            return Ok(());
        }
        if begun.elapsed() >= wait {
            return Err(health.message);
        }
        std::thread::sleep(DAEMON_PAUSE);
    }
}

/// The record, for all front ends, of which keys there are: a name, and the fingerprint of a key or what
/// the name stands for. The keys themselves are in each front end's file only.
pub struct KeyClaims(pub Arc<dyn MetaStore>);

impl Claims for KeyClaims {
    fn claim(&self, names: &BTreeMap<String, String>) -> Result<(), KeyError> {
        let failed = |error: StorageError| KeyError::Io(io::Error::other(error));
        for _ in 0..CLAIM_TRIES_MAX {
            let mut batch = Batch::new();
            for (name, value) in names {
                let record_key = keys::key_claim(name);
                let found = self.0.get(&record_key).map_err(failed)?;
                match &found {
                    Some(found) if found != value.as_bytes() => return Err(KeyError::Foreign(name.clone())),
                    Some(_) => {}
                    None => batch.put(record_key.clone(), value.as_bytes()),
                }
                batch.expect(record_key, found);
            }
            if batch.writes.is_empty() || self.0.commit(batch).map_err(failed)? == Outcome::Committed {
                return Ok(());
            }
        }
        Err(KeyError::Io(io::Error::other("other front ends made keys all the time")))
    }

    fn claimed(&self, name: &str) -> Result<Option<String>, KeyError> {
        let found = self.0.get(&keys::key_claim(name));
        let found = found.map_err(|error| KeyError::Io(io::Error::other(error)))?;
        Ok(found.map(|value| String::from_utf8_lossy(&value).into_owned()))
    }

    fn release(&self, names: &BTreeMap<String, String>) {
        let mut batch = Batch::new();
        for (name, value) in names {
            let record_key = keys::key_claim(name);
            batch.expect(record_key.clone(), Some(value.clone().into_bytes()));
            batch.remove(record_key);
        }
        // What stays claimed is named at the next start.
        let _ = self.0.commit(batch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::keyring::Keyring;
    use crate::storage::memory::{Budget, MemoryMeta};

    fn meta() -> Arc<dyn MetaStore> {
        Arc::new(MemoryMeta::new(Budget::new(u64::MAX)))
    }

    #[test]
    fn a_lease_is_held_by_one_until_it_is_given_up() {
        let meta = meta();
        let [mut one, mut other] = [(); 2].map(|()| Lease::new(meta.clone(), "work", true));
        assert!(one.hold().unwrap() && one.hold().unwrap());
        assert!(!other.hold().unwrap() && !other.hold().unwrap());
        one.release();
        assert!(other.hold().unwrap() && !one.hold().unwrap());
        drop(other);
        assert!(one.hold().unwrap());
    }

    #[test]
    fn a_lease_that_is_not_renewed_is_taken_over_and_its_owner_finds_out() {
        let meta = meta();
        let age = Duration::from_millis(30);
        let [mut one, mut other] = [(); 2].map(|()| Lease::of_age(meta.clone(), "work", true, age));
        assert!(one.hold().unwrap());
        let begun = Instant::now();
        while !other.hold().unwrap() {
            assert!(begun.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(1));
        }
        // The owner's own time is up as well, so it asks the store, which says no.
        assert!(!one.hold().unwrap());
    }

    #[test]
    fn what_nobody_shares_needs_no_lease() {
        let meta = meta();
        let [mut one, mut other] = [(); 2].map(|()| Lease::new(meta.clone(), "work", false));
        assert!(one.hold().unwrap() && other.hold().unwrap());
        assert_eq!(meta.get(&keys::lease("work")).unwrap(), None);
    }

    #[test]
    fn two_rings_over_the_same_records_never_have_different_keys_of_one_name() {
        let meta = meta();
        let ring = || Keyring::in_memory().shared(Box::new(KeyClaims(meta.clone())));
        let [one, other] = [(); 2].map(|()| ring().unwrap());
        let key = one.service_key().unwrap();
        assert_eq!(one.service_key().unwrap().id, key.id);
        assert!(matches!(other.service_key(), Err(KeyError::Foreign(_))));
        one.named("a-name").unwrap();
        assert!(matches!(other.named("a-name"), Err(KeyError::Foreign(_))));
        other.named("alias/mine").unwrap();
        assert!(matches!(one.named("alias/mine"), Err(KeyError::Foreign(_))));
        // A ring that lacks the key with which everything is encrypted is not one of theirs.
        let error = ring().err().unwrap();
        assert!(error.contains("other front ends"), "{error}");
    }
}
