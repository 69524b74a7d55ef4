//! `--init`: one JSON document that says which accounts, buckets and objects are there.
//!
//! Accounts are read with the configuration ([`crate::config::fixture`]), and what belongs to the fixture
//! profile (`clock`, `ids`, `faults`) by [`crate::fixture`]; here are the buckets. Applying a document twice
//! changes nothing, except that a versioned object whose bytes changed gets a new version.

use super::actor::{Actor, Source};
use super::bucket_settings::{LATE_SETTINGS, SETTINGS};
use super::media_type;
use crate::codec::{encoded_word, unbase64, uri};
use crate::config::fixture::{Access, NamedBucket};
use crate::config::given::{ConfigError, Given};
use crate::model::BucketName;
use crate::s3::S3;
use serde_json::Value;
use std::path::Path;

/// What may stand at the top of a document.
pub const SECTIONS: [&str; 5] = ["accounts", "buckets", "clock", "faults", "ids"];

const BUCKET_KEYS: [&str; 5] = ["name", "owner", "access", "objectLock", "objects"];
const OBJECT_KEYS: [&str; 10] =
    ["key", "text", "base64", "json", "file", "contentType", "metadata", "tags", "headers", "owner"];
const CONTENT: &str = "exactly one of text, base64, json, file";

/// Makes the buckets and objects of a document. Files of objects are looked for in `folder`; without one
/// (a document that came over HTTP) none may be named.
///
/// # Errors
/// A sentence with the file, the path in the document, the value and what is allowed.
pub fn apply(s3: &S3, document: &Given, folder: Option<&Path>) -> Result<(), String> {
    apply_document(s3, document, folder).map_err(|error| error.0)
}

fn apply_document(s3: &S3, document: &Given, folder: Option<&Path>) -> Result<(), ConfigError> {
    only_keys(document, |key| SECTIONS.contains(&key), &SECTIONS.join(", "))?;
    let Some(list) = document.get("buckets") else { return Ok(()) };
    let buckets = items(&list, "a list of buckets")?;
    // All of them first: settings may name other buckets.
    for bucket in &buckets {
        make_bucket(s3, bucket)?;
    }
    for bucket in &buckets {
        fill_bucket(s3, bucket, folder)?;
    }
    for bucket in &buckets {
        let (actor, name) = (owner(s3, bucket)?, name(bucket)?);
        for setting in LATE_SETTINGS {
            bucket.get(setting.key).map_or(Ok(()), |given| setting.apply(&actor, name.as_str(), &given))?;
        }
    }
    Ok(())
}

/// The allowed keys of a bucket.
fn bucket_keys() -> Vec<&'static str> {
    let settings = SETTINGS.iter().chain(LATE_SETTINGS).map(|setting| setting.key);
    BUCKET_KEYS.into_iter().chain(settings).collect()
}

fn make_bucket(s3: &S3, bucket: &Given) -> Result<(), ConfigError> {
    let allowed = bucket_keys();
    only_keys(bucket, |key| allowed.contains(&key), &allowed.join(", "))?;
    let name = name(bucket)?;
    let lock = bucket.get("objectLock").map_or(Ok(false), |given| given.switch())?;
    let headers: &[(&str, &str)] = if lock { &[("x-amz-bucket-object-lock-enabled", "true")] } else { &[] };
    let made = owner(s3, bucket)?.make_bucket(name.as_str(), headers);
    made.map_err(|why| place(bucket, "name", &format!("{why}; allowed: a name that this account can have")))
}

fn fill_bucket(s3: &S3, bucket: &Given, folder: Option<&Path>) -> Result<(), ConfigError> {
    let (actor, name) = (owner(s3, bucket)?, name(bucket)?);
    if let Some(given) = bucket.get("access") {
        let allowed = "private, public-read, public-read-write";
        let access = Access::parse(given.text(allowed)?).ok_or_else(|| given.refuse(allowed))?;
        let opened = super::open_bucket(&actor, name.as_str(), access);
        opened.map_err(|why| ConfigError(format!("{}: {why}; allowed: {allowed}", given.origin)))?;
    }
    for setting in SETTINGS {
        bucket.get(setting.key).map_or(Ok(()), |given| setting.apply(&actor, name.as_str(), &given))?;
    }
    let Some(objects) = bucket.get("objects") else { return Ok(()) };
    for object in items(&objects, "a list of objects")? {
        make_object(s3, &actor, name.as_str(), &object, folder)?;
    }
    Ok(())
}

