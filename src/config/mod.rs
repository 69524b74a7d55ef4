//! Configuration: what the user wrote, checked once, becomes a [`Config`] in which nothing is optional
//! or unchecked any more.
//!
//! Two stages. First every source notes what it was given ([`settings::Raw`]): the command line
//! ([`flags`]), the environment ([`env`]), the files ([`file`]). Then [`Config`] is built from the
//! strongest value of each setting: a flag beats a variable beats the file beats the default. A value
//! that is not allowed stops the start with one sentence ([`given::ConfigError`]); nothing falls back
//! to a default in silence. Which settings exist is one table, [`settings::SETTINGS`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::Value;

use crate::auth::account::Accounts;
use crate::log::Level;
use crate::storage::SyncMode;
use given::{ConfigError, Given, Origin};
use settings::{Id, Kind, Raw, VARIABLES_WITHOUT_MEANING, setting};

pub mod accounts;
pub mod env;
pub mod file;
pub mod flags;
pub mod folders;
pub mod given;
pub mod locations;
pub mod network;
pub mod settings;

pub use locations::Location;
pub use network::Cidr;

/// The smallest part that is not the last, in bytes (S3: "Amazon S3 multipart upload limits").
pub const PART_BYTES_MIN: u64 = 5 << 20;
/// The most worker threads that are started without being asked for.
const WORKERS_DEFAULT_MAX: usize = 64;
/// Worker threads for each core, unless given; the fewest, too. Workers mostly wait for disk and network.
const WORKERS_FOR_EACH_CORE: usize = 8;
/// Ports of the daemons and of Redis when only their host is given.
const DATA_DAEMON_PORT: u16 = 9991;
const METADATA_DAEMON_PORT: u16 = 9990;
const REDIS_PORT: u16 = 6379;

