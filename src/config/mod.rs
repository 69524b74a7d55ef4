//! Configuration: what the user wrote, checked once, becomes a [`Config`] in which nothing is optional
//! or unchecked any more.
//!
//! Two stages. First every source notes what it was given ([`settings::Raw`]): the command line
//! ([`flags`]), the environment ([`mod@env`]), the files ([`mod@file`]). Then [`Config`] is built from the
//! strongest value of each setting: a flag beats a variable beats the file beats the default. A value
//! that is not allowed stops the start with one sentence ([`given::ConfigError`]); nothing falls back
//! to a default in silence. Which settings exist is one table, [`settings::SETTINGS`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::auth::account::Accounts;
use crate::log::Level;
use crate::storage::{SyncMode, SyncModes};
use given::ConfigError;
use settings::Raw;

pub mod accounts;
mod certificates;
mod check;
pub mod daemons;
pub mod env;
pub mod file;
pub mod fixture;
pub mod flags;
pub mod folders;
pub mod given;
pub mod locations;
pub mod network;
pub mod settings;

pub use daemons::{Listen, Role};
pub use locations::Location;
pub use network::Cidr;

/// The smallest part that is not the last, in bytes (S3: "Amazon S3 multipart upload limits").
pub const PART_BYTES_MIN: u64 = 5 << 20;
/// Where bodies or records go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// In this process's memory.
    Memory,
    /// In local files.
    File,
    /// Bodies only: where each object's location says.
    Multiple,
}

impl Backend {
    /// The name in the start line and in health answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Backend::Memory => "memory",
            Backend::File => "file",
            Backend::Multiple => "multiple",
        }
    }
}

/// A host and a port somewhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Host name or IP address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// `localCache`: the Redis that statistics are kept in.
#[derive(Clone, PartialEq, Eq)]
pub struct LocalCache {
    /// Where it listens.
    pub remote: Remote,
    /// The password of its default user.
    pub password: Option<String>,
}

/// The password is a secret.
impl fmt::Debug for LocalCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalCache").field("remote", &self.remote).finish_non_exhaustive()
    }
}

/// What HTTPS is served with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// `certFilePaths`.
    Files(TlsFiles),
    /// `--tls-self-signed`.
    SelfSigned(SelfSigned),
}

/// `--tls-self-signed`: certificates of a CA of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelfSigned {
    /// Where they are kept.
    pub folder: PathBuf,
    /// The names that the server has: DNS names, with wildcards, and IP addresses. Never empty.
    pub names: Vec<String>,
}

/// `certFilePaths`: a key and its certificates. The files could be opened when the configuration was
/// checked; what they hold was not looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The private key, PEM.
    pub key: PathBuf,
    /// The certificate chain, PEM.
    pub cert: PathBuf,
    /// Certificates that lead from the server's to its CA, where `cert` has only the server's, PEM.
    pub ca: Option<PathBuf>,
}

/// `requests`: whose word about the client's address is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedProxies {
    /// Peers that are believed.
    pub networks: Vec<Cidr>,
    /// The header that names the client, in lower case.
    pub header: String,
}

/// A remark on the configuration, for the log once there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// How much it matters.
    pub level: Level,
    /// The remark. Never holds a secret.
    pub text: String,
}

