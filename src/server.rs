//! The server's life: stores, listeners, the start line, and the end.
//!
//! [`Server`] is the whole server as a value, for the binary and for tests alike; [`run`] is the
//! process around it.

use crate::config::{Config, Role, folders};
use crate::daemon::{self, Daemon};
use crate::fixture::Fixture;
use crate::housekeeping::{self, Sweep};
use crate::http::engine::Options;
use crate::http::limits::{self, Limits};
use crate::http::{self, Handler, serving};
use crate::log::{Level, Log};
use crate::ops::service::Service;
use crate::ready;
use crate::realm::Realm;
use crate::s3::S3;
use crate::scrub::Scrub;
use crate::signals::{Asked, Signals};
use crate::stores::Stores;
use crate::tls::Certificates;
use crate::{content, wanted};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The exit code of a configuration that cannot be used.
pub const EXIT_BAD_CONFIGURATION: u8 = 2;

/// How long running requests may take to finish after the server was asked to stop: under the 30 s
/// after which supervisors kill.
pub const STOP_GRACE: Duration = Duration::from_secs(25);

const NO_TLS_IN_TINY_HTTP: &str = "certFilePaths, --tls-self-signed: this build serves with tiny_http, which \
    speaks plain HTTP only; build it without the feature tiny-http to serve HTTPS";

/// A running server. [`Server::stop`] ends it in order.
pub struct Server {
    engine: serving::Running,
    served: Served,
    service: Arc<Service>,
    addresses: Vec<SocketAddr>,
    sweep: Option<Sweep>,
    scrub: Option<Scrub>,
    certificates: Option<Arc<Certificates>>,
    daemons: Vec<Daemon>,
}

/// What answers requests.
enum Served {
    Plain(Realm),
    Fixture(Arc<Fixture>),
}

impl Served {
    /// Starts what the configuration asks for, with its content at the start.
    fn open(stores: Stores, config: Config, log: &Arc<Log>) -> Result<(Served, Arc<Service>), String> {
        let in_memory = stores.in_memory().cloned();
        let service = stores.into_service(config)?;
        if service.config.start.fixture {
            let fixture = Fixture::start(service, in_memory, log.clone())?;
            let service = fixture.service();
            return Ok((Served::Fixture(fixture), service));
        }
        let service = Arc::new(service);
        let s3 = Arc::new(S3::new(service.clone(), log.clone()));
        content::refuse_fixture_sections(&service.config.start)?;
        if service.config.start.has_content() {
            // Nobody's requests: they are not logged.
            let unlogged = S3::new(service.clone(), Arc::new(Log::off()));
            content::prepare(&unlogged, &service.config.start)?;
        }
        Ok((Served::Plain(Realm::start(s3, log)?), service))
    }

    fn handler(&self) -> Arc<dyn Handler> {
        match self {
            Served::Plain(realm) => realm.s3().clone(),
            Served::Fixture(fixture) => fixture.clone(),
        }
    }

    fn stop(&self) {
        match self {
            Served::Plain(realm) => realm.stop(),
            Served::Fixture(fixture) => fixture.stop(),
        }
    }
}

impl Server {
    /// Opens the stores, binds the addresses and begins to serve.
    ///
    /// # Errors
    /// A sentence that says what cannot be opened or bound, and why.
    pub fn start(config: Config, log: Arc<Log>) -> Result<Server, String> {
        // First, so that a wrong address does not touch the stores.
        let listeners = bind(&config.listen)?;
        let stores = Stores::open(&config)?;
        Server::start_on(config, stores, listeners, log)
    }

    /// [`Server::start`] on stores that are open and addresses that are bound.
    ///
    /// # Errors
    /// A sentence that says what failed.
    pub fn start_on(
        config: Config,
        stores: Stores,
        listeners: Vec<TcpListener>,
        log: Arc<Log>,
    ) -> Result<Server, String> {
        if cfg!(feature = "tiny-http") && config.tls.is_some() {
            // Plain HTTP where the user asked for HTTPS would be worse than not to start.
            return Err(NO_TLS_IN_TINY_HTTP.to_owned());
        }
        let certificates = config.tls.clone().map(Certificates::load).transpose()?;
        let tls = certificates.as_ref().map(Certificates::server_config).transpose()?;
        let options = Options { workers: config.workers, limits: limits(&config)?, tls };
        stores.check_remote_records(&config)?;
        let sweep = stores.sweep_after_crash(&config, &log)?;
        let daemons = daemon::beside_front_end(&config, &stores, &log)?;
        let folder = stores.folder().cloned();
        let (served, service) = Served::open(stores, config, &log)?;
        let engine = serving::serve(listeners, options, served.handler())
            .map_err(|error| format!("cannot start the HTTP engine: {error}"))?;
        service.metrics.watch_traffic(engine.traffic());
        let health = service.meta.health();
        if health.code != 200 && service.config.metadata_client.is_none() {
            log.write(Level::Error, "no records can be written", &[("cause", (&health.message).into())]);
        }
        let scrub = Scrub::start(service.clone(), folder, log)
            .map_err(|error| format!("cannot start the scrub: {error}"))?;
        let addresses = engine.local_addrs().to_vec();
        Ok(Server { engine, served, service, addresses, sweep, scrub, certificates, daemons })
    }

