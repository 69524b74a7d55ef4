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
    first_key: Option<String>,
}

impl Accounts {
    /// Adds an account with its own keys.
    pub fn add(&mut self, account: Arc<Account>) {
        self.by_id.insert(account.canonical_id.clone(), account.clone());
        self.by_email.insert(account.email.to_lowercase(), account);
    }

    /// Adds a key pair.
    pub fn add_key(&mut self, access_key: String, credential: Credential) {
        self.first_key.get_or_insert_with(|| access_key.clone());
        self.keys.insert(access_key, credential);
    }

    /// Adds all accounts and keys of another list.
    ///
    /// # Errors
    /// The access key, canonical id or e-mail address that both have; then nothing was added.
    pub fn merge(&mut self, other: Accounts) -> Result<(), String> {
        let taken = |mine: bool, name: &String| mine.then(|| name.clone());
        let keys = other.keys.keys().find_map(|key| taken(self.keys.contains_key(key), key));
        let ids = || other.by_id.keys().find_map(|id| taken(self.by_id.contains_key(id), id));
        let emails =
            || other.by_email.keys().find_map(|email| taken(self.by_email.contains_key(email), email));
        if let Some(both) = keys.or_else(ids).or_else(emails) {
            return Err(both);
        }
        self.first_key = self.first_key.take().or(other.first_key);
        self.keys.extend(other.keys);
        self.by_id.extend(other.by_id);
        self.by_email.extend(other.by_email);
        Ok(())
    }

    /// The access key that was added first: the one that documents and test fixtures show.
    pub fn first_key(&self) -> Option<(&str, &Credential)> {
        let key = self.first_key.as_deref()?;
        Some((key, self.keys.get(key)?))
    }

    /// The account of a name, of an access key, of a canonical id or of an e-mail address.
    pub fn named(&self, name: &str) -> Option<&Arc<Account>> {
        let by_name = || self.by_id.values().find(|account| account.name == name);
        let by_key = || self.keys.get(name).map(|credential| &credential.account);
        by_name().or_else(by_key).or_else(|| self.by_id.get(name)).or_else(|| self.by_email(name))
    }

    /// The names of all accounts, in order.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.by_id.values().map(|account| account.name.as_str()).collect();
        names.sort_unstable();
        names
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
