//! Conditions of a statement: operators, keys and values.
//!
//! From "IAM JSON policy elements: Condition operators" and "Multivalued context keys" (IAM user guide)
//! and the keys of S3 in the Service Authorization Reference.

use std::cmp::Ordering;
use std::net::IpAddr;

use super::json::Json;
use super::pattern::Pattern;
use super::{Context, malformed};
use crate::codec::{time, unbase64};
use crate::error::{Error, Result};

/// One operator applied to one key. Holds when one of the values matches (for negated operators: none).
#[derive(Clone, Debug)]
pub struct Condition {
    operator: &'static Operator,
    quantifier: Quantifier,
    if_exists: bool,
    pub(super) key: String,
    values: Vec<Value>,
}

/// How a condition treats a key that has several values in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantifier {
    None,
    /// `ForAnyValue:`
    Any,
    /// `ForAllValues:`
    All,
}

#[derive(Debug)]
struct Operator {
    name: &'static str,
    test: Test,
    negated: bool,
}

/// How a value of the request is compared with one of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Text,
    TextIgnoringCase,
    TextLike,
    Number(Comparison),
    Date(Comparison),
    Bool,
    Binary,
    Ip,
    Arn,
    Null,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Comparison::Equal => order.is_eq(),
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::GreaterOrEqual => order.is_ge(),
        }
    }
}

/// A value of the policy, as its operator reads it.
#[derive(Clone, Debug)]
enum Value {
    Text(Pattern),
    Number(f64),
    Date(u64),
    Bool(bool),
    Bytes(Vec<u8>),
    Network(Network),
    /// The parts between colons, or a single one for `*`.
    Arn(Vec<Pattern>),
}

const fn operator(name: &'static str, test: Test, negated: bool) -> Operator {
    Operator { name, test, negated }
}

static OPERATORS: [Operator; 27] = [
    operator("StringEquals", Test::Text, false),
    operator("StringNotEquals", Test::Text, true),
    operator("StringEqualsIgnoreCase", Test::TextIgnoringCase, false),
    operator("StringNotEqualsIgnoreCase", Test::TextIgnoringCase, true),
    operator("StringLike", Test::TextLike, false),
    operator("StringNotLike", Test::TextLike, true),
    operator("NumericEquals", Test::Number(Comparison::Equal), false),
    operator("NumericNotEquals", Test::Number(Comparison::Equal), true),
    operator("NumericLessThan", Test::Number(Comparison::Less), false),
    operator("NumericLessThanEquals", Test::Number(Comparison::LessOrEqual), false),
    operator("NumericGreaterThan", Test::Number(Comparison::Greater), false),
    operator("NumericGreaterThanEquals", Test::Number(Comparison::GreaterOrEqual), false),
    operator("DateEquals", Test::Date(Comparison::Equal), false),
    operator("DateNotEquals", Test::Date(Comparison::Equal), true),
    operator("DateLessThan", Test::Date(Comparison::Less), false),
    operator("DateLessThanEquals", Test::Date(Comparison::LessOrEqual), false),
    operator("DateGreaterThan", Test::Date(Comparison::Greater), false),
    operator("DateGreaterThanEquals", Test::Date(Comparison::GreaterOrEqual), false),
    operator("Bool", Test::Bool, false),
    operator("BinaryEquals", Test::Binary, false),
    operator("IpAddress", Test::Ip, false),
    operator("NotIpAddress", Test::Ip, true),
    // S3 compares ARNs with wildcards under either name.
    operator("ArnEquals", Test::Arn, false),
    operator("ArnLike", Test::Arn, false),
    operator("ArnNotEquals", Test::Arn, true),
    operator("ArnNotLike", Test::Arn, true),
    operator("Null", Test::Null, false),
];

