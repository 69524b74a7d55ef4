//! The master keys: those of SSE-S3 and of SSE-KMS, in memory or in one local file.
//!
//! The file, `keys.json` in the metadata folder (mode 0600), is made when the first key is. Without it,
//! what was encrypted with its keys is lost, so it belongs into every backup:
//!
//! ```json
//! {
//!   "format": 1,
//!   "create_missing": true,
//!   "service_key": "id of the key that SSE-S3 uses for new objects",
//!   "aliases": { "alias/aws/s3": "id" },
//!   "keys": { "id": "base64 of 32 bytes" }
//! }
//! ```
//!
//! `create_missing` says whether a name that nobody has used before makes a new key, or is refused as
//! AWS KMS refuses it. Keys may be added by hand while the server is stopped.
//!
//! Key names are those of AWS KMS: an id, `alias/...`, or the ARN of either, of which region and account
//! are not looked at.

use super::key::Key;
use crate::codec::{base64, hex, random, unbase64};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

/// The name of the file in the metadata folder.
pub const KEY_FILE: &str = "keys.json";

/// The alias of the key that SSE-KMS uses when a request names none.
pub const DEFAULT_ALIAS: &str = "alias/aws/s3";

/// The most keys of a ring: names make keys, and nothing that clients can make may grow without end.
pub const KEYS_MAX: usize = 1_000;

/// The longest name of a key in bytes, as of AWS KMS.
const NAME_BYTES_MAX: usize = 2_048;

/// The largest key file that is read.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

const FORMAT: u32 = 1;

/// What the file holds.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ring {
    format: u32,
    create_missing: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service_key: Option<String>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    #[serde(default)]
    keys: BTreeMap<String, String>,
}

impl Default for Ring {
    fn default() -> Ring {
        Ring {
            format: FORMAT,
            create_missing: true,
            service_key: None,
            aliases: BTreeMap::new(),
            keys: BTreeMap::new(),
        }
    }
}

/// A master key and its id.
#[derive(Clone, Debug)]
pub struct MasterKey {
    /// Its id in the ring.
    pub id: String,
    /// The key.
    pub key: Key,
}

/// Why there is no key.
#[derive(Debug)]
pub enum KeyError {
    /// No key has this name, and none was made; or it cannot be a name.
    NotFound,
    /// The ring has [`KEYS_MAX`] keys.
    Full,
    /// Other front ends of the same records have another key of this name.
    Foreign(String),
    /// The file could not be written, or the other front ends not be asked.
    Io(io::Error),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::NotFound => f.write_str("there is no key of this name"),
            KeyError::Full => write!(f, "there are {KEYS_MAX} keys, which is the most"),
            KeyError::Foreign(name) => write!(
                f,
                "{name}: other front ends of the same records have another key of this name; all of them must \
                 have the same {KEY_FILE}: stop this one, copy the file of another into its metadata folder, \
                 and start it again"
            ),
            KeyError::Io(error) => write!(f, "{error}"),
        }
    }
}

/// What front ends that share records know of each other's keys. Names are those of keys, of aliases and of
/// the service key; values are fingerprints, which tell nothing of a key, or what a name stands for.
pub trait Claims: Send + Sync {
    /// Claims all of these names, or none.
    ///
    /// # Errors
    /// `Foreign` when one is claimed for something else, `Io`.
    fn claim(&self, names: &BTreeMap<String, String>) -> Result<(), KeyError>;

    /// What a name is claimed for.
    ///
    /// # Errors
    /// `Io`.
    fn claimed(&self, name: &str) -> Result<Option<String>, KeyError>;

    /// Gives claims up whose keys could not be written down.
    fn release(&self, names: &BTreeMap<String, String>);
}

/// The claim of the key that SSE-S3 uses.
const SERVICE_KEY_CLAIM: &str = "service-key";

/// The master keys of a server. The lock guards the ring and the file, which change together and only
/// when a key is made.
pub struct Keyring {
    ring: RwLock<Ring>,
    file: Option<PathBuf>,
    /// Where records are shared with other front ends.
    claims: Option<Box<dyn Claims>>,
}

impl Keyring {
    /// Keys that end with the process.
    pub fn in_memory() -> Keyring {
        Keyring { ring: RwLock::default(), file: None, claims: None }
    }

