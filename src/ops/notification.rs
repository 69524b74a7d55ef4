//! PutBucketNotificationConfiguration and GetBucketNotificationConfiguration.
//!
//! Source: S3 API reference, the operations of those names; S3 user guide, "Configuring event
//! notifications using object key name filtering".

use super::bucket::SMALL_BODY_BYTES_MAX;
use super::service::COMMIT_TRIES_MAX;
use super::{Context, read_small_body, xml_response};
use crate::codec::xml_reader::{self, Element, malformed};
use crate::codec::xml_writer::XmlWriter;
use crate::codec::{base64, random};
use crate::error::{Code, Error, Result};
use crate::http::{Body, Response};
use crate::model::notification::{EVENTS, NotificationConfiguration, NotificationRule, TargetKind};
use crate::model::{KEY_BYTES_MAX, keys};
use crate::notifications;
use crate::storage::{Batch, Outcome};

/// The most rules of a bucket.
pub const RULES_MAX: usize = 100;

/// The longest id of a rule, in characters.
pub const RULE_ID_CHARS_MAX: usize = 255;

/// GetBucketNotificationConfiguration.
pub fn get(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    Ok(xml_response(200, write(&ctx.bucket().record.notification.clone().unwrap_or_default())))
}

/// PutBucketNotificationConfiguration. An empty configuration ends all notifications; others send each
/// target a test event.
pub fn put(ctx: &Context<'_>, body: Body<'_>) -> Result<Response> {
    let bytes = read_small_body(body, SMALL_BODY_BYTES_MAX)?;
    let wanted = parse(&bytes)?;
    let unchecked =
        ctx.header("x-amz-skip-destination-validation").is_some_and(|skip| skip.eq_ignore_ascii_case("true"));
    if !unchecked {
        check_targets(ctx, &wanted)?;
    }
    for _ in 0..COMMIT_TRIES_MAX {
        let bucket = ctx.service.bucket(ctx.bucket_name())?;
        let mut record = bucket.record.clone();
        record.notification = Some(wanted.clone()).filter(|wanted| !wanted.is_empty());
        let mut batch = Batch::new();
        batch.expect(keys::bucket(&bucket.name), Some(bucket.stored.clone()));
        batch.put(keys::bucket(&bucket.name), record.encode());
        let noted = notifications::note_test(ctx, &wanted, &mut batch);
        if ctx.service.commit_settings(batch)? == Outcome::Committed {
            ctx.service.notifications.committed(noted);
            return Ok(Response::new(200));
        }
    }
    Err(Code::OperationAborted.into())
}

/// Demands that events can be sent to every target.
fn check_targets(ctx: &Context<'_>, wanted: &NotificationConfiguration) -> Result<()> {
    let unknown: Vec<&NotificationRule> =
        wanted.rules.iter().filter(|rule| ctx.service.config.notification_url(&rule.arn).is_none()).collect();
    let Some(first) = unknown.first() else { return Ok(()) };
    let message = "Unable to validate the following destination configurations";
    let why = "The destination is not among the configured notification destinations";
    Err(Error::with_message(Code::InvalidArgument, message)
        .field("ArgumentName1", first.arn.clone())
        .field("ArgumentValue1", why))
}

fn parse(bytes: &[u8]) -> Result<NotificationConfiguration> {
    let document = xml_reader::parse(bytes)?;
    let root = document.root("NotificationConfiguration")?.only(&[
        "TopicConfiguration",
        "QueueConfiguration",
        "CloudFunctionConfiguration",
        "EventBridgeConfiguration",
    ])?;
    let mut rules: Vec<NotificationRule> = Vec::new();
    for kind in TargetKind::ALL {
        for element in root.children(kind.configuration()) {
            if rules.len() >= RULES_MAX {
                return Err(invalid("The number of notification configurations exceeds the limit of 100"));
            }
            let rule = parse_rule(element, kind)?;
            check_beside(&rule, &rules)?;
            rules.push(rule);
        }
    }
    Ok(NotificationConfiguration { rules, event_bridge: root.child("EventBridgeConfiguration")?.is_some() })
}

