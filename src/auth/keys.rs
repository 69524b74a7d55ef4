//! Signing keys: how Signature Version 4 derives them from secrets, and a cache of derived ones.
//!
//! A derived key is kept as the state of HMAC after both padded key blocks, so that a signature costs
//! no SHA-256 block beyond its text and one for the outer hash.

use super::hex_mac;
use super::mac::Mac;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

/// HMAC-SHA256, ready for its text.
pub type HmacSha256 = Mac;

/// HMAC-SHA256 with a key of any length.
pub fn hmac_sha256(key: &[u8]) -> HmacSha256 {
    Mac::sha256(key)
}

/// SHA-256 of bytes in memory.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// The signing key for a day (`yyyymmdd`) and region of service `s3` ("Calculating a signature" in the
/// S3 API reference).
pub fn derive(secret: &str, date: &str, region: &str) -> HmacSha256 {
    let mut first = Vec::with_capacity(4 + secret.len());
    first.extend_from_slice(b"AWS4");
    first.extend_from_slice(secret.as_bytes());
    let mut key = hmac_sha256(&first);
    for text in [date, region, "s3", "aws4_request"] {
        key.update(text.as_bytes());
        key = hmac_sha256(key.finalize().as_ref());
    }
    key
}

/// The signature of a text under a derived key, in lower-case hexadecimal.
pub fn signature(key: &HmacSha256, text: &str) -> String {
    hex_mac(key.clone().chain_update(text.as_bytes()))
}

/// Days and regions remembered for one access key; the oldest gives way.
pub const SCOPES_PER_KEY_MAX: usize = 16;
/// Access keys remembered; when they are more, all are forgotten and derived again on use.
pub const CACHED_KEYS_MAX: usize = 4096;

/// Derived signing keys by access key, day and region.
///
/// Only keys that have verified a signature are put in, so a stranger who invents regions or access
/// keys cannot push entries out. The cache must be thrown away together with the
/// [`super::account::Accounts`] that it was filled from. The lock guards the map alone and is never
/// held while anything is hashed.
#[derive(Default)]
pub struct SigningKeyCache {
    keys: RwLock<HashMap<String, Vec<Scoped>>>,
}

struct Scoped {
    date: String,
    region: String,
    key: HmacSha256,
}

impl SigningKeyCache {
    /// An empty cache.
    pub fn new() -> SigningKeyCache {
        SigningKeyCache::default()
    }

    /// The derived key, if it is known.
    pub fn get(&self, access_key: &str, date: &str, region: &str) -> Option<HmacSha256> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let scopes = keys.get(access_key)?;
        scopes
            .iter()
            .find(|scope| scope.date == date && scope.region == region)
            .map(|scope| scope.key.clone())
    }

    /// Remembers a derived key.
    pub fn insert(&self, access_key: &str, date: &str, region: &str, key: HmacSha256) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= CACHED_KEYS_MAX && !keys.contains_key(access_key) {
            keys.clear();
        }
        let scopes = keys.entry(access_key.to_owned()).or_default();
        if scopes.iter().any(|scope| scope.date == date && scope.region == region) {
            return;
        }
        if scopes.len() >= SCOPES_PER_KEY_MAX {
            scopes.remove(0);
        }
        scopes.push(Scoped { date: date.to_owned(), region: region.to_owned(), key });
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.keys.read().unwrap().values().map(Vec::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signing_key_is_derived_as_aws_documents_it() {
        // The example of "Deriving a signing key" in the AWS General Reference, for service iam, has
        // no twin for s3; the published S3 signatures in `sigv4` cover the derivation. Here: that
        // each of its inputs matters.
        let one = signature(&derive("secret", "20130524", "us-east-1"), "text");
        for (secret, date, region) in [
            ("secret2", "20130524", "us-east-1"),
            ("secret", "20130525", "us-east-1"),
            ("secret", "20130524", "us-east-2"),
        ] {
            assert_ne!(one, signature(&derive(secret, date, region), "text"));
        }
    }

    #[test]
    fn the_cache_stays_within_its_bounds_and_returns_what_was_put_in() {
        let cache = SigningKeyCache::new();
        for day in 0..SCOPES_PER_KEY_MAX * 2 {
            let date = format!("{:08}", 20_260_000 + day);
            cache.insert("A", &date, "r", derive("s", &date, "r"));
            let found = cache.get("A", &date, "r").expect("just put in");
            assert_eq!(signature(&found, "x"), signature(&derive("s", &date, "r"), "x"));
        }
        assert_eq!(cache.len(), SCOPES_PER_KEY_MAX);
        let key = derive("s", "d", "r");
        for index in 0..CACHED_KEYS_MAX * 2 {
            cache.insert(&index.to_string(), "d", "r", key.clone());
            cache.insert(&index.to_string(), "d", "r", key.clone());
        }
        assert!(cache.len() <= CACHED_KEYS_MAX + SCOPES_PER_KEY_MAX);
        assert!(cache.get("unknown", "d", "r").is_none());
    }
}