/// The keys of S3, in lower case. A key that ends in `/` goes on with the key of a tag.
const S3_KEYS: [&str; 46] = [
    "s3:accessgrantsinstancearn",
    "s3:accesspointnetworkorigin",
    "s3:accesspointtag/",
    "s3:authtype",
    "s3:bucketnamespace",
    "s3:buckettag/",
    "s3:dataaccesspointaccount",
    "s3:dataaccesspointarn",
    "s3:delimiter",
    "s3:destinationregion",
    "s3:existingobjecttag/",
    "s3:if-match",
    "s3:if-none-match",
    "s3:inventoryaccessibleoptionalfields",
    "s3:isreplicationpauserequest",
    "s3:locationconstraint",
    "s3:max-keys",
    "s3:object-lock-legal-hold",
    "s3:object-lock-mode",
    "s3:object-lock-remaining-retention-days",
    "s3:object-lock-retain-until-date",
    "s3:objectcreationoperation",
    "s3:prefix",
    "s3:requestobjecttag/",
    "s3:requestobjecttagkeys",
    "s3:resourceaccount",
    "s3:signatureage",
    "s3:signatureversion",
    "s3:tlsversion",
    "s3:versionid",
    "s3:x-amz-acl",
    "s3:x-amz-content-sha256",
    "s3:x-amz-copy-source",
    "s3:x-amz-grant-full-control",
    "s3:x-amz-grant-read",
    "s3:x-amz-grant-read-acp",
    "s3:x-amz-grant-write",
    "s3:x-amz-grant-write-acp",
    "s3:x-amz-metadata-directive",
    "s3:x-amz-object-ownership",
    "s3:x-amz-server-side-encryption",
    "s3:x-amz-server-side-encryption-aws-kms-key-id",
    "s3:x-amz-server-side-encryption-customer-algorithm",
    "s3:x-amz-storage-class",
    "s3:x-amz-website-redirect-location",
    "s3:x-amz-object-lock-mode",
];

/// A key in the form in which keys are compared and looked up: in lower case, but for a tag's key.
pub fn canonical_key(key: &str) -> String {
    match key.split_once('/') {
        Some((name, tag)) => format!("{}/{tag}", name.to_ascii_lowercase()),
        None => key.to_ascii_lowercase(),
    }
}

/// Any key of the whole of AWS is taken, known or not, as S3 does; of its own only those it has.
fn is_known_key(key: &str) -> bool {
    match key.split_once('/') {
        _ if key.starts_with("aws:") => key.len() > "aws:".len(),
        Some((name, tag)) => !tag.is_empty() && S3_KEYS.iter().any(|it| it.strip_suffix('/') == Some(name)),
        None => S3_KEYS.contains(&key),
    }
}

/// Reads a `Condition` block.
pub fn parse(block: &Json, has_variables: bool) -> Result<Vec<Condition>> {
    let Json::Object(operators) = block else { return Err(malformed("Invalid policy syntax.")) };
    let mut conditions = Vec::new();
    for (name, keys) in operators {
        let (quantifier, operator, if_exists) = parse_operator(name)?;
        let Json::Object(keys) = keys else { return Err(malformed("Invalid policy syntax.")) };
        for (key, values) in keys {
            let key = canonical_key(key);
            if !is_known_key(&key) {
                return Err(malformed("Policy has an invalid condition key"));
            }
            let values = values.texts().ok_or_else(|| malformed("Invalid policy syntax."))?;
            let values =
                values.into_iter().map(|text| operator.value(text, has_variables)).collect::<Result<_>>()?;
            conditions.push(Condition { operator, quantifier, if_exists, key, values });
        }
    }
    Ok(conditions)
}

fn parse_operator(name: &str) -> Result<(Quantifier, &'static Operator, bool)> {
    let (quantifier, bare) = match name.split_once(':') {
        Some(("ForAnyValue", bare)) => (Quantifier::Any, bare),
        Some(("ForAllValues", bare)) => (Quantifier::All, bare),
        _ => (Quantifier::None, name),
    };
    let (bare, if_exists) = match bare.strip_suffix("IfExists") {
        Some(bare) => (bare, true),
        None => (bare, false),
    };
    let found = OPERATORS.iter().find(|operator| operator.name == bare);
    match found {
        // `Null` asks whether a key exists, so neither addition makes sense of it.
        Some(operator) if operator.test == Test::Null && (if_exists || quantifier != Quantifier::None) => {
            Err(unknown_operator(name))
        }
        Some(operator) => Ok((quantifier, operator, if_exists)),
        None => Err(unknown_operator(name)),
    }
}

fn unknown_operator(name: &str) -> Error {
    malformed(format!("Invalid Condition type : {name}"))
}

impl Operator {
    fn value(&self, text: &str, has_variables: bool) -> Result<Value> {
        let value = match self.test {
            Test::Text | Test::TextIgnoringCase => Pattern::exact(text, has_variables).map(Value::Text),
            Test::TextLike => Pattern::wildcards(text, has_variables).map(Value::Text),
            Test::Number(_) => number(text).map(Value::Number),
            Test::Date(_) => date(text).map(Value::Date),
            Test::Bool | Test::Null => truth(text).map(Value::Bool),
            Test::Binary => unbase64(text).map(Value::Bytes),
            Test::Ip => {
                let network = Network::parse(text).map(Value::Network);
                return network.ok_or_else(|| malformed("Invalid IP address in Conditions"));
            }
            Test::Arn => Pattern::wildcards(text, has_variables).map(Pattern::split_arn).map(Value::Arn),
        };
        value.ok_or_else(|| malformed(format!("Invalid value in Conditions for operator {}", self.name)))
    }
}