fn parse_rule(element: Element<'_>, kind: TargetKind) -> Result<NotificationRule> {
    let element = element.only(&["Id", kind.element(), "Event", "Filter"])?;
    let arn = element.required_text(kind.element())?.trim().to_owned();
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let well_formed = parts.len() == 6 && parts[0] == "arn" && !parts[2].is_empty() && !parts[5].is_empty();
    if !well_formed || arn.chars().any(char::is_control) {
        return Err(Error::invalid_argument(kind.element(), &arn, "The ARN is not well formed"));
    }
    let (prefix, suffix) = match element.child("Filter")? {
        Some(filter) => parse_filter(filter)?,
        None => (None, None),
    };
    Ok(NotificationRule { id: parse_id(element)?, kind, arn, events: parse_events(element)?, prefix, suffix })
}

fn parse_id(element: Element<'_>) -> Result<String> {
    match element.text("Id")? {
        Some(id) if id.chars().count() > RULE_ID_CHARS_MAX => {
            Err(invalid("The ID of a notification configuration must not be longer than 255 characters"))
        }
        Some(id) if !id.is_empty() => Ok(id.into_owned()),
        _ => Ok(base64(&random::<36>())),
    }
}

fn parse_events(element: Element<'_>) -> Result<Vec<String>> {
    let mut events = Vec::new();
    for text in element.texts("Event")? {
        let name = text.trim().strip_prefix("s3:").filter(|name| EVENTS.contains(name));
        let Some(name) = name else {
            let message = "A specified event is not supported for notifications";
            return Err(Error::invalid_argument("Event", &text, message));
        };
        if !events.iter().any(|event| event == name) {
            events.push(name.to_owned());
        }
    }
    if events.is_empty() {
        return Err(malformed("a notification configuration has no Event"));
    }
    Ok(events)
}

type PrefixAndSuffix = (Option<String>, Option<String>);

fn parse_filter(filter: Element<'_>) -> Result<PrefixAndSuffix> {
    let (mut prefix, mut suffix) = (None, None);
    let Some(key) = filter.only(&["S3Key"])?.child("S3Key")? else { return Ok((None, None)) };
    for rule in key.only(&["FilterRule"])?.children("FilterRule") {
        let name = rule.required_text("Name")?.trim().to_ascii_lowercase();
        let value = rule.required_text("Value")?.into_owned();
        if value.len() > KEY_BYTES_MAX {
            return Err(invalid(
                "Size of filter rule value cannot exceed 1024 bytes in UTF-8 representation",
            ));
        }
        let place = match name.as_str() {
            "prefix" => &mut prefix,
            "suffix" => &mut suffix,
            _ => return Err(invalid("filter rule name must be either prefix or suffix")),
        };
        if place.replace(value).is_some() {
            return Err(invalid(format!("Cannot specify more than one {name} rule in a filter.")));
        }
    }
    Ok((prefix, suffix))
}

/// Demands what S3 demands of two rules of a bucket.
fn check_beside(rule: &NotificationRule, others: &[NotificationRule]) -> Result<()> {
    if others.iter().any(|other| other.id == rule.id) {
        return Err(invalid("Same ID used for multiple configurations. IDs must be unique"));
    }
    if others.iter().any(|other| other.overlaps(rule)) {
        let message =
            "Configurations overlap. Configurations on the same bucket cannot share a common event type.";
        return Err(invalid(message));
    }
    Ok(())
}

fn invalid(message: impl Into<String>) -> Error {
    Error::with_message(Code::InvalidArgument, message.into())
}

fn write(configuration: &NotificationConfiguration) -> Vec<u8> {
    let mut xml = XmlWriter::document("NotificationConfiguration");
    for rule in &configuration.rules {
        xml.open(rule.kind.configuration());
        xml.element("Id", &rule.id);
        xml.element(rule.kind.element(), &rule.arn);
        for event in &rule.events {
            xml.element("Event", &format!("s3:{event}"));
        }
        write_filter(&mut xml, rule);
        xml.close(rule.kind.configuration());
    }
    if configuration.event_bridge {
        xml.open("EventBridgeConfiguration");
        xml.close("EventBridgeConfiguration");
    }
    xml.end("NotificationConfiguration")
}

