//! The second stage: from what was written to what is meant. Each function reads one setting and either
//! gives a value that the rest of the program need not doubt, or the sentence that stops the start.

use std::collections::BTreeMap;

use super::daemons::read_remote;
use super::given::{ConfigError, Given};
use super::settings::{Id, Kind, Raw, VARIABLES_WITHOUT_MEANING, setting};
use super::{
    Backend, Config, Inputs, LocalCache, Location, Note, PART_BYTES_MIN, Remote, Role, TrustedProxies,
};
use super::{accounts, certificates, daemons, env, file, fixture, locations, network};
use crate::auth::account::Accounts;
use crate::config::Cidr;
use crate::log::Level;
use crate::model::lifecycle::DAY_MS;
use crate::model::object::{STANDARD, STORAGE_CLASSES};
use crate::storage::SyncMode;

/// How often a scrub is made when nothing is asked for, in days.
const SCRUB_DAYS: u64 = 30;
/// How fast it reads then, in megabytes a second.
const SCRUB_MEGABYTES: u64 = 4;

/// The most worker threads that are started without being asked for.
const WORKERS_DEFAULT_MAX: usize = 64;
/// Worker threads for each core, unless given; the fewest, too. Workers mostly wait for disk and network.
const WORKERS_FOR_EACH_CORE: usize = 8;
/// The port of Redis when only its host is given.
const REDIS_PORT: u16 = 6379;

impl Config {
    /// The second stage: from what was written to what is meant.
    pub(super) fn check(mut raw: Raw, inputs: &Inputs) -> Result<Config, ConfigError> {
        let folder = &inputs.folder;
        let mut notes = Vec::new();
        let config_file = file::CONFIG.load(&raw, inputs, &mut notes)?;
        file::read(&config_file, &mut raw, &mut notes)?;
        note_variables(&inputs.variables, &mut notes);

        fixture::prefer_memory(&mut raw)?;
        let listen = network::listen(&raw)?;
        let data = backend(&raw, Id::Data)?;
        let location_file = file::LOCATIONS.load(&raw, inputs, &mut notes)?;
        let locations = locations::read(&location_file, data == Backend::Multiple)?;
        let metadata = backend(&raw, Id::Metadata)?;
        let in_memory = data == Backend::Memory && daemons::role(&raw)? == Role::Data;
        if let Some(given) = raw.get(Id::Role).filter(|_| in_memory) {
            return Err(given.refuse("data with bodies in files: --data file"));
        }
        let data_place = daemons::data(&raw, data == Backend::Memory)?;
        let metadata_place = daemons::metadata(&raw, metadata == Backend::Memory)?;
        let mut accounts = accounts_of(&raw, inputs, &mut notes)?;
        let start = fixture::read(&raw, inputs, &mut accounts)?;
        let published = accounts::read(&file::ACCOUNTS.built_in())?;
        Ok(Config {
            role: daemons::role(&raw)?,
            tls: certificates::tls(&raw, inputs, &listen, &mut notes)?,
            listen,
            data,
            metadata,
            data_path: folder.join(path(&raw, Id::DataPath)?.unwrap_or("localData")),
            metadata_path: folder.join(path(&raw, Id::MetadataPath)?.unwrap_or("localMetadata")),
            sync: sync_mode(&raw)?,
            workers: raw.number(Id::Workers)?.map_or_else(default_workers, |workers| workers as usize),
            connections: raw.number(Id::Connections)?.map(|connections| connections as usize),
            memory_bytes: raw.number(Id::MemoryBytes)?.unwrap_or(u64::MAX),
            published_keys: accounts::has_published_key(&accounts, &published),
            accounts,
            rest_endpoints: rest_endpoints(&raw, &locations)?,
            storage_classes: storage_classes(&raw, &locations)?,
            website_endpoints: hosts(&raw, Id::WebsiteEndpoints)?,
            strict_hosts: raw.switch(Id::StrictHosts)?,
            region: raw.text(Id::Region)?.map(str::to_owned),
            locations,
            part_bytes_min: if raw.switch(Id::MpuTesting)? { 0 } else { PART_BYTES_MIN },
            default_encryption: raw.choice(Id::DefaultEncryption)? == Some("AES256"),
            lifecycle_day_ms: raw.number(Id::LifecycleDaySeconds)?.map_or(DAY_MS, |seconds| seconds * 1_000),
            restore_ms: raw.number(Id::RestoreSeconds)?.unwrap_or(0) * 1_000,
            scrub_period_ms: raw.number(Id::ScrubDays)?.unwrap_or(SCRUB_DAYS) * DAY_MS,
            scrub_rate: raw.number(Id::ScrubRate)?.unwrap_or(SCRUB_MEGABYTES) * 1_000_000,
            notification_webhook: webhook(&raw)?,
            notification_destinations: destinations(&raw, &mut notes)?,
            log_level: log_level(&raw)?,
            log_headers: raw.switch(Id::LogHeaders)?,
            health_allow_from: health_allow_from(&raw)?,
            trusted_proxies: trusted_proxies(&raw)?,
            data_client: data_place.client,
            metadata_client: metadata_place.client,
            data_daemon: data_place.daemon,
            metadata_daemon: metadata_place.daemon,
            local_cache: local_cache(&raw, &mut notes)?,
            start,
            notes,
        })
    }
}

