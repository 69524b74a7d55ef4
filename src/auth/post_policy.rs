//! The policy document of a browser upload: what its signer allows a form to contain.
//!
//! Source: S3 API reference, "POST Policy". Names of fields are compared without case. Every field of
//! the form, and the bucket of the URL as the field `bucket`, must meet a condition, so a signed policy
//! is good for nothing that its signer did not name.

use super::policy::json::{self, Json};
use crate::codec::clock::Millis;
use crate::codec::{time, unbase64};
use crate::error::{Code, Error, Result};
use std::ops::RangeInclusive;

/// Fields that no condition needs to name: what signs, what is signed, and the file. Checksums only
/// ever refuse a file, so they may be added to any form.
const FREE_FIELDS: [&str; 5] = ["policy", "signature", "x-amz-signature", "awsaccesskeyid", "file"];

/// Prefixes of further fields that no condition needs to name.
const FREE_PREFIXES: [&str; 2] = ["x-ignore-", "x-amz-checksum-"];

/// A parsed policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostPolicy {
    expires: Millis,
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Equals { field: String, value: String },
    StartsWith { field: String, prefix: String },
    Length(RangeInclusive<u64>),
}

impl PostPolicy {
    /// Reads the base64 text of the form field `policy`.
    ///
    /// # Errors
    /// `InvalidPolicyDocument`.
    pub fn parse(text: &str) -> Result<PostPolicy> {
        // Some clients wrap base64 into lines.
        let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let document = unbase64(&text).ok_or_else(|| invalid("Invalid Base64 encoding."))?;
        let document = json::parse(&document).map_err(|_| invalid("Invalid JSON."))?;
        if !matches!(document, Json::Object(_)) {
            return Err(invalid("Invalid JSON."));
        }
        let expires = match document.member("expiration") {
            Some(Json::Text(text)) => {
                expiration(text).ok_or_else(|| invalid(format!("Invalid 'expiration' value: '{text}'")))?
            }
            _ => return Err(invalid("Policy missing expiration.")),
        };
        let Some(Json::List(conditions)) = document.member("conditions") else {
            return Err(invalid("Policy missing conditions."));
        };
        let conditions = conditions.iter().map(Condition::parse).collect::<Result<_>>()?;
        Ok(PostPolicy { expires, conditions })
    }

    /// Holds a form to the policy and returns how long its file may be. `fields` are the names in lower
    /// case and the values as they will be stored, `bucket` among them.
    ///
    /// # Errors
    /// `AccessDenied` with a message that says what is not as the policy demands.
    pub fn check(&self, now: Millis, fields: &[(String, String)]) -> Result<RangeInclusive<u64>> {
        if now > self.expires {
            return Err(denied("Policy expired."));
        }
        let value = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        let mut length = 0..=u64::MAX;
        for condition in &self.conditions {
            if let Condition::Length(range) = condition {
                length = *length.start().max(range.start())..=*length.end().min(range.end());
            } else if !condition.holds(condition.field().and_then(value).map(String::as_str)) {
                return Err(denied(format!("Policy Condition failed: {}", condition.text())));
            }
        }
        let extra: Vec<&str> =
            fields.iter().map(|(name, _)| name.as_str()).filter(|name| !self.covers(name)).collect();
        if extra.is_empty() {
            return Ok(length);
        }
        Err(denied(format!("Extra input fields: {}", extra.join(", "))))
    }

    fn covers(&self, name: &str) -> bool {
        FREE_FIELDS.contains(&name)
            || FREE_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            || self.conditions.iter().any(|condition| condition.field() == Some(name))
    }
}

impl Condition {
    fn parse(condition: &Json) -> Result<Condition> {
        match condition {
            Json::Object(members) => match members.as_slice() {
                [(field, Json::Text(value))] => {
                    Ok(Condition::Equals { field: field.to_ascii_lowercase(), value: value.clone() })
                }
                [_] => Err(invalid("Invalid Simple-Condition: value must be a string.")),
                _ => Err(invalid(
                    "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.",
                )),
            },
            Json::List(items) => match items.as_slice() {
                [Json::Text(operator), Json::Text(first), Json::Text(second)] => {
                    Condition::parse_operator(operator, first, second)
                }
                _ => Err(invalid("Invalid Condition: wrong number of arguments.")),
            },
            _ => Err(invalid("Invalid Condition: must be an array or an object.")),
        }
    }

