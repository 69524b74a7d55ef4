//! What the server is like for a test suite: the fixture profile, what is there at the start, and how the
//! process tells that it is ready and notices that nobody needs it any more.

use super::given::{ConfigError, Given, Origin};
use super::settings::{Id, Raw, setting};
use super::{Config, Inputs, accounts, check, file};
use crate::auth::account::Accounts;
use crate::auth::{self};
use crate::model::BucketName;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Who may do what with a bucket of `--buckets` besides its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nobody.
    Private,
    /// Everybody may list it and read its objects.
    PublicRead,
    /// Everybody may also write and delete objects.
    PublicReadWrite,
}

impl Access {
    /// Reads the word after the colon. MinIO's words for the same are understood.
    pub fn parse(word: &str) -> Option<Access> {
        Some(match word {
            "private" | "none" => Access::Private,
            "public-read" | "download" => Access::PublicRead,
            "public-read-write" | "public" => Access::PublicReadWrite,
            _ => return None,
        })
    }
}

/// A bucket of `--buckets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedBucket {
    /// Its name.
    pub name: BucketName,
    /// Who may use it.
    pub access: Access,
}

impl NamedBucket {
    /// Reads `NAME` or `NAME:ACCESS`; `None` when either is wrong.
    pub fn parse(text: &str) -> Option<NamedBucket> {
        let (name, access) = text.split_once(':').unwrap_or((text, "private"));
        Some(NamedBucket { name: BucketName::parse(name).ok()?, access: Access::parse(access)? })
    }
}

/// A document of `--init`: the file that it came from and what it holds.
#[derive(Clone, Debug)]
pub struct InitFile {
    /// The path, which files of objects are relative to.
    pub path: PathBuf,
    /// One JSON object.
    pub document: Given,
}

/// See the module. The default is that of `s3pail` without any option.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// `--fixture`.
    pub fixture: bool,
    /// `--auth any`.
    pub accept_any: bool,
    /// `--host-aliases`.
    pub host_aliases: Vec<String>,
    /// `--namespace-per-key`.
    pub namespace_per_key: bool,
    /// `--buckets`.
    pub buckets: Vec<NamedBucket>,
    /// `--seed`: a folder that existed when the configuration was checked.
    pub seed: Option<PathBuf>,
    /// `--init`.
    pub init: Option<InitFile>,
    /// `--ready-line json`.
    pub ready_json: bool,
    /// `--ready-file`.
    pub ready_file: Option<PathBuf>,
    /// `--parent-pid`.
    pub parent_pid: Option<u32>,
    /// `--exit-with-stdin`.
    pub exit_with_stdin: bool,
}

impl Start {
    /// Whether anything is to be there before the first request.
    pub fn has_content(&self) -> bool {
        !self.buckets.is_empty() || self.seed.is_some() || self.init.is_some()
    }
}

impl Config {
    /// What the doors of this server are like.
    pub fn auth_settings(&self) -> auth::Settings {
        auth::Settings {
            region: self.region.clone(),
            allow_sigv2: true,
            accept_any: self.start.accept_any,
            host_aliases: self.start.host_aliases.clone(),
            system_time_too: self.start.fixture,
        }
    }
}

/// The fixture profile keeps everything in memory unless somebody says otherwise.
pub(super) fn prefer_memory(raw: &mut Raw) -> Result<(), ConfigError> {
    let given = [Id::Backend, Id::Data, Id::Metadata].iter().any(|id| raw.get(*id).is_some());
    if raw.switch(Id::Fixture)? && !given {
        let origin = Origin::File { file: "built-in fixture profile".to_owned(), key: "backend".to_owned() };
        raw.note(Id::Backend, Given { value: Value::from("mem"), origin });
    }
    Ok(())
}

