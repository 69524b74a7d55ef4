//! Who is asking: signatures, and the accounts they belong to.
//!
//! [`authenticate`] is the only door: every request goes through it exactly once, before anything is
//! looked up for it. It yields the [`Identity`] and the body wrapped so that reading it to its end
//! verifies what the signature promised about it (payload hash, chunk signatures, trailers).

use std::sync::{Arc, Mutex};

pub mod account;
pub mod policy;

use account::{Account, User};

/// Who a request acts for.
#[derive(Clone, Debug)]
pub enum Identity {
    /// Nobody in particular: no signature was sent.
    Anonymous,
    /// The holder of an access key.
    Key {
        /// The account, whose canonical id owns what is written.
        account: Arc<Account>,
        /// The user within the account, when the key is a user's.
        user: Option<Arc<User>>,
        /// The access key id, for the log.
        access_key: String,
    },
}

impl Identity {
    /// The account, unless anonymous.
    pub fn account(&self) -> Option<&Account> {
        match self {
            Identity::Anonymous => None,
            Identity::Key { account, .. } => Some(account),
        }
    }

    /// The canonical id that owns what this identity writes. Anonymous writers own as the
    /// `anonymous` user of S3's access logs does: the group that has everybody in it.
    pub fn canonical_id(&self) -> &str {
        self.account().map_or(ANONYMOUS_ID, |account| &account.canonical_id)
    }

    /// The access key id, unless anonymous.
    pub fn access_key(&self) -> Option<&str> {
        match self {
            Identity::Anonymous => None,
            Identity::Key { access_key, .. } => Some(access_key),
        }
    }
}

/// The canonical id of requests without a signature.
pub const ANONYMOUS_ID: &str = "http://acs.amazonaws.com/groups/global/AllUsers";

/// Trailing header fields of an aws-chunked body, filled in when the body has been read to its end.
#[derive(Clone, Debug, Default)]
pub struct Trailers(Arc<Mutex<Vec<(String, String)>>>);

impl Trailers {
    /// Adds a field; the name in lower case.
    pub fn push(&self, name: String, value: String) {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((name, value));
    }

    /// The value of a trailing field.
    pub fn get(&self, name: &str) -> Option<String> {
        let fields = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone())
    }
}
