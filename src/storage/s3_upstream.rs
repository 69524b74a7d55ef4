//! Bodies in a bucket of another S3 store: locations of type `aws_s3`.
//!
//! Every body is one remote object that is written once and never overwritten. Its key is readable, the bucket (unless `bucketMatch`) and the key it was stored under,
//! and unique: 32 random digits end it. So replacing an object here can never damage the version that a
//! reader still reads or that a failed commit leaves in place, versions do not depend on the remote
//! bucket having versioning, and a body whose writing ended in a time-out has a known name to be deleted
//! by. What it costs is that remote keys are not the client's keys, as they are with Scality S3 Server:
//! s3pail's records are needed to tell which is which.
//!
//! A body that is written in pieces is a multipart upload of the remote: `s3_drafts`.
//!
//! Requests are signed with signature version 4. Small bodies are signed themselves; of others the MD5 is
//! compared with the ETag that comes back, where that is an MD5.

use super::drafts::Drafts;
use super::remote::{Client, Deadlines, Endpoints, Failure, Fetch, Outgoing, RemoteBlobs, body_of, text_of};
use super::s3_drafts::Draft;
use super::{BlobHint, BlobId, Result, StorageError};
use crate::auth::Head;
use crate::auth::keys::sha256;
use crate::auth::sigv4::Signer;
use crate::codec::clock::Clock;
use crate::codec::{hex, random, uri};
use crate::http::{Headers, Method};
use serde_json::{Map, Value};
use std::io::Read;
use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;
use ureq::Body;
use ureq::http::{Request, Response};

/// The longest key of an S3 object, in bytes (S3 user guide, "Naming Amazon S3 objects").
const KEY_BYTES_MAX: usize = 1024;
/// The longest segment of a key between slashes, in bytes: what file systems take as a name.
const SEGMENT_BYTES_MAX: usize = 255;
/// The random end of a key with its slash.
const KEY_END_BYTES: usize = 33;
/// The largest shared credentials file that is read.
const CREDENTIALS_BYTES_MAX: u64 = 1 << 20;

/// What the details of a location say.
#[derive(Clone)]
pub struct Settings {
    /// The host, with a port where it is not the scheme's.
    pub endpoint: String,
    /// Whether to use TLS.
    pub https: bool,
    /// The remote bucket.
    pub bucket: String,
    /// Name the bucket in the path rather than in the host.
    pub path_style: bool,
    /// Leave our bucket's name out of remote keys.
    pub bucket_match: bool,
    /// Ask the remote to encrypt at rest.
    pub encrypt: bool,
    /// The region to sign for.
    pub region: String,
    /// The access key id.
    pub access_key: String,
    /// The secret key.
    pub secret_key: String,
    /// How long things may take.
    pub deadlines: Deadlines,
}

impl Settings {
    /// Reads the details of a location, which the configuration has checked.
    ///
    /// # Errors
    /// A sentence about what is missing.
    pub fn from_details(details: &Map<String, Value>) -> std::result::Result<Settings, String> {
        let text = |name: &str| details.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let switch = |name: &str, default| details.get(name).and_then(Value::as_bool).unwrap_or(default);
        let bucket = text("bucketName")
            .ok_or("details.bucketName is missing; allowed: the name of a bucket of the other store")?;
        let (https, endpoint) = match text("awsEndpoint").unwrap_or("s3.amazonaws.com").split_once("://") {
            Some((scheme, host)) => (scheme == "https", host),
            None => (switch("https", true), text("awsEndpoint").unwrap_or("s3.amazonaws.com")),
        };
        let endpoint = endpoint.trim_end_matches('/');
        let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host).trim_matches(['[', ']']);
        let (access_key, secret_key) = credentials(details)?;
        Ok(Settings {
            endpoint: endpoint.to_owned(),
            https,
            bucket: bucket.to_owned(),
            // No bucket can stand in front of an address.
            path_style: switch("pathStyle", false) || host.parse::<IpAddr>().is_ok(),
            bucket_match: switch("bucketMatch", false),
            encrypt: switch("serverSideEncryption", false),
            region: text("region").unwrap_or("us-east-1").to_owned(),
            access_key,
            secret_key,
            deadlines: Deadlines::default(),
        })
    }
}

