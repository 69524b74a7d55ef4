//! Requests that the server makes of itself: a rule that expires an object, a log that is delivered.
//!
//! They run through the same operations as everybody's, so that whatever holds for a write (versions,
//! object lock, encryption, events) holds for these too. They act for the owner of the bucket.

use super::service::{Bucket, Service};
use super::target::Target;
use super::{Context, Operation, Proof, ProofPlace};
use crate::auth::account::Account;
use crate::auth::{Identity, Trailers};
use crate::codec::clock::Millis;
use crate::codec::uri::Query;
use crate::http::Headers;
use crate::model::ObjectKey;
use std::cell::Cell;
use std::sync::Arc;

/// A request without a client.
pub struct Internal {
    operation: &'static Operation,
    bucket: Arc<Bucket>,
    target: Target,
    query: Query,
    headers: Headers,
    identity: Identity,
    trailers: Trailers,
    request_id: String,
    now: Millis,
}

impl Internal {
    /// A request on a key of a bucket, at the present time.
    pub fn new(
        service: &Service,
        operation: &'static Operation,
        bucket: Arc<Bucket>,
        key: Option<ObjectKey>,
        headers: Headers,
    ) -> Internal {
        let target =
            Target { bucket: Some(bucket.name.clone()), key, endpoint: String::new(), virtual_host: false };
        Internal {
            operation,
            identity: owner(service, &bucket.record.owner),
            bucket,
            target,
            query: Query::parse("").unwrap_or_default(),
            headers,
            trailers: Trailers::default(),
            request_id: super::service::request_id(),
            now: service.clock.now(),
        }
    }

    /// What operations take.
    pub fn context<'a>(&'a self, service: &'a Service) -> Context<'a> {
        Context {
            service,
            operation: self.operation,
            target: &self.target,
            query: &self.query,
            headers: &self.headers,
            identity: &self.identity,
            proof: Proof { version: None, place: ProofPlace::Header },
            trailers: &self.trailers,
            request_id: &self.request_id,
            now: self.now,
            peer: None,
            secure: true,
            encryption: None,
            bucket: Some(self.bucket.clone()),
            acl_required: Cell::default(),
        }
    }
}

/// The owner of a bucket, even when its account has been taken out of the configuration.
fn owner(service: &Service, canonical_id: &str) -> Identity {
    let known = service.accounts().by_canonical_id(canonical_id).cloned();
    let account = known.unwrap_or_else(|| {
        Arc::new(Account {
            name: String::new(),
            email: String::new(),
            arn: String::new(),
            canonical_id: canonical_id.to_owned(),
            short_id: String::new(),
        })
    });
    Identity::Key { account, user: None, access_key: String::new() }
}
