//! Put/Get/DeleteBucketLifecycleConfiguration, and what answers to other requests say of the rules.
//!
//! Source: S3 API reference, PutBucketLifecycleConfiguration; S3 user guide, "Lifecycle configuration
//! elements" (which values are allowed together) and "Expiring objects" (the header).

use super::{Context, metadata, read_checked_body, xml_response};
use crate::codec::clock::Millis;
use crate::codec::random;
use crate::codec::time::{http_date, iso8601};
use crate::codec::xml_reader::{self, Element, malformed};
use crate::codec::xml_writer::XmlWriter;
use crate::codec::{base64, uri};
use crate::error::{Code, Error, Result};
use crate::http::{Body, Response};
use crate::model::lifecycle::{
    Calendar, DAY_MS, Expiration, LifecycleConfiguration, NoncurrentExpiration, NoncurrentTransition, Rule,
    Scope, ScopeForm, SmallObjects, StorageClass, Subject, Transition, When,
};
use crate::model::object::ObjectRecord;
use crate::model::{KEY_BYTES_MAX, ObjectKey};

/// The most rules of a bucket.
pub const RULES_MAX: usize = 1_000;

/// The longest id of a rule, in characters.
pub const RULE_ID_CHARS_MAX: usize = 255;

/// The largest body of PutBucketLifecycleConfiguration: 1 MiB.
pub const LIFECYCLE_BODY_BYTES_MAX: usize = 1024 * 1024;

/// The most noncurrent versions that a rule can keep.
const KEEP_MAX: i64 = 100;

/// The fewest days in `STANDARD` before an object may move to a class for infrequent access.
const DAYS_BEFORE_INFREQUENT_ACCESS: u32 = 30;

/// The header that says which small objects never move.
const SMALL_OBJECTS_HEADER: &str = "x-amz-transition-default-minimum-object-size";

/// GetBucketLifecycleConfiguration.
pub fn get(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    let Some(lifecycle) = &ctx.bucket().record.lifecycle else {
        return Err(
            Error::new(Code::NoSuchLifecycleConfiguration).field("BucketName", ctx.bucket_name().as_str())
        );
    };
    Ok(xml_response(200, write(lifecycle)).header(SMALL_OBJECTS_HEADER, lifecycle.small_objects.as_str()))
}

/// PutBucketLifecycleConfiguration, in today's form and in the one from before filters.
pub fn put(ctx: &Context<'_>, body: Body<'_>) -> Result<Response> {
    let calendar = Calendar { day_ms: ctx.service.config.lifecycle_day_ms };
    let small_objects = match ctx.header(SMALL_OBJECTS_HEADER) {
        None => SmallObjects::default_in(calendar),
        Some(text) => SmallObjects::parse(text).ok_or_else(|| {
            let message = format!("Invalid TransitionDefaultMinimumObjectSize found: {text}");
            Error::with_message(Code::InvalidRequest, message)
        })?,
    };
    let bytes = read_checked_body(ctx, body, LIFECYCLE_BODY_BYTES_MAX)?;
    let lifecycle = LifecycleConfiguration { rules: parse(&bytes)?, small_objects };
    ctx.service.update_bucket(ctx.bucket_name(), &mut |record| {
        record.lifecycle = Some(lifecycle.clone());
        Ok(())
    })?;
    Ok(Response::new(200).header(SMALL_OBJECTS_HEADER, small_objects.as_str()))
}

/// DeleteBucketLifecycle. Without rules it is a success, too.
pub fn delete(ctx: &Context<'_>, _: Body<'_>) -> Result<Response> {
    ctx.service.update_bucket(ctx.bucket_name(), &mut |record| {
        record.lifecycle = None;
        Ok(())
    })?;
    Ok(Response::new(204))
}