/// The key pair of the location, or of the profile that it names.
fn credentials(details: &Map<String, Value>) -> std::result::Result<(String, String), String> {
    if let Some(pair) = details.get("credentials") {
        let text = |name: &str| pair.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
        return Ok((text("accessKey"), text("secretKey")));
    }
    let Some(profile) = details.get("credentialsProfile").and_then(Value::as_str) else {
        return Err("details.credentials is missing; allowed: an object with accessKey and secretKey, or \
                    details.credentialsProfile, the name of a profile"
            .to_owned());
    };
    let refused = |why: String| {
        format!(
            "details.credentialsProfile: {profile:?} cannot be used: {why}; allowed: a profile with \
             aws_access_key_id and aws_secret_access_key in the file that AWS_SHARED_CREDENTIALS_FILE names, \
             else in ~/.aws/credentials"
        )
    };
    let path = credentials_path().ok_or_else(|| refused("there is no home folder".to_owned()))?;
    let failed = |error| refused(format!("{}: {error}", path.display()));
    let mut text = String::new();
    let file = std::fs::File::open(&path).map_err(failed)?;
    file.take(CREDENTIALS_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    let lacking = || refused(format!("{} has no key pair of this name", path.display()));
    of_profile(&text, profile).ok_or_else(lacking)
}

/// Where the AWS tools keep profiles.
fn credentials_path() -> Option<PathBuf> {
    let named = std::env::var_os("AWS_SHARED_CREDENTIALS_FILE").filter(|path| !path.is_empty());
    named.map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME").or_else(|| std::env::var_os("USERPROFILE"))?;
        Some(PathBuf::from(home).join(".aws").join("credentials"))
    })
}

/// The key pair of a profile in the text of a credentials file: sections in brackets, `name = value`.
fn of_profile(text: &str, profile: &str) -> Option<(String, String)> {
    let (mut access_key, mut secret_key) = (None, None);
    let mut within = false;
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            within = section.trim() == profile;
            continue;
        }
        let Some((name, value)) = line.split_once('=').filter(|_| within) else { continue };
        match name.trim() {
            "aws_access_key_id" => access_key = Some(value.trim().to_owned()),
            "aws_secret_access_key" => secret_key = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    access_key.zip(secret_key).filter(|(access, secret)| !access.is_empty() && !secret.is_empty())
}

/// Bodies in a bucket of another store.
pub type S3Blobs = RemoteBlobs<Upstream>;

/// S3's protocol.
pub struct Upstream {
    settings: Settings,
    endpoints: Endpoints,
    host: String,
    clock: Clock,
}

impl S3Blobs {
    /// A client; connects when it is first used.
    pub fn new(settings: Settings) -> S3Blobs {
        let scheme = if settings.https { "https" } else { "http" };
        let host = match settings.path_style {
            true => settings.endpoint.clone(),
            false => format!("{}.{}", settings.bucket, settings.endpoint),
        };
        let endpoints = Endpoints::new(vec![format!("{scheme}://{host}")], settings.deadlines);
        RemoteBlobs::of(Upstream { settings, endpoints, host, clock: Clock::system() })
    }
}

/// Whether a text ends as the keys that are made here do. Nothing else becomes part of a URL; the empty
/// text would name the bucket.
pub(super) fn is_key(text: &str) -> bool {
    let end = text.rsplit_once('/').map_or("", |(_, end)| end);
    text.len() <= KEY_BYTES_MAX
        && end.len() == KEY_END_BYTES - 1
        && end.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A request without its body.
pub(super) struct Call<'c> {
    pub method: Method,
    /// The key that it is about; empty for the bucket.
    pub key: &'c str,
    /// The query as it goes on the wire, without `?`.
    pub query: &'c str,
    pub fields: &'c [(&'c str, &'c str)],
}