    /// Keys kept in [`KEY_FILE`] in `folder`. The file is not made before there is a key.
    ///
    /// # Errors
    /// A sentence, when the file is there but cannot be read or is not what it should be.
    pub fn open(folder: &Path) -> Result<Keyring, String> {
        let file = folder.join(KEY_FILE);
        let ring = match File::open(&file) {
            Ok(opened) => read(opened).map_err(|why| format!("{}: {why}", file.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ring::default(),
            Err(error) => return Err(format!("{}: {error}", file.display())),
        };
        Ok(Keyring { ring: RwLock::new(ring), file: Some(file), claims: None })
    }

    /// The same keys, shared with other front ends: each has a file of its own, and all files must agree.
    ///
    /// # Errors
    /// A sentence that names the file and the key, when the others have another one or one that is not here.
    pub fn shared(mut self, claims: Box<dyn Claims>) -> Result<Keyring, String> {
        let file = self.file.as_ref().map_or_else(|| KEY_FILE.to_owned(), |file| file.display().to_string());
        let named = |error: KeyError| format!("{file}: {error}");
        let ring = self.ring.get_mut().unwrap_or_else(PoisonError::into_inner);
        claims.claim(&ring.claims()).map_err(named)?;
        let service_key = claims.claimed(SERVICE_KEY_CLAIM).map_err(named)?;
        if service_key.is_some_and(|id| !ring.keys.contains_key(&id)) {
            return Err(named(KeyError::Foreign(SERVICE_KEY_CLAIM.to_owned())));
        }
        self.claims = Some(claims);
        Ok(self)
    }

    /// The key of SSE-S3 for new objects, made on first use.
    ///
    /// # Errors
    /// `Io`, `Full`.
    pub fn service_key(&self) -> Result<MasterKey, KeyError> {
        let look_up = |ring: &Ring| ring.service_key.as_ref().and_then(|id| ring.master(id));
        self.find_or_make(look_up, |ring| {
            let id = uuid();
            ring.service_key = Some(id.clone());
            Ok(id)
        })
    }

    /// The key that a client names, made on first use unless the file says otherwise.
    ///
    /// # Errors
    /// `NotFound`, `Full`, `Io`.
    pub fn named(&self, name: &str) -> Result<MasterKey, KeyError> {
        let name = without_arn(name);
        let look_up = |ring: &Ring| ring.master(ring.aliases.get(name).map_or(name, String::as_str));
        self.find_or_make(look_up, |ring| {
            // The key that stands for "no name given" always exists at AWS.
            if !(is_name(name) && (ring.create_missing || name == DEFAULT_ALIAS)) {
                return Err(KeyError::NotFound);
            }
            if !name.starts_with("alias/") {
                return Ok(name.to_owned());
            }
            let id = uuid();
            ring.aliases.insert(name.to_owned(), id.clone());
            Ok(id)
        })
    }

    /// The key of an id, for opening what it has wrapped.
    pub fn find(&self, id: &str) -> Option<MasterKey> {
        let found = self.ring.read().unwrap_or_else(PoisonError::into_inner).master(id);
        if found.is_some() || self.claims.is_none() {
            return found;
        }
        // Another front end may have made it since, in the same file.
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        let _others_wait = self.read_again(&mut ring).ok()?;
        ring.master(id)
    }

    /// Looks a key up; when it is not there, makes it under the id that `name` gives it, on disk before
    /// in memory: a key that is used is a key that will be found again.
    fn find_or_make(
        &self,
        look_up: impl Fn(&Ring) -> Option<MasterKey>,
        name: impl FnOnce(&mut Ring) -> Result<String, KeyError>,
    ) -> Result<MasterKey, KeyError> {
        if let Some(found) = look_up(&self.ring.read().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(found);
        }
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        let _others_wait = self.read_again(&mut ring).map_err(KeyError::Io)?;
        if let Some(found) = look_up(&ring) {
            return Ok(found);
        }
        let mut changed = ring.clone();
        let made = MasterKey { id: name(&mut changed)?, key: Key::random() };
        if changed.keys.len() >= KEYS_MAX {
            return Err(KeyError::Full);
        }
        changed.keys.insert(made.id.clone(), base64(made.key.as_bytes()));
        self.write_down(&ring, &changed)?;
        *ring = changed;
        Ok(made)
    }
}

impl Keyring {
    /// Where records are shared: reads the file again, which front ends of one machine may share too. Until
    /// what is returned is dropped, no other one changes it.
    fn read_again(&self, ring: &mut Ring) -> io::Result<Option<File>> {
        let Some(file) = self.file.as_ref().filter(|_| self.claims.is_some()) else { return Ok(None) };
        let lock = lock_file(&file.with_extension("lock"))?;
        match File::open(file) {
            Ok(opened) => {
                let named =
                    |why| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", file.display()));
                *ring = read(opened).map_err(named)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(Some(lock))
    }

    /// Claims what is new in a ring and writes it into the file.
    fn write_down(&self, ring: &Ring, changed: &Ring) -> Result<(), KeyError> {
        let known = ring.claims();
        let new = changed.claims().into_iter().filter(|(name, _)| !known.contains_key(name)).collect();
        if let Some(claims) = &self.claims {
            claims.claim(&new)?;
        }
        let Some(file) = &self.file else { return Ok(()) };
        write(file, changed).map_err(|error| {
            if let Some(claims) = &self.claims {
                claims.release(&new);
            }
            KeyError::Io(error)
        })
    }
}

impl Ring {
    /// What others must have the same of.
    fn claims(&self) -> BTreeMap<String, String> {
        let fingerprint = |master: MasterKey| hex(&master.key.mac("s3pail fingerprint", b"")[..16]);
        let mut claims: BTreeMap<String, String> = BTreeMap::new();
        for id in self.keys.keys() {
            claims.extend(self.master(id).map(|master| (format!("key/{id}"), fingerprint(master))));
        }
        claims.extend(self.aliases.iter().map(|(name, id)| (name.clone(), id.clone())));
        claims.extend(self.service_key.iter().map(|id| (SERVICE_KEY_CLAIM.to_owned(), id.clone())));
        claims
    }

    fn master(&self, id: &str) -> Option<MasterKey> {
        let key = Key::from_bytes(&unbase64(self.keys.get(id)?)?)?;
        Some(MasterKey { id: id.to_owned(), key })
    }

    fn check(self) -> Result<Ring, String> {
        if self.format != FORMAT {
            return Err(format!("format {} is not known, only {FORMAT}", self.format));
        }
        if let Some(id) = self.keys.keys().find(|id| self.master(id).is_none()) {
            return Err(format!("the key {id:?} is not 32 bytes in base64"));
        }
        let named = self.aliases.values().chain(&self.service_key);
        if let Some(id) = named.into_iter().find(|id| !self.keys.contains_key(*id)) {
            return Err(format!("there is no key {id:?}"));
        }
        Ok(self)
    }
}

/// What a key is called without its ARN: `arn:aws:kms:<region>:<account>:key/<id>`, or `:alias/<name>`.
fn without_arn(name: &str) -> &str {
    let mut parts = name.splitn(6, ':');
    let is_arn = parts.next() == Some("arn") && parts.nth(1) == Some("kms");
    let rest = if is_arn { parts.nth(2).unwrap_or(name) } else { name };
    rest.strip_prefix("key/").unwrap_or(rest)
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_/.:".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name != "alias/" && name.bytes().all(allowed)
}

/// A random UUID (RFC 9562, version 4), the form of key ids.
fn uuid() -> String {
    let mut bytes = random::<16>();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hex(&bytes);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

/// Whether a name has the form of a key id of AWS KMS.
pub fn is_uuid(name: &str) -> bool {
    name.len() == 36
        && name.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn read(file: File) -> Result<Ring, String> {
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    // What serde says of a wrong value may show it, and the values are keys.
    let ring: Ring = serde_json::from_slice(&bytes)
        .map_err(|error| format!("not a key file: line {}, column {}", error.line(), error.column()))?;
    ring.check()
}

/// Replaces the file in one step, so that a crash leaves the old keys or the new ones.
fn write(file: &Path, ring: &Ring) -> io::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(ring).expect("a ring has string keys only");
    bytes.push(b'\n');
    let beside = file.with_extension("json.new");
    // Left over from a crash, perhaps with another mode.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut new = private_file().open(&beside)?;
    new.write_all(&bytes)?;
    new.sync_all()?;
    fs::rename(&beside, file)?;
    sync_folder(file)
}

fn lock_file(path: &Path) -> io::Result<File> {
    let mut options = private_file();
    let lock = options.create_new(false).create(true).truncate(false).open(path)?;
    lock.lock()?;
    Ok(lock)
}

#[cfg(unix)]
fn private_file() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options
}

#[cfg(not(unix))]
fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    options
}

/// Makes the new name durable. Elsewhere than on Unix folders cannot be opened, and need not be.
fn sync_folder(file: &Path) -> io::Result<()> {
    match file.parent() {
        Some(folder) if cfg!(unix) => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("s3pail-keyring-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn keys_are_found_again_by_every_name_and_after_a_restart() {
        let folder = Folder::new("again");
        let ring = Keyring::open(&folder.0).unwrap();
        assert!(!folder.0.join(KEY_FILE).exists(), "no key, no file");
        let service = ring.service_key().unwrap();
        let plain = ring.named("testkey-1").unwrap();
        let alias = ring.named("alias/mine").unwrap();
        assert_eq!(plain.id, "testkey-1");
        assert!(is_uuid(&alias.id) && is_uuid(&service.id));
        for ring in [&ring, &Keyring::open(&folder.0).unwrap()] {
            assert_eq!(ring.service_key().unwrap().key.as_bytes(), service.key.as_bytes());
            for (name, key) in [
                ("testkey-1", &plain),
                ("arn:aws:kms:us-east-1:123456789012:key/testkey-1", &plain),
                ("arn:aws:kms:eu-west-1:1:alias/mine", &alias),
                (alias.id.as_str(), &alias),
            ] {
                assert_eq!(ring.named(name).unwrap().key.as_bytes(), key.key.as_bytes(), "{name}");
            }
            assert_eq!(ring.find(&alias.id).unwrap().key.as_bytes(), alias.key.as_bytes());
            assert!(ring.find("other").is_none());
        }
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_the_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = Folder::new("mode");
        Keyring::open(&folder.0).unwrap().service_key().unwrap();
        let mode = fs::metadata(folder.0.join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_not_understood_is_refused_without_showing_it() {
        let folder = Folder::new("refused");
        let secret = base64(&[9; 31]);
        for text in [
            String::new(),
            "{}".to_owned(),
            r#"{"format":2,"create_missing":true}"#.to_owned(),
            r#"{"format":1,"create_missing":true,"service_key":"gone"}"#.to_owned(),
            r#"{"format":1,"create_missing":true,"keys":{"k":["SECRET"]}}"#.replace("SECRET", &secret),
            r#"{"format":1,"create_missing":true,"keys":{"k":"SECRET"}}"#.replace("SECRET", &secret),
        ] {
            fs::write(folder.0.join(KEY_FILE), &text).unwrap();
            let why = Keyring::open(&folder.0).err().expect(&text);
            assert!(why.contains(KEY_FILE) && !why.contains(&secret), "{why}");
        }
    }

    #[test]
    fn unknown_names_make_keys_only_where_the_file_allows_it_and_only_so_many() {
        let folder = Folder::new("strict");
        fs::write(folder.0.join(KEY_FILE), r#"{"format":1,"create_missing":false}"#).unwrap();
        let ring = Keyring::open(&folder.0).unwrap();
        assert!(matches!(ring.named("testkey-1"), Err(KeyError::NotFound)));
        assert!(ring.named(DEFAULT_ALIAS).is_ok());
        let ring = Keyring::in_memory();
        let too_long = "k".repeat(NAME_BYTES_MAX + 1);
        for name in ["", "a b", "é", "alias/", "arn:aws:kms:r:1:key/", &too_long] {
            assert!(matches!(ring.named(name), Err(KeyError::NotFound)), "{name:?}");
        }
        for number in 0..KEYS_MAX {
            ring.named(&format!("k{number}")).unwrap();
        }
        assert!(matches!(ring.named("one-more"), Err(KeyError::Full)));
        assert!(ring.named("k0").is_ok());
    }
}