    fn parse_operator(operator: &str, first: &str, second: &str) -> Result<Condition> {
        let operator = operator.to_ascii_lowercase();
        if operator == "content-length-range" {
            let number = |text: &str| text.parse::<u64>().ok().filter(|_| !text.starts_with('+'));
            let (Some(least), Some(most)) = (number(first), number(second)) else {
                return Err(invalid("Invalid content-length-range: bounds must be non-negative integers."));
            };
            return Ok(Condition::Length(least..=most));
        }
        let Some(field) = first.strip_prefix('$') else {
            return Err(invalid(format!("Invalid Condition: the field '{first}' must begin with '$'.")));
        };
        let (field, text) = (field.to_ascii_lowercase(), second.to_owned());
        match operator.as_str() {
            "eq" => Ok(Condition::Equals { field, value: text }),
            "starts-with" => Ok(Condition::StartsWith { field, prefix: text }),
            _ => Err(invalid(format!("Invalid Condition: unknown operation '{operator}'."))),
        }
    }

    /// The field that this is about; `None` for the length.
    fn field(&self) -> Option<&str> {
        match self {
            Condition::Equals { field, .. } | Condition::StartsWith { field, .. } => Some(field),
            Condition::Length(_) => None,
        }
    }

    fn holds(&self, actual: Option<&str>) -> bool {
        match (self, actual) {
            (Condition::Length(_), _) => true,
            // An empty prefix allows anything, and so a field that is not there.
            (Condition::StartsWith { prefix, .. }, None) => prefix.is_empty(),
            (Condition::Equals { .. }, None) => false,
            (Condition::Equals { value, .. }, Some(actual)) => value == actual,
            // A list of content types meets the condition when each of them does.
            (Condition::StartsWith { field, prefix }, Some(actual)) if field == "content-type" => {
                actual.split(',').all(|one| one.trim_start().starts_with(prefix.as_str()))
            }
            (Condition::StartsWith { prefix, .. }, Some(actual)) => actual.starts_with(prefix.as_str()),
        }
    }

    /// The condition as it would stand in a policy, spaced as S3 does.
    fn text(&self) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let shown = |operator: &str, field: &str, text: &str| {
            format!("[\"{operator}\", {}, {}]", quoted(&format!("${field}")), quoted(text))
        };
        match self {
            Condition::Equals { field, value } => shown("eq", field, value),
            Condition::StartsWith { field, prefix } => shown("starts-with", field, prefix),
            Condition::Length(range) => format!("[\"content-length-range\", {range:?}]"),
        }
    }
}

/// Reads a moment: a date alone would leave open which moment of the day is meant.
fn expiration(text: &str) -> Option<Millis> {
    if text.contains('T') { time::parse_iso8601(text) } else { None }
}

fn invalid(message: impl std::fmt::Display) -> Error {
    Error::with_message(Code::InvalidPolicyDocument, format!("Invalid Policy: {message}"))
}

