//! Daemons: the stores of one process served to front ends in others, over the same HTTP engine that
//! serves S3.
//!
//! A [`Daemon`] is listeners, an engine and a handler. It is the whole of a process with `--role data` or
//! `--role metadata` ([`of_role`]), or stands beside a front end in one process when `dataDaemon` or
//! `metadataDaemon` is configured. Which of these is the case is decided in [`crate::config::daemons`].
//!
//! Daemons know no identities: whoever reaches the port may do everything. They listen on loopback
//! unless told otherwise, and belong on networks that only front ends share.

pub mod data;
pub mod metadata;

use crate::config::{Backend, Config, Listen, Role};
use crate::housekeeping;
use crate::http::engine::Options;
use crate::http::limits::Limits;
use crate::http::{self, Handler, serving};
use crate::log::{Level, Log};
use crate::storage::memory::{Budget, MemoryMeta};
use crate::storage::shared_folder::{Lender, SharedFolder};
use crate::storage::{self, MetaStore};
use crate::stores::{self, Stores};
use data::DataDaemon;
use metadata::MetadataDaemon;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

/// What a daemon serves.
pub struct Served {
    /// What kind of daemon it is.
    pub role: Role,
    /// What answers its requests.
    pub handler: Arc<dyn Handler>,
    /// Makes everything it has acknowledged durable, as far as the mode promises that.
    pub sync: Box<dyn Fn() -> storage::Result<()> + Send + Sync>,
}

/// What opens the stores of a daemon that is the whole of its process.
type Open = fn(&Config, &Arc<Log>) -> Result<Served, String>;

/// A running daemon. [`Daemon::stop`] ends it in order.
pub struct Daemon {
    role: Role,
    engine: serving::Running,
    addresses: Vec<SocketAddr>,
    sync: Box<dyn Fn() -> storage::Result<()> + Send + Sync>,
}

/// Binds the addresses of a daemon.
///
/// # Errors
/// A sentence that names what the user wrote: the file and the key, the variable or the flag.
pub fn bind(listen: &Listen) -> Result<Vec<TcpListener>, String> {
    let bind = |address: &SocketAddr| {
        http::listen(address).map_err(|error| {
            let Listen { origin, .. } = listen;
            format!("{origin}: cannot listen on {address}: {error}; allowed: an address that is free")
        })
    };
    listen.addresses.iter().map(bind).collect()
}

impl Daemon {
    /// Begins to serve on bound listeners with that many worker threads.
    ///
    /// # Errors
    /// A sentence that says what failed.
    pub fn start(listeners: Vec<TcpListener>, workers: usize, served: Served) -> Result<Daemon, String> {
        let Served { role, handler, sync } = served;
        let options = Options { workers, limits: Limits::default(), tls: None };
        let engine = serving::serve(listeners, options, handler)
            .map_err(|error| format!("cannot start the {} daemon: {error}", role.as_str()))?;
        let addresses = engine.local_addrs().to_vec();
        Ok(Daemon { role, engine, addresses, sync })
    }

    /// What kind of daemon it is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The addresses it listens on, with the ports that the system chose.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Notes in the log where it listens.
    pub fn announce(&self, log: &Log) {
        let addresses: Vec<String> = self.addresses.iter().map(SocketAddr::to_string).collect();
        let addresses = addresses.join(", ");
        let fields = [("role", self.role.as_str().into()), ("addresses", addresses.as_str().into())];
        log.write(Level::Info, "daemon listening", &fields);
    }

    /// Stops accepting, lets running requests finish for at most `grace`, and makes everything durable
    /// that the mode promises.
    ///
    /// # Errors
    /// A sentence about the store that could not be synced.
    pub fn stop(self, grace: Duration) -> Result<(), String> {
        self.engine.stop(grace);
        (self.sync)()
            .map_err(|error| format!("the last sync of the {} daemon failed: {error}", self.role.as_str()))
    }
}

/// Starts what a process with `--role data` or `--role metadata` serves.
///
/// # Errors
/// A sentence that says what cannot be opened or bound, and why.
pub fn of_role(config: &Config, log: &Arc<Log>) -> Result<Daemon, String> {
    let (listen, open): (_, Open) = match config.role {
        Role::Data => (&config.data_daemon, data_of_folder),
        Role::Metadata => (&config.metadata_daemon, metadata_of_folder),
        Role::S3 => return Err("--role: a front end is no daemon".to_owned()),
    };
    let Some(listen) = listen else { return Err("--role: there is no address to listen on".to_owned()) };
    let listeners = bind(listen)?;
    Daemon::start(listeners, config.workers, open(config, log)?)
}

/// Starts the daemons that stand beside a front end, over the stores that it has opened.
///
/// # Errors
/// A sentence that says what cannot be bound or started, and why.
pub fn beside_front_end(config: &Config, stores: &Stores, log: &Arc<Log>) -> Result<Vec<Daemon>, String> {
    let mut bound = Vec::new();
    // With locations elsewhere only, there is no folder to serve.
    if let (Some(listen), Some(folder)) = (&config.data_daemon, stores.folder()) {
        bound.push((bind(listen)?, data_of(folder.clone(), log)));
    }
    if let Some(listen) = &config.metadata_daemon {
        bound.push((bind(listen)?, metadata_of(stores.meta.clone(), log)));
    }
    let mut daemons = Vec::with_capacity(bound.len());
    for (listeners, served) in bound {
        let daemon = Daemon::start(listeners, config.workers, served)?;
        daemon.announce(log);
        daemons.push(daemon);
    }
    Ok(daemons)
}

fn data_of_folder(config: &Config, log: &Arc<Log>) -> Result<Served, String> {
    let folder = SharedFolder::open(&config.data_path, config.sync, true)
        .map_err(|error| format!("{}: {error}", config.data_path.display()))?;
    Ok(data_of(Arc::new(folder), log))
}

/// A data daemon over a store.
pub fn data_of<S: Lender + 'static>(store: Arc<S>, log: &Arc<Log>) -> Served {
    let handler = Arc::new(DataDaemon::new(store.clone(), log.clone()));
    Served { role: Role::Data, handler, sync: Box::new(move || store.sync()) }
}

/// The records of a folder, or of this process's memory. That a run of a front end over the same folder once
/// ended in order says nothing any more about the bodies that have come and gone since.
fn metadata_of_folder(config: &Config, log: &Arc<Log>) -> Result<Served, String> {
    let meta: Arc<dyn MetaStore> = match config.metadata {
        Backend::Memory => Arc::new(MemoryMeta::new(Budget::new(u64::MAX))),
        _ => stores::open_records(config, None, None)?,
    };
    housekeeping::take_clean_mark(meta.as_ref())
        .map_err(|error| format!("cannot read how the last run ended: {error}"))?;
    Ok(metadata_of(meta, log))
}

fn metadata_of(meta: Arc<dyn MetaStore>, log: &Arc<Log>) -> Served {
    let handler = Arc::new(MetadataDaemon::new(meta.clone(), log.clone()));
    Served { role: Role::Metadata, handler, sync: Box::new(move || meta.sync()) }
}