impl<'c> Call<'c> {
    /// A request about an object itself.
    pub(super) fn new(method: Method, key: &'c str) -> Call<'c> {
        Call { method, key, query: "", fields: &[] }
    }
}

impl Upstream {
    /// A new key: what can be read of it, cut where it would be too long, and the random end.
    pub(super) fn new_key(&self, hint: &BlobHint<'_>) -> BlobId {
        let readable = match self.settings.bucket_match {
            true => hint.key.to_owned(),
            false => format!("{}/{}", hint.bucket, hint.key),
        };
        // Some stores and proxies fold such segments, and stores that keep keys as paths refuse long ones; the
        // readable part is not worth that.
        let unfit = |part: &str| matches!(part, "" | "." | "..") || part.len() > SEGMENT_BYTES_MAX;
        let readable = if readable.split('/').any(unfit) { hint.bucket } else { &readable };
        let cut = (0..=readable.len().min(KEY_BYTES_MAX - KEY_END_BYTES))
            .rev()
            .find(|end| readable.is_char_boundary(*end))
            .unwrap_or(0);
        BlobId(format!("{}/{}", &readable[..cut], hex(&random::<16>())))
    }

    /// A signed request, whose body has the digest `payload`.
    fn request(
        &self,
        endpoint: &str,
        call: &Call<'_>,
        payload: &str,
    ) -> std::result::Result<Request<()>, Failure> {
        let Call { method, key, query, fields } = *call;
        let mut path = String::new();
        if self.settings.path_style {
            path = format!("/{}", self.settings.bucket);
        }
        if !key.is_empty() || path.is_empty() {
            path = format!("{path}/{}", uri::encode_path(key));
        }
        let mut headers = Headers::new();
        headers.push("host", &self.host);
        fields.iter().for_each(|(name, value)| headers.push(name, value));
        let Settings { access_key, secret_key, region, .. } = &self.settings;
        let signer = Signer { access_key, secret: secret_key, region };
        let head = Head { method, path: &path, query, headers: &headers };
        let signed = signer.sign(self.clock.now(), &head, payload);
        signed.fields.iter().for_each(|(name, value)| headers.push(name, value));
        let mark = if query.is_empty() { "" } else { "?" };
        let uri = format!("{endpoint}{path}{mark}{query}");
        let mut request = Request::builder().method(method.as_str()).uri(uri);
        for (name, value) in headers.iter() {
            request = request.header(name, value);
        }
        let wrong = |error: ureq::http::Error| StorageError::Unavailable(format!("not a request: {error}"));
        request.body(()).map_err(|error| wrong(error).into())
    }

    /// Sends a request without a body, again when the answer says that it may pass.
    pub(super) fn send(&self, call: &Call<'_>) -> std::result::Result<Response<Body>, Failure> {
        self.send_counted(call, &mut 0)
    }

    /// [`Upstream::send`], with the number of times that it was sent added to `tries`.
    pub(super) fn send_counted(
        &self,
        call: &Call<'_>,
        tries: &mut u32,
    ) -> std::result::Result<Response<Body>, Failure> {
        self.endpoints.attempt(&mut |endpoint| {
            *tries += 1;
            let request = self.request(endpoint, call, &hex(&sha256(b"")))?;
            may_pass(self.endpoints.send(request)?)
        })
    }

    /// Sends a request with a body; again when the answer says that it may pass and the body is at hand.
    /// `judge` takes the answer.
    pub(super) fn send_body<T>(
        &self,
        call: &Call<'_>,
        outgoing: &mut Outgoing<'_>,
        judge: &mut dyn FnMut(Response<Body>) -> std::result::Result<T, Failure>,
    ) -> std::result::Result<T, Failure> {
        let length = outgoing.length.to_string();
        let payload = match outgoing.small() {
            Some(body) => hex(&sha256(body)),
            None => "UNSIGNED-PAYLOAD".to_owned(),
        };
        let fields = [&[("content-length", length.as_str())], call.fields].concat();
        let call = Call { fields: &fields, ..*call };
        self.endpoints.attempt(&mut |endpoint| {
            let request = self.request(endpoint, &call, &payload)?;
            let answer = self.endpoints.send_body(request, outgoing)?;
            judge(if outgoing.is_repeatable() { may_pass(answer)? } else { answer })
        })
    }

    /// What a new object asks for.
    pub(super) fn creation_fields(&self) -> &'static [(&'static str, &'static str)] {
        if self.settings.encrypt { &[("x-amz-server-side-encryption", "AES256")] } else { &[] }
    }
}