/// Adds `x-amz-expiration` for the newest version of a key, if a rule will expire it. The date is the
/// calendar's even where days are shortened: clients compare it with their own.
pub fn push_expiration(ctx: &Context<'_>, response: &mut Response, key: &ObjectKey, record: &ObjectRecord) {
    let Some(lifecycle) = ctx.bucket.as_ref().and_then(|bucket| bucket.record.lifecycle.as_ref()) else {
        return;
    };
    let tags = record.detail.tags.as_slice();
    let subject = Subject { key: key.as_str(), size: Some(record.head.size), tags: Some(tags) };
    if let Some((due, rule)) = lifecycle.expiration(&subject, record.head.modified_ms, Calendar::REAL) {
        let id = uri::encode(&rule.id);
        let value = format!("expiry-date=\"{}\", rule-id=\"{id}\"", http_date(due));
        response.push_header("x-amz-expiration", value);
    }
}

/// Adds `x-amz-abort-date` and `x-amz-abort-rule-id`, if a rule will abort an upload.
pub fn push_abort(ctx: &Context<'_>, response: &mut Response, created: Millis) {
    let Some(lifecycle) = ctx.bucket.as_ref().and_then(|bucket| bucket.record.lifecycle.as_ref()) else {
        return;
    };
    if let Some((due, rule)) = lifecycle.abort(ctx.key().as_str(), created, Calendar::REAL) {
        response.push_header("x-amz-abort-date", http_date(due));
        response.push_header("x-amz-abort-rule-id", uri::encode(&rule.id));
    }
}

/// Reads and checks a configuration.
fn parse(bytes: &[u8]) -> Result<Vec<Rule>> {
    let document = xml_reader::parse(bytes)?;
    let root = document.root("LifecycleConfiguration")?.only(&["Rule"])?;
    let mut rules: Vec<Rule> = Vec::new();
    for element in root.children("Rule") {
        if rules.len() >= RULES_MAX {
            return Err(malformed("more than 1000 rules"));
        }
        let rule = parse_rule(element)?;
        if rules.iter().any(|other| other.id == rule.id) {
            let message = "Rule ID must be unique. Found same ID for more than one rule";
            return Err(invalid_argument(message));
        }
        rules.push(rule);
    }
    if rules.is_empty() {
        return Err(malformed("no rules"));
    }
    Ok(rules)
}

const RULE_ELEMENTS: [&str; 9] = [
    "ID",
    "Prefix",
    "Filter",
    "Status",
    "Expiration",
    "NoncurrentVersionExpiration",
    "AbortIncompleteMultipartUpload",
    "Transition",
    "NoncurrentVersionTransition",
];

fn parse_rule(element: Element<'_>) -> Result<Rule> {
    let element = element.only(&RULE_ELEMENTS)?;
    let rule = Rule {
        id: parse_id(element)?,
        enabled: xml_reader::required(
            element.one_of("Status", &[("Enabled", true), ("Disabled", false)])?,
            "Status",
        )?,
        scope: parse_scope(element)?,
        expiration: element.child("Expiration")?.map(parse_expiration).transpose()?,
        noncurrent_expiration: element
            .child("NoncurrentVersionExpiration")?
            .map(parse_noncurrent_expiration)
            .transpose()?,
        abort_upload_days: element.child("AbortIncompleteMultipartUpload")?.map(parse_abort).transpose()?,
        transitions: element.children("Transition").map(parse_transition).collect::<Result<_>>()?,
        noncurrent_transitions: element
            .children("NoncurrentVersionTransition")
            .map(parse_noncurrent_transition)
            .collect::<Result<_>>()?,
    };
    check_rule(&rule)?;
    Ok(rule)
}

/// The id, or one that nobody else has.
fn parse_id(element: Element<'_>) -> Result<String> {
    match element.text("ID")? {
        Some(id) if id.chars().count() > RULE_ID_CHARS_MAX => {
            Err(invalid_argument("ID length should not exceed allowed limit of 255"))
        }
        Some(id) if !id.is_empty() => Ok(id.into_owned()),
        _ => Ok(base64(&random::<36>())),
    }
}

fn parse_scope(rule: Element<'_>) -> Result<Scope> {
    let prefix = rule.text("Prefix")?;
    match (prefix, rule.child("Filter")?) {
        (Some(prefix), None) => {
            let prefix = Some(check_prefix(prefix.into_owned())?);
            Ok(Scope { form: ScopeForm::Prefix, prefix, ..Scope::default() })
        }
        (None, Some(filter)) => parse_filter(filter),
        (Some(_), Some(_)) => Err(malformed("a rule has Prefix and Filter")),
        (None, None) => Err(malformed("a rule has neither Prefix nor Filter")),
    }
}

