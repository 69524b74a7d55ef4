//! `locationConfig.json`: named places for bodies, in the shape of 2017 and in today's.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde_json::{Map, Value};

use super::given::{ConfigError, Given};
use crate::storage::{SyncMode, s3_upstream, sproxyd};

/// Location types that bodies can really be sent to.
pub const TYPES_BUILT: &[&str] = &["mem", "file", "scality", "aws_s3"];
/// Location types that are only names here: fine while locations are bookkeeping, refused when
/// bodies would have to go there.
pub const TYPES_KNOWN: &[&str] = &["azure", "gcp", "pfs", "mongodb", "dmf", "azure_archive"];
/// The location that must exist: what everything falls back to.
pub const DEFAULT_LOCATION: &str = "us-east-1";

/// A named place for bodies (an entry of `locationConfig.json`).
#[derive(Clone, PartialEq)]
pub struct Location {
    /// `mem`, `file`, `scality`, `aws_s3`, ...
    pub kind: String,
    /// `legacyAwsBehavior`.
    pub legacy_aws_behavior: bool,
    /// `details.sync` of a location of type `file`: what a write to its buckets promises, if not what is usual.
    pub sync: Option<SyncMode>,
    /// `details`, checked but as written, except that `connector.sproxyd.chordCos` is a number.
    pub details: Map<String, Value>,
}

/// Details hold credentials, so that only their names are shown.
impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Location")
            .field("kind", &self.kind)
            .field("legacy_aws_behavior", &self.legacy_aws_behavior)
            .field("details", &self.details.keys().collect::<Vec<_>>())
            .finish()
    }
}

/// Reads the file. With `bodies_follow` (data backend `multiple`) every type must be one that bodies
/// can be sent to.
pub fn read(file: &Given, bodies_follow: bool) -> Result<BTreeMap<String, Location>, ConfigError> {
    let mut locations = BTreeMap::new();
    let mut object_ids = HashSet::new();
    for (name, given) in file.entries("an object that maps names to locations")? {
        let location = read_location(&given, bodies_follow)?;
        if let Some(id) = given.get("objectId") {
            let text = id.text("a text that no other location has")?.to_owned();
            if !object_ids.insert(text) {
                return Err(id.refuse("a text that no other location has"));
            }
        }
        locations.insert(name, location);
    }
    if bodies_follow {
        check_stores(file, &locations)?;
    }
    file.require(DEFAULT_LOCATION, "a file with a location of this name")?;
    Ok(locations)
}

/// Checks what a store of its type needs to be opened: the credentials file included, the network not.
fn check_stores(file: &Given, locations: &BTreeMap<String, Location>) -> Result<(), ConfigError> {
    for (name, location) in locations {
        let usable = match location.kind.as_str() {
            "aws_s3" => s3_upstream::Settings::from_details(&location.details).map(drop),
            "scality" => sproxyd::Settings::from_details(&location.details).map(drop),
            _ => Ok(()),
        };
        let place = file.child(name, &Value::Null).origin;
        usable.map_err(|error| ConfigError(format!("{place}: {error}")))?;
    }
    Ok(())
}

fn read_location(given: &Given, bodies_follow: bool) -> Result<Location, ConfigError> {
    given.entries("an object with type, legacyAwsBehavior and details")?;
    let all = [TYPES_BUILT, TYPES_KNOWN].concat().join(", ");
    let kind_given = given.require("type", &all)?;
    let kind = kind_given.text(&all)?;
    if bodies_follow && TYPES_KNOWN.contains(&kind) {
        return Err(kind_given.refuse(&format!("with data backend multiple: {}", TYPES_BUILT.join(", "))));
    }
    if !TYPES_BUILT.contains(&kind) && !TYPES_KNOWN.contains(&kind) {
        return Err(kind_given.refuse(&all));
    }
    let legacy_aws_behavior = given.require("legacyAwsBehavior", "true, false")?.switch()?;
    for key in ["isTransient", "isCold"] {
        given.get(key).map(|flag| flag.switch()).transpose()?;
    }
    if let Some(limit) = given.get("sizeLimitGB").filter(|limit| !limit.value.is_null()) {
        limit.value.as_f64().ok_or_else(|| limit.refuse("a number, null"))?;
    }
    let details_given = given.require("details", "an object")?;
    let mut details =
        details_given.value.as_object().ok_or_else(|| details_given.refuse("an object"))?.clone();
    check_details(&details_given)?;
    if let Some(connector) = details_given.get("connector") {
        let digit = read_connector(&connector)?;
        if let (Some(digit), Some(cos)) = (digit, details_cos(&mut details)) {
            *cos = Value::from(digit);
        }
    }
    let sync = details_given.get("sync").map(|sync| read_sync(&sync, kind)).transpose()?;
    Ok(Location { kind: kind.to_owned(), legacy_aws_behavior, sync, details })
}

