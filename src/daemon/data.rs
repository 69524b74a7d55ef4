//! The data daemon: bodies over HTTP, in the protocol of Scality S3 Server's.
//!
//! | request | answer |
//! |---|---|
//! | `PUT /DataFile/` | 201 and `Location: /DataFile/<key>`, once the body is as durable as the mode promises |
//! | `GET /DataFile/<key>` | 200, or with `Range` 206 or 416; 404 |
//! | `DELETE /DataFile/<key>` | 204; 404 |
//! | `GET /DataFile?diskUsage` | 200 and the room on the device as JSON |
//!
//! A key is 40 lower-case hexadecimal digits, made here. Errors are one line of JSON with `errorType` and
//! `errorMessage`. Requests may carry an id of their own in `X-Scal-Request-Uids`, which the log and the
//! answer repeat.
//!
//! The daemon has no records, so it cannot tell an orphan from a body that somebody needs: it never
//! removes one but on request. One exception is not a guess: a body whose answer could not be sent,
//! because then nobody ever learned its name.

use crate::http::{Handler, Method, Refusal, Request, Response, ResponseBody, Sent};
use crate::log::{Level, Log};
use crate::ops::range::{self, Selection};
use crate::storage::room::Space;
use crate::storage::shared_folder::{Lender, is_key};
use crate::storage::{BlobId, StorageError, WriteError};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;

/// The name of the service in paths.
const SERVICE: &str = "/DataFile";
/// The longest request id that is repeated, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// An answer that says no.
struct No {
    status: u16,
    kind: &'static str,
    message: String,
}

impl No {
    fn new(status: u16, kind: &'static str, message: impl Into<String>) -> No {
        No { status, kind, message: message.into() }
    }

    fn absent() -> No {
        No::new(404, "ObjNotFound", "the key does not exist")
    }

    fn into_response(self) -> Response {
        let line = format!("{}\n", json!({ "errorType": self.kind, "errorMessage": self.message }));
        let response = Response::new(self.status).header("Content-Type", "application/json");
        let response =
            if self.status == 405 { response.header("Allow", "GET, PUT, DELETE") } else { response };
        response.body(ResponseBody::Bytes(line.into_bytes()))
    }
}

impl From<StorageError> for No {
    fn from(error: StorageError) -> No {
        let (status, kind) = match &error {
            StorageError::Full(_) => (507, "InsufficientStorage"),
            StorageError::ReadOnly(_) | StorageError::Unavailable(_) | StorageError::InDoubt(_) => {
                (503, "ServiceUnavailable")
            }
            StorageError::Corrupt(_) | StorageError::Io(_) => (500, "InternalError"),
        };
        No::new(status, kind, error.to_string())
    }
}

/// Answers the requests of front ends.
pub struct DataDaemon<S> {
    store: Arc<S>,
    log: Arc<Log>,
}

