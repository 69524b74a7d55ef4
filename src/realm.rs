//! One set of buckets and objects being served: a service, the S3 over it, and the threads behind it.
//!
//! A server has one of these. A test fixture has one for each namespace, and a new one after each reset,
//! so that what is still under way on the old one cannot reach the new.

use crate::log::Log;
use crate::ops::service::Service;
use crate::s3::S3;
use crate::{access_log, lifecycle, notifications, statistics};
use std::sync::{Arc, Mutex, PoisonError};

/// See the module.
pub struct Realm {
    s3: Arc<S3>,
    /// Taken when the realm is stopped.
    threads: Mutex<Option<Threads>>,
}

/// What works in the background. Stopped in this order.
struct Threads {
    _lifecycle: lifecycle::Runner,
    _access_log: access_log::Runner,
    _notifications: notifications::Runner,
    _statistics: statistics::Runner,
}

impl Realm {
    /// Starts the threads of a service.
    ///
    /// # Errors
    /// A sentence that says which thread cannot be started, and why.
    pub fn start(s3: Arc<S3>, log: &Arc<Log>) -> Result<Realm, String> {
        let service = s3.service();
        let access_log = access_log::Runner::start(service.clone(), log.clone())
            .map_err(|error| format!("cannot start the access log thread: {error}"))?;
        let notifications = notifications::Runner::start(service.clone(), log.clone())
            .map_err(|error| format!("cannot start the notification thread: {error}"))?;
        let statistics = statistics::Runner::start(service.clone(), log.clone())
            .map_err(|error| format!("cannot start the statistics thread: {error}"))?;
        let lifecycle = lifecycle::Runner::start(service.clone(), log.clone())
            .map_err(|error| format!("cannot start the lifecycle thread: {error}"))?;
        let threads = Threads {
            _lifecycle: lifecycle,
            _access_log: access_log,
            _notifications: notifications,
            _statistics: statistics,
        };
        Ok(Realm { s3, threads: Mutex::new(Some(threads)) })
    }

    /// What answers its requests.
    pub fn s3(&self) -> &Arc<S3> {
        &self.s3
    }

    /// The shared state.
    pub fn service(&self) -> &Arc<Service> {
        self.s3.service()
    }

    /// Ends the threads, each after what it has begun.
    pub fn stop(&self) {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(threads);
    }
}