fn read_sync(given: &Given, kind: &str) -> Result<SyncMode, ConfigError> {
    if kind != "file" {
        return Err(given.refuse("nothing but in a location of type file"));
    }
    let allowed = SyncMode::ALL.map(SyncMode::as_str).join(", ");
    let text = given.text(&allowed)?;
    SyncMode::of_name(text).ok_or_else(|| given.refuse(&allowed))
}

fn check_details(details: &Given) -> Result<(), ConfigError> {
    for key in ["awsEndpoint", "bucketName", "credentialsProfile", "region"] {
        if let Some(given) = details.get(key) {
            given.value.as_str().ok_or_else(|| given.refuse("a text"))?;
        }
    }
    for key in ["bucketMatch", "serverSideEncryption", "https", "pathStyle", "supportsVersioning"] {
        details.get(key).map(|flag| flag.switch()).transpose()?;
    }
    if let Some(credentials) = details.get("credentials") {
        if !credentials.value.is_object() {
            return Err(credentials.refuse_secret("an object with accessKey and secretKey"));
        }
        for key in ["accessKey", "secretKey"] {
            let given = credentials.require(key, "a text")?;
            given.text("a text").map_err(|_| given.refuse_secret("a text"))?;
        }
    }
    Ok(())
}

/// Checks `details.connector`; the class of service of sproxyd, if one is given.
fn read_connector(connector: &Given) -> Result<Option<u64>, ConfigError> {
    connector.entries("an object")?;
    let Some(sproxyd) = connector.get("sproxyd") else { return Ok(None) };
    sproxyd.entries("an object")?;
    if let Some(bootstrap) = sproxyd.get("bootstrap") {
        read_bootstrap(&bootstrap)?;
    }
    if let Some(path) = sproxyd.get("path") {
        path.text("a path, such as /proxy/arc")?;
    }
    let Some(cos) = sproxyd.get("chordCos") else { return Ok(None) };
    // A text in 2017, a number today: both are read.
    let digit = match &cos.value {
        Value::String(text) => text.parse().ok(),
        value => value.as_u64(),
    };
    let digit = digit.filter(|digit| *digit <= 6);
    digit.map(Some).ok_or_else(|| cos.refuse("a whole number from 0 to 6"))
}

fn read_bootstrap(bootstrap: &Given) -> Result<(), ConfigError> {
    let allowed = "a list of host:port, not empty";
    let hosts = bootstrap.list(allowed)?;
    if hosts.is_empty() {
        return Err(bootstrap.refuse(allowed));
    }
    for host in hosts {
        let text = host.text(allowed)?;
        let port = text.rsplit_once(':').filter(|(name, _)| !name.is_empty()).map(|(_, port)| port);
        if port.and_then(|port| port.parse::<std::num::NonZeroU16>().ok()).is_none() {
            return Err(host.refuse("host:port, the port from 1 to 65535"));
        }
    }
    Ok(())
}