    /// The addresses it listens on, with the ports that the system chose.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The daemons beside the front end.
    pub fn daemons(&self) -> &[Daemon] {
        &self.daemons
    }

    /// The fixture, with its profile.
    pub fn fixture(&self) -> Option<&Arc<Fixture>> {
        match &self.served {
            Served::Fixture(fixture) => Some(fixture),
            Served::Plain(_) => None,
        }
    }

    /// The shared state; with the fixture profile that of the start.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// What HTTPS is served with; `None` on plain HTTP.
    pub fn certificates(&self) -> Option<&Arc<Certificates>> {
        self.certificates.as_ref()
    }

    /// Stops accepting, lets running requests finish for at most `grace`, and makes everything durable
    /// that the mode promises.
    ///
    /// # Errors
    /// A sentence about the store that could not be synced.
    pub fn stop(self, grace: Duration) -> Result<(), String> {
        let begun = Instant::now();
        let drained = self.engine.stop(grace);
        self.served.stop();
        drop(self.scrub);
        // Last of those that serve: what is still under way elsewhere may need them.
        for daemon in self.daemons {
            daemon.stop(grace.saturating_sub(begun.elapsed()))?;
        }
        let swept = self.sweep.is_none_or(Sweep::end);
        let Service { meta, blobs, .. } = self.service.as_ref();
        if self.service.config.metadata_client.is_some() {
            // The daemon keeps its own promises, and may have been stopped before.
            return blobs.sync().map_err(|error| format!("the last sync failed: {error}"));
        }
        let marked = if drained && swept { housekeeping::mark_clean(meta.as_ref()) } else { Ok(()) };
        let synced = blobs.sync().and(marked).and_then(|()| meta.sync());
        synced.map_err(|error| format!("the last sync failed: {error}"))
    }
}

fn limits(config: &Config) -> Result<Limits, String> {
    let open_files = limits::open_files_max();
    Limits::with_connections(config.connections, open_files).map_err(|fit| {
        let asked = config.connections.unwrap_or_default();
        format!(
            "--connections: {asked} is too many where a process may have {open_files} open files (ulimit -n); \
             allowed: at most {fit}"
        )
    })
}

fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, String> {
    let bind = |address: &SocketAddr| {
        http::listen(address).map_err(|error| format!("cannot listen on {address}: {error}"))
    };
    addresses.iter().map(bind).collect()
}

/// Serves until the process is asked to stop; the exit code says how it ended.
pub fn run(config: Config) -> ExitCode {
    let log = Arc::new(Log::to_stderr(config.log_level));
    // Once more than needed, so that files that cannot be used count as a bad configuration.
    let tls = config.tls.clone().filter(|_| config.serves_https());
    if let Err(message) = tls.map_or(Ok(()), |tls| Certificates::load(tls).map(drop)) {
        complain(&message);
        return ExitCode::from(EXIT_BAD_CONFIGURATION);
    }
    for note in &config.notes {
        log.write(note.level, &note.text, &[]);
    }
    if let Err(error) = folders::prepare(&config) {
        complain(&error.0);
        return ExitCode::from(EXIT_BAD_CONFIGURATION);
    }
    match serve(config, &log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            complain(&message);
            ExitCode::FAILURE
        }
    }
}

fn serve(config: Config, log: &Arc<Log>) -> Result<(), String> {
    let mut signals = Signals::register(config.serves_https())
        .map_err(|error| format!("cannot wait for signals: {error}"))?;
    let asker = || signals.asker().map_err(|error| format!("cannot watch over the process: {error}"));
    ready::forget(&config.start)?;
    wanted::watch(&config.start, asker)?;
    if config.role != Role::S3 {
        let daemon = daemon::of_role(&config, log)?;
        let announced = ready::announce(&config, daemon.addresses())?;
        // Daemons have no certificates, so that this is to stop.
        signals.wait();
        drop(announced);
        daemon.stop(STOP_GRACE)?;
        log.write(Level::Info, "stopped", &[]);
        return Ok(());
    }
    let server = Server::start(config, log.clone())?;
    let announced = ready::announce(&server.service.config, server.addresses())?;
    while signals.wait() == Asked::ToReload {
        reload(&server, log);
    }
    drop(announced);
    server.stop(STOP_GRACE)?;
    log.write(Level::Info, "stopped", &[]);
    Ok(())
}

/// Reads the certificates again. The old ones stay when the new ones cannot be used: who renews them may
/// be in the middle of it.
fn reload(server: &Server, log: &Log) {
    let Some(certificates) = server.certificates() else { return };
    let source = certificates.source();
    match certificates.reload() {
        Ok(()) => log.write(Level::Info, "certificates read again", &[("source", (&source).into())]),
        Err(cause) => {
            let fields = [("source", (&source).into()), ("cause", (&cause).into())];
            log.write(Level::Error, "certificates not read again, the old ones stay", &fields);
        }
    }
}

/// Prints a line for whoever started the process. A closed output is no reason to stop.
pub fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Prints why the process ends.
pub fn complain(message: &str) {
    let _ = writeln!(io::stderr().lock(), "s3pail: {message}");
}