/// The shipped files, which are also what counts when there is no file.
const BUILT_IN_CONFIG: &str = include_str!("../../conf/config.json");
const BUILT_IN_LOCATIONS: &str = include_str!("../../conf/locationConfig.json");
const BUILT_IN_ACCOUNTS: &str = include_str!("../../conf/authdata.json");

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

    fn of_word(word: &str) -> Backend {
        match word {
            "mem" => Backend::Memory,
            "file" => Backend::File,
            _ => Backend::Multiple,
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

/// `certFilePaths`: what HTTPS is served with. The files could be opened when the configuration was
/// checked; what they hold was not looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The private key, PEM.
    pub key: PathBuf,
    /// The certificate chain, PEM.
    pub cert: PathBuf,
    /// Further certificates, PEM.
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
    /// Addresses to listen on; port 0 lets the system choose. Never empty.
    pub listen: Vec<SocketAddr>,
    /// Where bodies go.
    pub data: Backend,
    /// Where records go: `Memory` or `File`.
    pub metadata: Backend,
    /// The folder of bodies.
    pub data_path: PathBuf,
    /// The folder of records.
    pub metadata_path: PathBuf,
    /// What an acknowledged write promises.
    pub sync: SyncMode,
    /// Worker threads.
    pub workers: usize,
    /// Accounts and keys.
    pub accounts: Accounts,
    /// Whether a key pair of the shipped `authdata.json`, which everybody can read, opens this server.
    pub published_keys: bool,
    /// Host name to location name. Every location exists.
    pub rest_endpoints: BTreeMap<String, String>,
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
    /// The least severe level that is logged.
    pub log_level: Level,
    /// Who may ask for the state of the backends; always holds loopback.
    pub health_allow_from: Vec<Cidr>,
    /// Whose word about the client's address is taken; `None` trusts nobody's.
    pub trusted_proxies: Option<TrustedProxies>,
    /// Serve HTTPS with these files; `None` serves plain HTTP.
    pub tls: Option<TlsFiles>,
    /// `dataClient` or `DATA_HOST`: where a data daemon listens, if one is named.
    pub data_client: Option<Remote>,
    /// `metadataClient` or `METADATA_HOST`: where a metadata daemon listens, if one is named.
    pub metadata_client: Option<Remote>,
    /// `localCache` or `REDIS_HOST`: where a Redis listens, if one is named.
    pub local_cache: Option<Remote>,
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
        flags::Verb::Serve | flags::Verb::Healthcheck => {}
    }
    env::read(&inputs.variables, &mut raw);
    let config = Box::new(Config::check(raw, inputs)?);
    Ok(if verb == flags::Verb::Serve { Command::Serve(config) } else { Command::Healthcheck(config) })
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

    /// The second stage: from what was written to what is meant.
    fn check(mut raw: Raw, inputs: &Inputs) -> Result<Config, ConfigError> {
        let folder = &inputs.folder;
        let load = |raw: &Raw, id, name: &str, built_in| {
            let folder_searched = inputs.search.then_some(folder.as_path());
            file::load(raw, id, folder, folder_searched, name, built_in)
        };
        let mut notes = Vec::new();
        let config_file = load(&raw, Id::ConfigFile, "config.json", BUILT_IN_CONFIG)?;
        file::read(&config_file, &mut raw, &mut notes)?;
        note_variables(&inputs.variables, &mut notes);
        note_source(&config_file, &mut notes);

        let data = backend(&raw, Id::Data)?;
        let location_file = load(&raw, Id::LocationFile, "locationConfig.json", BUILT_IN_LOCATIONS)?;
        note_source(&location_file, &mut notes);
        let locations = locations::read(&location_file, data == Backend::Multiple)?;
        let accounts = accounts_of(&raw, inputs, load, &mut notes)?;
        Ok(Config {
            listen: network::listen(&raw)?,
            data,
            metadata: backend(&raw, Id::Metadata)?,
            data_path: folder.join(path(&raw, Id::DataPath)?.unwrap_or("localData")),
            metadata_path: folder.join(path(&raw, Id::MetadataPath)?.unwrap_or("localMetadata")),
            sync: sync_mode(&raw)?,
            workers: raw.number(Id::Workers)?.map_or_else(default_workers, |workers| workers as usize),
            published_keys: accounts::has_published_key(&accounts, &published_accounts()),
            accounts,
            rest_endpoints: rest_endpoints(&raw, &locations)?,
            website_endpoints: hosts(&raw, Id::WebsiteEndpoints)?,
            strict_hosts: raw.switch(Id::StrictHosts)?,
            region: raw.text(Id::Region)?.map(str::to_owned),
            locations,
            part_bytes_min: if raw.switch(Id::MpuTesting)? { 0 } else { PART_BYTES_MIN },
            log_level: log_level(&raw)?,
            health_allow_from: health_allow_from(&raw)?,
            trusted_proxies: trusted_proxies(&raw)?,
            tls: tls_files(&raw, inputs)?,
            data_client: remote(&raw, Id::DataClient, Id::DataHost, DATA_DAEMON_PORT)?,
            metadata_client: remote(&raw, Id::MetadataClient, Id::MetadataHost, METADATA_DAEMON_PORT)?,
            local_cache: local_cache(&raw)?,
            notes,
        })
    }

    /// Whether anybody beyond this machine can reach the server with keys that everybody can read.
    pub fn is_exposed_with_published_keys(&self) -> bool {
        self.published_keys && self.listen.iter().any(|address| !address.ip().to_canonical().is_loopback())
    }

    /// The line that is printed when the server accepts connections on `addresses`.
    pub fn start_line(&self, addresses: &[SocketAddr]) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let urls: Vec<String> = addresses.iter().map(|address| format!("{scheme}://{address}")).collect();
        let backend = match (self.data, self.metadata) {
            (data, metadata) if data == metadata => format!("{} backend", data.as_str()),
            (data, metadata) => format!("{} data, {} metadata", data.as_str(), metadata.as_str()),
        };
        let durability = match (self.data, self.metadata) {
            (Backend::Memory, _) | (_, Backend::Memory) => "lost at exit".to_owned(),
            _ => format!("sync {}", self.sync.as_str()),
        };
        let warning = if self.is_exposed_with_published_keys() { PUBLISHED_KEYS_WARNING } else { "" };
        let plural = if self.workers == 1 { "" } else { "s" };
        format!(
            "s3pail {} listening on {} ({backend}, {durability}, {} worker{plural}){warning}",
            env!("CARGO_PKG_VERSION"),
            urls.join(", "),
            self.workers,
        )
    }
}

const PUBLISHED_KEYS_WARNING: &str = " WARNING: built-in keys on a non-loopback address: anybody who can reach \
    it can read and delete everything; set SCALITY_ACCESS_KEY_ID and SCALITY_SECRET_ACCESS_KEY";

fn note_source(file: &Given, notes: &mut Vec<Note>) {
    notes.push(Note { level: Level::Debug, text: format!("configuration read from {}", file.origin) });
}

fn note_variables(variables: &BTreeMap<String, String>, notes: &mut Vec<Note>) {
    for name in VARIABLES_WITHOUT_MEANING.iter().filter(|name| variables.contains_key(**name)) {
        let text = format!("environment variable {name}: has no effect in s3pail");
        notes.push(Note { level: Level::Debug, text });
    }
}

