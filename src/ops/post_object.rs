//! PostObject: an upload from an HTML form.
//!
//! The form is turned into what a PutObject request would have said, and stored by the same code, so
//! both keep the same rules. Its credentials are fields, and sign a policy that the whole form is held
//! to: what is checked is what is stored.
//!
//! Source: S3 API reference, "POST Object" and "Authenticating requests in browser-based uploads".

use super::metadata::USER_PREFIX;
use super::object_put::{create, require_length};
use super::tagging::parse_tags;
use super::target::Target;
use super::{Context, Operation, Proof, ProofPlace, access, table};
use crate::auth::post::{FormSignature, authenticate_form};
use crate::auth::post_policy::PostPolicy;
use crate::auth::{Identity, SignatureVersion};
use crate::codec::encoded_word;
use crate::codec::form_data::{Fields, FormReader, file_count};
use crate::codec::uri::{self, Query};
use crate::codec::xml_writer::XmlWriter;
use crate::error::{Code, Error, Result};
use crate::http::{Body, Headers, Response, ResponseBody};
use crate::model::ObjectKey;
use std::cell::Cell;
use std::io::{self, Read};
use std::ops::RangeInclusive;

/// The longest address that a success redirects to, in bytes.
const REDIRECT_BYTES_MAX: usize = 4 * 1024;

/// Fields that say what the header of the same name would say.
const HEADER_FIELDS: [&str; 7] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-md5",
    "content-type",
    "expires",
];

/// Fields in the name space of headers that are about the form itself.
const SIGNING_FIELDS: [&str; 5] =
    ["x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature", "x-amz-security-token"];

/// Fields in which `${filename}` is just text.
const LITERAL_FIELDS: [&str; 3] = ["policy", "signature", "awsaccesskeyid"];

/// PostObject.
pub fn post(ctx: &Context<'_>, body: Body<'_>) -> Result<Response> {
    require_length(ctx)?;
    let content_type = ctx.header("content-type").unwrap_or("");
    if !content_type.trim_start().to_ascii_lowercase().starts_with("multipart/form-data") {
        return Err(Error::new(Code::PreconditionFailed)
            .field("Condition", "Bucket POST must be of the enclosure-type multipart/form-data"));
    }
    let mut reader = FormReader::new(body, content_type)?;
    let form = Form::new(reader.fields()?, ctx.bucket_name().as_str())?;
    let identity = authenticate(ctx, &form)?;
    let size = match form.get("policy") {
        Some(policy) => PostPolicy::parse(policy)?.check(ctx.now, &form.fields)?,
        None => 0..=u64::MAX,
    };
    let target = Target { key: Some(ObjectKey::parse(&form.key)?), ..ctx.target.clone() };
    let mut headers = form.headers()?;
    // What policies ask about the browser is not in the form.
    for name in ["referer", "user-agent"] {
        if let Some(value) = ctx.header(name) {
            headers.push(name, value);
        }
    }
    let operation = put_object();
    let put = Context {
        service: ctx.service,
        operation,
        target: &target,
        query: &Query::default(),
        headers: &headers,
        identity: &identity,
        proof: form.proof(),
        trailers: ctx.trailers,
        request_id: ctx.request_id,
        now: ctx.now,
        peer: ctx.peer,
        secure: ctx.secure,
        encryption: ctx.encryption,
        bucket: ctx.bucket.clone(),
        acl_required: Cell::default(),
    };
    access::authorize(&put)?;
    ctx.acl_required.set(put.acl_required.get());
    let file = SizeChecked { reader, read: 0, size };
    let stored = create(&put, Body::new(None, Box::new(file)))?;
    Ok(answer(ctx, &form, stored))
}

/// The row of the operation that a form asks for.
fn put_object() -> &'static Operation {
    let row = table::OPERATIONS.iter().find(|row| row.name == "PutObject" && row.header.is_none());
    row.expect("the table has a row for PutObject")
}

