//! Bodies with a data daemon elsewhere: where a front end keeps them when `DATA_HOST` or `dataClient` says
//! so. The other end is [`crate::daemon::data`], or that of Scality S3 Server.
//!
//! The daemon makes the names, so none can be reserved: when a PUT gets no answer, nobody knows whether
//! the body was stored, and under which name. The daemon removes one whose answer it could not send;
//! where it could not even notice that (a power cut in between), a body stays that costs room and
//! nothing else.

use super::ids::IdSource;
use super::remote::{
    Client, Deadlines, Endpoints, Failure, Fetch, Outgoing, RemoteBlobs, RequestIds, body_of, text_of,
};
use super::shared_folder::{is_key, key_of};
use super::{BlobHint, BlobId, Result, StorageError};
use crate::config::Remote;
use serde_json::Value;
use std::io::Read;
use std::ops::Range;
use std::time::Duration;
use ureq::Body;
use ureq::http::request::Builder;
use ureq::http::{Request, Response};

/// The name of the service in paths.
const SERVICE: &str = "/DataFile";
/// How long a daemon may take to answer: it syncs a whole body, of up to 5 GiB, before it does.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// Where the daemon is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Host and port; an IPv6 address in brackets.
    pub authority: String,
    /// How long things may take.
    pub deadlines: Deadlines,
}

impl Settings {
    /// What the configuration says.
    pub fn of(remote: &Remote) -> Settings {
        let Remote { host, port } = remote;
        let authority = match host.contains(':') && !host.starts_with('[') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        Settings { authority, deadlines: Deadlines { answer: ANSWER_DEADLINE, ..Deadlines::default() } }
    }
}

/// Bodies with a data daemon.
pub type DataClient = RemoteBlobs<Daemon>;

/// The protocol of the data daemon.
pub struct Daemon {
    endpoints: Endpoints,
    requests: RequestIds,
    /// For empty bodies, which are not sent.
    ids: IdSource,
}

impl DataClient {
    /// A client; connects when it is first used.
    pub fn new(settings: &Settings) -> DataClient {
        let endpoint = format!("http://{}", settings.authority);
        RemoteBlobs::of(Daemon {
            endpoints: Endpoints::new(vec![endpoint], settings.deadlines),
            requests: RequestIds::new(),
            ids: IdSource::new(),
        })
    }
}

impl Daemon {
    fn request(&self, method: &str, endpoint: &str, name: &str) -> Builder {
        Request::builder()
            .method(method)
            .uri(format!("{endpoint}{SERVICE}{name}"))
            .header("x-scal-request-uids", self.requests.next())
    }

    /// Sends a request without a body about a stored body.
    fn ask(
        &self,
        method: &str,
        id: &BlobId,
        range: Option<&Range<u64>>,
    ) -> std::result::Result<Response<Body>, Failure> {
        let key = key_of(id).unwrap_or_default();
        self.endpoints.attempt(&mut |endpoint| {
            let mut request = self.request(method, endpoint, &format!("/{key}"));
            if let Some(range) = range {
                request = request.header("range", format!("bytes={}-{}", range.start, range.end - 1));
            }
            self.endpoints.send(built(request)?)
        })
    }
}

fn built(request: Builder) -> std::result::Result<Request<()>, Failure> {
    let wrong = |error: ureq::http::Error| StorageError::Unavailable(format!("not a request: {error}"));
    request.body(()).map_err(|error| wrong(error).into())
}

/// The key in the `Location` of an answer to a PUT.
fn key_in(answer: &Response<Body>) -> Option<BlobId> {
    let location = answer.headers().get("location")?.to_str().ok()?;
    let key = location.strip_prefix(SERVICE)?.strip_prefix('/')?;
    is_key(key).then(|| BlobId(key.to_owned()))
}

/// The type and message of an answer that says no; empty where it is not the daemon's.
fn error_in(answer: Response<Body>) -> (String, String) {
    let error: Value = serde_json::from_str(&text_of(answer)).unwrap_or_default();
    let part = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    (part("errorType"), part("errorMessage"))
}

fn refused(what: &str, answer: Response<Body>) -> StorageError {
    let status = answer.status().as_u16();
    let (kind, message) = error_in(answer);
    let text = format!("the data daemon answered {what} with {status} {kind}: {message}");
    match status {
        507 => StorageError::Full(text),
        _ => StorageError::Unavailable(text),
    }
}

/// What 404 means: the body is not there, or something else than a data daemon answers.
fn absent(what: &str, answer: Response<Body>) -> Result<()> {
    match error_in(answer).0.as_str() {
        "ObjNotFound" => Ok(()),
        _ => Err(StorageError::Unavailable(format!("{what} was answered with 404, not by a data daemon"))),
    }
}

impl Fetch for Daemon {
    fn fetch(&self, id: &BlobId, range: Range<u64>) -> Result<Option<Box<dyn Read + Send>>> {
        let answer = self.ask("GET", id, Some(&range)).map_err(Failure::into_storage)?;
        match answer.status().as_u16() {
            200 | 206 => Ok(Some(body_of(answer, &range)?)),
            404 => absent("GET", answer).map(|()| None),
            416 => Err(StorageError::Corrupt(format!("{} is shorter than {}", id.0, range.end))),
            _ => Err(refused("GET", answer)),
        }
    }
}

impl Client for Daemon {
    const REMOTE_NAMES: bool = true;

    fn new_name(&self, _: &BlobHint<'_>) -> BlobId {
        self.ids.next()
    }

    fn is_name(&self, id: &BlobId) -> bool {
        key_of(id).is_some()
    }

    fn put(&self, _: &BlobId, outgoing: &mut Outgoing<'_>) -> std::result::Result<BlobId, Failure> {
        let answer = self.endpoints.attempt(&mut |endpoint| {
            let request = self.request("PUT", endpoint, "/").header("content-length", outgoing.length);
            self.endpoints.send_body(built(request)?, outgoing)
        })?;
        if answer.status().as_u16() != 201 {
            return Err(refused("PUT", answer).into());
        }
        let key = key_in(&answer);
        text_of(answer);
        key.ok_or_else(|| {
            StorageError::Unavailable("the data daemon answered a PUT without a key".to_owned()).into()
        })
    }

    fn remove(&self, id: &BlobId) -> std::result::Result<(), Failure> {
        let answer = self.ask("DELETE", id, None)?;
        match answer.status().as_u16() {
            200 | 204 => {
                text_of(answer);
                Ok(())
            }
            404 => absent("DELETE", answer).map_err(Failure::Final),
            _ => Err(refused("DELETE", answer).into()),
        }
    }

    fn ask_health(&self) -> std::result::Result<(), Failure> {
        let answer = self.endpoints.attempt(&mut |endpoint| {
            self.endpoints.send(built(self.request("GET", endpoint, "?diskUsage"))?)
        })?;
        // Scality's daemon of 2017 does not know the question; that it answers is enough.
        match answer.status().as_u16() {
            200 => {
                text_of(answer);
                Ok(())
            }
            400 => match error_in(answer).0.is_empty() {
                false => Ok(()),
                true => Err(StorageError::Unavailable("not a data daemon".to_owned()).into()),
            },
            _ => Err(refused("GET of diskUsage", answer).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_stands_in_brackets() {
        for (host, authority) in [("data", "data:9"), ("::1", "[::1]:9"), ("[::1]", "[::1]:9")] {
            assert_eq!(Settings::of(&Remote { host: host.to_owned(), port: 9 }).authority, authority);
        }
    }
}