const CONDITIONS: [&str; 4] = ["Prefix", "Tag", "ObjectSizeGreaterThan", "ObjectSizeLessThan"];

fn parse_filter(filter: Element<'_>) -> Result<Scope> {
    if filter.elements().count() > 1 {
        return Err(malformed("a Filter has more than one condition outside And"));
    }
    let scope = match filter.child("And")? {
        Some(and) if and.elements().count() < 2 => return Err(malformed("an And has only one condition")),
        Some(and) => parse_conditions(and, ScopeForm::And)?,
        None => parse_conditions(filter, ScopeForm::Filter)?,
    };
    if let (Some(larger), Some(smaller)) = (scope.larger_than, scope.smaller_than)
        && larger >= smaller
    {
        let message = "'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'.";
        return Err(invalid_request(message));
    }
    Ok(scope)
}

fn parse_conditions(element: Element<'_>, form: ScopeForm) -> Result<Scope> {
    let element = element.only(&CONDITIONS)?;
    let mut tags: Vec<(String, String)> = Vec::new();
    for tag in element.children("Tag") {
        let tag = tag.only(&["Key", "Value"])?;
        let (name, value) =
            (tag.required_text("Key")?.into_owned(), tag.required_text("Value")?.into_owned());
        if tags.iter().any(|(seen, _)| *seen == name) {
            return Err(invalid_request("Duplicate Tag Keys are not allowed."));
        }
        tags.push((name, value));
    }
    metadata::check_tags(&tags, metadata::OBJECT_TAGS_MAX)?;
    Ok(Scope {
        form,
        prefix: element.text("Prefix")?.map(|prefix| check_prefix(prefix.into_owned())).transpose()?,
        tags,
        larger_than: parse_size(element, "ObjectSizeGreaterThan", 0)?,
        smaller_than: parse_size(element, "ObjectSizeLessThan", 1)?,
    })
}

fn check_prefix(prefix: String) -> Result<String> {
    if prefix.len() > KEY_BYTES_MAX {
        return Err(invalid_request("The maximum size of a prefix is 1024."));
    }
    Ok(prefix)
}

fn parse_size(element: Element<'_>, name: &str, least: i64) -> Result<Option<u64>> {
    match element.integer(name)? {
        Some(size) if size < least => {
            Err(invalid_request(format!("'{name}' should be equal to or greater than {least}.")))
        }
        size => Ok(size.map(i64::unsigned_abs)),
    }
}

fn parse_expiration(element: Element<'_>) -> Result<Expiration> {
    let element = element.only(&["Days", "Date", "ExpiredObjectDeleteMarker"])?;
    if element.elements().count() != 1 {
        return Err(malformed("an Expiration has not exactly one element"));
    }
    if let Some(days) = positive_days(element, "Days", "Expiration")? {
        return Ok(Expiration::Days(days));
    }
    if let Some(date) = midnight(element)? {
        return Ok(Expiration::Date(date));
    }
    let marker = element.boolean("ExpiredObjectDeleteMarker")?;
    Ok(Expiration::DeleteMarker(xml_reader::required(marker, "ExpiredObjectDeleteMarker")?))
}

fn parse_noncurrent_expiration(element: Element<'_>) -> Result<NoncurrentExpiration> {
    let element = element.only(&["NoncurrentDays", "NewerNoncurrentVersions"])?;
    let action = "NoncurrentVersionExpiration";
    let days = positive_days(element, "NoncurrentDays", action)?;
    Ok(NoncurrentExpiration {
        days: xml_reader::required(days, "NoncurrentDays")?,
        keep: parse_keep(element, action)?,
    })
}