/// The stronger of a specific setting and the general one; of equals the specific one.
fn stronger<'a>(raw: &'a Raw, specific: Id, general: Id) -> Option<(Id, &'a Given)> {
    let (specific, general) =
        (raw.get(specific).map(|given| (specific, given)), raw.get(general).map(|given| (general, given)));
    match (specific, general) {
        (Some(one), Some(all)) if all.1.origin.rank() > one.1.origin.rank() => Some(all),
        (Some(one), _) => Some(one),
        (None, all) => all,
    }
}

fn backend(raw: &Raw, id: Id) -> Result<Backend, ConfigError> {
    // Both are checked, so that a bad value is not forgiven because another one counts.
    for checked in [id, Id::Backend] {
        raw.choice(checked)?;
    }
    let word = stronger(raw, id, Id::Backend).and_then(|(_, given)| given.value.as_str());
    Ok(word.map_or(Backend::File, Backend::of_word))
}

fn sync_mode(raw: &Raw) -> Result<SyncMode, ConfigError> {
    let (mode, no_sync) = (raw.choice(Id::Sync)?, raw.choice(Id::NoSync)?);
    let mode = match stronger(raw, Id::Sync, Id::NoSync) {
        Some((Id::NoSync, _)) if no_sync == Some("true") => Some("none"),
        _ => mode,
    };
    Ok(match mode {
        Some("relaxed") => SyncMode::Relaxed,
        Some("none") => SyncMode::None,
        _ => SyncMode::Strict,
    })
}

fn default_workers() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores * WORKERS_FOR_EACH_CORE).min(WORKERS_DEFAULT_MAX)
}

fn log_level(raw: &Raw) -> Result<Level, ConfigError> {
    Ok(raw.choice(Id::LogLevel)?.and_then(Level::parse).unwrap_or(Level::Info))
}

fn path(raw: &Raw, id: Id) -> Result<Option<&str>, ConfigError> {
    let Some(path) = raw.text(id)? else { return Ok(None) };
    match raw.get(id).filter(|_| path.contains('\u{fffd}')) {
        Some(given) => Err(given.refuse("a path in UTF-8")),
        None => Ok(Some(path)),
    }
}

fn published_accounts() -> Accounts {
    let origin = Origin::File { file: "built-in authdata.json".to_owned(), key: String::new() };
    let value = serde_json::from_str(BUILT_IN_ACCOUNTS).expect("a test reads every built-in file");
    accounts::read(&Given { value, origin }).expect("a test checks the built-in accounts")
}

