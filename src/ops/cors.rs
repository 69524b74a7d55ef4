//! Cross-origin access: the CORS configuration of a bucket, preflight requests, and the header fields
//! that tell a browser that a page may see an answer.
//!
//! Sources: S3 user guide, "Using cross-origin resource sharing"; S3 API reference, PutBucketCors. A
//! bucket without a configuration never answers with any of these fields.

use super::bucket::SMALL_BODY_BYTES_MAX;
use super::service::{Bucket, Service};
use super::target::Target;
use super::{Context, read_checked_body, xml_response};
use crate::codec::xml_reader::{self, Element, malformed};
use crate::codec::xml_writer::XmlWriter;
use crate::error::{Code, Error, Result};
use crate::http::{Body, Headers, Method, Response};
use crate::model::BucketName;
use crate::model::cors::{CorsConfiguration, CorsRule};

/// The most rules of a configuration.
const RULES_MAX: usize = 100;

/// The longest id of a rule, in characters.
const ID_CHARS_MAX: usize = 255;

/// The methods that a rule may allow.
const METHODS: [&str; 5] = ["GET", "PUT", "HEAD", "POST", "DELETE"];

/// PutBucketCors.
pub fn put(ctx: &Context<'_>, body: Body<'_>) -> Result<Response> {
    let body = read_checked_body(ctx, body, SMALL_BODY_BYTES_MAX)?;
    let cors = parse(&body)?;
    ctx.service.update_bucket(ctx.bucket_name(), &mut |record| {
        record.cors = Some(cors.clone());
        Ok(())
    })?;
    Ok(Response::new(200))
}

/// DeleteBucketCors.
pub fn delete(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    ctx.service.update_bucket(ctx.bucket_name(), &mut |record| {
        record.cors = None;
        Ok(())
    })?;
    Ok(Response::new(204))
}

/// GetBucketCors.
pub fn get(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let Some(cors) = &ctx.bucket().record.cors else {
        return Err(Error::new(Code::NoSuchCORSConfiguration).field("BucketName", ctx.bucket_name().as_str()));
    };
    let mut xml = XmlWriter::document("CORSConfiguration");
    for rule in &cors.rules {
        xml.open("CORSRule");
        xml.optional("ID", rule.id.as_deref());
        rule.methods.iter().for_each(|method| xml.element("AllowedMethod", method));
        rule.origins.iter().for_each(|origin| xml.element("AllowedOrigin", origin));
        rule.headers.iter().for_each(|header| xml.element("AllowedHeader", header));
        if let Some(seconds) = rule.max_age_s {
            xml.element("MaxAgeSeconds", &seconds.to_string());
        }
        rule.expose.iter().for_each(|header| xml.element("ExposeHeader", header));
        xml.close("CORSRule");
    }
    Ok(xml_response(200, xml.end("CORSConfiguration")))
}

fn parse(body: &[u8]) -> Result<CorsConfiguration> {
    let document = xml_reader::parse(body)?;
    let root = document.root("CORSConfiguration")?.only(&["CORSRule"])?;
    let rules = root.children("CORSRule").map(parse_rule).collect::<Result<Vec<CorsRule>>>()?;
    if rules.is_empty() {
        return Err(malformed("a CORS configuration without rules"));
    }
    if rules.len() > RULES_MAX {
        return Err(invalid("The number of CORS rules should not exceed allowed limit of 100 rules."));
    }
    let repeated = |at: usize, rule: &CorsRule| {
        rule.id.is_some() && rules[..at].iter().any(|earlier| earlier.id == rule.id)
    };
    if rules.iter().enumerate().any(|(at, rule)| repeated(at, rule)) {
        return Err(invalid("Rule ID must be unique. Found same ID for more than one rule."));
    }
    Ok(CorsConfiguration { rules })
}

fn parse_rule(rule: Element<'_>) -> Result<CorsRule> {
    rule.only(&["ID", "AllowedMethod", "AllowedOrigin", "AllowedHeader", "ExposeHeader", "MaxAgeSeconds"])?;
    let parsed = CorsRule {
        id: rule.text("ID")?.map(|id| checked(id.into_owned())).transpose()?,
        methods: texts(rule, "AllowedMethod")?,
        origins: texts(rule, "AllowedOrigin")?,
        headers: texts(rule, "AllowedHeader")?,
        expose: texts(rule, "ExposeHeader")?,
        max_age_s: rule.read("MaxAgeSeconds", "a number of seconds", |text| text.parse().ok())?,
    };
    if parsed.methods.is_empty() || parsed.origins.is_empty() {
        return Err(malformed("a CORS rule without a method or an origin"));
    }
    if parsed.id.as_ref().is_some_and(|id| id.chars().count() > ID_CHARS_MAX) {
        return Err(invalid("The ID of a CORS rule must not be longer than 255 characters."));
    }
    check_methods(&parsed)?;
    check_wildcards(&parsed)?;
    Ok(parsed)
}