fn make_object(
    s3: &S3,
    bucket_owner: &Actor<'_>,
    bucket: &str,
    object: &Given,
    folder: Option<&Path>,
) -> Result<(), ConfigError> {
    only_keys(object, |key| OBJECT_KEYS.contains(&key), &OBJECT_KEYS.join(", "))?;
    let key = object.require("key", "a text, not empty")?;
    let key = key.text("a text, not empty")?;
    let mut source = source(object, folder)?;
    let own = object.get("owner").map(|_| owner(s3, object)).transpose()?;
    let actor = own.as_ref().unwrap_or(bucket_owner);
    let made = actor.make_object(bucket, key, object_headers(object, key)?, source.as_mut());
    made.map_err(|why| place(object, "key", &format!("{why}; allowed: what PutObject takes")))
}

fn source(object: &Given, folder: Option<&Path>) -> Result<Box<dyn Source>, ConfigError> {
    let kinds = ["text", "base64", "json", "file"];
    let mut given = kinds.iter().filter_map(|kind| Some((*kind, object.get(kind)?)));
    let (Some((kind, value)), None) = (given.next(), given.next()) else {
        return Err(ConfigError(format!("{}: the content is not clear; allowed: {CONTENT}", object.origin)));
    };
    let text = || value.value.as_str().ok_or_else(|| value.refuse("a text"));
    Ok(match kind {
        "text" => Box::new(text()?.as_bytes().to_vec()),
        "base64" => Box::new(unbase64(text()?).ok_or_else(|| value.refuse("base64 with padding"))?),
        "json" => Box::new(value.value.to_string().into_bytes()),
        _ => {
            let folder = folder
                .ok_or_else(|| value.refuse("text, base64 or json: files are read at the start only"))?;
            let path = folder.join(text()?);
            if !path.is_file() {
                return Err(value.refuse(&format!("a readable file; looked for {}", path.display())));
            }
            Box::new(path)
        }
    })
}

fn object_headers(object: &Given, key: &str) -> Result<Vec<(String, String)>, ConfigError> {
    let content_type = match object.get("contentType") {
        Some(given) => given.text("a media type")?.to_owned(),
        None if object.get("json").is_some() => "application/json".to_owned(),
        None if object.get("text").is_some() && !key.contains('.') => "text/plain".to_owned(),
        None => media_type::of_name(key).to_owned(),
    };
    let mut headers = vec![("content-type".to_owned(), content_type)];
    for (name, value) in texts(object, "metadata")? {
        headers.push((format!("x-amz-meta-{name}"), encoded_word::of_text(&value)));
    }
    let tags = texts(object, "tags")?;
    if !tags.is_empty() {
        let pair = |(name, value): &(String, String)| format!("{}={}", uri::encode(name), uri::encode(value));
        headers.push(("x-amz-tagging".to_owned(), tags.iter().map(pair).collect::<Vec<_>>().join("&")));
    }
    headers.extend(texts(object, "headers")?);
    Ok(headers)
}

/// The entries of an object of texts; none when it is not there.
fn texts(parent: &Given, key: &str) -> Result<Vec<(String, String)>, ConfigError> {
    let Some(given) = parent.get(key) else { return Ok(Vec::new()) };
    let text = |(name, value): (String, Given)| match value.value.as_str() {
        Some(text) => Ok((name, text.to_owned())),
        None => Err(value.refuse("a text")),
    };
    given.entries("an object of texts")?.into_iter().map(text).collect()
}

fn name(bucket: &Given) -> Result<BucketName, ConfigError> {
    let allowed = "a bucket name of 3 to 63 lower-case letters, digits, dots and hyphens";
    let given = bucket.require("name", allowed)?;
    let parsed = NamedBucket::parse(given.text(allowed)?).filter(|_| !given.value.to_string().contains(':'));
    parsed.map(|bucket| bucket.name).ok_or_else(|| given.refuse(allowed))
}

fn owner<'s>(s3: &'s S3, given: &Given) -> Result<Actor<'s>, ConfigError> {
    let Some(named) = given.get("owner") else {
        return Actor::first(s3).map_err(|why| ConfigError(format!("{}: {why}", given.origin)));
    };
    Actor::named(s3, named.text("the name of an account")?).map_err(|names| named.refuse(&names))
}

fn items(given: &Given, allowed: &str) -> Result<Vec<Given>, ConfigError> {
    let Value::Array(items) = &given.value else { return Err(given.refuse(allowed)) };
    Ok(items.iter().enumerate().map(|(index, item)| given.child(&format!("[{index}]"), item)).collect())
}

fn only_keys(given: &Given, known: impl Fn(&str) -> bool, allowed: &str) -> Result<(), ConfigError> {
    match given.entries("an object")?.into_iter().find(|(key, _)| !known(key)) {
        Some((_, unknown)) => {
            Err(ConfigError(format!("{}: this key is not allowed; allowed: {allowed}", unknown.origin)))
        }
        None => Ok(()),
    }
}

fn place(parent: &Given, key: &str, what: &str) -> ConfigError {
    let shown = parent.get(key).unwrap_or_else(|| parent.clone());
    ConfigError(format!("{}: {}: {what}", shown.origin, shown.value))
}