fn note_variables(variables: &BTreeMap<String, String>, notes: &mut Vec<Note>) {
    for name in VARIABLES_WITHOUT_MEANING.iter().filter(|name| variables.contains_key(**name)) {
        let text = format!("environment variable {name}: has no effect in s3pail");
        notes.push(Note { level: Level::Debug, text });
    }
}

/// The stronger of a specific setting and the general one; of equals the specific one.
pub(super) fn stronger(raw: &Raw, specific: Id, general: Id) -> Option<(Id, &Given)> {
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
    Ok(word.map_or(Backend::File, backend_of_word))
}

fn backend_of_word(word: &str) -> Backend {
    match word {
        "mem" => Backend::Memory,
        "file" => Backend::File,
        _ => Backend::Multiple,
    }
}

fn sync_mode(raw: &Raw) -> Result<SyncMode, ConfigError> {
    let (mode, no_sync) = (raw.choice(Id::Sync)?, raw.choice(Id::NoSync)?);
    let mode = match stronger(raw, Id::Sync, Id::NoSync) {
        Some((Id::NoSync, _)) if no_sync == Some("true") => Some("none"),
        _ => mode,
    };
    Ok(mode.and_then(SyncMode::of_name).unwrap_or(SyncMode::Strict))
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

fn accounts_of(raw: &Raw, inputs: &Inputs, notes: &mut Vec<Note>) -> Result<Accounts, ConfigError> {
    raw.choice(Id::Vault)?;
    if let Some((access_key, secret)) = env::key_pair(raw, &inputs.folder)? {
        return Ok(accounts::of_key_pair(access_key, secret));
    }
    let file = file::ACCOUNTS.load(raw, inputs, notes)?;
    let accounts = accounts::read(&file)?;
    accounts::refuse_keyless(&accounts, &file.origin)?;
    Ok(accounts)
}

fn is_host(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    let has_port = !name.contains('[') && name.matches(':').count() == 1;
    !name.is_empty() && name.len() <= 253 && name.bytes().all(allowed) && !has_port
}

pub(super) fn hosts(raw: &Raw, id: Id) -> Result<Vec<String>, ConfigError> {
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
    // A file without the key gets the built-in hosts, so that localhost still means something.
    let given = match raw.get(Id::RestEndpoints) {
        Some(given) => given.clone(),
        None => file::CONFIG.built_in().require("restEndpoints", &allowed)?,
    };
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

/// `storageClasses`: which location the bytes of which class go to.
fn storage_classes(
    raw: &Raw,
    locations: &BTreeMap<String, Location>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let Some(given) = raw.get(Id::StorageClasses) else { return Ok(BTreeMap::new()) };
    let allowed = setting(Id::StorageClasses).kind.allowed();
    let mut classes = BTreeMap::new();
    for (class, location) in given.entries(&allowed)? {
        if class == STANDARD || !STORAGE_CLASSES.contains(&class.as_str()) {
            let classes = STORAGE_CLASSES.iter().filter(|class| **class != STANDARD);
            let classes = classes.copied().collect::<Vec<_>>().join(", ");
            return Err(location.refuse(&format!("one of the keys {classes}")));
        }
        let name = location.text("the name of a configured location")?;
        if !locations.contains_key(name) {
            return Err(location.refuse("the name of a configured location"));
        }
        classes.insert(class, name.to_owned());
    }
    Ok(classes)
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

/// `localCache` of the file, its host and port replaced by a container's variables. Without either,
/// `ENABLE_LOCAL_CACHE` stands for a Redis on this machine.
fn local_cache(raw: &Raw, notes: &mut Vec<Note>) -> Result<Option<LocalCache>, ConfigError> {
    let in_file = match raw.get(Id::LocalCache) {
        Some(given) => read_local_cache(given, notes)?,
        None => None,
    };
    let port = raw.number(Id::RedisPort)?.map(|port| port as u16);
    let remote = |host: &str| Remote { host: host.to_owned(), port: port.unwrap_or(REDIS_PORT) };
    Ok(match (raw.text(Id::RedisHost)?, in_file) {
        (Some(host), in_file) => {
            let password = in_file.and_then(|cache| cache.password);
            Some(LocalCache { remote: remote(host), password })
        }
        (None, Some(mut cache)) => {
            cache.remote.port = port.unwrap_or(cache.remote.port);
            Some(cache)
        }
        (None, None) if raw.get(Id::LocalCache).is_none() && raw.text(Id::EnableLocalCache)?.is_some() => {
            Some(LocalCache { remote: remote("127.0.0.1"), password: None })
        }
        (None, None) => None,
    })
}

/// The section. One that names only sentinels is accepted, so that a file from Scality S3 Server starts
/// this server, with a remark that nothing is counted.
fn read_local_cache(given: &Given, notes: &mut Vec<Note>) -> Result<Option<LocalCache>, ConfigError> {
    let Kind::Object(shape) = setting(Id::LocalCache).kind else { return Err(given.refuse("an object")) };
    given.entries(shape)?;
    let password = given.get("password").map(|password| match password.value.as_str() {
        Some(text) => Ok(Some(text.to_owned()).filter(|text| !text.is_empty())),
        None => Err(password.refuse_secret("a text")),
    });
    let password = password.transpose()?.flatten();
    if let Some(sentinels) = given.get("sentinels").filter(|_| given.get("host").is_none()) {
        let text = format!(
            "{}: Redis Sentinel is not asked, so no statistics are kept; allowed: host and port of the Redis itself",
            sentinels.origin
        );
        notes.push(Note { level: Level::Warn, text });
        return Ok(None);
    }
    Ok(Some(LocalCache { remote: read_remote(given, Id::LocalCache)?, password }))
}

fn webhook(raw: &Raw) -> Result<Option<String>, ConfigError> {
    let Some(url) = raw.text(Id::NotificationWebhook)? else { return Ok(None) };
    match raw.get(Id::NotificationWebhook).filter(|_| !is_webhook(url)) {
        Some(given) => Err(given.refuse(&setting(Id::NotificationWebhook).kind.allowed())),
        None => Ok(Some(url.to_owned())),
    }
}

fn is_webhook(url: &str) -> bool {
    let host = url.strip_prefix("http://").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or(""));
    host.is_some_and(|host| !host.is_empty() && is_authority(host)) && !url.contains(char::is_whitespace)
}

/// Whether a text is a host with or without a port.
pub(super) fn is_authority(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte))
}

