//! Environment variables: the settings they give, and the containers' files of secrets.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::given::{ConfigError, Given, Origin};
use super::settings::{Id, Raw, SETTINGS, setting};

/// The longest key that a file of a secret may hold, in bytes.
const SECRET_BYTES_MAX: u64 = 4096;

/// The variables of this process, except those that are not UTF-8 (a table row cannot name one whose
/// name is not; one whose value is not would be refused by every check, and none of them is ours).
pub fn of_process() -> BTreeMap<String, String> {
    let pairs = std::env::vars_os();
    pairs.filter_map(|(name, value)| Some((name.into_string().ok()?, utf8_or_replaced(value)))).collect()
}

/// A value that is not UTF-8 keeps a replacement character, which no setting but a path allows.
fn utf8_or_replaced(value: std::ffi::OsString) -> String {
    value.into_string().unwrap_or_else(|value| value.to_string_lossy().into_owned())
}

/// Notes what variables give. Of several names for one setting the first that is set counts; an empty
/// variable counts as unset, because compose files cannot unset one.
pub fn read(variables: &BTreeMap<String, String>, raw: &mut Raw) {
    for setting in SETTINGS {
        let set = setting.variables.iter().find_map(|name| {
            variables.get(*name).filter(|value| !value.is_empty()).map(|value| (*name, value))
        });
        if let Some((name, value)) = set {
            let origin = Origin::Variable(name.to_owned());
            raw.note(setting.id, Given { value: Value::from(value.as_str()), origin });
        }
    }
}

/// The key pair that variables give, if any. Half a pair stops the start: going on with other keys
/// than the user meant would be worse.
pub fn key_pair(raw: &Raw, folder: &Path) -> Result<Option<(String, String)>, ConfigError> {
    let access = secret(raw, Id::AccessKey, Id::AccessKeyFile, folder)?;
    let secret = secret(raw, Id::SecretKey, Id::SecretKeyFile, folder)?;
    match (access, secret) {
        (Some(access), Some(secret)) => Ok(Some((access, secret))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(half(raw, [Id::AccessKey, Id::AccessKeyFile], Id::SecretKey)),
        (None, Some(_)) => Err(half(raw, [Id::SecretKey, Id::SecretKeyFile], Id::AccessKey)),
    }
}

fn half(raw: &Raw, set: [Id; 2], unset: Id) -> ConfigError {
    let set = set.into_iter().find_map(|id| raw.get(id)).map(|given| given.origin.to_string());
    let (set, unset) = (set.unwrap_or_default(), setting(unset).variables[0]);
    ConfigError(format!("{set}: it is set and {unset} is not; allowed: both or neither"))
}

fn secret(raw: &Raw, value: Id, file: Id, folder: &Path) -> Result<Option<String>, ConfigError> {
    if let Some(text) = raw.text(value)? {
        return Ok(Some(text.to_owned()));
    }
    let Some(given) = raw.get(file) else { return Ok(None) };
    let path = folder.join(given.text("the path of a file")?);
    let allowed = "the path of a readable file that holds one line";
    let text = super::file::read_text(&path, SECRET_BYTES_MAX).map_err(|_| given.refuse(allowed))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() || text.contains('\n') {
        return Err(given.refuse(allowed));
    }
    Ok(Some(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&str, &str)]) -> Raw {
        let variables = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut raw = Raw::default();
        read(&variables, &mut raw);
        raw
    }

    #[test]
    fn an_empty_variable_counts_as_unset_and_endpoint_beats_its_older_name() {
        let raw = check(&[("S3BACKEND", ""), ("HOST_NAME", "old"), ("ENDPOINT", "new"), ("OTHER", "x")]);
        assert!(raw.get(Id::Backend).is_none());
        let given = raw.get(Id::Endpoint).unwrap();
        assert_eq!(given.value, "new");
        assert_eq!(given.origin, Origin::Variable("ENDPOINT".to_owned()));
    }

    #[test]
    fn half_a_key_pair_is_refused_without_showing_it() {
        let folder = Path::new("");
        let both = [("SCALITY_ACCESS_KEY_ID", "AK"), ("SCALITY_SECRET_ACCESS_KEY", "hunter2")];
        assert_eq!(key_pair(&check(&both), folder).unwrap(), Some(("AK".to_owned(), "hunter2".to_owned())));
        assert_eq!(key_pair(&check(&[]), folder).unwrap(), None);
        for half in &both {
            let error = key_pair(&check(&[*half]), folder).unwrap_err();
            assert!(error.0.contains(half.0) && !error.0.contains("hunter2"), "{error}");
        }
    }
}
