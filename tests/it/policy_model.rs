//! The policy evaluator against a second one that was written only for this test: it walks the JSON of the
//! policy as the IAM user guide describes it, slowly and without sharing a line with the first.

use s3pail::auth::policy::{Decision, Policy, Principal, Request};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const ROUNDS: u64 = 4_000;

/// Numbers from a seed (xorshift64*, Vigna 2016).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn chance(&mut self, of: u64) -> bool {
        self.next().is_multiple_of(of)
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[(self.next() % from.len() as u64) as usize]
    }

    /// One of them, or a list of some of them.
    fn one_or_list(&mut self, from: &[&str]) -> Value {
        if self.chance(2) {
            return json!(self.pick(from));
        }
        let count = 1 + self.next() % 3;
        Value::Array((0..count).map(|_| json!(self.pick(from))).collect())
    }
}

const ACCOUNTS: [(&str, &str); 2] = [("111122223333", "bob"), ("444455556666", "eve")];
const PRINCIPALS: [&str; 6] = [
    "*",
    "111122223333",
    "arn:aws:iam::111122223333:root",
    "arn:aws:iam::111122223333:user/bob",
    "444455556666",
    "arn:aws:iam::444455556666:user/eve",
];
/// Object actions only, so that every statement fits its resources.
const ACTIONS: [&str; 7] =
    ["s3:*", "s3:Get*", "s3:GetObject", "s3:PutObject", "S3:putobject", "s3:?etObject", "s3:*Object*"];
const ASKED: [&str; 4] = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:GetObjectAcl"];
const RESOURCES: [&str; 6] = [
    "arn:aws:s3:::mine/*",
    "arn:aws:s3:::mine/a*",
    "arn:aws:s3:::mine/a/b",
    "arn:aws:s3:::mine/?/b",
    "arn:aws:s3:::mine/*b*b*",
    "arn:aws:s3:::mi*e/*",
];
const KEYS: [&str; 6] = ["a", "a/b", "b/b", "c", "b/x/b", "a*"];
const OPERATORS: [&str; 14] = [
    "StringEquals",
    "StringNotEquals",
    "StringEqualsIgnoreCase",
    "StringLike",
    "StringNotLike",
    "NumericEquals",
    "NumericLessThan",
    "NumericGreaterThanEquals",
    "NumericNotEquals",
    "Bool",
    "IpAddress",
    "NotIpAddress",
    "Null",
    "ArnLike",
];

