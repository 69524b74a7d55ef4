//! PutBucketWebsite, GetBucketWebsite, DeleteBucketWebsite.
//!
//! Source: S3 API reference, the pages of those names. What a website then does is in
//! [`super::website_serving`].

use super::bucket::SMALL_BODY_BYTES_MAX;
use super::stored_settings::read_verified_body;
use super::{Context, xml_response};
use crate::codec::xml_reader::{self, Element, malformed};
use crate::codec::xml_writer::XmlWriter;
use crate::error::{Code, Error, Result};
use crate::http::{Body, Response};
use crate::model::ObjectKey;
use crate::model::website::{RedirectAll, RoutingRule, WebsiteConfiguration};

/// The most routing rules.
const RULES_MAX: usize = 50;

/// PutBucketWebsite.
pub fn put(ctx: &Context<'_>, body: Body<'_>) -> Result<Response> {
    let body = read_verified_body(ctx, body, SMALL_BODY_BYTES_MAX)?;
    let website = parse(&body)?;
    ctx.service.update_bucket(ctx.bucket_name(), &mut |record| {
        record.website = Some(website.clone());
        Ok(())
    })?;
    Ok(Response::new(200))
}

/// DeleteBucketWebsite.
pub fn delete(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    ctx.service.update_bucket(ctx.bucket_name(), &mut |record| {
        record.website = None;
        Ok(())
    })?;
    Ok(Response::new(204))
}

/// `NoSuchWebsiteConfiguration` with the bucket's name.
pub fn not_configured(ctx_bucket: &str) -> Error {
    Error::new(Code::NoSuchWebsiteConfiguration).field("BucketName", ctx_bucket)
}

/// GetBucketWebsite.
pub fn get(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let Some(website) = &ctx.bucket().record.website else {
        return Err(not_configured(ctx.bucket_name().as_str()));
    };
    let mut xml = XmlWriter::document("WebsiteConfiguration");
    if let Some(all) = &website.redirect_all {
        xml.open("RedirectAllRequestsTo");
        xml.element("HostName", &all.host);
        xml.optional("Protocol", all.protocol.as_deref());
        xml.close("RedirectAllRequestsTo");
    }
    if let Some(suffix) = &website.index_suffix {
        xml.open("IndexDocument");
        xml.element("Suffix", suffix);
        xml.close("IndexDocument");
    }
    if let Some(key) = &website.error_key {
        xml.open("ErrorDocument");
        xml.element("Key", key);
        xml.close("ErrorDocument");
    }
    if !website.rules.is_empty() {
        xml.open("RoutingRules");
        website.rules.iter().for_each(|rule| write_rule(&mut xml, rule));
        xml.close("RoutingRules");
    }
    Ok(xml_response(200, xml.end("WebsiteConfiguration")))
}

fn write_rule(xml: &mut XmlWriter, rule: &RoutingRule) {
    xml.open("RoutingRule");
    if rule.prefix.is_some() || rule.error.is_some() {
        xml.open("Condition");
        xml.optional("KeyPrefixEquals", rule.prefix.as_deref());
        xml.optional("HttpErrorCodeReturnedEquals", rule.error.map(|code| code.to_string()).as_deref());
        xml.close("Condition");
    }
    xml.open("Redirect");
    xml.optional("Protocol", rule.protocol.as_deref());
    xml.optional("HostName", rule.host.as_deref());
    xml.optional("ReplaceKeyPrefixWith", rule.replace_prefix.as_deref());
    xml.optional("ReplaceKeyWith", rule.replace_key.as_deref());
    xml.optional("HttpRedirectCode", rule.status.map(|code| code.to_string()).as_deref());
    xml.close("Redirect");
    xml.close("RoutingRule");
}