/// The fields of a form as they will be used: names in lower case, the file's name filled in.
struct Form {
    fields: Vec<(String, String)>,
    key: String,
}

impl Form {
    /// How the form proved who sends it.
    fn proof(&self) -> Proof {
        let version = match (self.get("x-amz-signature"), self.get("signature")) {
            (Some(_), _) => Some(SignatureVersion::V4),
            (None, Some(_)) => Some(SignatureVersion::V2),
            (None, None) => None,
        };
        Proof { version, place: ProofPlace::Form }
    }

    fn new(form: Fields, bucket: &str) -> Result<Form> {
        let file_name = form.file_name.as_deref();
        let mut fields: Vec<(String, String)> = Vec::with_capacity(form.fields.len() + 1);
        for field in form.fields {
            let name = field.name.to_ascii_lowercase();
            if fields.iter().any(|(known, _)| *known == name) {
                return Err(denied(format!("The field '{name}' stands more than once.")));
            }
            let literal = LITERAL_FIELDS.contains(&name.as_str()) || SIGNING_FIELDS.contains(&name.as_str());
            let value = match file_name {
                Some(file_name) if !literal => field.value.replace("${filename}", file_name),
                _ => field.value,
            };
            fields.push((name, value));
        }
        let find = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        let key = find("key").filter(|key| !key.is_empty()).ok_or_else(|| missing("key"))?.clone();
        if file_name.is_none() {
            return Err(file_count(0));
        }
        // The policy is held against the bucket of the URL, whatever the form says.
        match find("bucket") {
            Some(named) if named != bucket => {
                return Err(denied("The field 'bucket' names another bucket than the URL."));
            }
            Some(_) => {}
            None => fields.push(("bucket".to_owned(), bucket.to_owned())),
        }
        Ok(Form { fields, key })
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn required(&self, name: &str) -> Result<&str> {
        self.get(name).ok_or_else(|| missing(name))
    }

    /// What the header of a PutObject request for the same object would say.
    fn headers(&self) -> Result<Headers> {
        let mut headers = Headers::new();
        for (name, value) in &self.fields {
            let passed = HEADER_FIELDS.contains(&name.as_str())
                || name.starts_with("x-amz-") && !SIGNING_FIELDS.contains(&name.as_str());
            match name.as_str() {
                "acl" => headers.push("x-amz-acl", checked(name, value)?),
                "tagging" => headers.push("x-amz-tagging", &tagging(value)?),
                // The text of a form is known, where that of a header is guessed.
                _ if name.starts_with(USER_PREFIX) => headers.push(name, &encoded_word::of_text(value)),
                _ if passed => headers.push(name, checked(name, value)?.trim()),
                _ => {}
            }
        }
        Ok(headers)
    }
}

/// A form can say what no header could.
fn checked<'v>(name: &str, value: &'v str) -> Result<&'v str> {
    if value.chars().any(|c| c.is_control() && c != '\t') {
        let message = "A form field must not contain control characters.";
        return Err(Error::invalid_argument(name, &value.escape_default().to_string(), message));
    }
    Ok(value)
}

/// Turns the XML of the field `tagging` into the form of the header, which is checked like one.
fn tagging(xml: &str) -> Result<String> {
    let tags = parse_tags(xml.as_bytes())?;
    let pairs: Vec<String> =
        tags.iter().map(|(name, value)| format!("{}={}", uri::encode(name), uri::encode(value))).collect();
    Ok(pairs.join("&"))
}

fn missing(name: &str) -> Error {
    // As the documentation spells them.
    let name = match name {
        "signature" => "Signature",
        "x-amz-algorithm" => "X-Amz-Algorithm",
        "x-amz-credential" => "X-Amz-Credential",
        "x-amz-date" => "X-Amz-Date",
        "x-amz-signature" => "X-Amz-Signature",
        _ => name,
    };
    let message = format!(
        "Bucket POST must contain a field named '{name}'.  If it is specified, please check the order of the fields."
    );
    Error::invalid_argument(name, "", message)
}

