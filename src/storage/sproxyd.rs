//! Bodies on a Scality RING, through sproxyd: locations of type `scality`.
//!
//! The protocol is plain HTTP: `PUT`, `GET`, `DELETE` of `<path><KEY>`, where a key is 20 bytes in
//! upper-case hexadecimal that the client makes and never uses twice; `GET <path>.conf` asks whether the
//! node is well. Every node of the list serves every key. The key layout lets the operators of a RING
//! tell from a key where it came from, so it is kept to the byte.

use super::remote::{
    Client, Deadlines, Endpoints, Failure, Fetch, Outgoing, RemoteBlobs, RequestIds, body_of, text_of,
};
use super::{BlobHint, BlobId, Result, StorageError};
use crate::codec::digest::md5;
use crate::codec::{hex, random};
use serde_json::{Map, Value};
use std::io::Read;
use std::ops::Range;
use ureq::http::Request;
use ureq::http::request::Builder;

/// The node when the configuration names none.
const BOOTSTRAP_DEFAULT: &str = "localhost:81";
/// The class of service in keys when the configuration names none: two further replicas.
const CLASS_OF_SERVICE_DEFAULT: u8 = 2;
/// The name space in keys; there has never been another one.
const NAMESPACE: &str = "default";
/// The service id of S3 in keys.
const SERVICE_ID: u8 = 0x59;

/// What `details.connector.sproxyd` says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Nodes as `host:port`.
    pub bootstrap: Vec<String>,
    /// `chordCos`, 0 to 6.
    pub class_of_service: Option<u8>,
    /// What stands before the key in a URL; a slash is added where none ends it.
    pub path: Option<String>,
    /// How long things may take.
    pub deadlines: Deadlines,
}

impl Settings {
    /// Reads the details of a location, which the configuration has checked.
    ///
    /// # Errors
    /// A sentence about a connector other than sproxyd.
    pub fn from_details(details: &Map<String, Value>) -> std::result::Result<Settings, String> {
        let sproxyd = details.get("connector").and_then(|connector| connector.get("sproxyd"));
        let Some(sproxyd) = sproxyd else {
            return Err("details.connector.sproxyd is missing; allowed: an object with bootstrap; no other connector \
                        is built"
                .to_owned());
        };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let bootstrap = match sproxyd.get("bootstrap").and_then(Value::as_array) {
            Some(nodes) => nodes.iter().filter_map(text).collect(),
            None => vec![BOOTSTRAP_DEFAULT.to_owned()],
        };
        let cos = sproxyd.get("chordCos").and_then(Value::as_u64);
        Ok(Settings {
            bootstrap,
            class_of_service: cos.and_then(|cos| u8::try_from(cos).ok()),
            path: sproxyd.get("path").and_then(text),
            deadlines: Deadlines::default(),
        })
    }

    /// The path with its slash; by default the one of the replication scheme that the class of service
    /// belongs to.
    fn url_path(&self) -> String {
        let default = if self.class_of_service.unwrap_or(0) == 0 { "/proxy/arc/" } else { "/proxy/chord/" };
        let path = self.path.as_deref().unwrap_or(default);
        format!("/{}/", path.trim_matches('/')).replace("//", "/")
    }
}

/// Bodies on a RING.
pub type SproxydBlobs = RemoteBlobs<Sproxyd>;

/// The protocol of sproxyd.
pub struct Sproxyd {
    endpoints: Endpoints,
    requests: RequestIds,
    path: String,
    class_of_service: u8,
}

impl SproxydBlobs {
    /// A client; connects when it is first used.
    pub fn new(settings: &Settings) -> SproxydBlobs {
        let nodes = settings.bootstrap.iter().map(|node| format!("http://{node}")).collect();
        RemoteBlobs::of(Sproxyd {
            endpoints: Endpoints::new(nodes, settings.deadlines),
            requests: RequestIds::new(),
            path: settings.url_path(),
            class_of_service: settings.class_of_service.unwrap_or(CLASS_OF_SERVICE_DEFAULT),
        })
    }
}

/// A new key.
fn new_key(hint: &BlobHint<'_>, class_of_service: u8) -> BlobId {
    let (namespace, owner, bucket) =
        (md5(NAMESPACE.as_bytes()), md5(hint.owner.as_bytes()), md5(hint.bucket.as_bytes()));
    let mut key = [0; 20];
    key[..8].copy_from_slice(&random::<8>());
    key[8] = namespace[0];
    key[9] = namespace[1] ^ owner[0];
    key[10] = owner[1];
    key[11] = owner[2] ^ bucket[0];
    key[12..15].copy_from_slice(&bucket[1..4]);
    key[15] = SERVICE_ID;
    key[16..19].copy_from_slice(&random::<3>());
    key[19] = class_of_service << 4;
    BlobId(hex(&key).to_ascii_uppercase())
}

/// Whether a text is a key. Nothing else becomes part of a URL.
fn is_key(id: &BlobId) -> bool {
    id.0.len() == 40 && id.0.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'))
}

impl Sproxyd {
    /// A request with the fields that every request has.
    fn request(&self, method: &str, endpoint: &str, name: &str) -> Builder {
        Request::builder()
            .method(method)
            .uri(format!("{endpoint}{}{name}", self.path))
            .header("content-type", "application/octet-stream")
            .header("x-scal-request-uids", self.requests.next())
            .header("x-scal-replica-policy", "immutable")
    }
}