fn denied(message: impl std::fmt::Display) -> Error {
    Error::with_message(Code::AccessDenied, format!("Invalid according to Policy: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::base64;

    const EXPIRES: &str = "2026-11-22T20:00:00Z";
    const NOW: Millis = 1_795_377_600_000;

    fn policy(conditions: &str) -> Result<PostPolicy> {
        let text = format!("{{\"expiration\": \"{EXPIRES}\", \"conditions\": [{conditions}]}}");
        PostPolicy::parse(&base64(text.as_bytes()))
    }

    fn check(conditions: &str, fields: &[(&str, &str)]) -> Result<RangeInclusive<u64>> {
        let fields: Vec<(String, String)> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        policy(conditions)?.check(NOW, &fields)
    }

    /// BI-195, BI-196.
    #[test]
    fn a_policy_must_be_well_formed() {
        for text in [
            "",
            "{",
            "[]",
            "null",
            "{}",
            "{\"expiration\": \"2026-11-22T20:00:00Z\"}",
            "{\"conditions\": []}",
            "{\"EXPIRATION\": \"2026-11-22T20:00:00Z\", \"conditions\": []}",
            "{\"expiration\": \"2026-11-22T20:00:00Z\", \"CONDITIONS\": []}",
            "{\"expiration\": \"2026-11-22 20:00:00+00:00\", \"conditions\": []}",
            "{\"expiration\": \"2026-11-22\", \"conditions\": []}",
            "{\"expiration\": \"2026-11-22T20:00:00Z\", \"conditions\": {}}",
            "{\"expiration\": \"2026-11-22T20:00:00Z\", \"conditions\": [], \"conditions\": []}",
        ] {
            let error = PostPolicy::parse(&base64(text.as_bytes())).expect_err(text);
            assert_eq!(error.code(), Code::InvalidPolicyDocument, "{text}");
        }
        assert!(PostPolicy::parse("not base64").is_err());
        let nested = "[".repeat(100_000);
        assert!(PostPolicy::parse(&base64(nested.as_bytes())).is_err());
        for condition in [
            "{}",
            "{\"a\": \"b\", \"c\": \"d\"}",
            "{\"a\": {}}",
            "[\"eq\", \"$a\"]",
            "[\"eq\", \"a\", \"b\"]",
            "[\"ends-with\", \"$a\", \"b\"]",
            "[\"content-length-range\", 0]",
            "[\"content-length-range\", -1, 0]",
            "\"eq\"",
        ] {
            assert_eq!(policy(condition).expect_err(condition).code(), Code::InvalidPolicyDocument);
        }
    }

    #[test]
    fn conditions_are_held() {
        let cases = [
            ("{\"KEY\": \"a\"}", "a", true),
            ("{\"key\": \"a\"}", "ab", false),
            ("[\"EQ\", \"$Key\", \"a\"]", "a", true),
            ("[\"eq\", \"$key\", \"a\"]", "A", false),
            ("[\"starts-with\", \"$key\", \"user/\"]", "user/x", true),
            ("[\"starts-with\", \"$key\", \"user/\"]", "use", false),
            ("[\"starts-with\", \"$key\", \"\"]", "", true),
            ("[\"starts-with\", \"$key\", \"a,b\"]", "a,b", true),
            ("{\"key\": 200}", "200", true),
            ("{\"acl\": \"x\"}", "a", false),
        ];
        for (condition, key, holds) in cases {
            assert_eq!(check(condition, &[("key", key)]).is_ok(), holds, "{condition} {key}");
        }
        let types = "[\"starts-with\", \"$Content-Type\", \"image/\"]";
        assert!(check(types, &[("content-type", "image/png, image/gif")]).is_ok());
        assert!(check(types, &[("content-type", "image/png,text/html")]).is_err());
        assert!(check("[\"starts-with\", \"$x-amz-meta-a\", \"\"]", &[]).is_ok());
        assert!(check("[\"starts-with\", \"$x-amz-meta-a\", \"a\"]", &[]).is_err());
    }

    #[test]
    fn a_condition_that_fails_is_quoted() {
        let error = check("[\"eq\",\"$a\",\"b\\\"c\"]", &[]).expect_err("no such field");
        let expected = "Invalid according to Policy: Policy Condition failed: [\"eq\", \"$a\", \"b\\\"c\"]";
        assert_eq!(error.message(), expected);
    }

    /// BI-192, SE-59.
    #[test]
    fn every_field_needs_a_condition() {
        for free in ["policy", "x-amz-signature", "signature", "x-ignore-a", "x-amz-checksum-crc32"] {
            assert!(check("", &[(free, "x")]).is_ok(), "{free}");
        }
        for bound in ["bucket", "key", "acl", "x-amz-meta-a", "x-amz-credential", "ignore-x", ""] {
            let error = check("[\"content-length-range\", 0, 1]", &[(bound, "x")]).expect_err(bound);
            assert_eq!(error.code(), Code::AccessDenied);
            assert!(error.message().starts_with("Invalid according to Policy: Extra input fields"));
        }
    }

    #[test]
    fn lengths_and_expiry_are_exact() {
        let range =
            check("[\"content-length-range\", 1, 10], [\"content-length-range\", \"5\", \"20\"]", &[]);
        assert_eq!(range.expect("holds"), 5..=10);
        let policy = policy("").expect("valid");
        assert!(policy.check(NOW, &[]).is_ok());
        assert_eq!(policy.check(NOW + 1, &[]).expect_err("over").code(), Code::AccessDenied);
    }
}