/// The ETag in the answer to a body that was stored, compared with what was sent where it is a digest of it.
///
/// # Errors
/// [`StorageError::Corrupt`] when the remote stored something else.
pub(super) fn stored_tag(answer: Response<Body>, outgoing: &mut Outgoing<'_>) -> Result<String> {
    let field = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
    let tag = field("etag").unwrap_or("").trim_matches('"').to_owned();
    // With some encryptions the ETag is no digest of the body: then it says nothing.
    let is_md5 = tag.len() == 32 && field("x-amz-server-side-encryption").is_none_or(|kind| kind == "AES256");
    text_of(answer);
    let md5 = outgoing.take_md5();
    match is_md5 && !tag.eq_ignore_ascii_case(&md5) {
        true => Err(StorageError::Corrupt(format!("sent {md5}, the remote stored {tag}"))),
        false => Ok(tag),
    }
}

/// S3 asks clients to try again after these answers.
fn may_pass(answer: Response<Body>) -> std::result::Result<Response<Body>, Failure> {
    match answer.status().as_u16() {
        500 | 502 | 503 => Err(Failure::NoAnswer(refused("a request", answer).to_string())),
        _ => Ok(answer),
    }
}

/// An answer with another status than success, with the S3 error code where there is one.
pub(super) fn refused(what: &str, answer: Response<Body>) -> StorageError {
    let status = answer.status().as_u16();
    let text = text_of(answer);
    StorageError::Unavailable(format!("the remote store answered {what} with {status} {}", code_of(&text)))
}

/// What 404 means: what the code `absent` tells of is not there, or something else is wrong.
pub(super) fn gone(answer: Response<Body>, what: &str, absent: &str) -> Result<()> {
    let text = text_of(answer);
    match code_of(&text) {
        code if code == absent => Ok(()),
        code => Err(StorageError::Unavailable(format!("the remote store answered {what} with 404 {code}"))),
    }
}

/// The text of the first `Code` element. A code only chooses a message, so no more of XML is read.
pub(super) fn code_of(text: &str) -> &str {
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    code.map_or("", |(code, _)| code)
}

impl Fetch for Upstream {
    fn fetch(&self, id: &BlobId, range: Range<u64>) -> Result<Option<Box<dyn Read + Send>>> {
        let bytes = format!("bytes={}-{}", range.start, range.end - 1);
        let call = Call { fields: &[("range", bytes.as_str())], ..Call::new(Method::Get, &id.0) };
        let answer = self.send(&call).map_err(Failure::into_storage)?;
        match answer.status().as_u16() {
            200 | 206 => Ok(Some(body_of(answer, &range)?)),
            404 => gone(answer, "GET", "NoSuchKey").map(|()| None),
            416 => Err(StorageError::Corrupt(format!("{:?} is shorter than {}", id.0, range.end))),
            _ => Err(refused("GET", answer)),
        }
    }
}

impl Client for Upstream {
    const REMOTE_NAMES: bool = false;

    fn new_name(&self, hint: &BlobHint<'_>) -> BlobId {
        self.new_key(hint)
    }

    fn is_name(&self, id: &BlobId) -> bool {
        is_key(&id.0) || Draft::of(id).is_some()
    }

    fn put(&self, id: &BlobId, outgoing: &mut Outgoing<'_>) -> std::result::Result<BlobId, Failure> {
        let call = Call { fields: self.creation_fields(), ..Call::new(Method::Put, &id.0) };
        let answer = self.send_body(&call, outgoing, &mut Ok)?;
        if answer.status().as_u16() != 200 {
            return Err(refused("PUT", answer).into());
        }
        stored_tag(answer, outgoing)?;
        Ok(id.clone())
    }

    fn remove(&self, id: &BlobId) -> std::result::Result<(), Failure> {
        if let Some(draft) = Draft::of(id) {
            return self.remove_draft(&draft);
        }
        let answer = self.send(&Call::new(Method::Delete, &id.0))?;
        match answer.status().as_u16() {
            200 | 204 => {
                text_of(answer);
                Ok(())
            }
            404 => gone(answer, "DELETE", "NoSuchKey").map_err(Failure::Final),
            _ => Err(refused("DELETE", answer).into()),
        }
    }

