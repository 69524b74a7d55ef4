//! Accounts, users and their keys.

use std::collections::HashMap;
use std::sync::Arc;

/// An account: the owner of buckets and objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Display name.
    pub name: String,
    /// E-mail address, in lower case.
    pub email: String,
    /// ARN.
    pub arn: String,
    /// Canonical id: 64 characters in S3's own answers.
    pub canonical_id: String,
    /// The 12-digit account number.
    pub short_id: String,
}

/// A user: an alias of its account for authorization, with its own name and ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Display name.
    pub name: String,
    /// ARN.
    pub arn: String,
}

/// What an access key belongs to.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The secret key.
    pub secret: String,
    /// The account.
    pub account: Arc<Account>,
    /// The user, when the key is a user's.
    pub user: Option<Arc<User>>,
}

/// All accounts, found by access key, canonical id or e-mail. Immutable after start.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    keys: HashMap<String, Credential>,
    by_id: HashMap<String, Arc<Account>>,
    by_email: HashMap<String, Arc<Account>>,
}

impl Accounts {
    /// Adds an account with its own keys.
    pub fn add(&mut self, account: Arc<Account>) {
        self.by_id.insert(account.canonical_id.clone(), account.clone());
        self.by_email.insert(account.email.to_lowercase(), account);
    }

    /// Adds a key pair.
    pub fn add_key(&mut self, access_key: String, credential: Credential) {
        self.keys.insert(access_key, credential);
    }

    /// The owner and secret of an access key.
    pub fn key(&self, access_key: &str) -> Option<&Credential> {
        self.keys.get(access_key)
    }

    /// The account with a canonical id.
    pub fn by_canonical_id(&self, id: &str) -> Option<&Arc<Account>> {
        self.by_id.get(id)
    }

    /// The account with an e-mail address, compared without case.
    pub fn by_email(&self, email: &str) -> Option<&Arc<Account>> {
        self.by_email.get(&email.to_lowercase())
    }

    /// Every access key id.
    pub fn access_keys(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }
}