fn built(request: Builder) -> std::result::Result<Request<()>, Failure> {
    let wrong = |error: ureq::http::Error| StorageError::Unavailable(format!("not a request: {error}"));
    request.body(()).map_err(|error| wrong(error).into())
}

/// An answer with another status than success. None of them is passed on to clients as it is.
fn refused(what: &str, status: u16) -> StorageError {
    StorageError::Unavailable(format!("sproxyd answered {what} with {status}"))
}

impl Fetch for Sproxyd {
    fn fetch(&self, id: &BlobId, range: Range<u64>) -> Result<Option<Box<dyn Read + Send>>> {
        let opened = self.endpoints.attempt(&mut |endpoint| {
            let bytes = format!("bytes={}-{}", range.start, range.end - 1);
            let request = self.request("GET", endpoint, &id.0).header("range", bytes);
            let answer = self.endpoints.send(built(request)?)?;
            match answer.status().as_u16() {
                200 | 206 => Ok(Some(body_of(answer, &range)?)),
                404 => Ok(None),
                416 => Err(StorageError::Corrupt(format!("{} is shorter than {}", id.0, range.end)).into()),
                status => Err(refused("GET", status).into()),
            }
        });
        opened.map_err(Failure::into_storage)
    }
}

impl Client for Sproxyd {
    const REMOTE_NAMES: bool = false;

    fn new_name(&self, hint: &BlobHint<'_>) -> BlobId {
        new_key(hint, self.class_of_service)
    }

    fn is_name(&self, id: &BlobId) -> bool {
        is_key(id)
    }

    fn put(&self, id: &BlobId, outgoing: &mut Outgoing<'_>) -> std::result::Result<BlobId, Failure> {
        self.endpoints.attempt(&mut |endpoint| {
            let request = self.request("PUT", endpoint, &id.0).header("content-length", outgoing.length);
            let answer = self.endpoints.send_body(built(request)?, outgoing)?;
            match answer.status().as_u16() {
                200 => {
                    text_of(answer);
                    Ok(id.clone())
                }
                status => Err(refused("PUT", status).into()),
            }
        })
    }

    fn remove(&self, id: &BlobId) -> std::result::Result<(), Failure> {
        self.endpoints.attempt(&mut |endpoint| {
            let request = built(self.request("DELETE", endpoint, &id.0))?;
            let answer = self.endpoints.send(request)?;
            match answer.status().as_u16() {
                // 423: somebody else is deleting it. 404: it is gone already.
                200 | 204 | 404 | 423 => {
                    text_of(answer);
                    Ok(())
                }
                status => Err(refused("DELETE", status).into()),
            }
        })
    }

    fn ask_health(&self) -> std::result::Result<(), Failure> {
        self.endpoints.attempt(&mut |endpoint| {
            let answer = self.endpoints.send(built(self.request("GET", endpoint, ".conf"))?)?;
            match answer.status().as_u16() {
                200 => {
                    text_of(answer);
                    Ok(())
                }
                status => Err(refused("GET of .conf", status).into()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings(sproxyd: Value) -> Settings {
        let details = json!({ "connector": { "sproxyd": sproxyd } });
        Settings::from_details(details.as_object().expect("an object")).expect("complete")
    }

    #[test]
    fn a_key_tells_where_it_came_from() {
        let hint = BlobHint { bucket: "bucket", key: "key", owner: "owner", length: None, sync: None };
        let one = new_key(&hint, 2);
        assert!(is_key(&one) && one != new_key(&hint, 2), "{one:?}");
        let bytes = crate::codec::unhex(&one.0.to_ascii_lowercase()).expect("hexadecimal");
        let (owner, bucket) = (md5(b"owner"), md5(b"bucket"));
        let namespace = md5(b"default");
        assert_eq!(bytes[8..11], [namespace[0], namespace[1] ^ owner[0], owner[1]]);
        assert_eq!(bytes[11..15], [owner[2] ^ bucket[0], bucket[1], bucket[2], bucket[3]]);
        assert_eq!((bytes[15], bytes[19]), (0x59, 0x20));
        assert!(new_key(&hint, 6).0.ends_with("60"));
    }

    #[test]
    fn only_forty_upper_case_digits_are_a_key() {
        for text in ["", "../..", &"a".repeat(40), &"0".repeat(39), &"0".repeat(41)] {
            assert!(!is_key(&BlobId(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn the_path_follows_the_class_of_service_and_ends_in_a_slash() {
        for (sproxyd, path) in [
            (json!({}), "/proxy/arc/"),
            (json!({ "chordCos": 0 }), "/proxy/arc/"),
            (json!({ "chordCos": 3 }), "/proxy/chord/"),
            (json!({ "chordCos": 3, "path": "/proxy/mine" }), "/proxy/mine/"),
            (json!({ "path": "/proxy/mine/" }), "/proxy/mine/"),
        ] {
            assert_eq!(settings(sproxyd.clone()).url_path(), path, "{sproxyd}");
        }
        assert_eq!(settings(json!({})).bootstrap, ["localhost:81"]);
        assert!(Settings::from_details(&Map::new()).is_err());
    }
}