/// Reads all settings of this module. The accounts of `--init` are added to `accounts`.
pub(super) fn read(raw: &Raw, inputs: &Inputs, accounts: &mut Accounts) -> Result<Start, ConfigError> {
    let fixture = raw.switch(Id::Fixture)?;
    let init = raw.get(Id::Init).map(|given| read_init(given, inputs, accounts)).transpose()?;
    Ok(Start {
        fixture,
        accept_any: accept_any(raw, fixture)?,
        host_aliases: host_aliases(raw)?,
        namespace_per_key: with_fixture(raw, Id::NamespacePerKey, fixture)?,
        buckets: buckets(raw)?,
        seed: seed(raw, inputs)?,
        init,
        ready_json: raw.choice(Id::ReadyLine)?.map_or(fixture, |form| form == "json"),
        ready_file: raw.text(Id::ReadyFile)?.map(|path| inputs.folder.join(path)),
        parent_pid: raw.number(Id::ParentPid)?.and_then(|pid| u32::try_from(pid).ok()),
        exit_with_stdin: raw.switch(Id::ExitWithStdin)?,
    })
}

fn accept_any(raw: &Raw, fixture: bool) -> Result<bool, ConfigError> {
    let any = raw.choice(Id::Auth)? == Some("any");
    match raw.get(Id::Auth).filter(|_| any && !fixture) {
        Some(given) => Err(given.refuse("exact, or any together with --fixture")),
        None => Ok(any),
    }
}

fn with_fixture(raw: &Raw, id: Id, fixture: bool) -> Result<bool, ConfigError> {
    let on = raw.switch(id)?;
    match raw.get(id).filter(|_| on && !fixture) {
        Some(given) => Err(given.refuse("no, or yes together with --fixture")),
        None => Ok(on),
    }
}

fn host_aliases(raw: &Raw) -> Result<Vec<String>, ConfigError> {
    let allowed = setting(Id::HostAliases).kind.allowed();
    let items = raw.list(Id::HostAliases)?.unwrap_or_default();
    let read = |given: &Given| match given.text(&allowed)? {
        host if check::is_authority(host) => Ok(host.to_ascii_lowercase()),
        _ => Err(given.refuse(&allowed)),
    };
    items.iter().map(read).collect()
}

fn buckets(raw: &Raw) -> Result<Vec<NamedBucket>, ConfigError> {
    let allowed = setting(Id::Buckets).kind.allowed();
    let items = raw.list(Id::Buckets)?.unwrap_or_default();
    let read =
        |given: &Given| NamedBucket::parse(given.text(&allowed)?).ok_or_else(|| given.refuse(&allowed));
    items.iter().map(read).collect()
}

fn seed(raw: &Raw, inputs: &Inputs) -> Result<Option<PathBuf>, ConfigError> {
    let Some(given) = raw.get(Id::Seed) else { return Ok(None) };
    let allowed = setting(Id::Seed).kind.allowed();
    let folder = inputs.folder.join(given.text(&allowed)?);
    if folder.is_dir() { Ok(Some(folder)) } else { Err(given.refuse(&allowed)) }
}

fn read_init(given: &Given, inputs: &Inputs, accounts: &mut Accounts) -> Result<InitFile, ConfigError> {
    let path = file::given_path(given, Id::Init, &inputs.folder)?;
    let document = file::parse_file(&path)?;
    if let Some(list) = document.get("accounts") {
        add_accounts(&list, accounts)?;
    }
    Ok(InitFile { path, document })
}

/// Adds accounts in the shape of `authdata.json`, in which everything but the name may be left out, and
/// `accessKey` and `secretKey` stand for a single pair.
pub fn add_accounts(list: &Given, accounts: &mut Accounts) -> Result<(), ConfigError> {
    let shape = "a list of objects with name, keys and, if wanted, email, arn, canonicalID, shortid, users";
    let items = list.value.as_array().ok_or_else(|| list.refuse_secret(shape))?;
    let mut completed = Vec::new();
    for (index, item) in items.iter().enumerate() {
        completed.push(completed_account(&list.child(&format!("[{index}]"), item))?);
    }
    let whole = Given { value: json!({ "accounts": completed }), origin: parent_of(&list.origin) };
    let read = accounts::read(&whole)?;
    accounts.merge(read).map_err(|both| {
        let taken = "names, e-mail addresses, canonical ids and access keys that no other account has";
        ConfigError(format!("{}: {both:?} is not allowed; allowed: {taken}", list.origin))
    })
}

