//! JSON files: where they are looked for, and reading them so that nothing in them is lost in silence.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::given::{BUILT_IN, ConfigError, Given, Origin};
use super::settings::{Id, KEYS_FORBIDDEN, KEYS_WITHOUT_MEANING, Raw, SETTINGS, setting};
use super::{Inputs, Note};
use crate::log::Level;

/// The largest configuration file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// The folder that is searched before the current one.
const CONF_FOLDER: &str = "conf";

/// Reads a UTF-8 file of at most `bytes_max` bytes. A byte order mark is dropped.
pub fn read_text(path: &Path, bytes_max: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(bytes_max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is too large"));
    }
    Ok(text.strip_prefix('\u{feff}').map_or(text.clone(), str::to_owned))
}

/// A file that can be given, found, or else is built in.
#[derive(Debug)]
pub struct Source {
    /// The setting that names it.
    pub id: Id,
    /// Its name where it is looked for.
    pub name: &'static str,
    /// The shipped file, which counts when there is no other.
    pub built_in: &'static str,
}

/// `config.json`.
pub static CONFIG: Source =
    Source { id: Id::ConfigFile, name: "config.json", built_in: include_str!("../../conf/config.json") };

/// `locationConfig.json`.
pub static LOCATIONS: Source = Source {
    id: Id::LocationFile,
    name: "locationConfig.json",
    built_in: include_str!("../../conf/locationConfig.json"),
};

/// `authdata.json`.
pub static ACCOUNTS: Source = Source {
    id: Id::AccountsFile,
    name: "authdata.json",
    built_in: include_str!("../../conf/authdata.json"),
};

impl Source {
    /// The file that a setting names, else the first of `conf/NAME` and `NAME` that exists, else the
    /// built-in one.
    pub fn load(&self, raw: &Raw, inputs: &Inputs, notes: &mut Vec<Note>) -> Result<Given, ConfigError> {
        let found = match raw.get(self.id) {
            Some(given) => Some(given_path(given, self.id, &inputs.folder)?),
            None if inputs.search => search(&inputs.folder, self.name),
            None => None,
        };
        let Some(path) = found else { return Ok(self.built_in()) };
        notes.push(Note { level: Level::Info, text: format!("configuration read from {}", path.display()) });
        parse_file(&path)
    }

    /// The built-in file.
    pub fn built_in(&self) -> Given {
        let value = parse(self.built_in).expect("a test reads every built-in file");
        let origin = Origin::File { file: format!("{BUILT_IN}{}", self.name), key: String::new() };
        Given { value, origin }
    }
}

fn search(folder: &Path, name: &str) -> Option<PathBuf> {
    [folder.join(CONF_FOLDER).join(name), folder.join(name)].into_iter().find(|path| path.is_file())
}

pub(super) fn given_path(given: &Given, id: Id, folder: &Path) -> Result<PathBuf, ConfigError> {
    let path = Path::new(given.text(&setting(id).kind.allowed())?);
    let [first, second] = [folder.join(path), folder.join(CONF_FOLDER).join(path)];
    let allowed = format!("an existing file; looked for {} and {}", first.display(), second.display());
    let is_there = |path: &PathBuf| path.exists() && !path.is_dir();
    [first, second].into_iter().find(is_there).ok_or_else(|| given.refuse(&allowed))
}

/// Reads a file that holds one JSON object.
pub(super) fn parse_file(path: &Path) -> Result<Given, ConfigError> {
    let file = path.display().to_string();
    let text = read_text(path, FILE_BYTES_MAX).map_err(|error| {
        ConfigError(format!("{file}: cannot be read: {error}; allowed: a readable JSON file"))
    })?;
    let value = parse(&text)
        .map_err(|error| ConfigError(format!("{file}: not JSON: {error}; allowed: one JSON object")))?;
    let given = Given { value, origin: Origin::File { file, key: String::new() } };
    given.entries("one JSON object")?;
    Ok(given)
}

fn parse(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str::<OnceKeyed>(text).map(|parsed| parsed.0)
}

/// JSON whose objects name every key once. `serde_json` keeps the last of two, which would drop one
/// of the user's lines without a word.
struct OnceKeyed(Value);

impl<'de> Deserialize<'de> for OnceKeyed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OnceKeyed, D::Error> {
        deserializer.deserialize_any(OnceKeyedVisitor).map(OnceKeyed)
    }
}

struct OnceKeyedVisitor;

impl<'de> Visitor<'de> for OnceKeyedVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(OnceKeyed(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((key, OnceKeyed(value))) = entries.next_entry::<String, OnceKeyed>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format!("the key {key:?} stands twice in one object")));
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