fn parse(body: &[u8]) -> Result<WebsiteConfiguration> {
    let document = xml_reader::parse(body)?;
    let root = document.root("WebsiteConfiguration")?;
    root.only(&["RedirectAllRequestsTo", "IndexDocument", "ErrorDocument", "RoutingRules"])?;
    if let Some(all) = root.child("RedirectAllRequestsTo")? {
        if root.elements().count() > 1 {
            return Err(malformed("RedirectAllRequestsTo does not go with anything else"));
        }
        let all = all.only(&["HostName", "Protocol"])?;
        let host = host(all)?.ok_or_else(|| malformed("HostName is missing"))?;
        let redirect_all = Some(RedirectAll { host, protocol: protocol(all)? });
        return Ok(WebsiteConfiguration { redirect_all, ..WebsiteConfiguration::default() });
    }
    let Some(index) = root.child("IndexDocument")? else {
        let message = "A value for IndexDocument Suffix must be provided if RedirectAllRequestsTo is empty";
        return Err(Error::invalid_argument("IndexDocument", "null", message));
    };
    let suffix = index.only(&["Suffix"])?.required_text("Suffix")?.into_owned();
    if suffix.is_empty() || suffix.contains('/') {
        let message = "The IndexDocument Suffix is not well formed";
        return Err(Error::invalid_argument("IndexDocument", &suffix, message));
    }
    let rules = match root.child("RoutingRules")? {
        Some(rules) => parse_rules(rules)?,
        None => Vec::new(),
    };
    let error_key = root.child("ErrorDocument")?.map(error_key).transpose()?;
    Ok(WebsiteConfiguration { redirect_all: None, index_suffix: Some(suffix), error_key, rules })
}

fn error_key(document: Element<'_>) -> Result<String> {
    let key = document.only(&["Key"])?.required_text("Key")?.into_owned();
    if ObjectKey::parse(&key).is_err() {
        let message = "The ErrorDocument Key is not well formed";
        return Err(Error::invalid_argument("ErrorDocument", &key, message));
    }
    Ok(key)
}

fn parse_rules(rules: Element<'_>) -> Result<Vec<RoutingRule>> {
    let rules: Vec<RoutingRule> =
        rules.only(&["RoutingRule"])?.children("RoutingRule").map(parse_rule).collect::<Result<_>>()?;
    match rules.len() {
        0 => Err(malformed("RoutingRules is empty")),
        1..=RULES_MAX => Ok(rules),
        count => Err(invalid(format!(
            "{count} routing rules provided, the number of routing rules in a website configuration is limited to {RULES_MAX}."
        ))),
    }
}

fn parse_rule(rule: Element<'_>) -> Result<RoutingRule> {
    let rule = rule.only(&["Condition", "Redirect"])?;
    let mut parsed = RoutingRule::default();
    if let Some(condition) = rule.child("Condition")? {
        let condition = condition.only(&["KeyPrefixEquals", "HttpErrorCodeReturnedEquals"])?;
        parsed.prefix = condition.text("KeyPrefixEquals")?.map(|text| text.into_owned());
        parsed.error = status(condition, "HttpErrorCodeReturnedEquals", is_error)?;
        if parsed.prefix.is_none() && parsed.error.is_none() {
            return Err(invalid(
                "Condition cannot be empty. To redirect all requests without a condition, the condition element shouldn't be present.",
            ));
        }
    }
    let redirect = rule.required("Redirect")?.only(&[
        "Protocol",
        "HostName",
        "ReplaceKeyPrefixWith",
        "ReplaceKeyWith",
        "HttpRedirectCode",
    ])?;
    if redirect.elements().next().is_none() {
        return Err(malformed("Redirect is empty"));
    }
    parsed.protocol = protocol(redirect)?;
    parsed.host = host(redirect)?;
    parsed.replace_prefix = redirect.text("ReplaceKeyPrefixWith")?.map(|text| text.into_owned());
    parsed.replace_key = redirect.text("ReplaceKeyWith")?.map(|text| text.into_owned());
    parsed.status = status(redirect, "HttpRedirectCode", is_redirect)?;
    if parsed.replace_prefix.is_some() && parsed.replace_key.is_some() {
        return Err(invalid("You can only define ReplaceKeyPrefix or ReplaceKey but not both."));
    }
    Ok(parsed)
}

fn protocol(element: Element<'_>) -> Result<Option<String>> {
    let Some(protocol) = element.text("Protocol")? else { return Ok(None) };
    match protocol.as_ref() {
        "http" | "https" => Ok(Some(protocol.into_owned())),
        _ => {
            let message = "Invalid protocol, protocol can be http or https. If not defined the protocol will be selected automatically.";
            Err(invalid(message))
        }
    }
}

/// A host with or without a port and, as S3 allows it here, a path.
fn host(element: Element<'_>) -> Result<Option<String>> {
    let Some(host) = element.text("HostName")? else { return Ok(None) };
    let host = host.trim();
    let valid = !host.is_empty()
        && !host.starts_with('/')
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/[]%".contains(&byte));
    if valid { Ok(Some(host.to_owned())) } else { Err(malformed("HostName is not a host")) }
}

/// Whether S3 redirects with a status. 306 is reserved (RFC 9110 section 15.4.7), and the rest of 3xx has
/// no meaning.
fn is_redirect(status: u16) -> bool {
    matches!(status, 301..=305 | 307 | 308)
}