fn write_filter(xml: &mut XmlWriter, rule: &NotificationRule) {
    if rule.prefix.is_none() && rule.suffix.is_none() {
        return;
    }
    xml.open("Filter");
    xml.open("S3Key");
    for (name, value) in [("Prefix", &rule.prefix), ("Suffix", &rule.suffix)] {
        let Some(value) = value else { continue };
        xml.open("FilterRule");
        xml.element("Name", name);
        xml.element("Value", value);
        xml.close("FilterRule");
    }
    xml.close("S3Key");
    xml.close("Filter");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(content: &str) -> Result<NotificationConfiguration> {
        parse(format!("<NotificationConfiguration>{content}</NotificationConfiguration>").as_bytes())
    }

    fn queue(id: &str, rest: &str) -> String {
        format!(
            "<QueueConfiguration><Id>{id}</Id><Queue>arn:aws:sqs:us-east-1:123456789012:q</Queue>{rest}</QueueConfiguration>"
        )
    }

    const PUT: &str = "<Event>s3:ObjectCreated:Put</Event>";

    fn filter(rules: &[(&str, &str)]) -> String {
        let rules: String = rules
            .iter()
            .map(|(name, value)| {
                format!("<FilterRule><Name>{name}</Name><Value>{value}</Value></FilterRule>")
            })
            .collect();
        format!("<Filter><S3Key>{rules}</S3Key></Filter>")
    }

    #[test]
    fn a_configuration_is_given_back_as_it_was_put() {
        let content = format!(
            "<TopicConfiguration><Id>t</Id><Topic>arn:aws:sns:us-east-1:1:t</Topic><Event>s3:ObjectRemoved:*</Event></TopicConfiguration>{}<EventBridgeConfiguration></EventBridgeConfiguration>",
            queue("q", &format!("{PUT}{}", filter(&[("Prefix", "a&amp;/"), ("Suffix", ".jpg")])))
        );
        let parsed = configuration(&content).expect("valid");
        assert!(String::from_utf8(write(&parsed)).expect("text").contains(&content));
        assert!(configuration("").expect("valid").is_empty());
    }

    #[test]
    fn what_s3_refuses_is_refused_with_its_code() {
        let long = "p".repeat(KEY_BYTES_MAX + 1);
        let two = queue("a", PUT) + &queue("a", "<Event>s3:ObjectRemoved:*</Event>");
        let overlapping = queue("a", PUT) + &queue("b", "<Event>s3:ObjectCreated:*</Event>");
        for (content, code) in [
            (queue("q", ""), Code::MalformedXML),
            (queue("q", "<Event>s3:ObjectCreated:Nonsense</Event>"), Code::InvalidArgument),
            (queue("q", "<Event>ObjectCreated:Put</Event>"), Code::InvalidArgument),
            (queue("q", &(PUT.to_owned() + &filter(&[("infix", "x")]))), Code::InvalidArgument),
            (
                queue("q", &(PUT.to_owned() + &filter(&[("prefix", "x"), ("Prefix", "y")]))),
                Code::InvalidArgument,
            ),
            (queue("q", &(PUT.to_owned() + &filter(&[("prefix", &long)]))), Code::InvalidArgument),
            (queue(&"i".repeat(256), PUT), Code::InvalidArgument),
            (two, Code::InvalidArgument),
            (overlapping, Code::InvalidArgument),
            (
                format!("<QueueConfiguration><Queue>nonsense</Queue>{PUT}</QueueConfiguration>"),
                Code::InvalidArgument,
            ),
            ("<Other/>".to_owned(), Code::MalformedXML),
        ] {
            assert_eq!(configuration(&content).expect_err(&content).code(), code, "{content}");
        }
        let apart = queue("a", &(PUT.to_owned() + &filter(&[("suffix", ".jpg")])))
            + &queue("b", &(PUT.to_owned() + &filter(&[("suffix", ".png")])));
        assert!(configuration(&apart).is_ok());
    }
}