    fn ask_health(&self) -> std::result::Result<(), Failure> {
        let answer = self.send(&Call::new(Method::Head, ""))?;
        match answer.status().as_u16() {
            200 => Ok(()),
            status => Err(StorageError::Unavailable(format!(
                "HEAD of bucket {} was answered with {status}",
                self.settings.bucket
            ))
            .into()),
        }
    }

    fn drafts(&self) -> Option<&dyn Drafts> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings(details: Value) -> std::result::Result<Settings, String> {
        let mut all = json!({
            "awsEndpoint": "s3.example:9000", "bucketName": "remote", "https": false,
            "credentials": { "accessKey": "a", "secretKey": "s" },
        });
        let all = all.as_object_mut().expect("an object");
        for (name, value) in details.as_object().expect("an object") {
            match value.is_null() {
                true => all.remove(name),
                false => all.insert(name.clone(), value.clone()),
            };
        }
        Settings::from_details(all)
    }

    #[test]
    fn the_bucket_stands_in_the_host_unless_it_cannot() {
        for (details, host) in [
            (json!({}), "remote.s3.example:9000"),
            (json!({ "pathStyle": true }), "s3.example:9000"),
            (json!({ "awsEndpoint": "127.0.0.1:9000" }), "127.0.0.1:9000"),
            (json!({ "awsEndpoint": "[::1]:9000" }), "[::1]:9000"),
            (json!({ "awsEndpoint": "http://s3.example" }), "remote.s3.example"),
            (json!({ "awsEndpoint": null }), "remote.s3.amazonaws.com"),
        ] {
            assert_eq!(S3Blobs::new(settings(details).expect("complete")).client.host, host);
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (details, part) in [
            (json!({ "bucketName": null }), "bucketName"),
            (json!({ "credentials": null }), "credentialsProfile"),
        ] {
            let error = settings(details).err().expect("incomplete");
            assert!(error.contains(part), "{error}");
        }
        assert!(settings(json!({ "https": null })).expect("complete").https, "HTTPS unless told otherwise");
    }

    #[test]
    fn a_profile_is_found_among_others() {
        let text = "# mine\n[default]\naws_access_key_id = one\naws_secret_access_key=two=\n\n\
                    [other]\nregion = x\naws_secret_access_key = four\naws_access_key_id = three\n[half]\n\
                    aws_access_key_id = five\n";
        let pair = |profile| of_profile(text, profile);
        assert_eq!(pair("default"), Some(("one".to_owned(), "two=".to_owned())));
        assert_eq!(pair("other"), Some(("three".to_owned(), "four".to_owned())));
        assert_eq!((pair("half"), pair("none")), (None, None));
    }

    #[test]
    fn keys_are_readable_unique_and_short_enough() {
        let client = |details| S3Blobs::new(settings(details).expect("complete")).client;
        let (long, longest) = ("é".repeat(100) + "/é", "é".repeat(127) + "a");
        let long = [long.as_str(); 4].join("/");
        for (bucket_match, key, start) in [
            (false, "a/b", "bucket/a/b/"),
            (true, "a/b", "a/b/"),
            (false, "a/../b", "bucket/"),
            (true, "/a", "bucket/"),
            (true, "./a", "bucket/"),
            (true, longest.as_str(), &format!("{longest}/")),
            (true, &format!("{longest}a"), "bucket/"),
            (false, &format!("{long}/{long}"), "bucket/éé"),
        ] {
            let client = client(json!({ "bucketMatch": bucket_match }));
            let hint = BlobHint { bucket: "bucket", key, owner: "o", length: None, sync: None };
            let one = client.new_key(&hint).0;
            assert!(one.starts_with(start) && is_key(&one), "{one}");
            assert_ne!(one, client.new_key(&hint).0);
            if !key.starts_with(&long) {
                assert_eq!(one.len(), start.len() + 32, "{one}");
            }
        }
    }

    #[test]
    fn an_error_code_is_found_or_not() {
        for (text, code) in
            [("<Error><Code>NoSuchKey</Code></Error>", "NoSuchKey"), ("", ""), ("<Code>", ""), ("no", "")]
        {
            assert_eq!(code_of(text), code);
        }
    }
}