/// Whether a condition may name a status: the errors that have a meaning (RFC 9110 sections 15.5, 15.6).
fn is_error(status: u16) -> bool {
    matches!(status, 400..=417 | 500..=505)
}

fn status(element: Element<'_>, name: &str, valid: fn(u16) -> bool) -> Result<Option<u16>> {
    let Some(text) = element.text(name)? else { return Ok(None) };
    match text.trim().parse() {
        Ok(code) if valid(code) => Ok(Some(code)),
        Err(_) => Err(malformed("a status that is no number")),
        Ok(_) => {
            let kind = if name == "HttpRedirectCode" { "redirect" } else { "error" };
            let message = match kind {
                "redirect" => "Valid codes are 3XX except 300.",
                _ => "Valid codes are 4XX or 5XX.",
            };
            Err(invalid(format!("The provided HTTP {kind} code ({}) is not valid. {message}", text.trim())))
        }
    }
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::with_message(Code::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_checked() {
        let index = "<IndexDocument><Suffix>index.html</Suffix></IndexDocument>";
        let all = |text: &str| format!("<RedirectAllRequestsTo>{text}</RedirectAllRequestsTo>");
        let rules = |text: &str| format!("{index}<RoutingRules>{text}</RoutingRules>");
        let redirect = |text: &str| rules(&format!("<RoutingRule><Redirect>{text}</Redirect></RoutingRule>"));
        let condition = |text: &str| {
            rules(&format!(
                "<RoutingRule><Condition>{text}</Condition><Redirect><HostName>h</HostName></Redirect></RoutingRule>"
            ))
        };
        let many = "<RoutingRule><Redirect><HostName>h</HostName></Redirect></RoutingRule>";
        let host = "<HostName>h</HostName>";
        let (xml, argument, request) =
            (Some(Code::MalformedXML), Some(Code::InvalidArgument), Some(Code::InvalidRequest));
        let cases = [
            (index.to_owned(), None),
            (String::new(), argument),
            ("<IndexDocument><Suffix>a/b</Suffix></IndexDocument>".to_owned(), argument),
            ("<IndexDocument><Suffix></Suffix></IndexDocument>".to_owned(), argument),
            (format!("{index}<ErrorDocument><Key>e</Key></ErrorDocument>"), None),
            (format!("{index}<ErrorDocument><Key></Key></ErrorDocument>"), argument),
            (format!("{index}<ErrorDocument/>"), xml),
            (all(host), None),
            (all("<HostName>h</HostName><Protocol>https</Protocol>"), None),
            (all("<HostName>h</HostName><Protocol>ftp</Protocol>"), request),
            (all(""), xml),
            (all("<HostName>a&#13;b</HostName>"), xml),
            (format!("{}{index}", all(host)), xml),
            (rules(""), xml),
            (rules(&many.repeat(RULES_MAX)), None),
            (rules(&many.repeat(RULES_MAX + 1)), request),
            (redirect(""), xml),
            (redirect("<HttpRedirectCode>302</HttpRedirectCode>"), None),
            (redirect("<HttpRedirectCode>300</HttpRedirectCode>"), request),
            (redirect("<HttpRedirectCode>400</HttpRedirectCode>"), request),
            (redirect("<HttpRedirectCode>306</HttpRedirectCode>"), request),
            (redirect("<HttpRedirectCode>3xx</HttpRedirectCode>"), xml),
            (
                redirect("<ReplaceKeyWith>a</ReplaceKeyWith><ReplaceKeyPrefixWith>b</ReplaceKeyPrefixWith>"),
                request,
            ),
            (condition("<KeyPrefixEquals>a</KeyPrefixEquals>"), None),
            (condition("<HttpErrorCodeReturnedEquals>404</HttpErrorCodeReturnedEquals>"), None),
            (condition("<HttpErrorCodeReturnedEquals>200</HttpErrorCodeReturnedEquals>"), request),
            (condition("<HttpErrorCodeReturnedEquals>418</HttpErrorCodeReturnedEquals>"), request),
            (condition("<HttpErrorCodeReturnedEquals>4xx</HttpErrorCodeReturnedEquals>"), xml),
            (condition(""), request),
        ];
        for (content, expected) in cases {
            let body = format!("<WebsiteConfiguration>{content}</WebsiteConfiguration>");
            assert_eq!(parse(body.as_bytes()).err().map(|error| error.code()), expected, "{body}");
        }
    }
}