fn parent_of(origin: &Origin) -> Origin {
    match origin {
        Origin::File { file, .. } => Origin::File { file: file.clone(), key: String::new() },
        other => other.clone(),
    }
}

const ACCOUNT_KEYS: [&str; 9] =
    ["name", "email", "arn", "canonicalID", "shortid", "keys", "users", "accessKey", "secretKey"];

fn completed_account(given: &Given) -> Result<Value, ConfigError> {
    let object =
        given.value.as_object().ok_or_else(|| given.refuse_secret("an object with name and keys"))?;
    if let Some(key) = object.keys().find(|key| !ACCOUNT_KEYS.contains(&key.as_str())) {
        let unknown = given.child(key, &Value::Null).origin;
        let allowed = ACCOUNT_KEYS.join(", ");
        return Err(ConfigError(format!("{unknown}: this key is not allowed; allowed: {allowed}")));
    }
    let name = given.require("name", "a text, not empty")?.text("a text, not empty")?.to_owned();
    let hash = crate::codec::hex(&auth::keys::sha256(name.as_bytes()));
    let digits: String = hash.bytes().take(12).map(|byte| char::from(b'0' + byte % 10)).collect();
    let mut account = object.clone();
    let mut complete = |key: &str, value: Value| {
        account.entry(key).or_insert(value);
    };
    complete("email", Value::from(format!("{hash}@fixture.invalid")));
    complete("canonicalID", Value::from(hash.clone()));
    complete("shortid", Value::from(digits.clone()));
    complete("arn", Value::from(format!("arn:aws:iam::{digits}:root")));
    if let (Some(access), Some(secret)) = (account.remove("accessKey"), account.remove("secretKey")) {
        account.entry("keys").or_insert(json!([{ "access": access, "secret": secret }]));
    }
    Ok(Value::Object(account))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_read_with_and_without_access() {
        let bucket =
            |text: &str| NamedBucket::parse(text).map(|bucket| (bucket.name.to_string(), bucket.access));
        assert_eq!(bucket("abc"), Some(("abc".to_owned(), Access::Private)));
        assert_eq!(bucket("abc:public-read"), Some(("abc".to_owned(), Access::PublicRead)));
        assert_eq!(bucket("abc:public"), Some(("abc".to_owned(), Access::PublicReadWrite)));
        for wrong in ["", "a", "ABC:public-read", "abc:", "abc:public-reed", "abc:public-read:x"] {
            assert_eq!(bucket(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_account_needs_only_a_name_and_its_keys() {
        let origin = Origin::File { file: "init.json".to_owned(), key: "accounts".to_owned() };
        let list = json!([{ "name": "alice", "accessKey": "AK", "secretKey": "SK" }]);
        let mut accounts = Accounts::default();
        add_accounts(&Given { value: list.clone(), origin: origin.clone() }, &mut accounts).unwrap();
        assert_eq!(accounts.key("AK").unwrap().secret, "SK");
        assert_eq!(accounts.named("alice").unwrap().canonical_id.len(), 64);
        let error = add_accounts(&Given { value: list, origin: origin.clone() }, &mut accounts).unwrap_err();
        assert!(error.0.starts_with("init.json: accounts: "), "{error}");
        let typo = Given { value: json!([{ "name": "bob", "accesKey": "x" }]), origin };
        let error = add_accounts(&typo, &mut accounts).unwrap_err();
        assert!(error.0.starts_with("init.json: accounts[0].accesKey: this key is not allowed"), "{error}");
    }
}