impl Condition {
    /// Whether the condition holds for a request.
    pub fn holds(&self, context: Context<'_>) -> bool {
        let actual = context(&self.key);
        if self.operator.test == Test::Null {
            let is_absent = actual.is_empty();
            return self
                .values
                .iter()
                .any(|value| matches!(value, Value::Bool(absent) if *absent == is_absent));
        }
        if actual.is_empty() {
            return self.if_exists
                || match self.quantifier {
                    Quantifier::None => self.operator.negated,
                    Quantifier::Any => false,
                    Quantifier::All => true,
                };
        }
        let passes = |actual: &String| {
            self.values.iter().any(|value| self.operator.test.holds(value, actual, context))
                != self.operator.negated
        };
        match self.quantifier {
            Quantifier::None if self.operator.negated => actual.iter().all(passes),
            Quantifier::None | Quantifier::Any => actual.iter().any(passes),
            Quantifier::All => actual.iter().all(passes),
        }
    }

    /// Whether the key must be there and have a value that the policy writes out.
    pub(super) fn pins_to_fixed_values(&self) -> bool {
        self.pins()
            && self.values.iter().all(|value| match value {
                Value::Text(pattern) => pattern.is_fixed(),
                Value::Arn(parts) => parts.iter().all(Pattern::is_fixed),
                _ => false,
            })
    }

    /// Whether the client's address must lie in networks that are too small to be the public. S3 counts
    /// what is wider than /8 in IPv4 and /32 in IPv6 as public.
    pub(super) fn pins_to_narrow_networks(&self) -> bool {
        self.pins()
            && self.values.iter().all(|value| match value {
                Value::Network(network) => match network.address {
                    IpAddr::V4(_) => network.bits >= 8,
                    IpAddr::V6(_) => network.bits >= 32,
                },
                _ => false,
            })
    }

    fn pins(&self) -> bool {
        !self.operator.negated && !self.if_exists && self.quantifier != Quantifier::All
    }
}

impl Test {
    /// Whether a value of the request fits one of the policy. One that cannot be read fits nothing.
    fn holds(self, value: &Value, actual: &str, context: Context<'_>) -> bool {
        match (self, value) {
            (Test::TextIgnoringCase, Value::Text(pattern)) => pattern.matches_ignoring_case(actual, context),
            (_, Value::Text(pattern)) => pattern.matches(actual, context),
            (Test::Number(comparison), Value::Number(limit)) => number(actual)
                .and_then(|number| number.partial_cmp(limit))
                .is_some_and(|order| comparison.holds(order)),
            (Test::Date(comparison), Value::Date(limit)) => {
                date(actual).is_some_and(|date| comparison.holds(date.cmp(limit)))
            }
            (_, Value::Bool(expected)) => truth(actual) == Some(*expected),
            (_, Value::Bytes(expected)) => unbase64(actual).as_ref() == Some(expected),
            (_, Value::Network(network)) => {
                actual.parse().is_ok_and(|address: IpAddr| network.contains(address))
            }
            (_, Value::Arn(parts)) => arn_matches(parts, actual, context),
            (_, Value::Number(_) | Value::Date(_)) => false,
        }
    }
}

fn arn_matches(parts: &[Pattern], actual: &str, context: Context<'_>) -> bool {
    if let [only] = parts {
        return only.is_anything();
    }
    let actual: Vec<&str> = actual.splitn(6, ':').collect();
    actual.len() == parts.len()
        && parts.iter().zip(actual).all(|(part, actual)| part.matches(actual, context))
}

/// A finite decimal number. Rust would also read `inf` and `nan`.
fn number(text: &str) -> Option<f64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    text.parse().ok().filter(|number: &f64| is_plain && number.is_finite())
}

/// ISO 8601, or seconds since 1970; in milliseconds.
fn date(text: &str) -> Option<u64> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse::<u64>().ok()?.checked_mul(1_000);
    }
    time::parse_iso8601(text)
}

fn truth(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A network in CIDR notation (RFC 4632, RFC 4291 section 2.3), or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Network> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => width,
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => bits.parse().ok()?,
            Some(_) => return None,
        };
        (bits <= width).then_some(Network { address, bits })
    }

    /// An IPv4 address that came mapped into IPv6 counts as what it is.
    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - self.bits).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - self.bits).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }
}