/// A checked configuration.
#[derive(Clone)]
pub struct Config {
    /// What the process serves.
    pub role: Role,
    /// Addresses to serve S3 on; port 0 lets the system choose. Never empty.
    pub listen: Vec<SocketAddr>,
    /// Where bodies go.
    pub data: Backend,
    /// Where records go: `Memory` or `File`.
    pub metadata: Backend,
    /// The folder of bodies.
    pub data_path: PathBuf,
    /// The folder of records.
    pub metadata_path: PathBuf,
    /// What an acknowledged write promises where its location says nothing else.
    pub sync: SyncMode,
    /// Worker threads.
    pub workers: usize,
    /// Open connections; `None` leaves them to the number of files that the process may open.
    pub connections: Option<usize>,
    /// How many bytes the memory backends may hold together; `u64::MAX` for no limit.
    pub memory_bytes: u64,
    /// Accounts and keys.
    pub accounts: Accounts,
    /// Whether a key pair of the shipped `authdata.json`, which everybody can read, opens this server.
    pub published_keys: bool,
    /// Host name to location name. Every location exists.
    pub rest_endpoints: BTreeMap<String, String>,
    /// Storage class to location name, for the classes that have a location. Every location exists.
    pub storage_classes: BTreeMap<String, String>,
    /// Host names that serve websites.
    pub website_endpoints: Vec<String>,
    /// Refuse hosts that are in neither list.
    pub strict_hosts: bool,
    /// The only region that signatures may name; `None` accepts any.
    pub region: Option<String>,
    /// Locations by name; `us-east-1` is always there.
    pub locations: BTreeMap<String, Location>,
    /// The smallest part that is not the last, in bytes (5 MiB; 0 with `MPU_TESTING=yes`).
    pub part_bytes_min: u64,
    /// Encrypt new objects under SSE-S3 where neither the request nor the bucket says how.
    pub default_encryption: bool,
    /// How long a day of lifecycle rules lasts, in milliseconds.
    pub lifecycle_day_ms: u64,
    /// How long a restore from an archive class takes, in milliseconds.
    pub restore_ms: u64,
    /// How often all bodies in files are read to find damage, in milliseconds; 0 for never.
    pub scrub_period_ms: u64,
    /// How many bytes a second that reads at most.
    pub scrub_rate: u64,
    /// Where events go whose target is not among the destinations; `None` sends them nowhere.
    pub notification_webhook: Option<String>,
    /// Targets of notifications, by ARN or by the last part of the ARN, with their `http://` URLs.
    pub notification_destinations: Vec<(String, String)>,
    /// The least severe level that is logged.
    pub log_level: Level,
    /// Log the header fields of requests, without secrets.
    pub log_headers: bool,
    /// Who may ask for the state of the backends; always holds loopback.
    pub health_allow_from: Vec<Cidr>,
    /// Whose word about the client's address is taken; `None` trusts nobody's.
    pub trusted_proxies: Option<TrustedProxies>,
    /// Serve HTTPS with this; `None` serves plain HTTP.
    pub tls: Option<Tls>,
    /// The data daemon that keeps this front end's bodies; `None` when it keeps them itself.
    pub data_client: Option<Remote>,
    /// The metadata daemon that keeps this front end's records; `None` when it keeps them itself.
    pub metadata_client: Option<Remote>,
    /// Where the data daemon of this process listens; `None` when it opens none.
    pub data_daemon: Option<Listen>,
    /// Where the metadata daemon of this process listens; `None` when it opens none.
    pub metadata_daemon: Option<Listen>,
    /// `localCache`, `REDIS_HOST` or `ENABLE_LOCAL_CACHE`: the Redis for statistics, if there is one.
    pub local_cache: Option<LocalCache>,
    /// The fixture profile, what is there at the start, and how the process begins and ends.
    pub start: fixture::Start,
    /// Remarks for the log.
    pub notes: Vec<Note>,
}

/// Accounts and location details hold secrets, so that a `Config` shows only its outline.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("data", &self.data)
            .field("metadata", &self.metadata)
            .field("sync", &self.sync)
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

/// What the process is asked to do.
#[derive(Debug)]
pub enum Command {
    /// Serve S3.
    Serve(Box<Config>),
    /// Ask the server of this configuration whether it lives.
    Healthcheck(Box<Config>),
    /// Check the store of this configuration.
    Check(Box<Config>, crate::check::Options),
    /// Print the options.
    Help,
    /// Print the version.
    Version,
}

/// Everything that a configuration is made from.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// The command line without the program's name.
    pub args: Vec<OsString>,
    /// The environment.
    pub variables: BTreeMap<String, String>,
    /// What relative paths start from; empty for the current folder.
    pub folder: PathBuf,
    /// Look for files that no flag or variable names.
    pub search: bool,
}

impl Inputs {
    /// The command line, the environment and the current folder of this process.
    pub fn of_process() -> Inputs {
        Inputs {
            args: std::env::args_os().skip(1).collect(),
            variables: env::of_process(),
            folder: PathBuf::new(),
            search: true,
        }
    }
}

/// Reads and checks everything.
pub fn command(inputs: &Inputs) -> Result<Command, ConfigError> {
    let mut raw = Raw::default();
    let verb = flags::read(inputs.args.iter().cloned(), &mut raw)?;
    match verb {
        flags::Verb::Help => return Ok(Command::Help),
        flags::Verb::Version => return Ok(Command::Version),
        flags::Verb::Serve | flags::Verb::Healthcheck | flags::Verb::Check(_) => {}
    }
    env::read(&inputs.variables, &mut raw);
    let config = Box::new(Config::check(raw, inputs)?);
    Ok(match verb {
        flags::Verb::Healthcheck => Command::Healthcheck(config),
        flags::Verb::Check(options) => Command::Check(config, options),
        _ => Command::Serve(config),
    })
}

impl Config {
    /// The configuration without any file, flag or variable: what `s3pail` alone does in an empty
    /// folder.
    pub fn embedded() -> Config {
        Config::check(Raw::default(), &Inputs::default()).expect("a test checks the built-in files")
    }

    /// The configuration for a server inside a test: the built-in accounts, everything in memory, a
    /// loopback port that the system chooses, a few workers.
    pub fn in_memory() -> Config {
        Config {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            data: Backend::Memory,
            metadata: Backend::Memory,
            workers: 4,
            ..Config::embedded()
        }
    }