/// A condition key that fits an operator, and values of the policy and of requests for it.
fn field(operator: &str) -> (&'static str, &'static [&'static str], &'static [&'static str]) {
    match operator {
        "Bool" => ("aws:SecureTransport", &["true", "false"], &["true", "false"]),
        "IpAddress" | "NotIpAddress" => (
            "aws:SourceIp",
            &["10.0.0.0/8", "10.1.2.3", "192.168.0.0/30", "0.0.0.0/0"],
            &["10.1.2.3", "192.168.0.3", "192.168.0.4", "11.0.0.1"],
        ),
        "ArnLike" => (
            "aws:PrincipalArn",
            &["arn:aws:iam::1111*:user/*", "arn:aws:iam::444455556666:user/eve"],
            &["arn:aws:iam::111122223333:user/bob", "arn:aws:iam::444455556666:user/eve"],
        ),
        name if name.starts_with("Numeric") => {
            ("s3:signatureAge", &["1", "10", "2.5"], &["0", "1", "2.5", "10"])
        }
        _ => ("aws:UserAgent", &["a", "A", "a*", "?", "ab"], &["a", "A", "ab", "b", ""]),
    }
}

fn condition(random: &mut Random) -> Value {
    let mut block = serde_json::Map::new();
    for _ in 0..1 + random.next() % 2 {
        let operator = random.pick(&OPERATORS);
        let (key, values, _) = field(operator);
        if operator == "Null" {
            let value = random.pick(&["true", "false"]);
            block.insert(operator.to_owned(), json!({ key: value }));
            continue;
        }
        let quantifier = random.pick(&["", "", "ForAnyValue:", "ForAllValues:"]);
        let if_exists = random.pick(&["", "", "IfExists"]);
        block
            .insert(format!("{quantifier}{operator}{if_exists}"), json!({ key: random.one_or_list(values) }));
    }
    Value::Object(block)
}

fn statement(random: &mut Random) -> Value {
    let mut members = serde_json::Map::new();
    let deny = random.chance(3);
    members.insert("Effect".into(), json!(if deny { "Deny" } else { "Allow" }));
    let principal = match random.next() % 3 {
        0 => json!("*"),
        _ => json!({ "AWS": random.one_or_list(&PRINCIPALS) }),
    };
    let not_principal = deny && random.chance(4);
    members.insert(if not_principal { "NotPrincipal" } else { "Principal" }.into(), principal);
    let not_action = random.chance(5);
    members.insert(if not_action { "NotAction" } else { "Action" }.into(), random.one_or_list(&ACTIONS));
    let not_resource = random.chance(5);
    members
        .insert(if not_resource { "NotResource" } else { "Resource" }.into(), random.one_or_list(&RESOURCES));
    if random.chance(2) {
        members.insert("Condition".into(), condition(random));
    }
    Value::Object(members)
}

/// What a request tells about itself, by condition key in lower case.
type Facts = BTreeMap<String, Vec<String>>;

fn facts(random: &mut Random) -> Facts {
    let mut facts = Facts::new();
    for operator in ["Bool", "IpAddress", "ArnLike", "NumericEquals", "StringEquals"] {
        let (key, _, values) = field(operator);
        let count = random.next() % 3;
        if count > 0 {
            let values = (0..count).map(|_| random.pick(values).to_owned()).collect();
            facts.insert(key.to_ascii_lowercase(), values);
        }
    }
    facts
}

// ---- the second evaluator ----

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
        value => value.as_str().into_iter().collect(),
    }
}

fn like(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) if like(rest, text) => true,
        (Some((b'*', _)), Some((_, text))) => like(pattern, text),
        (Some((b'?', rest)), Some((_, text))) => like(rest, text),
        (Some((want, rest)), Some((have, text))) => want == have && like(rest, text),
        _ => false,
    }
}

fn within(network: &str, address: &str) -> bool {
    let number = |text: &str| u32::from(text.parse::<std::net::Ipv4Addr>().expect("IPv4"));
    let (base, bits) = network.split_once('/').unwrap_or((network, "32"));
    let bits: u32 = bits.parse().expect("a length");
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    number(base) & mask == number(address) & mask
}

fn matches(operator: &str, want: &str, have: &str) -> bool {
    let number = |text: &str| text.parse::<f64>().ok();
    match operator {
        "StringEquals" => want == have,
        "StringEqualsIgnoreCase" => want.eq_ignore_ascii_case(have),
        "StringLike" | "ArnLike" => like(want.as_bytes(), have.as_bytes()),
        "NumericEquals" => number(want).is_some_and(|want| number(have) == Some(want)),
        "NumericLessThan" => number(have) < number(want),
        "NumericGreaterThanEquals" => number(have) >= number(want),
        "Bool" => want == have,
        "IpAddress" => within(want, have),
        other => panic!("{other}"),
    }
}

fn holds(name: &str, key: &str, wanted: &[&str], facts: &Facts) -> bool {
    let present = facts.get(&key.to_ascii_lowercase());
    if name == "Null" {
        return wanted.iter().any(|want| (*want == "true") == present.is_none());
    }
    let (quantifier, rest) = name.split_once(':').unwrap_or(("", name));
    let (operator, if_exists) = match rest.strip_suffix("IfExists") {
        Some(operator) => (operator, true),
        None => (rest, false),
    };
    let negated = operator.contains("Not");
    let positive = operator.replace("Not", "");
    let Some(values) = present else {
        // A key that is not there: nothing equals it, so the negated operators hold.
        return if_exists || quantifier == "ForAllValues" || (negated && quantifier.is_empty());
    };
    let one = |have: &String| wanted.iter().any(|want| matches(&positive, want, have)) != negated;
    match quantifier {
        "ForAllValues" => values.iter().all(one),
        "ForAnyValue" => values.iter().any(one),
        _ if negated => values.iter().all(one),
        _ => values.iter().any(one),
    }
}

