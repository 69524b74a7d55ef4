//! What the website endpoints answer: pages for people instead of XML for programs.
//!
//! Everybody who comes here is a stranger, whatever the request carries. The pages come from GetObject,
//! so access, conditions and ranges are its business.
//!
//! Source: S3 user guide, "Website endpoints", "Configuring a custom error document", "Configuring a
//! webpage redirect".

use super::metadata::REDIRECT_HEADER;
use super::service::{Bucket, Service};
use super::target::Target;
use super::website::not_configured;
use super::{Context, Operation, Proof, ProofPlace, access, table};
use crate::auth::{Identity, Trailers};
use crate::codec::clock::Millis;
use crate::codec::uri::{self, Query};
use crate::codec::xml_writer::escape;
use crate::error::{Code, Error, Result};
use crate::http::{Body, Encryption, Headers, Method, Response, ResponseBody};
use crate::model::ObjectKey;
use crate::model::website::{Origin, WebsiteConfiguration};
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;

/// A request to a website endpoint.
pub struct Visit<'r> {
    /// The server.
    pub service: &'r Service,
    /// Bucket and key.
    pub target: &'r Target,
    /// The method.
    pub method: Method,
    /// Header fields.
    pub headers: &'r Headers,
    /// The request's id.
    pub request_id: &'r str,
    /// When the request was received.
    pub now: Millis,
    /// The client's address.
    pub peer: Option<SocketAddr>,
    /// How the connection is encrypted.
    pub encryption: Option<Encryption>,
}

/// Whether a target is one of the configured website endpoints.
pub fn is_website(service: &Service, target: &Target) -> bool {
    let config = &service.config;
    config.website_endpoints.iter().any(|host| host.eq_ignore_ascii_case(&target.endpoint))
        && !config.rest_endpoints.contains_key(&target.endpoint)
}

/// Answers a request to a website endpoint. The error, if the answer tells of one, is for the log.
pub fn serve(visit: &Visit<'_>) -> (Response, Option<Error>) {
    match visit.answer() {
        Ok(answered) => answered,
        Err(error) => (visit.error_page(&error, None), Some(error)),
    }
}