fn parse_keep(element: Element<'_>, action: &str) -> Result<Option<u32>> {
    match element.integer("NewerNoncurrentVersions")? {
        None => Ok(None),
        Some(keep @ 1..=KEEP_MAX) => Ok(u32::try_from(keep).ok()),
        Some(keep) if keep > KEEP_MAX => Err(invalid_argument(format!(
            "'NewerNoncurrentVersions' for {action} action must be less than or equal to {KEEP_MAX}"
        ))),
        Some(_) => Err(invalid_argument(format!(
            "'NewerNoncurrentVersions' for {action} action must be a positive integer"
        ))),
    }
}

fn parse_abort(element: Element<'_>) -> Result<u32> {
    let element = element.only(&["DaysAfterInitiation"])?;
    let days = positive_days(element, "DaysAfterInitiation", "AbortIncompleteMultipartUpload")?;
    xml_reader::required(days, "DaysAfterInitiation")
}

fn parse_transition(element: Element<'_>) -> Result<Transition> {
    let element = element.only(&["Days", "Date", "StorageClass"])?;
    let when = match (days(element, "Days", "Transition", 0)?, midnight(element)?) {
        (Some(days), None) => When::Days(days),
        (None, Some(date)) => When::Date(date),
        _ => return Err(malformed("a Transition has not exactly one of Days and Date")),
    };
    let class = parse_class(element)?;
    if let When::Days(days) = when {
        check_infrequent_access(days, "Days", "Transition", class)?;
    }
    Ok(Transition { when, class })
}

fn parse_noncurrent_transition(element: Element<'_>) -> Result<NoncurrentTransition> {
    let element = element.only(&["NoncurrentDays", "NewerNoncurrentVersions", "StorageClass"])?;
    let action = "NoncurrentVersionTransition";
    let days = xml_reader::required(days(element, "NoncurrentDays", action, 0)?, "NoncurrentDays")?;
    let class = parse_class(element)?;
    check_infrequent_access(days, "NoncurrentDays", action, class)?;
    Ok(NoncurrentTransition { days, keep: parse_keep(element, action)?, class })
}

fn parse_class(element: Element<'_>) -> Result<StorageClass> {
    let class = element.read("StorageClass", "a storage class that objects move to", StorageClass::parse)?;
    xml_reader::required(class, "StorageClass")
}

fn check_infrequent_access(days: u32, name: &str, action: &str, class: StorageClass) -> Result<()> {
    let infrequent = matches!(class, StorageClass::StandardIa | StorageClass::OnezoneIa);
    if infrequent && days < DAYS_BEFORE_INFREQUENT_ACCESS {
        let class = class.as_str();
        return Err(invalid_argument(format!(
            "'{name}' in {action} action must be greater than or equal to 30 for storageClass '{class}'"
        )));
    }
    Ok(())
}

fn positive_days(element: Element<'_>, name: &str, action: &str) -> Result<Option<u32>> {
    days(element, name, action, 1)
}

/// A number of days. S3's numbers of days are 32-bit integers with a sign.
fn days(element: Element<'_>, name: &str, action: &str, least: i64) -> Result<Option<u32>> {
    let Some(days) = element.integer(name)? else { return Ok(None) };
    if days < least {
        return Err(invalid_argument(if least > 0 {
            format!("'{name}' for {action} action must be a positive integer")
        } else {
            format!("'{name}' in {action} action must be nonnegative")
        }));
    }
    let days = i32::try_from(days).map_err(|_| malformed(format_args!("{name} is too large")))?;
    Ok(Some(days.unsigned_abs()))
}

/// The `Date` of an action, which must be a midnight in UTC.
fn midnight(element: Element<'_>) -> Result<Option<Millis>> {
    match element.date("Date")? {
        Some(date) if date % DAY_MS != 0 => Err(invalid_argument("'Date' must be at midnight GMT")),
        date => Ok(date),
    }
}

/// Demands what S3 demands of the actions of a rule together.
fn check_rule(rule: &Rule) -> Result<()> {
    if !rule.has_action() {
        return Err(invalid_request("At least one action needs to be specified in a rule."));
    }
    check_scope_of_actions(rule)?;
    check_mixture(rule)?;
    check_order(rule)?;
    check_noncurrent_order(rule)
}