fn texts(rule: Element<'_>, name: &str) -> Result<Vec<String>> {
    rule.texts(name)?.into_iter().map(|text| checked(text.trim().to_owned())).collect()
}

/// These texts come back in header fields, so a line end in one must never be stored.
fn checked(text: String) -> Result<String> {
    if text.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        return Err(malformed("a control character in a CORS rule"));
    }
    Ok(text)
}

fn check_methods(rule: &CorsRule) -> Result<()> {
    match rule.methods.iter().find(|method| !METHODS.contains(&method.as_str())) {
        Some(method) => Err(invalid(format!(
            "Found unsupported HTTP method in CORS config. Unsupported method is {method}"
        ))),
        None => Ok(()),
    }
}

fn check_wildcards(rule: &CorsRule) -> Result<()> {
    let several = |text: &&String| text.matches('*').count() > 1;
    for (name, texts) in [("AllowedOrigin", &rule.origins), ("AllowedHeader", &rule.headers)] {
        if let Some(text) = texts.iter().find(several) {
            return Err(invalid(format!("{name} \"{text}\" can not have more than one wildcard.")));
        }
    }
    for header in rule.headers.iter().chain(&rule.expose) {
        if !is_header_name(header) {
            return Err(invalid(format!("AllowedHeader \"{header}\" contains invalid character.")));
        }
    }
    if let Some(header) = rule.expose.iter().find(|header| header.contains('*')) {
        return Err(invalid(format!(
            "ExposeHeader \"{header}\" contains wildcard. We currently do not support wildcard for ExposeHeader."
        )));
    }
    Ok(())
}

/// Whether a text can be the name of a header field (RFC 9110 section 5.6.2), or, with `*`, a pattern of
/// such names.
fn is_header_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::with_message(Code::InvalidRequest, message)
}

/// Answers a preflight request. Browsers send it without credentials, so it is answered before anybody
/// asks for some.
///
/// # Errors
/// `BadRequest` for a request that is no preflight, `AccessForbidden` where no rule matches,
/// `NoSuchBucket`.
pub fn preflight(service: &Service, target: &Target, headers: &Headers) -> Result<Response> {
    let Some(origin) = headers.get("origin").filter(|origin| !origin.is_empty()) else {
        return Err(bad_request("Insufficient information. Origin request header needed."));
    };
    let method = headers.get("access-control-request-method");
    let Some(method) = method.filter(|method| METHODS.contains(method)) else {
        let method = method.unwrap_or("null");
        return Err(bad_request(format!("Invalid Access-Control-Request-Method: {method}")));
    };
    let names = requested_headers(headers);
    if let Some(name) = names.iter().find(|name| !is_header_name(name)) {
        let message = format!("Access-Control-Request-Headers \"{name}\" contains invalid character.");
        return Err(bad_request(message));
    }
    let Some(name) = &target.bucket else {
        return Err(forbidden(target, method, Some(NOT_ENABLED)));
    };
    let bucket = service.bucket(name)?;
    let Some(cors) = &bucket.record.cors else {
        return Err(forbidden(target, method, Some(NOT_ENABLED)));
    };
    let rule = cors.find(origin, method, &names).ok_or_else(|| forbidden(target, method, None))?;
    let mut response = Response::new(200);
    push_fields(&mut response, rule, origin);
    if !names.is_empty() {
        response.push_header("Access-Control-Allow-Headers", names.join(", ").to_ascii_lowercase());
    }
    Ok(response)
}

const NOT_ENABLED: &str = "CORSResponse: CORS is not enabled for this bucket.";

fn bad_request(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::with_message(Code::BadRequest, message)
}

fn forbidden(target: &Target, method: &str, message: Option<&'static str>) -> Error {
    Error::with_message(Code::AccessForbidden, message.unwrap_or(Code::AccessForbidden.message))
        .field("Method", method)
        .field("ResourceType", if target.key.is_some() { "OBJECT" } else { "BUCKET" })
}

fn requested_headers(headers: &Headers) -> Vec<&str> {
    headers
        .get_all("access-control-request-headers")
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect()
}