fn names(value: &Value, account: usize, anonymous: bool) -> bool {
    let (id, user) = ACCOUNTS[account];
    let root = format!("arn:aws:iam::{id}:root");
    let user = format!("arn:aws:iam::{id}:user/{user}");
    let listed = if value.is_object() { texts(&value["AWS"]) } else { texts(value) };
    listed.iter().any(|name| *name == "*" || (!anonymous && (*name == id || *name == root || *name == user)))
}

fn second_opinion(
    statements: &[Value],
    account: usize,
    anonymous: bool,
    action: &str,
    key: &str,
    facts: &Facts,
) -> Decision {
    let resource = format!("arn:aws:s3:::mine/{key}");
    let applies = |statement: &Value| {
        let either = |name: &str, test: &dyn Fn(&Value) -> bool| match statement.get(name) {
            Some(value) => test(value),
            None => !test(&statement[format!("Not{name}")]),
        };
        let lower = action.to_ascii_lowercase();
        either("Principal", &|value| names(value, account, anonymous))
            && either("Action", &|value| {
                texts(value).iter().any(|text| like(text.to_ascii_lowercase().as_bytes(), lower.as_bytes()))
            })
            && either("Resource", &|value| {
                texts(value).iter().any(|text| like(text.as_bytes(), resource.as_bytes()))
            })
            && statement.get("Condition").and_then(Value::as_object).into_iter().flatten().all(
                |(name, block)| {
                    block
                        .as_object()
                        .expect("a block")
                        .iter()
                        .all(|(key, wanted)| holds(name, key, &texts(wanted), facts))
                },
            )
    };
    let mut decision = Decision::None;
    for statement in statements.iter().filter(|statement| applies(statement)) {
        if statement["Effect"] == "Deny" {
            return Decision::Deny;
        }
        decision = Decision::Allow;
    }
    decision
}

/// SE-49 among all the rest.
/// PT-10 for policies. That no form of a request gets another answer is for the operations' own tests.
#[test]
fn a_second_evaluator_agrees_with_the_first() {
    let seed = match std::env::var("S3PAIL_SEED") {
        Ok(seed) => seed.parse().expect("S3PAIL_SEED: a number"),
        Err(_) => crate::harness::now() | 1,
    };
    let mut random = Random(seed);
    let mut seen = [0; 3];
    for round in 0..ROUNDS {
        let statements: Vec<Value> = (0..1 + random.next() % 3).map(|_| statement(&mut random)).collect();
        let document = json!({ "Version": "2012-10-17", "Statement": statements });
        let Ok(policy) = Policy::parse(document.to_string().as_bytes(), "mine") else {
            panic!("S3PAIL_SEED={seed}, round {round}: refused: {document:#}");
        };
        let facts = facts(&mut random);
        let (account, anonymous) = ((random.next() % 2) as usize, random.chance(4));
        let (id, user) = ACCOUNTS[account];
        let (account_arn, user_arn) =
            (format!("arn:aws:iam::{id}:root"), format!("arn:aws:iam::{id}:user/{user}"));
        let principal = match anonymous {
            true => Principal::Anonymous,
            false => Principal::Caller {
                account_id: id,
                account_arn: &account_arn,
                canonical_id: "c",
                user_arn: Some(&user_arn),
            },
        };
        let (action, key) = (random.pick(&ASKED), random.pick(&KEYS));
        let resource = format!("arn:aws:s3:::mine/{key}");
        let context = |key: &str| facts.get(key).cloned().unwrap_or_default();
        let request = Request { principal, action, resource: &resource, context: &context };
        let (first, second) =
            (policy.evaluate(&request), second_opinion(&statements, account, anonymous, action, key, &facts));
        assert_eq!(
            first, second,
            "S3PAIL_SEED={seed}, round {round}: {principal:?} {action} {resource} {facts:?}\n{document:#}"
        );
        seen[first as usize] += 1;
    }
    assert!(seen.iter().all(|count| *count > ROUNDS / 50), "S3PAIL_SEED={seed}: one-sided: {seen:?}");
}