fn accounts_of(
    raw: &Raw,
    inputs: &Inputs,
    load: impl Fn(&Raw, Id, &str, &'static str) -> Result<Given, ConfigError>,
    notes: &mut Vec<Note>,
) -> Result<Accounts, ConfigError> {
    raw.choice(Id::Vault)?;
    if let Some((access_key, secret)) = env::key_pair(raw, &inputs.folder)? {
        return Ok(accounts::of_key_pair(access_key, secret));
    }
    let file = load(raw, Id::AccountsFile, "authdata.json", BUILT_IN_ACCOUNTS)?;
    note_source(&file, notes);
    let accounts = accounts::read(&file)?;
    accounts::refuse_keyless(&accounts, &file.origin)?;
    Ok(accounts)
}

fn is_host(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    let has_port = !name.contains('[') && name.matches(':').count() == 1;
    !name.is_empty() && name.len() <= 253 && name.bytes().all(allowed) && !has_port
}

fn hosts(raw: &Raw, id: Id) -> Result<Vec<String>, ConfigError> {
    let allowed = setting(id).kind.allowed();
    let mut hosts = Vec::new();
    for given in raw.list(id)?.unwrap_or_default() {
        let host = given.text(&allowed)?;
        if !is_host(host) {
            return Err(given.refuse(&allowed));
        }
        hosts.push(host.to_owned());
    }
    Ok(hosts)
}

/// `restEndpoints` of the file, or the built-in ones, and the hosts of `ENDPOINT`.
fn rest_endpoints(
    raw: &Raw,
    locations: &BTreeMap<String, Location>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let allowed = setting(Id::RestEndpoints).kind.allowed();
    let mut endpoints = BTreeMap::new();
    let given = raw.get(Id::RestEndpoints).cloned().unwrap_or_else(built_in_rest_endpoints);
    for (host, location) in given.entries(&allowed)? {
        let name = location.text("the name of a configured location")?;
        if !locations.contains_key(name) {
            return Err(location.refuse("the name of a configured location"));
        }
        endpoints.insert(host, name.to_owned());
    }
    for host in hosts(raw, Id::Endpoint)? {
        endpoints.insert(host, locations::DEFAULT_LOCATION.to_owned());
    }
    Ok(endpoints)
}

/// A file without `restEndpoints` gets the built-in ones, so that its hosts still mean something.
fn built_in_rest_endpoints() -> Given {
    let mut config: Value = serde_json::from_str(BUILT_IN_CONFIG).expect("a test reads every built-in file");
    let origin = Origin::File { file: "built-in config.json".to_owned(), key: "restEndpoints".to_owned() };
    Given { value: config["restEndpoints"].take(), origin }
}

/// Loopback, and what the strongest source adds. A container's variable replaces the file's list.
fn health_allow_from(raw: &Raw) -> Result<Vec<Cidr>, ConfigError> {
    let mut networks: Vec<Cidr> = ["127.0.0.1/8", "::1"].into_iter().filter_map(Cidr::parse).collect();
    for network in network::networks(&raw.list(Id::HealthAllowFrom)?.unwrap_or_default())? {
        if !networks.contains(&network) {
            networks.push(network);
        }
    }
    Ok(networks)
}

fn trusted_proxies(raw: &Raw) -> Result<Option<TrustedProxies>, ConfigError> {
    let Some(given) = raw.get(Id::Requests) else { return Ok(None) };
    given.entries(&setting(Id::Requests).kind.allowed())?;
    if !given.get("viaProxy").map_or(Ok(false), |flag| flag.switch())? {
        return Ok(None);
    }
    let shape = "a list of IP addresses or networks";
    let networks = network::networks(&given.require("trustedProxyCIDRs", shape)?.list(shape)?)?;
    let header = given.require("extractClientIPFromHeader", "a header name")?;
    let header = header.text("a header name")?.to_ascii_lowercase();
    Ok(Some(TrustedProxies { networks, header }))
}

fn tls_files(raw: &Raw, inputs: &Inputs) -> Result<Option<TlsFiles>, ConfigError> {
    let Some(given) = raw.get(Id::Certificates) else {
        let asked = raw.get(Id::Ssl).filter(|_| raw.get(Id::Endpoint).is_some());
        let refused = asked.map(|ssl| ssl.refuse(&setting(Id::Ssl).kind.allowed()));
        return refused.map_or(Ok(None), Err);
    };
    given.entries(&setting(Id::Certificates).kind.allowed())?;
    let readable = "the path of a readable file";
    let open = |given: &Given| {
        let path = inputs.folder.join(given.text(readable)?);
        match path.is_file() && File::open(&path).is_ok() {
            true => Ok(path),
            false => Err(given.refuse(readable)),
        }
    };
    let key = open(&given.require("key", readable)?)?;
    let cert = open(&given.require("cert", readable)?)?;
    let ca = given.get("ca").map(|ca| open(&ca)).transpose()?;
    Ok(Some(TlsFiles { key, cert, ca }))
}

/// A section with `host` and `port`, its host replaced by a container's variable.
fn remote(raw: &Raw, section: Id, host: Id, port: u16) -> Result<Option<Remote>, ConfigError> {
    let in_file = raw.get(section).map(|given| read_remote(given, section)).transpose()?;
    Ok(match raw.text(host)? {
        Some(host) => {
            let port = in_file.map_or(port, |remote| remote.port);
            Some(Remote { host: host.to_owned(), port })
        }
        None => in_file,
    })
}

fn read_remote(given: &Given, section: Id) -> Result<Remote, ConfigError> {
    let Kind::Object(shape) = setting(section).kind else { return Err(given.refuse("an object")) };
    given.entries(shape)?;
    let host = given.require("host", "a host name or an IP address")?;
    let host = host.text("a host name or an IP address")?.to_owned();
    let port = given.require("port", "a whole number from 1 to 65535")?.number(1, 65_535)?;
    Ok(Remote { host, port: port as u16 })
}

/// `localCache`: with `sentinels` it names no single host, which is accepted and not used.
fn local_cache(raw: &Raw) -> Result<Option<Remote>, ConfigError> {
    let port = raw.number(Id::RedisPort)?.map(|port| port as u16);
    let in_file = match raw.get(Id::LocalCache) {
        Some(given) if given.get("sentinels").is_none() => Some(read_remote(given, Id::LocalCache)?),
        _ => None,
    };
    Ok(match raw.text(Id::RedisHost)? {
        Some(host) => Some(Remote { host: host.to_owned(), port: port.unwrap_or(REDIS_PORT) }),
        None => in_file,
    })
}

#[cfg(test)]
mod tests;