impl Visit<'_> {
    fn answer(&self) -> Result<(Response, Option<Error>)> {
        if !matches!(self.method, Method::Get | Method::Head) {
            return Err(Error::new(Code::MethodNotAllowed)
                .field("Method", self.method.as_str())
                .field("ResourceType", "OBJECT")
                .header("Allow", "GET, HEAD"));
        }
        let Some(name) = &self.target.bucket else { return Err(Code::MethodNotAllowed.into()) };
        let bucket = self.service.bucket(name)?;
        let website = bucket.record.website.as_ref().ok_or_else(|| not_configured(name.as_str()))?;
        let key = self.target.key.as_ref().map_or("", ObjectKey::as_str);
        let root = self.root();
        if let Some(all) = &website.redirect_all {
            return Ok((redirect(301, all.location(self.origin(&root), key)), None));
        }
        if let Some(rule) = website.find_rule(key, None) {
            return Ok((redirect(rule.status(), rule.location(self.origin(&root), key)), None));
        }
        match self.read(&bucket, &document_key(website, key), self.headers) {
            Ok(page) => Ok((page, None)),
            Err(error) => Ok((self.answer_error(&bucket, website, key, &root, &error), Some(error))),
        }
    }

    /// The path of the website itself.
    fn root(&self) -> String {
        match &self.target.bucket {
            Some(bucket) if !self.target.virtual_host => format!("/{bucket}/"),
            _ => "/".to_owned(),
        }
    }

    fn origin<'r>(&'r self, root: &'r str) -> Origin<'r> {
        let scheme = if self.encryption.is_some() { "https" } else { "http" };
        Origin { scheme, host: self.headers.get("host").unwrap_or(&self.target.endpoint), root }
    }

    /// Reads an object as a stranger would; a page that is a redirect becomes one.
    fn read(&self, bucket: &Arc<Bucket>, key: &str, headers: &Headers) -> Result<Response> {
        let operation = read_operation(self.method);
        let target = Target { key: Some(ObjectKey::parse(key)?), ..self.target.clone() };
        let identity = Identity::Anonymous;
        let ctx = Context {
            service: self.service,
            operation,
            target: &target,
            query: &Query::default(),
            headers,
            identity: &identity,
            proof: Proof { version: None, place: ProofPlace::Header },
            trailers: &Trailers::default(),
            request_id: self.request_id,
            now: self.now,
            peer: self.peer,
            secure: self.encryption.is_some(),
            encryption: self.encryption,
            bucket: Some(bucket.clone()),
            acl_required: Cell::default(),
        };
        access::authorize(&ctx)?;
        let page = (operation.run)(&ctx, Body::empty())?;
        match page.header_value(REDIRECT_HEADER) {
            Some(location) => Ok(redirect(301, location.to_owned())),
            None => Ok(page),
        }
    }

    fn answer_error(
        &self,
        bucket: &Arc<Bucket>,
        website: &WebsiteConfiguration,
        key: &str,
        root: &str,
        error: &Error,
    ) -> Response {
        let status = error.code().status;
        if status == 304 {
            return self.bare(error);
        }
        if matches!(status, 403 | 404) && self.is_folder(bucket, website, key) {
            let found =
                Error::new(Code::Found).header("Location", format!("{root}{}/", uri::encode_path(key)));
            return self.error_page(&found, None);
        }
        if let Some(rule) = website.find_rule(key, Some(status)) {
            return redirect(rule.status(), rule.location(self.origin(root), key));
        }
        let Some(error_key) = website.error_key.as_ref().filter(|_| (400..500).contains(&status)) else {
            return self.error_page(error, None);
        };
        // What was asked of the page (a range, a condition) was not asked of the page for errors.
        match self.read(bucket, error_key, &Headers::new()) {
            Ok(mut page) => {
                if page.status != 301 {
                    page.status = status;
                }
                push_error(&mut page, error);
                page
            }
            Err(second) => self.error_page(error, Some(&second)),
        }
    }

    /// Whether a key that is not there names a folder with an index: `docs` for `docs/index.html`.
    fn is_folder(&self, bucket: &Arc<Bucket>, website: &WebsiteConfiguration, key: &str) -> bool {
        if key.is_empty() || key.ends_with('/') {
            return false;
        }
        let index = document_key(website, &format!("{key}/"));
        let visit = Visit { method: Method::Head, ..*self };
        visit.read(bucket, &index, &Headers::new()).is_ok()
    }

    /// An answer without a page.
    fn bare(&self, error: &Error) -> Response {
        let mut response = Response::new(error.code().status);
        for (name, value) in error.headers() {
            response.push_header(*name, value.clone());
        }
        response
    }

    /// The built-in page; `second` is why there is no custom one.
    fn error_page(&self, error: &Error, second: Option<&Error>) -> Response {
        let mut response = self.bare(error);
        push_error(&mut response, error);
        response.push_header("Content-Type", "text/html; charset=utf-8");
        response.push_header("X-Content-Type-Options", "nosniff");
        let status = error.code().status;
        let title = format!("{status} {}", crate::http::reason(status));
        let mut html =
            format!("<html>\n<head><title>{title}</title></head>\n<body>\n<h1>{title}</h1>\n<ul>\n");
        push_facts(&mut html, error);
        for name in ["RequestId", "HostId"] {
            push_item(&mut html, name, self.request_id);
        }
        html.push_str("</ul>\n");
        if let Some(second) = second {
            html.push_str(
                "<h3>An Error Occurred While Attempting to Retrieve a Custom Error Document</h3>\n<ul>\n",
            );
            push_facts(&mut html, second);
            html.push_str("</ul>\n");
        }
        html.push_str("<hr/>\n</body>\n</html>\n");
        if self.method == Method::Head {
            return response.body(ResponseBody::Head(html.len() as u64));
        }
        response.body(ResponseBody::Bytes(html.into_bytes()))
    }
}

/// The row of the operation that a visit amounts to.
pub fn read_operation(method: Method) -> &'static Operation {
    let name = if method == Method::Head { "HeadObject" } else { "GetObject" };
    let row = table::OPERATIONS.iter().find(|row| row.name == name);
    row.expect("the table has rows for GetObject and HeadObject")
}

/// The object that a key stands for: for a folder, its index.
fn document_key(website: &WebsiteConfiguration, key: &str) -> String {
    match &website.index_suffix {
        Some(suffix) if key.is_empty() || key.ends_with('/') => format!("{key}{suffix}"),
        _ => key.to_owned(),
    }
}

fn redirect(status: u16, location: String) -> Response {
    Response::new(status).header("Location", location)
}

/// HEAD has no page to read the error from.
fn push_error(response: &mut Response, error: &Error) {
    response.push_header("x-amz-error-code", error.code().name);
    response.push_header("x-amz-error-message", error.message().to_owned());
}

fn push_facts(html: &mut String, error: &Error) {
    push_item(html, "Code", error.code().name);
    push_item(html, "Message", error.message());
    error.fields().iter().for_each(|(name, value)| push_item(html, name, value));
}

fn push_item(html: &mut String, name: &str, value: &str) {
    html.push_str("<li>");
    html.push_str(name);
    html.push_str(": ");
    escape(value, html);
    html.push_str("</li>\n");
}