/// Some actions cannot be limited by what an upload or a delete marker does not have.
fn check_scope_of_actions(rule: &Rule) -> Result<()> {
    let delete_marker = matches!(rule.expiration, Some(Expiration::DeleteMarker(_)));
    let actions = [
        ("AbortIncompleteMultipartUpload", rule.abort_upload_days.is_some()),
        ("ExpiredObjectDeleteMarker", delete_marker),
    ];
    for (action, _) in actions.into_iter().filter(|(_, given)| *given) {
        if !rule.scope.tags.is_empty() {
            return Err(invalid_request(format!("{action} cannot be specified with Tags.")));
        }
        if rule.scope.has_sizes() {
            return Err(invalid_request(format!("{action} cannot be specified with Object Size.")));
        }
    }
    let keeps = rule.noncurrent_expiration.is_some_and(|action| action.keep.is_some())
        || rule.noncurrent_transitions.iter().any(|transition| transition.keep.is_some());
    if keeps && rule.scope.form == ScopeForm::Prefix {
        let message = "NewerNoncurrentVersions can only be specified in a rule with a Filter.";
        return Err(invalid_request(message));
    }
    Ok(())
}

/// A rule counts days or names dates.
fn check_mixture(rule: &Rule) -> Result<()> {
    let dates = rule.transitions.iter().any(|transition| matches!(transition.when, When::Date(_)))
        || matches!(rule.expiration, Some(Expiration::Date(_)));
    let days = rule.transitions.iter().any(|transition| matches!(transition.when, When::Days(_)))
        || matches!(rule.expiration, Some(Expiration::Days(_)));
    if dates && days {
        return Err(invalid_request(format!(
            "Found mixed 'Date' and 'Days' based Expiration and Transition actions in lifecycle rule for {}",
            described(&rule.scope)
        )));
    }
    Ok(())
}

/// Objects move down before they expire, and to each class once.
fn check_order(rule: &Rule) -> Result<()> {
    for (index, transition) in rule.transitions.iter().enumerate() {
        check_class_once(
            rule,
            "Transition",
            rule.transitions[..index].iter().map(|it| it.class),
            transition.class,
        )?;
        let late = match (transition.when, rule.expiration) {
            (When::Days(days), Some(Expiration::Days(end))) => (days >= end).then_some("Days"),
            (When::Date(date), Some(Expiration::Date(end))) => (date >= end).then_some("Date"),
            _ => None,
        };
        if let Some(name) = late {
            return Err(invalid_argument(format!(
                "'{name}' in the Expiration action for {} must be greater than '{name}' in the Transition action",
                described(&rule.scope)
            )));
        }
    }
    Ok(())
}

fn check_noncurrent_order(rule: &Rule) -> Result<()> {
    let transitions = &rule.noncurrent_transitions;
    for (index, transition) in transitions.iter().enumerate() {
        let before = transitions[..index].iter().map(|it| it.class);
        check_class_once(rule, "NoncurrentVersionTransition", before, transition.class)?;
        if rule.noncurrent_expiration.is_some_and(|end| transition.days >= end.days) {
            return Err(invalid_argument(format!(
                "'NoncurrentDays' in the NoncurrentVersionExpiration action for {} must be greater than 'NoncurrentDays' in the NoncurrentVersionTransition action",
                described(&rule.scope)
            )));
        }
    }
    Ok(())
}

fn check_class_once(
    rule: &Rule,
    action: &str,
    mut before: impl Iterator<Item = StorageClass>,
    class: StorageClass,
) -> Result<()> {
    if before.any(|other| other == class) {
        return Err(invalid_request(format!(
            "'StorageClass' must be different for '{action}' actions in same 'Rule' with {}",
            described(&rule.scope)
        )));
    }
    Ok(())
}

/// A scope as S3's messages name it.
fn described(scope: &Scope) -> String {
    if scope.form == ScopeForm::Prefix {
        return format!("prefix '{}'", scope.prefix());
    }
    let mut conditions = Vec::new();
    conditions.extend(scope.prefix.iter().map(|prefix| format!("prefix={prefix}")));
    conditions.extend(scope.tags.iter().map(|(name, value)| format!("tag=(key={name}, value={value})")));
    conditions.extend(scope.larger_than.iter().map(|size| format!("objectsizegreaterthan={size}")));
    conditions.extend(scope.smaller_than.iter().map(|size| format!("objectsizelessthan={size}")));
    format!("filter '({})'", conditions.join(" and "))
}