fn denied(message: impl std::fmt::Display) -> Error {
    Error::with_message(Code::AccessDenied, format!("Invalid according to Policy: {message}"))
}

/// Finds out who signed the form. Any part of a signature demands the whole of it; a form without is the
/// upload of whoever sent the request, which for a browser is nobody.
fn authenticate(ctx: &Context<'_>, form: &Form) -> Result<Identity> {
    let has = |names: &[&str]| names.iter().any(|name| form.get(name).is_some());
    if has(&["x-amz-security-token"]) {
        // There are no temporary credentials, so nobody can have issued it.
        return Err(Code::InvalidToken.into());
    }
    let v4 = has(&["x-amz-signature", "x-amz-credential", "x-amz-algorithm"]);
    if !v4 && !has(&["policy", "signature", "awsaccesskeyid"]) {
        return Ok(ctx.identity.clone());
    }
    let policy = form.required("policy")?;
    let signature = if v4 {
        FormSignature::V4 {
            algorithm: form.required("x-amz-algorithm")?,
            credential: form.required("x-amz-credential")?,
            date: form.required("x-amz-date")?,
            signature: form.required("x-amz-signature")?,
        }
    } else {
        FormSignature::V2 {
            access_key: form.get("awsaccesskeyid").ok_or_else(|| missing("AWSAccessKeyId"))?,
            signature: form.required("signature")?,
        }
    };
    let settings = ctx.service.config.auth_settings();
    authenticate_form(ctx.service.accounts(), &settings, ctx.now, &signature, policy)
}

/// A file whose size the policy bounds. It is judged by its bytes, not by what the client says of them.
struct SizeChecked<R> {
    reader: R,
    read: u64,
    size: RangeInclusive<u64>,
}

impl<R: Read> Read for SizeChecked<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(out)?;
        self.read += count as u64;
        let error = |code, limit: (&'static str, u64)| {
            let error = Error::new(code).field("ProposedSize", self.read.to_string());
            Err(io::Error::other(error.field(limit.0, limit.1.to_string())))
        };
        if self.read > *self.size.end() {
            return error(Code::EntityTooLarge, ("MaxSizeAllowed", *self.size.end()));
        }
        if count == 0 && !out.is_empty() && self.read < *self.size.start() {
            return error(Code::EntityTooSmall, ("MinSizeAllowed", *self.size.start()));
        }
        Ok(count)
    }
}

/// The answer that the form asks for: a redirect, or one of three statuses.
fn answer(ctx: &Context<'_>, form: &Form, mut response: Response) -> Response {
    let etag = response.header_value("ETag").unwrap_or_default().to_owned();
    let bucket = ctx.bucket_name().as_str();
    let redirect = form.get("success_action_redirect").or_else(|| form.get("redirect"));
    if let Some(location) = redirect.and_then(|url| redirect_location(url, bucket, &form.key, &etag)) {
        response.status = 303;
        response.push_header("Location", location);
        return response;
    }
    let location = object_location(ctx, &form.key);
    response.push_header("Location", location.clone());
    response.status = match form.get("success_action_status") {
        Some("200") => 200,
        Some("201") => 201,
        _ => 204,
    };
    if response.status != 201 {
        return response;
    }
    let mut xml = XmlWriter::bare();
    xml.open("PostResponse");
    xml.element("Location", &location);
    xml.element("Bucket", bucket);
    xml.element("Key", &form.key);
    xml.element("ETag", &etag);
    response.push_header("Content-Type", "application/xml");
    response.body(ResponseBody::Bytes(xml.end("PostResponse")))
}

