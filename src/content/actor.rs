//! Requests without a socket and without a signature, on behalf of an account.

use crate::auth::{Identity, identity};
use crate::codec::digest::md5;
use crate::codec::{base64, uri};
use crate::http::{Body, Headers, Method, Request, ResponseBody, Sent};
use crate::s3::S3;
use std::io::{Cursor, Read};

/// The most bytes of an answer that are read.
pub const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Who sends.
pub struct Actor<'s> {
    s3: &'s S3,
    identity: Identity,
}

/// One request.
pub struct Call<'c> {
    /// The method.
    pub method: Method,
    /// The path, percent-encoded.
    pub path: &'c str,
    /// The query, percent-encoded; empty for none.
    pub query: &'c str,
    /// Header fields.
    pub headers: Vec<(String, String)>,
    /// Length and bytes of the body.
    pub body: Option<(u64, Box<dyn Read + 'c>)>,
}

impl<'c> Call<'c> {
    /// A request without query, fields and body.
    pub fn new(method: Method, path: &'c str) -> Call<'c> {
        Call { method, path, query: "", headers: Vec::new(), body: None }
    }

    /// With a body in memory and its digest.
    pub fn with_body(mut self, body: Vec<u8>) -> Call<'c> {
        self.headers.push(("content-md5".to_owned(), base64(&md5(&body))));
        self.body = Some((body.len() as u64, Box::new(Cursor::new(body))));
        self
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Header fields as they are sent.
    pub headers: Vec<(String, String)>,
    /// The body, at most [`ANSWER_BYTES_MAX`] bytes of it.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first value of a header field, whose name is compared without case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The text of the first element of this name in an XML body, entities untouched.
    pub fn element(&self, name: &str) -> Option<String> {
        let text = self.text();
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0.to_owned())
    }
}

impl<'s> Actor<'s> {
    /// Who has the first key.
    ///
    /// # Errors
    /// When there is no key at all.
    pub fn first(s3: &'s S3) -> Result<Actor<'s>, String> {
        let accounts = s3.service().accounts();
        let (key, credential) = accounts.first_key().ok_or("no account has a key")?;
        Ok(Actor { s3, identity: identity(key, credential) })
    }

    /// The account of this name.
    ///
    /// # Errors
    /// What is allowed, when there is none.
    pub fn named(s3: &'s S3, name: &str) -> Result<Actor<'s>, String> {
        let accounts = s3.service().accounts();
        let account = accounts.named(name).ok_or_else(|| accounts.names().join(", "))?;
        let identity =
            Identity::Key { account: account.clone(), user: None, access_key: "start-up".to_owned() };
        Ok(Actor { s3, identity })
    }

    /// Sends a request and reads the answer.
    pub fn call(&self, call: Call<'_>) -> Answer {
        let mut headers = Headers::new();
        headers.push("host", "localhost");
        call.headers.iter().for_each(|(name, value)| headers.push(name, value));
        let body = match call.body {
            Some((length, reader)) => {
                headers.push("content-length", &length.to_string());
                Body::new(Some(length), reader)
            }
            None => {
                headers.push("content-length", "0");
                Body::empty()
            }
        };
        let request = Request {
            method: call.method,
            path: call.path.to_owned(),
            query: call.query.to_owned(),
            headers,
            peer: None,
            encryption: None,
            body,
        };
        let response = self.s3.respond(request, Some(self.identity.clone()), &mut |_, _| {});
        let mut body = Vec::new();
        let complete = match response.body {
            ResponseBody::Bytes(bytes) => {
                body = bytes;
                true
            }
            ResponseBody::Stream { reader, .. } => {
                reader.take(ANSWER_BYTES_MAX).read_to_end(&mut body).is_ok()
            }
            ResponseBody::Empty | ResponseBody::Head(_) => true,
            ResponseBody::Dropped => false,
        };
        if let Some(done) = response.done {
            done(&Sent { body_bytes: body.len() as u64, complete });
        }
        let headers = response.headers.into_iter();
        let headers = headers.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        Answer { status: response.status, headers, body }
    }

    /// Sends a request that must succeed.
    ///
    /// # Errors
    /// Code and message of S3's answer.
    pub fn expect(&self, call: Call<'_>) -> Result<Answer, String> {
        let answer = self.call(call);
        if answer.status < 300 {
            return Ok(answer);
        }
        let code = answer.element("Code").unwrap_or_else(|| answer.status.to_string());
        Err(format!("{code}: {}", answer.element("Message").unwrap_or_default()))
    }

    /// Makes a bucket, unless this account has it.
    ///
    /// # Errors
    /// As [`Actor::expect`].
    pub fn make_bucket(&self, name: &str, headers: &[(&str, &str)]) -> Result<(), String> {
        let path = format!("/{name}");
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let headers = headers.iter().map(owned).collect();
        match self.expect(Call { headers, ..Call::new(Method::Put, &path) }) {
            Err(error) if error.starts_with("BucketAlreadyOwnedByYou") => Ok(()),
            made => made.map(|_| ()),
        }
    }

    /// Writes an object, unless one with the same bytes is there.
    ///
    /// # Errors
    /// As [`Actor::expect`], and what reading the body says.
    pub fn make_object(
        &self,
        bucket: &str,
        key: &str,
        headers: Vec<(String, String)>,
        source: &mut dyn Source,
    ) -> Result<(), String> {
        let path = format!("/{bucket}/{}", uri::encode_path(key));
        let (length, etag) = source.measure().map_err(|error| error.to_string())?;
        let present = self.call(Call::new(Method::Head, &path));
        let same = |name: &str, value: &str| {
            present.header(name).is_some_and(|found| found.trim_matches('"') == value)
        };
        if present.status == 200 && same("etag", &etag) {
            return Ok(());
        }
        let body = source.open().map_err(|error| error.to_string())?;
        let call = Call { headers, body: Some((length, body)), ..Call::new(Method::Put, &path) };
        self.expect(call).map(|_| ())
    }
}

/// Where the bytes of an object come from. Read twice: to compare, and to store.
pub trait Source {
    /// Length in bytes and MD5 in hexadecimal.
    fn measure(&mut self) -> std::io::Result<(u64, String)>;
    /// The bytes from their beginning.
    fn open(&mut self) -> std::io::Result<Box<dyn Read>>;
}

impl Source for Vec<u8> {
    fn measure(&mut self) -> std::io::Result<(u64, String)> {
        Ok((self.len() as u64, crate::codec::hex(&md5(self))))
    }

    fn open(&mut self) -> std::io::Result<Box<dyn Read>> {
        Ok(Box::new(Cursor::new(self.clone())))
    }
}

impl Source for std::path::PathBuf {
    fn measure(&mut self) -> std::io::Result<(u64, String)> {
        let mut hasher = crate::codec::digest::Md5Hasher::new();
        let mut file = std::fs::File::open(self)?;
        let mut buffer = vec![0; 64 * 1024];
        let mut length = 0;
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                return Ok((length, crate::codec::hex(&hasher.finish())));
            }
            hasher.update(&buffer[..count]);
            length += count as u64;
        }
    }

    fn open(&mut self) -> std::io::Result<Box<dyn Read>> {
        Ok(Box::new(std::fs::File::open(self)?))
    }
}