impl<S: Lender + 'static> DataDaemon<S> {
    /// A daemon over a store.
    pub fn new(store: Arc<S>, log: Arc<Log>) -> DataDaemon<S> {
        DataDaemon { store, log }
    }

    fn answer(&self, request: Request<'_>) -> Result<Response, No> {
        let name = request.path.strip_prefix(SERVICE).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let Some(name) = name else {
            return Err(No::new(400, "InvalidAction", "the service is /DataFile"));
        };
        let name = name.strip_prefix('/').unwrap_or("").to_owned();
        match request.method {
            Method::Put => self.put(&name, request),
            Method::Get if name.is_empty() && request.query == "diskUsage" => self.disk_usage(),
            Method::Get => self.get(&key(&name)?, &request),
            Method::Delete => self.delete(&key(&name)?),
            _ => Err(No::new(405, "MethodNotAllowed", "allowed: GET, PUT, DELETE")),
        }
    }

    fn put(&self, name: &str, mut request: Request<'_>) -> Result<Response, No> {
        if !name.is_empty() {
            return Err(No::new(400, "InvalidURI", "keys are made here: a PUT names none"));
        }
        if request.body.length().is_none() || !request.headers.has("content-length") {
            return Err(No::new(411, "MissingContentLength", "a PUT must have a Content-Length"));
        }
        self.store.check_room()?;
        let written = self.store.write_lent(&mut request.body).map_err(|error| match error {
            WriteError::Body(error) => No::new(400, "IncompleteBody", error.to_string()),
            WriteError::Store(error) => error.into(),
        })?;
        let mut response = Response::new(201).header("Location", format!("{SERVICE}/{}", written.id.0));
        let store = self.store.clone();
        response.done = Some(Box::new(move |sent: &Sent| {
            if !sent.complete {
                // If this fails too, the body stays for ever; it costs room and nothing else.
                let _ = store.delete(&written.id);
            }
        }));
        Ok(response)
    }

    fn get(&self, id: &BlobId, request: &Request<'_>) -> Result<Response, No> {
        let mut selection = None;
        let opened = self.store.read_chosen(id, &mut |size| {
            let chosen = range::requested(&request.headers, size);
            let bytes = match &chosen {
                Ok(Selection::Whole) => 0..size,
                Ok(Selection::Part(part)) => part.clone(),
                Err(_) => 0..0,
            };
            selection = Some(chosen);
            bytes
        })?;
        let Some((size, reader)) = opened else { return Err(No::absent()) };
        let response = |status| Response::new(status).header("Accept-Ranges", "bytes");
        let (response, length) = match selection {
            Some(Ok(Selection::Part(part))) => {
                let bytes = format!("bytes {}-{}/{size}", part.start, part.end - 1);
                (response(206).header("Content-Range", bytes), part.end - part.start)
            }
            Some(Err(_)) => {
                let no = No::new(416, "InvalidRange", format!("the body has {size} bytes")).into_response();
                return Ok(no.header("Content-Range", format!("bytes */{size}")));
            }
            _ => (response(200), size),
        };
        let response = response.header("Content-Type", "application/octet-stream");
        Ok(response.body(ResponseBody::Stream { length, reader }))
    }

    fn delete(&self, id: &BlobId) -> Result<Response, No> {
        // Two deletes at once may both find it; then both have deleted it.
        if self.store.read_chosen(id, &mut |_| 0..0).is_ok_and(|found| found.is_none()) {
            return Err(No::absent());
        }
        self.store.delete(id)?;
        Ok(Response::new(204))
    }

    fn disk_usage(&self) -> Result<Response, No> {
        let health = self.store.health();
        if health.code != 200 {
            return Err(No::new(503, "ServiceUnavailable", health.message));
        }
        let Space { available, free, total } = self.store.space()?;
        let text = json!({ "available": available, "free": free, "total": total }).to_string();
        let response = Response::new(200).header("Content-Type", "application/json");
        Ok(response.body(ResponseBody::Bytes(text.into_bytes())))
    }

    fn note(&self, request: &str, id: &str, status: u16) {
        let level = if status >= 500 { Level::Warn } else { Level::Debug };
        if self.log.enabled(level) {
            let fields = [("request", request.into()), ("uids", id.into()), ("status", status.into())];
            self.log.write(level, "data daemon", &fields);
        }
    }
}

/// The id of a body that a path names.
fn key(name: &str) -> Result<BlobId, No> {
    match is_key(name) {
        true => Ok(BlobId(name.to_owned())),
        false => Err(No::new(400, "InvalidURI", "a key has 40 lower-case hexadecimal digits")),
    }
}

impl<S: Lender + 'static> Handler for DataDaemon<S> {
    fn handle(&self, request: Request<'_>) -> Response {
        let shown = format!("{} {}", request.method.as_str(), request.path);
        let id = request.headers.get("x-scal-request-uids").unwrap_or("");
        let id = if id.len() <= REQUEST_ID_BYTES_MAX { id.to_owned() } else { String::new() };
        let response = self.answer(request).unwrap_or_else(No::into_response);
        self.note(&shown, &id, response.status);
        if id.is_empty() { response } else { response.header("X-Scal-Request-Uids", id) }
    }

    fn refuse(&self, refusal: Refusal, _: Option<SocketAddr>) -> Response {
        let no = match refusal {
            Refusal::BadRequest(what) => No::new(400, "BadRequest", what),
            Refusal::HeadTimeout => No::new(408, "RequestTimeout", "the head took too long"),
            Refusal::RequestLineTooLong => No::new(414, "URITooLong", "the request line is too long"),
            Refusal::HeadersTooLarge => No::new(400, "BadRequest", "the head is too large"),
            Refusal::UnknownTransferCoding => No::new(501, "NotImplemented", "only chunked is understood"),
            Refusal::VersionNotSupported => No::new(505, "NotImplemented", "only HTTP/1.1 is understood"),
            Refusal::TooManyConnections => No::new(503, "ServiceUnavailable", "too many connections"),
        };
        no.into_response()
    }
}