fn object_location(ctx: &Context<'_>, key: &str) -> String {
    let scheme = if ctx.secure { "https" } else { "http" };
    let host = ctx.header("host").unwrap_or(&ctx.target.endpoint);
    let key = uri::encode_path(key);
    if ctx.target.virtual_host {
        format!("{scheme}://{host}/{key}")
    } else {
        format!("{scheme}://{host}/{}/{key}", ctx.bucket_name())
    }
}

/// The address to send the browser to, or `None` for one that no browser should be sent to: S3 then
/// answers as if there were none.
fn redirect_location(url: &str, bucket: &str, key: &str, etag: &str) -> Option<String> {
    let lower = url.to_ascii_lowercase();
    let rest = lower.strip_prefix("http://").or_else(|| lower.strip_prefix("https://"))?;
    let host = rest.split(['/', '?', '#']).next().unwrap_or("");
    if host.is_empty() || url.len() > REDIRECT_BYTES_MAX || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let (url, fragment) = match url.split_once('#') {
        Some((url, fragment)) => (url, format!("#{fragment}")),
        None => (url, String::new()),
    };
    let joint = if url.contains('?') { '&' } else { '?' };
    let (bucket, key, etag) = (uri::encode(bucket), uri::encode(key), uri::encode(etag));
    Some(format!("{url}{joint}bucket={bucket}&key={key}&etag={etag}{fragment}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::form_data::Field;

    fn form(fields: &[(&str, &str)], file_name: Option<&str>) -> Result<Form> {
        let fields = fields
            .iter()
            .map(|(name, value)| Field { name: (*name).to_owned(), value: (*value).to_owned() })
            .collect();
        Form::new(Fields { fields, file_name: file_name.map(str::to_owned) }, "mine")
    }

    #[test]
    fn the_name_of_the_file_is_filled_in() {
        let filled =
            form(&[("Key", "a/${filename}"), ("policy", "${filename}")], Some("f.txt")).expect("valid");
        assert_eq!((filled.key.as_str(), filled.get("policy")), ("a/f.txt", Some("${filename}")));
        assert_eq!(filled.get("bucket"), Some("mine"));
    }

    /// BI-191, BI-193, BI-199.
    #[test]
    fn ambiguous_forms_are_refused() {
        let refused = |fields: &[(&str, &str)], file: Option<&str>, code| {
            let error = form(fields, file).err().expect("refused");
            assert_eq!(error.code(), code, "{fields:?}");
        };
        refused(&[], Some(""), Code::InvalidArgument);
        refused(&[("key", "")], Some(""), Code::InvalidArgument);
        refused(&[("key", "${filename}")], Some(""), Code::InvalidArgument);
        refused(&[("key", "a")], None, Code::InvalidArgument);
        refused(&[("key", "a"), ("KEY", "b")], Some(""), Code::AccessDenied);
        refused(&[("key", "a"), ("bucket", "other")], Some(""), Code::AccessDenied);
        let split = form(&[("key", "a"), ("cache-control", "b\r\nSet-Cookie: c")], Some("")).expect("valid");
        assert_eq!(split.headers().map(|_| ()).expect_err("refused").code(), Code::InvalidArgument);
    }

    /// BI-202.
    #[test]
    fn redirects_go_to_web_addresses_only() {
        let location = |url: &str| redirect_location(url, "b", "k/é", "\"e\"");
        let query = "bucket=b&key=k%2F%C3%A9&etag=%22e%22";
        assert_eq!(location("http://h/p"), Some(format!("http://h/p?{query}")));
        assert_eq!(location("HTTPS://h?a=1#top"), Some(format!("HTTPS://h?a=1&{query}#top")));
        let long = format!("http://h/{}", "a".repeat(8192));
        for url in [
            "",
            "javascript:alert(1)",
            "//h",
            "/p",
            "http://",
            "http:///p",
            "http://h/\r\nA: b",
            "http://h/ b",
            &long,
        ] {
            assert_eq!(location(url), None, "{url}");
        }
    }
}