/// `bucketNotificationDestinations`. Entries for brokers that this server does not speak to are passed
/// over with a remark, so that a file from Scality S3 Server starts it.
fn destinations(raw: &Raw, notes: &mut Vec<Note>) -> Result<Vec<(String, String)>, ConfigError> {
    let Some(given) = raw.get(Id::NotificationDestinations) else { return Ok(Vec::new()) };
    let shape = setting(Id::NotificationDestinations).kind.allowed();
    let items = given.value.as_array().ok_or_else(|| given.refuse(&shape))?;
    let mut destinations = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let item = given.child(&format!("[{index}]"), item);
        let resource = item.require("resource", "a name or an ARN")?.text("a name or an ARN")?.to_owned();
        let kind = item.require("type", "webhook")?;
        if !["webhook", "http"].contains(&kind.text("webhook")?) {
            let text = format!("{}: only webhooks are sent events; {resource} gets none", kind.origin);
            notes.push(Note { level: Level::Warn, text });
            continue;
        }
        destinations.push((resource, destination_url(&item)?));
    }
    Ok(destinations)
}

fn destination_url(item: &Given) -> Result<String, ConfigError> {
    let shape = "a host name or an http:// URL";
    let host = item.require("host", shape)?;
    let text = host.text(shape)?;
    let url = match item.get("port") {
        _ if text.contains("://") => text.to_owned(),
        Some(port) => format!("http://{text}:{}/", port.number(1, 65_535)?),
        None => format!("http://{text}/"),
    };
    if is_webhook(&url) { Ok(url) } else { Err(host.refuse(shape)) }
}