/// Notes what `config.json` gives, refuses forbidden keys, and remarks on keys that have no effect.
pub fn read(config: &Given, raw: &mut Raw, notes: &mut Vec<Note>) -> Result<(), ConfigError> {
    for (key, instead) in KEYS_FORBIDDEN {
        if let Some(given) = config.get(key) {
            let message = format!("{}: this key is not allowed; use {instead}", given.origin);
            return Err(ConfigError(message));
        }
    }
    for setting in SETTINGS.iter().filter(|setting| !setting.key.is_empty()) {
        if let Some(given) = dotted(config, setting.key)? {
            raw.note(setting.id, given);
        }
    }
    for (key, given) in config.entries("one JSON object")? {
        remark(&key, &given, notes);
    }
    Ok(())
}

/// The value of a dotted key; every part but the last must be an object where it exists.
fn dotted(config: &Given, key: &str) -> Result<Option<Given>, ConfigError> {
    let Some((section, rest)) = key.split_once('.') else { return Ok(config.get(key)) };
    let Some(section) = config.get(section) else { return Ok(None) };
    section.entries("an object")?;
    Ok(section.get(rest))
}

/// Notes a key without effect, in a known section too.
fn remark(key: &str, given: &Given, notes: &mut Vec<Note>) {
    let known = |key: &str| SETTINGS.iter().any(|setting| setting.key == key);
    let prefix = format!("{key}.");
    let names = SETTINGS.iter().map(|setting| setting.key).chain(KEYS_WITHOUT_MEANING.iter().copied());
    if known(key) {
    } else if KEYS_WITHOUT_MEANING.contains(&key) {
        notes.push(Note { level: Level::Debug, text: format!("{}: has no effect in s3pail", given.origin) });
    } else if names.into_iter().any(|name| name.starts_with(&prefix)) {
        for (inner, value) in given.value.as_object().into_iter().flatten() {
            remark(&format!("{prefix}{inner}"), &given.child(inner, value), notes);
        }
    } else {
        notes.push(Note { level: Level::Warn, text: format!("{}: unknown key, ignored", given.origin) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(Raw, Vec<Note>), ConfigError> {
        let value = parse(text).map_err(|error| ConfigError(error.to_string()))?;
        let given =
            Given { value, origin: Origin::File { file: "config.json".to_owned(), key: String::new() } };
        let (mut raw, mut notes) = (Raw::default(), Vec::new());
        read(&given, &mut raw, &mut notes)?;
        Ok((raw, notes))
    }

    #[test]
    fn a_key_that_stands_twice_is_refused() {
        let error = check(r#"{"port": 1, "log": {"x": 1, "x": 2}}"#).unwrap_err();
        assert!(error.0.contains("\"x\" stands twice"), "{error}");
    }

    #[test]
    fn forbidden_keys_stop_and_say_what_to_use() {
        for (key, _) in KEYS_FORBIDDEN {
            let error = check(&format!("{{\"{key}\": {{}}}}")).unwrap_err();
            assert!(error.0.starts_with(&format!("config.json: {key}: ")), "{error}");
        }
    }

    #[test]
    fn keys_without_effect_are_noted_and_unknown_ones_warned_about() {
        let text = r#"{"port": 9, "clusters": 10, "prot": 1, "log": {"logLevel": "info", "dumpLevel": "error",
            "logLvl": 1}, "s3pail": {"workrs": 2}}"#;
        let (raw, notes) = check(text).unwrap();
        assert_eq!(raw.number(Id::Port).unwrap(), Some(9));
        let warned: Vec<&str> =
            notes.iter().filter(|note| note.level == Level::Warn).map(|note| note.text.as_str()).collect();
        assert_eq!(
            warned,
            [
                "config.json: log.logLvl: unknown key, ignored",
                "config.json: prot: unknown key, ignored",
                "config.json: s3pail.workrs: unknown key, ignored"
            ]
        );
        assert_eq!(notes.len(), 5);
    }

    #[test]
    fn a_section_that_is_not_an_object_is_refused() {
        let error = check(r#"{"log": "info"}"#).unwrap_err();
        assert_eq!(error.0, "config.json: log: \"info\" is not allowed; allowed: an object");
    }

    #[test]
    fn hostile_json_is_an_error_and_never_a_crash() {
        for text in ["", "[", "{\"a\":NaN}", "{\"a\":1e400}", &"[".repeat(100_000), "[]", "7", "\"x\""] {
            assert!(check(text).is_err(), "{}", &text[..text.len().min(20)]);
        }
    }
}