fn invalid_argument(message: impl Into<String>) -> Error {
    Error::with_message(Code::InvalidArgument, message.into())
}

fn invalid_request(message: impl Into<String>) -> Error {
    Error::with_message(Code::InvalidRequest, message.into())
}

fn write(lifecycle: &LifecycleConfiguration) -> Vec<u8> {
    let mut xml = XmlWriter::document("LifecycleConfiguration");
    for rule in &lifecycle.rules {
        xml.open("Rule");
        xml.element("ID", &rule.id);
        write_scope(&mut xml, &rule.scope);
        xml.element("Status", if rule.enabled { "Enabled" } else { "Disabled" });
        write_actions(&mut xml, rule);
        xml.close("Rule");
    }
    xml.end("LifecycleConfiguration")
}

fn write_scope(xml: &mut XmlWriter, scope: &Scope) {
    match scope.form {
        ScopeForm::Prefix => xml.element("Prefix", scope.prefix()),
        ScopeForm::Filter => {
            xml.open("Filter");
            write_conditions(xml, scope);
            xml.close("Filter");
        }
        ScopeForm::And => {
            xml.open("Filter");
            xml.open("And");
            write_conditions(xml, scope);
            xml.close("And");
            xml.close("Filter");
        }
    }
}

fn write_conditions(xml: &mut XmlWriter, scope: &Scope) {
    xml.optional("Prefix", scope.prefix.as_deref());
    for (name, value) in &scope.tags {
        xml.open("Tag");
        xml.element("Key", name);
        xml.element("Value", value);
        xml.close("Tag");
    }
    optional_number(xml, "ObjectSizeGreaterThan", scope.larger_than);
    optional_number(xml, "ObjectSizeLessThan", scope.smaller_than);
}

fn write_actions(xml: &mut XmlWriter, rule: &Rule) {
    if let Some(expiration) = rule.expiration {
        xml.open("Expiration");
        match expiration {
            Expiration::Days(days) => xml.number("Days", days.into()),
            Expiration::Date(date) => xml.element("Date", &iso8601(date)),
            Expiration::DeleteMarker(wanted) => xml.boolean("ExpiredObjectDeleteMarker", wanted),
        }
        xml.close("Expiration");
    }
    for transition in &rule.transitions {
        xml.open("Transition");
        match transition.when {
            When::Days(days) => xml.number("Days", days.into()),
            When::Date(date) => xml.element("Date", &iso8601(date)),
        }
        xml.element("StorageClass", transition.class.as_str());
        xml.close("Transition");
    }
    if let Some(action) = rule.noncurrent_expiration {
        xml.open("NoncurrentVersionExpiration");
        xml.number("NoncurrentDays", action.days.into());
        optional_number(xml, "NewerNoncurrentVersions", action.keep.map(u64::from));
        xml.close("NoncurrentVersionExpiration");
    }
    for transition in &rule.noncurrent_transitions {
        xml.open("NoncurrentVersionTransition");
        xml.number("NoncurrentDays", transition.days.into());
        optional_number(xml, "NewerNoncurrentVersions", transition.keep.map(u64::from));
        xml.element("StorageClass", transition.class.as_str());
        xml.close("NoncurrentVersionTransition");
    }
    if let Some(days) = rule.abort_upload_days {
        xml.open("AbortIncompleteMultipartUpload");
        xml.number("DaysAfterInitiation", days.into());
        xml.close("AbortIncompleteMultipartUpload");
    }
}