    /// Where the events for a notification target are sent; `None` when it is not known here.
    pub fn notification_url(&self, arn: &str) -> Option<&str> {
        let last = arn.rsplit(':').next().unwrap_or(arn);
        let named = |(resource, _): &&(String, String)| resource == arn || resource == last;
        let found = self.notification_destinations.iter().find(named).map(|(_, url)| url);
        found.or(self.notification_webhook.as_ref()).map(String::as_str)
    }

    /// Whether this process serves HTTPS: daemons speak plain HTTP, whatever front ends are configured to.
    pub fn serves_https(&self) -> bool {
        self.tls.is_some() && self.role == Role::S3
    }

    /// Whether anybody beyond this machine can reach the server with keys that everybody can read.
    pub fn is_exposed_with_published_keys(&self) -> bool {
        self.published_keys && self.listen.iter().any(|address| !address.ip().to_canonical().is_loopback())
    }

    /// The line that is printed when the server accepts connections on `addresses`.
    pub fn start_line(&self, addresses: &[SocketAddr]) -> String {
        let scheme = if self.serves_https() { "https" } else { "http" };
        let urls: Vec<String> = addresses.iter().map(|address| format!("{scheme}://{address}")).collect();
        let (backend, durability) = (self.backends(), self.durability());
        let warning = if self.role == Role::S3 && self.is_exposed_with_published_keys() {
            PUBLISHED_KEYS_WARNING
        } else {
            ""
        };
        let open = if self.start.accept_any {
            " WARNING: --auth any: everybody is let in, with any key or none"
        } else {
            ""
        };
        let fixture = if self.start.fixture { ", fixture: calls for tests under /_/test/" } else { "" };
        let plural = if self.workers == 1 { "" } else { "s" };
        format!(
            "s3pail {} listening on {} ({backend}, {durability}, {} worker{plural}{fixture}){warning}{open}",
            env!("CARGO_PKG_VERSION"),
            urls.join(", "),
            self.workers,
        )
    }
}

impl Config {
    /// Where bodies and records are, for the start line.
    fn backends(&self) -> String {
        let mut text = match (self.role, self.data.as_str(), self.metadata.as_str()) {
            (Role::Data, data, _) => return format!("data daemon, {data} backend"),
            (Role::Metadata, _, metadata) => return format!("metadata daemon, {metadata} backend"),
            (Role::S3, data, metadata) if data == metadata => format!("{data} backend"),
            (Role::S3, data, metadata) => format!("{data} data, {metadata} metadata"),
        };
        for (what, client) in [("bodies", &self.data_client), ("records", &self.metadata_client)] {
            if let Some(Remote { host, port }) = client {
                text.push_str(&format!(", {what} at {host}:{port}"));
            }
        }
        text
    }

    /// What an answered write survives, for the start line.
    fn durability(&self) -> String {
        if self.keeps_in_memory() { LOST_AT_EXIT.to_owned() } else { format!("sync {}", self.sync_text()) }
    }

    /// What an acknowledged write promises: usually, and in the locations that say something else.
    pub fn sync_text(&self) -> String {
        if self.keeps_in_memory() {
            return LOST_AT_EXIT.to_owned();
        }
        let mut text = self.sync.as_str().to_owned();
        for (name, mode) in self.locations_sync().filter(|(_, mode)| *mode != self.sync) {
            text.push_str(&format!(", {} in {name}", mode.as_str()));
        }
        text
    }

    /// Whether records or bodies are in the memory of this process.
    fn keeps_in_memory(&self) -> bool {
        let kept = [(Role::Metadata, self.data), (Role::Data, self.metadata)];
        kept.iter().any(|(elsewhere, backend)| self.role != *elsewhere && *backend == Backend::Memory)
    }

    /// The same for the stores.
    pub fn sync_modes(&self) -> SyncModes {
        self.locations_sync().fold(self.sync.into(), |modes, (_, mode)| modes.and(mode))
    }

    /// What a location says about that, if anything.
    pub fn sync_in(&self, location: &str) -> Option<SyncMode> {
        self.locations.get(location)?.sync.filter(|_| self.stores_body_files())
    }

    fn locations_sync(&self) -> impl Iterator<Item = (&str, SyncMode)> {
        let kept = self.locations.iter().filter(|_| self.stores_body_files());
        kept.filter_map(|(name, location)| Some((name.as_str(), location.sync?)))
    }
}

const LOST_AT_EXIT: &str = "lost at exit";

const PUBLISHED_KEYS_WARNING: &str = " WARNING: built-in keys on a non-loopback address: anybody who can reach \
    it can read and delete everything; set SCALITY_ACCESS_KEY_ID and SCALITY_SECRET_ACCESS_KEY";

#[cfg(test)]
mod tests;