/// Adds to the answer of an ordinary request what lets the page that sent it see the answer, errors
/// included. The bucket comes by its name and, where the request got so far, as it was when it was looked
/// up: a request that deletes the bucket or its rules is judged by the rules that let it be sent.
pub fn decorate(
    service: &Service,
    (name, found): (Option<&str>, Option<&Bucket>),
    method: Method,
    headers: &Headers,
    response: &mut Response,
) {
    let (Some(origin), Some(name)) = (headers.get("origin"), name) else { return };
    if method == Method::Options {
        return;
    }
    let method = headers.get("access-control-request-method").unwrap_or(method.as_str());
    let mut push = |bucket: &Bucket| {
        let rule = bucket.record.cors.as_ref().and_then(|cors| cors.find(origin, method, &[]));
        if let Some(rule) = rule {
            push_fields(response, rule, origin);
        }
    };
    match found {
        Some(bucket) => push(bucket),
        None => {
            let Ok(name) = BucketName::parse(name) else { return };
            // A store that fails has failed the request already; there is nothing to add to that.
            if let Ok(Some(bucket)) = service.find_bucket(&name) {
                push(&bucket);
            }
        }
    }
}

fn push_fields(response: &mut Response, rule: &CorsRule, origin: &str) {
    if rule.is_for_any_origin() {
        response.push_header("Access-Control-Allow-Origin", "*");
    } else {
        response.push_header("Access-Control-Allow-Origin", origin.to_owned());
        response.push_header("Access-Control-Allow-Credentials", "true");
    }
    response.push_header("Access-Control-Allow-Methods", rule.methods.join(", "));
    if !rule.expose.is_empty() {
        response.push_header("Access-Control-Expose-Headers", rule.expose.join(", "));
    }
    if let Some(seconds) = rule.max_age_s {
        response.push_header("Access-Control-Max-Age", seconds.to_string());
    }
    response.push_header("Vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(content: &str) -> String {
        format!("<CORSConfiguration><CORSRule>{content}</CORSRule></CORSConfiguration>")
    }

    const MINIMAL: &str = "<AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin>";

    #[test]
    fn a_configuration_is_checked() {
        let origin = |text: &str| {
            rule(&format!("<AllowedMethod>GET</AllowedMethod><AllowedOrigin>{text}</AllowedOrigin>"))
        };
        let with = |text: &str| rule(&format!("{MINIMAL}{text}"));
        let many = |count: usize| {
            let rules = format!("<CORSRule>{MINIMAL}</CORSRule>").repeat(count);
            format!("<CORSConfiguration>{rules}</CORSConfiguration>")
        };
        let same_ids = format!("<CORSRule><ID>a</ID>{MINIMAL}</CORSRule>").repeat(2);
        let cases = [
            (rule(MINIMAL), None),
            (many(RULES_MAX), None),
            (many(RULES_MAX + 1), Some(Code::InvalidRequest)),
            (many(0), Some(Code::MalformedXML)),
            (rule("<AllowedMethod>GET</AllowedMethod>"), Some(Code::MalformedXML)),
            (rule("<AllowedOrigin>*</AllowedOrigin>"), Some(Code::MalformedXML)),
            (origin("http://*.a"), None),
            (origin("http://*.*"), Some(Code::InvalidRequest)),
            (origin("a&#10;b"), Some(Code::MalformedXML)),
            (origin("a\u{2028}b"), Some(Code::MalformedXML)),
            (with("<AllowedMethod>get</AllowedMethod>"), Some(Code::InvalidRequest)),
            (with("<AllowedMethod>PATCH</AllowedMethod>"), Some(Code::InvalidRequest)),
            (with("<AllowedHeader>x-*</AllowedHeader>"), None),
            (with("<AllowedHeader>*x*</AllowedHeader>"), Some(Code::InvalidRequest)),
            (with("<ExposeHeader>ETag</ExposeHeader>"), None),
            (with("<ExposeHeader>*</ExposeHeader>"), Some(Code::InvalidRequest)),
            (with("<ExposeHeader>a&#13;b</ExposeHeader>"), Some(Code::MalformedXML)),
            (with("<ExposeHeader>a b</ExposeHeader>"), Some(Code::InvalidRequest)),
            (with("<MaxAgeSeconds>3000</MaxAgeSeconds>"), None),
            (with("<MaxAgeSeconds>-1</MaxAgeSeconds>"), None),
            (with("<MaxAgeSeconds>9223372036854775808</MaxAgeSeconds>"), Some(Code::MalformedXML)),
            (with("<MaxAgeSeconds>soon</MaxAgeSeconds>"), Some(Code::MalformedXML)),
            (with(&format!("<ID>{}</ID>", "i".repeat(255))), None),
            (with(&format!("<ID>{}</ID>", "i".repeat(256))), Some(Code::InvalidRequest)),
            (format!("<CORSConfiguration>{same_ids}</CORSConfiguration>"), Some(Code::InvalidRequest)),
            (with("<Else/>"), Some(Code::MalformedXML)),
        ];
        for (body, expected) in cases {
            assert_eq!(parse(body.as_bytes()).err().map(|error| error.code()), expected, "{body}");
        }
    }
}