fn details_cos(details: &mut Map<String, Value>) -> Option<&mut Value> {
    details.get_mut("connector")?.get_mut("sproxyd")?.get_mut("chordCos")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::given::Origin;
    use super::*;

    fn check(location: Value, bodies_follow: bool) -> Result<Location, ConfigError> {
        let value = json!({ "us-east-1": location });
        let origin = Origin::File { file: "locationConfig.json".to_owned(), key: String::new() };
        let mut locations = read(&Given { value, origin }, bodies_follow)?;
        Ok(locations.remove("us-east-1").unwrap())
    }

    fn with_details(details: Value) -> Value {
        json!({ "type": "scality", "legacyAwsBehavior": false, "details": details })
    }

    #[test]
    fn both_shapes_are_read_and_a_textual_class_of_service_becomes_a_number() {
        for cos in [json!("3"), json!(3)] {
            let sproxyd = json!({ "bootstrap": ["localhost:8181"], "chordCos": cos, "path": "/proxy/arc" });
            let location = check(with_details(json!({ "connector": { "sproxyd": sproxyd } })), true).unwrap();
            assert_eq!(location.details["connector"]["sproxyd"]["chordCos"], 3);
        }
        let today = json!({ "type": "aws_s3", "legacyAwsBehavior": true, "objectId": "a", "isCold": false,
            "sizeLimitGB": null, "isTransient": false,
            "details": { "bucketMatch": true, "bucketName": "c", "https": false,
                "credentials": { "accessKey": "a", "secretKey": "b" } } });
        assert!(check(today, true).unwrap().legacy_aws_behavior);
    }

    #[test]
    fn every_wrong_location_is_refused_with_its_key() {
        let sproxyd = |value: Value| with_details(json!({ "connector": { "sproxyd": value } }));
        for (location, part) in [
            (json!(7), "us-east-1: 7"),
            (json!({}), "us-east-1.type: the key is missing"),
            (json!({ "type": "flie" }), "us-east-1.type: \"flie\""),
            (json!({ "type": "file" }), "us-east-1.legacyAwsBehavior: the key is missing"),
            (json!({ "type": "file", "legacyAwsBehavior": "yes" }), "us-east-1.legacyAwsBehavior: \"yes\""),
            (json!({ "type": "file", "legacyAwsBehavior": true }), "us-east-1.details: the key is missing"),
            (json!({ "type": "file", "legacyAwsBehavior": true, "details": [] }), "us-east-1.details: []"),
            (with_details(json!({ "bucketName": 5 })), "details.bucketName: 5"),
            (with_details(json!({ "bucketMatch": "true" })), "details.bucketMatch: \"true\""),
            (with_details(json!({ "credentials": { "accessKey": "a" } })), "credentials.secretKey"),
            (with_details(json!({ "connector": 1 })), "details.connector: 1"),
            (sproxyd(json!({ "bootstrap": [] })), "sproxyd.bootstrap: []"),
            (sproxyd(json!({ "bootstrap": ["host"] })), "sproxyd.bootstrap[0]: \"host\""),
            (sproxyd(json!({ "bootstrap": ["host:0"] })), "sproxyd.bootstrap[0]: \"host:0\""),
            (sproxyd(json!({ "chordCos": "7" })), "sproxyd.chordCos: \"7\""),
            (sproxyd(json!({ "path": 1 })), "sproxyd.path: 1"),
        ] {
            let error = check(location.clone(), false).unwrap_err();
            assert!(error.0.starts_with("locationConfig.json: us-east-1"), "{error}");
            assert!(error.0.contains(part) && error.0.contains("; allowed: "), "{location}: {error}");
        }
    }

    #[test]
    fn a_location_of_files_may_have_a_sync_mode_of_its_own() {
        let with_sync = |kind: &str, sync: Value| {
            let details = json!({ "sync": sync });
            check(json!({ "type": kind, "legacyAwsBehavior": true, "details": details }), true)
        };
        for mode in SyncMode::ALL {
            assert_eq!(with_sync("file", json!(mode.as_str())).unwrap().sync, Some(mode));
        }
        for (kind, sync, part) in [
            ("file", json!("lax"), "details.sync: \"lax\" is not allowed; allowed: strict, relaxed, none"),
            ("file", json!(1), "details.sync: 1"),
            ("mem", json!("strict"), "allowed: nothing but in a location of type file"),
        ] {
            let error = with_sync(kind, sync).unwrap_err();
            assert!(error.0.contains(part), "{error}");
        }
    }

    #[test]
    fn us_east_1_must_exist_and_object_ids_differ() {
        let origin = Origin::File { file: "l.json".to_owned(), key: String::new() };
        let file = |value| Given { value, origin: origin.clone() };
        assert!(read(&file(json!({})), false).unwrap_err().0.contains("us-east-1: the key is missing"));
        let entry = json!({ "type": "mem", "legacyAwsBehavior": true, "details": {}, "objectId": "same" });
        let error = read(&file(json!({ "us-east-1": entry, "b": entry })), false).unwrap_err();
        assert!(error.0.contains("objectId: \"same\""), "{error}");
    }

    #[test]
    fn a_type_that_is_not_built_stops_the_start_only_when_bodies_follow_locations() {
        for kind in TYPES_KNOWN {
            let location = json!({ "type": kind, "legacyAwsBehavior": true, "details": {} });
            assert!(check(location.clone(), false).is_ok());
            assert!(check(location, true).unwrap_err().0.contains("multiple"));
        }
    }

    #[test]
    fn credentials_are_never_shown() {
        let details = json!({ "credentials": { "accessKey": "AK", "secretKey": "hunter2" } });
        let location = check(with_details(details), false).unwrap();
        assert!(!format!("{location:?}").contains("hunter2"));
        let error = check(with_details(json!({ "credentials": "hunter2" })), false).unwrap_err();
        assert!(!error.0.contains("hunter2"), "{error}");
    }
}
