//! Tables of documents and requests.

use super::*;
use std::collections::HashMap;

const BUCKET: &str = "mine";
const OBJECT: &str = "arn:aws:s3:::mine/a/key";

const OWNER: Principal<'static> = Principal::Caller {
    account_id: "111122223333",
    account_arn: "arn:aws:iam::111122223333:root",
    canonical_id: "c1",
    user_arn: None,
};
const BOB: Principal<'static> = Principal::Caller {
    account_id: "111122223333",
    account_arn: "arn:aws:iam::111122223333:root",
    canonical_id: "c1",
    user_arn: Some("arn:aws:iam::111122223333:user/bob"),
};
const OTHER: Principal<'static> = Principal::Caller {
    account_id: "444455556666",
    account_arn: "arn:aws:iam::444455556666:root",
    canonical_id: "c2",
    user_arn: Some("arn:aws:iam::444455556666:user/bobby"),
};

fn document(statements: &str) -> String {
    format!(r#"{{"Version": "2012-10-17", "Statement": [{statements}]}}"#)
}

/// A statement about everything, with some members replaced or added.
fn statement(replaced: &[(&str, &str)]) -> String {
    let mut members = vec![
        ("Effect", r#""Allow""#),
        ("Principal", r#""*""#),
        ("Action", r#""s3:*""#),
        ("Resource", r#"["arn:aws:s3:::mine", "arn:aws:s3:::mine/*"]"#),
    ];
    for (name, value) in replaced {
        let plain = name.strip_prefix("Not").unwrap_or(name);
        members.retain(|(member, _)| *member != plain);
        if !value.is_empty() {
            members.push((name, value));
        }
    }
    let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
    format!("{{{}}}", members.join(", "))
}

fn parse(document: &str) -> Result<Policy> {
    Policy::parse(document.as_bytes(), BUCKET)
}

fn policy(statements: &str) -> Policy {
    match parse(&document(statements)) {
        Ok(policy) => policy,
        Err(error) => panic!("{statements}: {error}"),
    }
}

fn refusal(document: &str) -> String {
    let error = parse(document).expect_err(document);
    assert_eq!(error.code(), Code::MalformedPolicy);
    error.message().to_owned()
}

fn decide(policy: &Policy, principal: Principal<'_>, action: &str, resource: &str) -> Decision {
    policy.evaluate(&Request { principal, action, resource, context: &|_| Vec::new() })
}

/// Whether a policy of one statement with this condition allows a request with these keys.
fn holds(condition: &str, context: &[(&str, &[&str])]) -> bool {
    let context: HashMap<String, Vec<String>> = context
        .iter()
        .map(|(key, values)| ((*key).to_owned(), values.iter().map(|value| (*value).to_owned()).collect()))
        .collect();
    let look_up = |key: &str| context.get(key).cloned().unwrap_or_default();
    let policy = policy(&statement(&[("Condition", condition)]));
    let request = Request { principal: OTHER, action: "s3:GetObject", resource: OBJECT, context: &look_up };
    policy.evaluate(&request) == Decision::Allow
}

#[test]
fn malformed_documents_are_refused_with_the_texts_of_s3() {
    let with = |name: &str, value: &str| document(&statement(&[(name, value)]));
    let action = "Policy has invalid action";
    let resource = "Policy has invalid resource";
    let principal = "Invalid principal in policy";
    let json = "This policy contains invalid Json";
    let fit = "Action does not apply to any resource(s) in statement";
    let key = "Policy has an invalid condition key";
    let cases = [
        (String::new(), Code::MalformedPolicy.message),
        ("[]".into(), Code::MalformedPolicy.message),
        (" {}".into(), Code::MalformedPolicy.message),
        ("{".into(), json),
        ("{\"Statement\": NaN}".into(), json),
        ("{\"Version\": \"2012-10-17\", \"Version\": \"2012-10-17\"}".into(), json),
        (format!("{{\"Statement\": {}", "[".repeat(10_000)), json),
        ("{} trailing".into(), json),
        ("{}".into(), "Missing required field Statement"),
        ("{\"Statement\": []}".into(), "Could not parse the policy: Statement is empty!"),
        ("{\"Statement\": [1]}".into(), "Invalid policy syntax."),
        (
            "{\"Version\": \"2020-01-01\", \"Statement\": []}".into(),
            "The policy must contain a valid version string",
        ),
        ("{\"Stmt\": []}".into(), "Unknown field Stmt"),
        (with("Effect", ""), "Missing required field Effect"),
        (with("Effect", "\"allow\""), "Invalid effect: allow"),
        (with("Comment", "\"x\""), "Unknown field Comment"),
        (with("Principal", ""), "Missing required field Principal"),
        (with("Principal", "\"111122223333\""), principal),
        (with("Principal", "{}"), principal),
        (with("Principal", "{\"AWS\": []}"), principal),
        (with("Principal", "{\"AWS\": \"bob\"}"), principal),
        (with("Principal", "{\"AWS\": \"1111222233334\"}"), principal),
        (with("Principal", "{\"AWS\": \"arn:aws:iam::111122223333:user/*\"}"), principal),
        (with("Principal", "{\"AWS\": \"arn:aws:s3:::mine\"}"), principal),
        (with("Principal", "{\"CanonicalUser\": \"*\"}"), principal),
        (with("Principal", "{\"Anyone\": \"*\"}"), principal),
        (with("NotPrincipal", "{\"AWS\": \"111122223333\"}"), "Allow with NotPrincipal is not allowed."),
        (with("Action", ""), "Missing required field Action"),
        (with("Action", "\"s3:Frobnicate\""), action),
        (with("Action", "\"ec2:*\""), action),
        (with("Action", "[\"s3:GetObject\", \"s3:GetObjekt\"]"), action),
        (with("Action", "[]"), action),
        (with("Action", "\"GetObject\""), action),
        (with("Resource", ""), "Missing required field Resource"),
        (with("Resource", "\"*\""), resource),
        (with("Resource", "\"arn:aws:s3:::other/*\""), resource),
        (with("Resource", "\"arn:aws:s3:::mine2/*\""), resource),
        (with("Resource", "\"arn:aws:s3:::min?x*\""), resource),
        (with("Resource", "\"mine/*\""), resource),
        (with("Resource", "\"arn:aws:s3:::mine/${aws:username\""), resource),
        (with("Resource", "\"arn:aws:s3:::mine\"").replace("s3:*", "s3:GetObject"), fit),
        (with("Resource", "\"arn:aws:s3:::mine/*\"").replace("s3:*", "s3:ListBucket"), fit),
        (with("Action", "\"s3:ListAllMyBuckets\""), fit),
        (with("Condition", "[]"), "Invalid policy syntax."),
        (with("Condition", "{\"StringIs\": {\"s3:prefix\": \"a\"}}"), "Invalid Condition type : StringIs"),
        (
            with("Condition", "{\"NullIfExists\": {\"s3:prefix\": \"true\"}}"),
            "Invalid Condition type : NullIfExists",
        ),
        (
            with("Condition", "{\"ForSome:StringLike\": {\"s3:prefix\": \"a\"}}"),
            "Invalid Condition type : ForSome:StringLike",
        ),
        (with("Condition", "{\"StringLike\": {\"s3:suffix\": \"a\"}}"), key),
        (with("Condition", "{\"StringLike\": {\"s3:ExistingObjectTag/\": \"a\"}}"), key),
        (with("Condition", "{\"StringLike\": {\"aws:\": \"a\"}}"), key),
        (with("Condition", "{\"StringLike\": {\"s3:prefix\": {}}}"), "Invalid policy syntax."),
        (
            with("Condition", "{\"IpAddress\": {\"aws:SourceIp\": \"123\"}}"),
            "Invalid IP address in Conditions",
        ),
        (
            with("Condition", "{\"IpAddress\": {\"aws:SourceIp\": \"::/129\"}}"),
            "Invalid IP address in Conditions",
        ),
        (
            with("Condition", "{\"NumericEquals\": {\"s3:max-keys\": \"ten\"}}"),
            "Invalid value in Conditions for operator NumericEquals",
        ),
        (
            with("Condition", "{\"Bool\": {\"aws:SecureTransport\": \"yes\"}}"),
            "Invalid value in Conditions for operator Bool",
        ),
    ];
    for (document, expected) in cases {
        assert_eq!(refusal(&document), expected, "{}", &document[..document.len().min(300)]);
    }
}

/// That ids differ is a rule of IAM's policies; minio-py writes `"Sid": ""` into every statement of a bucket's.
#[test]
fn statements_of_a_bucket_policy_may_have_the_same_id() {
    for sid in ["", "x"] {
        let twice = statement(&[("Sid", &format!("\"{sid}\""))]);
        assert!(parse(&document(&format!("{twice}, {twice}"))).is_ok(), "{sid:?}");
    }
}

#[test]
fn the_size_of_a_policy_is_bounded() {
    let padded = |size: usize| {
        let document = document(&statement(&[]));
        let padding = " ".repeat(size - document.len());
        document + &padding
    };
    assert!(parse(&padded(POLICY_BYTES_MAX - 1)).is_ok());
    assert!(parse(&padded(POLICY_BYTES_MAX)).is_ok());
    assert!(refusal(&padded(POLICY_BYTES_MAX + 1)).contains("maximum allowed size"));
}

#[test]
fn a_single_statement_needs_no_list() {
    let document = format!(r#"{{"Id": "x", "Statement": {}}}"#, statement(&[]));
    let policy = parse(&document).expect("valid");
    assert_eq!(decide(&policy, Principal::Anonymous, "s3:GetObject", OBJECT), Decision::Allow);
}

#[test]
fn principals_are_named_in_many_ways() {
    let cases = [
        (r#""*""#, [true, true, true, true]),
        (r#"{"AWS": "*"}"#, [true, true, true, true]),
        (r#"{"AWS": "111122223333"}"#, [false, true, true, false]),
        (r#"{"AWS": "arn:aws:iam::111122223333:root"}"#, [false, true, true, false]),
        (r#"{"AWS": ["444455556666", "arn:aws:iam::111122223333:user/bob"]}"#, [false, false, true, true]),
        (r#"{"AWS": "arn:aws:iam::111122223333:user/bobby"}"#, [false, false, false, false]),
        (r#"{"CanonicalUser": ["c2", "c3"]}"#, [false, false, false, true]),
        (r#"{"Service": "logging.s3.amazonaws.com", "CanonicalUser": "c1"}"#, [false, true, true, false]),
    ];
    for (principal, expected) in cases {
        let allowing = policy(&statement(&[("Principal", principal)]));
        let denying = policy(&statement(&[("Effect", r#""Deny""#), ("NotPrincipal", principal)]));
        for (caller, named) in [Principal::Anonymous, OWNER, BOB, OTHER].into_iter().zip(expected) {
            let allowed = decide(&allowing, caller, "s3:GetObject", OBJECT) == Decision::Allow;
            assert_eq!(allowed, named, "{principal} {caller:?}");
            let denied = decide(&denying, caller, "s3:GetObject", OBJECT) == Decision::Deny;
            assert_eq!(denied, !named, "not {principal} {caller:?}");
        }
    }
}

#[test]
fn actions_are_compared_without_case_and_with_wildcards() {
    let cases = [
        ("Action", r#""s3:GetObject""#, "s3:GetObject", true),
        ("Action", r#""S3:getobject""#, "s3:GetObject", true),
        ("Action", r#""s3:GetObject""#, "s3:GetObjectAcl", false),
        ("Action", r#""s3:Get*""#, "s3:GetObjectAcl", true),
        ("Action", r#""s3:Get*""#, "s3:PutObject", false),
        ("Action", r#""s3:?etObject""#, "s3:GetObject", true),
        ("Action", r#""*""#, "s3:DeleteObject", true),
        ("Action", r#"["s3:PutObject", "s3:*Acl"]"#, "s3:GetObjectAcl", true),
        ("NotAction", r#""s3:Get*""#, "s3:GetObject", false),
        ("NotAction", r#""s3:Get*""#, "s3:PutObject", true),
    ];
    for (member, value, action, expected) in cases {
        let policy = policy(&statement(&[(member, value)]));
        let allowed = decide(&policy, OTHER, action, OBJECT) == Decision::Allow;
        assert_eq!(allowed, expected, "{member} {value} {action}");
    }
}

#[test]
fn resources_are_the_bucket_its_objects_or_some_of_them() {
    let cases = [
        ("Resource", r#""arn:aws:s3:::mine/*""#, "arn:aws:s3:::mine/a", true),
        ("Resource", r#""arn:aws:s3:::mine/*""#, "arn:aws:s3:::mine/", true),
        ("Resource", r#""arn:aws:s3:::mine/*""#, "arn:aws:s3:::mine", false),
        ("Resource", r#""arn:aws:s3:::mine/*""#, "arn:aws:s3:::mine2/a", false),
        ("Resource", r#""arn:aws:s3:::mine/*""#, "arn:aws:s3:::MINE/a", false),
        ("Resource", r#""arn:aws:s3:::mine""#, "arn:aws:s3:::mine", true),
        ("Resource", r#""arn:aws:s3:::mine""#, "arn:aws:s3:::mine/a", false),
        ("Resource", r#""arn:aws:s3:::mine*""#, "arn:aws:s3:::mine/a", true),
        ("Resource", r#""arn:aws:s3:::mine/public/*""#, "arn:aws:s3:::mine/public/x/y", true),
        ("Resource", r#""arn:aws:s3:::mine/public/*""#, "arn:aws:s3:::mine/Public/x", false),
        ("Resource", r#""arn:aws:s3:::mine/a?c*.txt""#, "arn:aws:s3:::mine/abc/d.txt", true),
        ("Resource", r#""arn:aws:s3:::mine/a?c""#, "arn:aws:s3:::mine/aéc", true),
        ("NotResource", r#""arn:aws:s3:::mine/private/*""#, "arn:aws:s3:::mine/private/x", false),
        ("NotResource", r#""arn:aws:s3:::mine/private/*""#, "arn:aws:s3:::mine/x", true),
    ];
    for (member, value, resource, expected) in cases {
        let policy = policy(&statement(&[(member, value)]));
        let allowed = decide(&policy, OTHER, "s3:GetObject", resource) == Decision::Allow;
        assert_eq!(allowed, expected, "{member} {value} {resource}");
    }
}

#[test]
fn a_denial_wins_wherever_it_stands() {
    let allow = statement(&[]);
    let deny = statement(&[("Effect", r#""Deny""#), ("Action", r#""s3:DeleteObject""#)]);
    for statements in [format!("{allow}, {deny}"), format!("{deny}, {allow}")] {
        let policy = policy(&statements);
        assert_eq!(decide(&policy, OTHER, "s3:DeleteObject", OBJECT), Decision::Deny);
        assert_eq!(decide(&policy, OTHER, "s3:GetObject", OBJECT), Decision::Allow);
    }
    assert_eq!(decide(&policy(&deny), OTHER, "s3:GetObject", OBJECT), Decision::None);
}

#[test]
fn every_operator_compares_as_the_iam_user_guide_says() {
    let ip = "aws:sourceip";
    let cases: &[(&str, &str, &[&str], bool)] = &[
        (r#"{"StringEquals": {"s3:prefix": "a*"}}"#, "s3:prefix", &["a*"], true),
        (r#"{"StringEquals": {"s3:prefix": "a*"}}"#, "s3:prefix", &["ab"], false),
        (r#"{"StringEquals": {"s3:prefix": ["a", "b"]}}"#, "s3:prefix", &["b"], true),
        (r#"{"StringEquals": {"s3:prefix": "a"}}"#, "s3:prefix", &["A"], false),
        (r#"{"StringEquals": {"S3:Prefix": "a"}}"#, "s3:prefix", &["a"], true),
        (r#"{"StringEquals": {"s3:prefix": "a"}}"#, "s3:prefix", &[], false),
        (r#"{"StringNotEquals": {"s3:prefix": ["a", "b"]}}"#, "s3:prefix", &["b"], false),
        (r#"{"StringNotEquals": {"s3:prefix": ["a", "b"]}}"#, "s3:prefix", &["c"], true),
        (r#"{"StringNotEquals": {"s3:prefix": "a"}}"#, "s3:prefix", &[], true),
        (r#"{"StringEqualsIgnoreCase": {"s3:prefix": "HeLLo"}}"#, "s3:prefix", &["hEllO"], true),
        (r#"{"StringNotEqualsIgnoreCase": {"s3:prefix": "A"}}"#, "s3:prefix", &["a"], false),
        (r#"{"StringLike": {"s3:prefix": "home/*/x?"}}"#, "s3:prefix", &["home/a/b/xy"], true),
        (r#"{"StringLike": {"s3:prefix": "home/*"}}"#, "s3:prefix", &["Home/"], false),
        (r#"{"StringNotLike": {"s3:prefix": "home/*"}}"#, "s3:prefix", &["home/a"], false),
        (r#"{"StringLike": {"s3:prefix": ""}}"#, "s3:prefix", &[""], true),
        (r#"{"NumericEquals": {"s3:max-keys": 10}}"#, "s3:max-keys", &["10.0"], true),
        (r#"{"NumericNotEquals": {"s3:max-keys": "10"}}"#, "s3:max-keys", &["10"], false),
        (r#"{"NumericLessThan": {"s3:max-keys": "10"}}"#, "s3:max-keys", &["9"], true),
        (r#"{"NumericLessThan": {"s3:max-keys": "10"}}"#, "s3:max-keys", &["10"], false),
        (r#"{"NumericLessThanEquals": {"s3:max-keys": "10"}}"#, "s3:max-keys", &["10"], true),
        (r#"{"NumericLessThanEquals": {"s3:max-keys": "10"}}"#, "s3:max-keys", &["nan"], false),
        (r#"{"NumericGreaterThan": {"s3:TlsVersion": "1.2"}}"#, "s3:tlsversion", &["1.3"], true),
        (r#"{"NumericGreaterThanEquals": {"s3:TlsVersion": 1.2}}"#, "s3:tlsversion", &["1.2"], true),
        (
            r#"{"DateLessThan": {"aws:CurrentTime": "2026-01-02T00:00:00Z"}}"#,
            "aws:currenttime",
            &["2026-01-01T23:59:59Z"],
            true,
        ),
        (
            r#"{"DateGreaterThan": {"aws:CurrentTime": "2026-01-02T00:00:00Z"}}"#,
            "aws:currenttime",
            &["2026-01-01T23:59:59Z"],
            false,
        ),
        (
            r#"{"DateEquals": {"aws:EpochTime": "1767312000"}}"#,
            "aws:epochtime",
            &["2026-01-02T00:00:00Z"],
            true,
        ),
        (r#"{"DateNotEquals": {"aws:EpochTime": 1767312000}}"#, "aws:epochtime", &["1767312000"], false),
        (r#"{"DateLessThanEquals": {"aws:CurrentTime": "2026-01-02"}}"#, "aws:currenttime", &["soon"], false),
        (
            r#"{"DateGreaterThanEquals": {"aws:CurrentTime": "2026-01-02"}}"#,
            "aws:currenttime",
            &["2026-01-02"],
            true,
        ),
        (r#"{"Bool": {"aws:SecureTransport": false}}"#, "aws:securetransport", &["false"], true),
        (r#"{"Bool": {"aws:SecureTransport": "TRUE"}}"#, "aws:securetransport", &["false"], false),
        (r#"{"Bool": {"aws:SecureTransport": "true"}}"#, "aws:securetransport", &[], false),
        (r#"{"BinaryEquals": {"aws:data": "AQI="}}"#, "aws:data", &["AQI="], true),
        (r#"{"BinaryEquals": {"aws:data": "AQI="}}"#, "aws:data", &["AQM="], false),
        (r#"{"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}"#, ip, &["10.255.0.1"], true),
        (r#"{"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}"#, ip, &["11.0.0.1"], false),
        (r#"{"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}"#, ip, &["::ffff:10.0.0.1"], true),
        (r#"{"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}"#, ip, &["203.0.113.7"], true),
        (r#"{"IpAddress": {"aws:SourceIp": "203.0.113.7"}}"#, ip, &["203.0.113.7"], true),
        (
            r#"{"IpAddress": {"aws:SourceIp": ["192.0.2.0/24", "2001:db8::/32"]}}"#,
            ip,
            &["2001:db8:ffff::1"],
            true,
        ),
        (r#"{"IpAddress": {"aws:SourceIp": "2001:db8::/32"}}"#, ip, &["2001:db9::1"], false),
        (r#"{"IpAddress": {"aws:SourceIp": "::/0"}}"#, ip, &["10.0.0.1"], false),
        (r#"{"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}"#, ip, &["not an address"], false),
        (r#"{"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}"#, ip, &["10.0.0.1"], false),
        (r#"{"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}"#, ip, &["192.0.2.1"], true),
        (
            r#"{"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/b*"}}"#,
            "aws:principalarn",
            &["arn:aws:iam::111122223333:user/bob"],
            true,
        ),
        (
            r#"{"ArnEquals": {"aws:PrincipalArn": "arn:aws:*:user/bob"}}"#,
            "aws:principalarn",
            &["arn:aws:iam::111122223333:user/bob"],
            false,
        ),
        (
            r#"{"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/*"}}"#,
            "aws:principalarn",
            &["arn:aws:iam::1:role/x"],
            true,
        ),
        (
            r#"{"ArnNotEquals": {"aws:PrincipalArn": "*"}}"#,
            "aws:principalarn",
            &["arn:aws:iam::1:role/x"],
            false,
        ),
        (r#"{"Null": {"aws:UserId": "true"}}"#, "aws:userid", &[], true),
        (r#"{"Null": {"aws:UserId": true}}"#, "aws:userid", &["x"], false),
        (r#"{"Null": {"aws:UserId": "false"}}"#, "aws:userid", &["x"], true),
        (r#"{"StringEqualsIfExists": {"s3:prefix": "a"}}"#, "s3:prefix", &[], true),
        (r#"{"StringEqualsIfExists": {"s3:prefix": "a"}}"#, "s3:prefix", &["b"], false),
        (r#"{"BoolIfExists": {"aws:SecureTransport": "true"}}"#, "aws:securetransport", &[], true),
        (
            r#"{"StringEquals": {"s3:ExistingObjectTag/Team": "a"}}"#,
            "s3:existingobjecttag/Team",
            &["a"],
            true,
        ),
        (
            r#"{"StringEquals": {"s3:ExistingObjectTag/team": "a"}}"#,
            "s3:existingobjecttag/Team",
            &["a"],
            false,
        ),
    ];
    for (condition, key, values, expected) in cases {
        assert_eq!(holds(condition, &[(key, values)]), *expected, "{condition} {values:?}");
    }
}

#[test]
fn set_operators_look_at_all_values_of_a_key() {
    let key = "s3:requestobjecttagkeys";
    let cases: &[(&str, &[&str], bool)] = &[
        (r#"{"ForAllValues:StringEquals": {"s3:RequestObjectTagKeys": ["a", "b"]}}"#, &["a", "b"], true),
        (r#"{"ForAllValues:StringEquals": {"s3:RequestObjectTagKeys": ["a", "b"]}}"#, &["a", "c"], false),
        (r#"{"ForAllValues:StringEquals": {"s3:RequestObjectTagKeys": ["a", "b"]}}"#, &[], true),
        (r#"{"ForAnyValue:StringEquals": {"s3:RequestObjectTagKeys": ["a", "b"]}}"#, &["a", "c"], true),
        (r#"{"ForAnyValue:StringEquals": {"s3:RequestObjectTagKeys": ["a", "b"]}}"#, &["c"], false),
        (r#"{"ForAnyValue:StringEquals": {"s3:RequestObjectTagKeys": "a"}}"#, &[], false),
        (r#"{"ForAnyValue:StringNotEquals": {"s3:RequestObjectTagKeys": "a"}}"#, &["a", "b"], true),
        (r#"{"ForAllValues:StringNotEquals": {"s3:RequestObjectTagKeys": "a"}}"#, &["a", "b"], false),
        (r#"{"ForAllValues:StringNotLike": {"s3:RequestObjectTagKeys": "a*"}}"#, &["b"], true),
        (r#"{"ForAnyValue:StringLikeIfExists": {"s3:RequestObjectTagKeys": "a*"}}"#, &[], true),
        (r#"{"StringNotEquals": {"s3:RequestObjectTagKeys": "a"}}"#, &["a", "b"], false),
    ];
    for (condition, values, expected) in cases {
        assert_eq!(holds(condition, &[(key, values)]), *expected, "{condition} {values:?}");
    }
}

#[test]
fn all_operators_and_keys_of_a_block_must_hold() {
    let condition = r#"{"StringEquals": {"s3:prefix": "a", "s3:delimiter": "/"}, "Bool": {"aws:SecureTransport": "true"}}"#;
    let full: [(&str, &[&str]); 3] =
        [("s3:prefix", &["a"]), ("s3:delimiter", &["/"]), ("aws:securetransport", &["true"])];
    assert!(holds(condition, &full));
    for left_out in 0..3 {
        let mut context = full.to_vec();
        context.remove(left_out);
        assert!(!holds(condition, &context));
    }
}

/// SE-51.
#[test]
fn variables_stand_for_values_and_never_for_wildcards() {
    let home = r#"{"Resource": "arn:aws:s3:::mine/${aws:username}/*"}"#;
    let resource = home.split(": ").nth(1).expect("a value").trim_end_matches('}').to_owned();
    let policy = policy(&statement(&[("Resource", &resource)]));
    let decide = |user: Option<&str>, resource: &str| {
        let look_up = |key: &str| match user {
            Some(user) if key == "aws:username" => vec![user.to_owned()],
            _ => Vec::new(),
        };
        let request = Request { principal: OTHER, action: "s3:GetObject", resource, context: &look_up };
        policy.evaluate(&request) == Decision::Allow
    };
    assert!(decide(Some("bob"), "arn:aws:s3:::mine/bob/x"));
    assert!(!decide(Some("bob"), "arn:aws:s3:::mine/bobby/x"));
    assert!(!decide(Some("bobby"), "arn:aws:s3:::mine/bob/x"));
    assert!(!decide(Some("*"), "arn:aws:s3:::mine/bob/x"));
    assert!(decide(Some("*"), "arn:aws:s3:::mine/*/x"));
    assert!(!decide(None, "arn:aws:s3:::mine/bob/x"));
    assert!(!decide(None, "arn:aws:s3:::mine/${aws:username}/x"));

    let cases: &[(&str, &str, bool)] = &[
        (r#"{"StringLike": {"s3:prefix": "${aws:PrincipalTag/Team, 'guests'}/*"}}"#, "guests/x", true),
        (r#"{"StringLike": {"s3:prefix": "${aws:username}/*"}}"#, "bob/x", true),
        (r#"{"StringEquals": {"s3:prefix": "${aws:username}"}}"#, "bob", true),
        (r#"{"StringEqualsIgnoreCase": {"s3:prefix": "${aws:username}-X"}}"#, "BOB-x", true),
        (r#"{"StringEquals": {"s3:prefix": "${aws:userid}"}}"#, "", false),
        (r#"{"StringLike": {"s3:prefix": "a${*}b${?}${$}"}}"#, "a*b?$", true),
        (r#"{"StringLike": {"s3:prefix": "a${*}b"}}"#, "axb", false),
    ];
    for (condition, prefix, expected) in cases {
        let found = holds(condition, &[("s3:prefix", &[prefix]), ("aws:username", &["bob"])]);
        assert_eq!(found, *expected, "{condition} {prefix}");
    }
}

#[test]
fn the_version_of_2008_has_no_variables() {
    let document = document(&statement(&[("Resource", r#""arn:aws:s3:::mine/${aws:username}""#)]));
    let old = parse(&document.replace("2012", "2008")).expect("valid");
    assert_eq!(decide(&old, OTHER, "s3:GetObject", "arn:aws:s3:::mine/${aws:username}"), Decision::Allow);
}

#[test]
fn wildcard_bombs_are_evaluated_in_bounded_time() {
    // Two to the power of thousands of steps, if every star were tried against every rest.
    let bomb = format!(r#""arn:aws:s3:::mine/{}b""#, "a*".repeat(8_000));
    let policy = policy(&statement(&[("Resource", &bomb)]));
    let resource = format!("arn:aws:s3:::mine/{}", "a".repeat(1_024));
    assert_eq!(decide(&policy, OTHER, "s3:GetObject", &resource), Decision::None);
}

#[test]
fn a_policy_is_public_unless_it_pins_who_is_meant() {
    let everyone = ("Principal", r#"{"AWS": "*"}"#);
    let with = |condition: &str| policy(&statement(&[everyone, ("Condition", condition)])).is_public();
    assert!(policy(&statement(&[])).is_public());
    assert!(policy(&statement(&[everyone])).is_public());
    assert!(!policy(&statement(&[("Principal", r#"{"AWS": "444455556666"}"#)])).is_public());
    assert!(!policy(&statement(&[("Principal", r#"{"Service": "logging.s3.amazonaws.com"}"#)])).is_public());
    assert!(!policy(&statement(&[("Effect", r#""Deny""#)])).is_public());
    for (condition, is_public) in [
        (r#"{"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}"#, false),
        (r#"{"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}"#, false),
        (r#"{"IpAddress": {"aws:SourceIp": "0.0.0.0/1"}}"#, true),
        (r#"{"IpAddress": {"aws:SourceIp": ["203.0.113.0/24", "0.0.0.0/0"]}}"#, true),
        (r#"{"IpAddress": {"aws:SourceIp": "2001:db8::/32"}}"#, false),
        (r#"{"IpAddress": {"aws:SourceIp": "2000::/3"}}"#, true),
        (r#"{"NotIpAddress": {"aws:SourceIp": "203.0.113.0/24"}}"#, true),
        (r#"{"IpAddressIfExists": {"aws:SourceIp": "203.0.113.0/24"}}"#, true),
        (r#"{"StringEquals": {"aws:SourceVpc": "vpc-1"}}"#, false),
        (r#"{"StringLike": {"aws:SourceVpc": "vpc-*"}}"#, true),
        (r#"{"StringNotEquals": {"aws:SourceVpc": "vpc-1"}}"#, true),
        (r#"{"ForAllValues:StringEquals": {"aws:SourceVpc": "vpc-1"}}"#, true),
        (r#"{"StringEquals": {"aws:SourceVpc": "${aws:SourceVpc}"}}"#, true),
        (r#"{"ArnEquals": {"aws:SourceArn": "arn:aws:s3:::other"}}"#, false),
        (r#"{"ArnLike": {"aws:SourceArn": "arn:aws:s3:::*"}}"#, true),
        (r#"{"StringEquals": {"aws:Referer": "https://example.org/"}}"#, true),
        (r#"{"Bool": {"aws:SecureTransport": "true"}}"#, true),
    ] {
        assert_eq!(with(condition), is_public, "{condition}");
    }
    let both = format!("{}, {}", statement(&[("Principal", r#"{"AWS": "444455556666"}"#)]), statement(&[]));
    assert!(policy(&both).is_public());
}

#[test]
fn mutated_policies_never_panic_and_a_denial_never_allows_more() {
    let seed = 0x000d_0c5e_ed00_u64;
    println!("seed {seed:#x}");
    let mut state = seed;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    let sample = document(&statement(&[
        ("Principal", r#"{"AWS": ["444455556666", "*"]}"#),
        ("Action", r#"["s3:Get*", "s3:PutObject"]"#),
        ("Condition", r#"{"StringLike": {"s3:prefix": ["${aws:username}*", "b?"]}}"#),
    ]));
    for _ in 0..3_000 {
        let mut bytes = sample.clone().into_bytes();
        for _ in 0..1 + next() % 3 {
            let at = next() % bytes.len();
            bytes[at] = b"*?${}[]\":,/aS3 \\"[next() % 16];
        }
        let Ok(policy) = Policy::parse(&bytes, BUCKET) else { continue };
        let before = decide(&policy, OTHER, "s3:GetObject", OBJECT);
        let mut denied = policy.clone();
        let deny = super::tests::policy(&statement(&[("Effect", r#""Deny""#), ("Action", r#""s3:Put*""#)]));
        denied.statements.extend(deny.statements);
        assert_eq!(decide(&denied, OTHER, "s3:GetObject", OBJECT), before);
        assert_eq!(decide(&denied, OTHER, "s3:PutObject", OBJECT), Decision::Deny);
    }
}

#[test]
fn conditions_must_be_about_what_the_actions_have() {
    let cases = [
        (r#""s3:ListBucket""#, "s3:prefix", true),
        (r#""s3:ListBucketVersions""#, "s3:max-keys", true),
        (r#""s3:List*""#, "s3:delimiter", true),
        (r#""s3:*""#, "s3:prefix", true),
        (r#""s3:GetObject""#, "s3:prefix", false),
        (r#"["s3:ListBucket", "s3:GetObject"]"#, "s3:prefix", false),
        (r#""s3:GetBucketAcl""#, "s3:max-keys", false),
        (r#""s3:ListBucket""#, "s3:ExistingObjectTag/a", false),
        (r#""s3:GetObject""#, "s3:ExistingObjectTag/a", true),
        (r#""s3:Put*""#, "s3:x-amz-server-side-encryption", true),
        (r#""s3:PutBucketAcl""#, "s3:x-amz-storage-class", false),
        (r#""s3:PutBucketAcl""#, "s3:x-amz-acl", true),
        (r#""s3:GetBucketAcl""#, "aws:SourceVpc", true),
    ];
    for (action, key, fits) in cases {
        let condition = format!(r#"{{"StringEquals": {{"{key}": "1"}}}}"#);
        let condition = if key == "s3:max-keys" { condition.replace("String", "Numeric") } else { condition };
        let document = document(&statement(&[("Action", action), ("Condition", &condition)]));
        match fits {
            true => drop(parse(&document).expect(&document)),
            false => assert_eq!(
                refusal(&document),
                "Conditions do not apply to combination of actions and resources in statement"
            ),
        }
    }
}

#[test]
fn every_action_stands_once() {
    for (index, name) in action::LOWER.iter().enumerate() {
        assert!(!action::LOWER[..index].contains(name), "{name} stands twice");
    }
}