fn optional_number(xml: &mut XmlWriter, name: &str, number: Option<u64>) {
    if let Some(number) = number {
        xml.number(name, number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(content: &str) -> Result<Vec<Rule>> {
        parse(format!("<LifecycleConfiguration><Rule>{content}</Rule></LifecycleConfiguration>").as_bytes())
    }

    #[track_caller]
    fn refused(content: &str, code: Code) {
        let error = rule(content).expect_err(content);
        assert_eq!(error.code(), code, "{content}: {}", error.message());
    }

    const ON: &str = "<Status>Enabled</Status>";

    #[test]
    fn a_configuration_is_given_back_as_it_was_put() {
        let content = "<ID>r &amp; s</ID><Filter><And><Prefix>a/</Prefix><Tag><Key>k</Key><Value>v</Value></Tag><ObjectSizeGreaterThan>0</ObjectSizeGreaterThan><ObjectSizeLessThan>9</ObjectSizeLessThan></And></Filter><Status>Disabled</Status><Expiration><Days>90</Days></Expiration><Transition><Days>30</Days><StorageClass>STANDARD_IA</StorageClass></Transition><Transition><Days>60</Days><StorageClass>GLACIER</StorageClass></Transition><NoncurrentVersionExpiration><NoncurrentDays>5</NoncurrentDays><NewerNoncurrentVersions>3</NewerNoncurrentVersions></NoncurrentVersionExpiration><NoncurrentVersionTransition><NoncurrentDays>0</NoncurrentDays><StorageClass>GLACIER_IR</StorageClass></NoncurrentVersionTransition>";
        let dated = "<ID>d</ID><Prefix></Prefix><Status>Enabled</Status><Expiration><Date>2017-09-27T00:00:00.000Z</Date></Expiration><AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload>";
        for content in [content, dated] {
            let lifecycle =
                LifecycleConfiguration { rules: rule(content).expect(content), ..Default::default() };
            let written = String::from_utf8(write(&lifecycle)).expect("XML is text");
            assert!(written.contains(&format!("<Rule>{content}</Rule>")), "{written}");
            let stored = serde_json::to_vec(&lifecycle).expect("records are JSON");
            assert_eq!(serde_json::from_slice::<LifecycleConfiguration>(&stored).expect("whole"), lifecycle);
        }
    }

    #[test]
    fn rules_without_an_id_get_different_ones() {
        let content = format!("<Rule><Prefix/>{ON}<Expiration><Days>1</Days></Expiration></Rule>");
        let rules =
            parse(format!("<LifecycleConfiguration>{content}{content}</LifecycleConfiguration>").as_bytes())
                .expect("valid");
        assert!(!rules[0].id.is_empty() && rules[0].id != rules[1].id);
    }

    #[test]
    fn a_rule_has_the_shape_that_s3_demands() {
        let expire = "<Expiration><Days>1</Days></Expiration>";
        for content in [
            format!("{ON}{expire}"),
            format!("<Prefix/><Filter/>{ON}{expire}"),
            format!("<Prefix/>{expire}"),
            format!("<Prefix/><Status>enabled</Status>{expire}"),
            format!(
                "<Filter><Prefix>a</Prefix><ObjectSizeLessThan>5</ObjectSizeLessThan></Filter>{ON}{expire}"
            ),
            format!("<Filter><And><Prefix>a</Prefix></And></Filter>{ON}{expire}"),
            format!("<Filter><Nonsense/></Filter>{ON}{expire}"),
            format!("<Prefix/>{ON}<Expiration/>"),
            format!(
                "<Prefix/>{ON}<Expiration><Days>1</Days><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>"
            ),
            format!("<Prefix/>{ON}<Expiration><Date>20200101</Date></Expiration>"),
            format!("<Prefix/>{ON}<Expiration><Days>2147483648</Days></Expiration>"),
            format!(
                "<Prefix/>{ON}<NoncurrentVersionExpiration><NewerNoncurrentVersions>1</NewerNoncurrentVersions></NoncurrentVersionExpiration>"
            ),
            format!(
                "<Prefix/>{ON}<Transition><Days>1</Days><StorageClass>STANDARD</StorageClass></Transition>"
            ),
            format!("<Prefix/>{ON}<Transition><StorageClass>GLACIER</StorageClass></Transition>"),
        ] {
            refused(&content, Code::MalformedXML);
        }
    }

    #[test]
    fn values_out_of_range_are_invalid_arguments() {
        let id = |length| format!("<ID>{}</ID>", "i".repeat(length));
        let rest = format!("<Filter/>{ON}<Expiration><Days>1</Days></Expiration>");
        assert!(rule(&format!("{}{rest}", id(RULE_ID_CHARS_MAX))).is_ok());
        refused(&format!("{}{rest}", id(RULE_ID_CHARS_MAX + 1)), Code::InvalidArgument);
        for action in [
            "<Expiration><Days>0</Days></Expiration>",
            "<Expiration><Days>-1</Days></Expiration>",
            "<Expiration><Date>2020-01-01T00:00:01Z</Date></Expiration>",
            "<NoncurrentVersionExpiration><NoncurrentDays>0</NoncurrentDays></NoncurrentVersionExpiration>",
            "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays><NewerNoncurrentVersions>0</NewerNoncurrentVersions></NoncurrentVersionExpiration>",
            "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays><NewerNoncurrentVersions>101</NewerNoncurrentVersions></NoncurrentVersionExpiration>",
            "<AbortIncompleteMultipartUpload><DaysAfterInitiation>0</DaysAfterInitiation></AbortIncompleteMultipartUpload>",
            "<Transition><Days>-1</Days><StorageClass>GLACIER</StorageClass></Transition>",
            "<Transition><Days>29</Days><StorageClass>STANDARD_IA</StorageClass></Transition>",
            "<Transition><Days>5</Days><StorageClass>GLACIER</StorageClass></Transition><Expiration><Days>5</Days></Expiration>",
        ] {
            refused(&format!("<Filter/>{ON}{action}"), Code::InvalidArgument);
        }
        let one = format!("<Rule><ID>x</ID>{rest}</Rule>");
        let twice = format!("<LifecycleConfiguration>{one}{one}</LifecycleConfiguration>");
        assert_eq!(parse(twice.as_bytes()).expect_err("twice").code(), Code::InvalidArgument);
    }

    #[test]
    fn actions_that_cannot_stand_together_are_invalid_requests() {
        let abort = "<AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>";
        let glacier =
            |when: &str| format!("<Transition>{when}<StorageClass>GLACIER</StorageClass></Transition>");
        for content in [
            format!("<Prefix/>{ON}"),
            format!("<Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter>{ON}{abort}"),
            format!("<Filter><ObjectSizeLessThan>5</ObjectSizeLessThan></Filter>{ON}{abort}"),
            format!(
                "<Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter>{ON}<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>"
            ),
            format!(
                "<Prefix/>{ON}<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays><NewerNoncurrentVersions>1</NewerNoncurrentVersions></NoncurrentVersionExpiration>"
            ),
            format!(
                "<Prefix/>{ON}{}<Expiration><Days>9</Days></Expiration>",
                glacier("<Date>2020-01-01</Date>")
            ),
            format!("<Prefix/>{ON}{}{}", glacier("<Days>1</Days>"), glacier("<Days>2</Days>")),
            format!(
                "<Filter><And><ObjectSizeGreaterThan>5</ObjectSizeGreaterThan><ObjectSizeLessThan>5</ObjectSizeLessThan></And></Filter>{ON}<Expiration><Days>1</Days></Expiration>"
            ),
            format!(
                "<Filter><Prefix>{}</Prefix></Filter>{ON}<Expiration><Days>1</Days></Expiration>",
                "p".repeat(1025)
            ),
        ] {
            refused(&content, Code::InvalidRequest);
        }
    }

    #[test]
    fn a_bucket_has_between_one_and_a_thousand_rules() {
        let rules = |count: usize| {
            let rule = format!("<Rule><Prefix/>{ON}<Expiration><Days>1</Days></Expiration></Rule>");
            parse(
                format!("<LifecycleConfiguration>{}</LifecycleConfiguration>", rule.repeat(count)).as_bytes(),
            )
        };
        assert!(rules(0).is_err() && rules(1).is_ok() && rules(RULES_MAX).is_ok());
        assert_eq!(rules(RULES_MAX + 1).expect_err("too many").code(), Code::MalformedXML);
    }
}
