//! Bucket policies: the document, and what it says about a request.
//!
//! The language is that of the IAM user guide ("IAM JSON policy elements reference"), narrowed as S3
//! narrows it for policies of buckets: every statement has a principal, and every resource reaches the
//! bucket. A policy is checked completely when it is put; evaluation cannot fail, and where something is
//! missing (a key, a variable) the statement does not apply or the condition does not hold.

use self::condition::Condition;
use self::json::Json;
use self::pattern::Pattern;
use super::Identity;
use crate::error::{Code, Error, Result};

pub mod action;
mod condition;
pub(crate) mod json;
mod pattern;
mod public;

/// The largest policy document, in bytes ("Bucket policies are limited to 20 KB in size").
pub const POLICY_BYTES_MAX: usize = 20 * 1024;

const ARN_PREFIX: &str = "arn:aws:s3:::";

/// Finds the values of a condition key for a request; none when the request does not have the key. Keys
/// arrive in lower case, but for what follows a `/` (`s3:existingobjecttag/Project`).
pub type Context<'a> = &'a dyn Fn(&str) -> Vec<String>;

/// Who asks, as far as policies can tell callers apart.
#[derive(Clone, Copy, Debug)]
pub enum Principal<'a> {
    /// Nobody in particular.
    Anonymous,
    /// A service that acts on the bucket owner's order: `logging.s3.amazonaws.com`.
    Service(&'a str),
    /// The holder of a key.
    Caller {
        /// The 12-digit number of the account.
        account_id: &'a str,
        /// The account's ARN.
        account_arn: &'a str,
        /// The account's canonical id.
        canonical_id: &'a str,
        /// The user's ARN, when the key is a user's.
        user_arn: Option<&'a str>,
    },
}

impl<'a> From<&'a Identity> for Principal<'a> {
    fn from(identity: &'a Identity) -> Principal<'a> {
        match identity {
            Identity::Anonymous => Principal::Anonymous,
            Identity::Key { account, user, .. } => Principal::Caller {
                account_id: &account.short_id,
                account_arn: &account.arn,
                canonical_id: &account.canonical_id,
                user_arn: user.as_ref().map(|user| user.arn.as_str()),
            },
        }
    }
}

/// A request as policies see it.
pub struct Request<'a> {
    /// Who asks.
    pub principal: Principal<'a>,
    /// For what: `s3:GetObject`.
    pub action: &'a str,
    /// Of what: `arn:aws:s3:::bucket` or `arn:aws:s3:::bucket/key`, the key as it is stored.
    pub resource: &'a str,
    /// Under which circumstances.
    pub context: Context<'a>,
}

/// What a policy says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A statement denies it, whatever others allow.
    Deny,
    /// A statement allows it and none denies it.
    Allow,
    /// No statement applies.
    None,
}

/// A checked policy.
#[derive(Clone, Debug)]
pub struct Policy {
    statements: Vec<Statement>,
}

#[derive(Clone, Debug)]
struct Statement {
    effect: Effect,
    principals: Listed<Principals>,
    actions: Listed<Vec<Pattern>>,
    resources: Listed<Vec<Pattern>>,
    conditions: Vec<Condition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

/// An element, or its negation: `Action` and `NotAction`.
#[derive(Clone, Debug)]
struct Listed<T> {
    negated: bool,
    items: T,
}

impl<T> Listed<T> {
    fn applies(&self, is_listed: impl FnOnce(&T) -> bool) -> bool {
        is_listed(&self.items) != self.negated
    }
}

#[derive(Clone, Debug, Default)]
struct Principals {
    everyone: bool,
    /// 12-digit numbers, also of ARNs that end in `:root`.
    account_ids: Vec<String>,
    arns: Vec<String>,
    canonical_ids: Vec<String>,
    services: Vec<String>,
}

impl Policy {
    /// Reads and checks the policy of `bucket`. Errors are `MalformedPolicy` with S3's texts.
    pub fn parse(document: &[u8], bucket: &str) -> Result<Policy> {
        if document.first() != Some(&b'{') {
            return Err(Error::new(Code::MalformedPolicy));
        }
        if document.len() > POLICY_BYTES_MAX {
            return Err(malformed(format!(
                "Normalized policy document exceeds the maximum allowed size of {POLICY_BYTES_MAX} bytes"
            )));
        }
        let json = json::parse(document)
            .map_err(|cause| malformed("This policy contains invalid Json").cause(cause))?;
        json.check_members(&["Version", "Id", "Statement"])?;
        let has_variables = has_variables(&json)?;
        let statements = match json.member("Statement") {
            None => return Err(malformed("Missing required field Statement")),
            Some(Json::List(statements)) => statements.iter().collect(),
            Some(statement) => vec![statement],
        };
        if statements.is_empty() {
            return Err(malformed("Could not parse the policy: Statement is empty!"));
        }
        let reader = Reader { bucket, has_variables };
        let statements: Vec<Statement> =
            statements.into_iter().map(|statement| reader.statement(statement)).collect::<Result<_>>()?;
        Ok(Policy { statements })
    }

    /// What the policy says of a request. Time is bounded by the product of the lengths of the policy and
    /// of the request's values.
    pub fn evaluate(&self, request: &Request<'_>) -> Decision {
        let mut decision = Decision::None;
        for statement in self.statements.iter().filter(|statement| statement.applies(request)) {
            match statement.effect {
                Effect::Deny => return Decision::Deny,
                Effect::Allow => decision = Decision::Allow,
            }
        }
        decision
    }

    /// Whether the policy grants anything to the public, as the S3 User Guide defines it under "The meaning
    /// of public": what BlockPublicPolicy refuses and GetBucketPolicyStatus reports.
    pub fn is_public(&self) -> bool {
        self.statements.iter().any(Statement::is_public)
    }
}

impl Statement {
    fn applies(&self, request: &Request<'_>) -> bool {
        let context = request.context;
        self.principals.applies(|principals| principals.include(&request.principal))
            && self.actions.applies(|actions| {
                let action = request.action.to_ascii_lowercase();
                actions.iter().any(|pattern| pattern.matches(&action, context))
            })
            && self.resources.applies(|resources| {
                resources.iter().any(|pattern| pattern.matches(request.resource, context))
            })
            && self.conditions.iter().all(|condition| condition.holds(context))
    }
}

impl Principals {
    /// Users act for their account, so naming an account names its users too.
    fn include(&self, principal: &Principal<'_>) -> bool {
        let (account_id, account_arn, canonical_id, user_arn) = match principal {
            Principal::Anonymous => return self.everyone,
            Principal::Service(name) => {
                return self.everyone || self.services.iter().any(|service| service == name);
            }
            Principal::Caller { account_id, account_arn, canonical_id, user_arn } => {
                (account_id, account_arn, canonical_id, user_arn)
            }
        };
        self.everyone
            || self.account_ids.iter().any(|id| id == account_id)
            || self.canonical_ids.iter().any(|id| id == canonical_id)
            || self.arns.iter().any(|arn| arn == account_arn || Some(arn.as_str()) == *user_arn)
    }

    fn add(&mut self, kind: &str, value: &str) -> Option<()> {
        match kind {
            "AWS" if value == "*" => self.everyone = true,
            "AWS" if is_account_id(value) => self.account_ids.push(value.to_owned()),
            "AWS" => self.add_arn(value)?,
            "CanonicalUser" if !value.is_empty() && value != "*" => {
                self.canonical_ids.push(value.to_owned());
            }
            "Service" if !value.is_empty() && value != "*" => self.services.push(value.to_owned()),
            // Nobody here comes from an identity provider, so these match nobody.
            "Federated" if !value.is_empty() && value != "*" => {}
            _ => return None,
        }
        Some(())
    }

    /// `arn:aws:iam::123456789012:user/name` and the like. Wildcards are not allowed within it.
    fn add_arn(&mut self, arn: &str) -> Option<()> {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let ["arn", partition, "iam" | "sts", "", account, resource] = parts[..] else { return None };
        if !partition.starts_with("aws") || account.is_empty() || resource.is_empty() || arn.contains('*') {
            return None;
        }
        match resource {
            "root" => self.account_ids.push(account.to_owned()),
            _ => self.arns.push(arn.to_owned()),
        }
        Some(())
    }
}

fn is_account_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Variables came with the version of 2012; before, `${` was just text.
fn has_variables(document: &Json) -> Result<bool> {
    match document.member("Version") {
        None => Ok(false),
        Some(Json::Text(version)) if version == "2012-10-17" => Ok(true),
        Some(Json::Text(version)) if version == "2008-10-17" => Ok(false),
        Some(_) => Err(malformed("The policy must contain a valid version string")),
    }
}

/// Turns the parts of a document into the parts of a policy.
struct Reader<'a> {
    bucket: &'a str,
    has_variables: bool,
}

impl Reader<'_> {
    fn statement(&self, json: &Json) -> Result<Statement> {
        const MEMBERS: [&str; 9] = [
            "Sid",
            "Effect",
            "Principal",
            "NotPrincipal",
            "Action",
            "NotAction",
            "Resource",
            "NotResource",
            "Condition",
        ];
        if !matches!(json, Json::Object(_)) {
            return Err(malformed("Invalid policy syntax."));
        }
        json.check_members(&MEMBERS)?;
        let effect = effect(json)?;
        let principals = self.principals(json)?;
        if effect == Effect::Allow && principals.negated {
            return Err(malformed("Allow with NotPrincipal is not allowed."));
        }
        let actions = self.actions(json)?;
        let resources = self.resources(json)?;
        let conditions = match json.member("Condition") {
            None => Vec::new(),
            Some(block) => condition::parse(block, self.has_variables)?,
        };
        check_sid(json)?;
        let statement = Statement { effect, principals, actions, resources, conditions };
        check_applicability(&statement, self.bucket)?;
        check_conditions(&statement)?;
        Ok(statement)
    }

    fn principals(&self, json: &Json) -> Result<Listed<Principals>> {
        let (negated, value) = one_of(json, "Principal", "NotPrincipal")?;
        let invalid = || malformed("Invalid principal in policy");
        let mut items = Principals::default();
        match value {
            Json::Text(text) if text == "*" => items.everyone = true,
            Json::Object(kinds) if !kinds.is_empty() => {
                for (kind, values) in kinds {
                    for value in values.texts().ok_or_else(invalid)? {
                        items.add(kind, value).ok_or_else(invalid)?;
                    }
                }
            }
            _ => return Err(invalid()),
        }
        Ok(Listed { negated, items })
    }

    fn actions(&self, json: &Json) -> Result<Listed<Vec<Pattern>>> {
        let (negated, value) = one_of(json, "Action", "NotAction")?;
        let invalid = || malformed("Policy has invalid action");
        let pattern = |text: &&str| {
            let pattern = Pattern::wildcards(&text.to_ascii_lowercase(), false)?;
            action::LOWER.iter().any(|name| pattern.matches_plain(name)).then_some(pattern)
        };
        let texts = value.texts().ok_or_else(invalid)?;
        let items = texts.iter().map(|text| pattern(text).ok_or_else(invalid)).collect::<Result<_>>()?;
        Ok(Listed { negated, items })
    }

    fn resources(&self, json: &Json) -> Result<Listed<Vec<Pattern>>> {
        let (negated, value) = one_of(json, "Resource", "NotResource")?;
        let invalid = || malformed("Policy has invalid resource");
        let texts = value.texts().ok_or_else(invalid)?;
        let items = texts
            .iter()
            .map(|text| {
                let pattern = Pattern::wildcards(text, self.has_variables);
                pattern.filter(|pattern| self.reaches_bucket(text, pattern)).ok_or_else(invalid)
            })
            .collect::<Result<_>>()?;
        Ok(Listed { negated, items })
    }

    /// Whether a resource is the bucket, one of its objects, or a pattern that has any of them. What else
    /// a pattern has does not matter: the policy is asked about this bucket alone.
    fn reaches_bucket(&self, resource: &str, pattern: &Pattern) -> bool {
        let bucket = format!("{ARN_PREFIX}{}", self.bucket);
        resource.starts_with(ARN_PREFIX)
            && (pattern.matches_plain(&bucket) || pattern.may_begin_with(&(bucket + "/")))
    }
}

/// It decides nothing, and two statements may have the same.
fn check_sid(json: &Json) -> Result<()> {
    match json.member("Sid") {
        None | Some(Json::Text(_)) => Ok(()),
        Some(_) => Err(malformed("Invalid policy syntax.")),
    }
}

fn effect(json: &Json) -> Result<Effect> {
    match json.member("Effect") {
        None => Err(malformed("Missing required field Effect")),
        Some(Json::Text(effect)) if effect == "Allow" => Ok(Effect::Allow),
        Some(Json::Text(effect)) if effect == "Deny" => Ok(Effect::Deny),
        Some(Json::Text(effect)) => Err(malformed(format!("Invalid effect: {effect}"))),
        Some(_) => Err(malformed("Invalid policy syntax.")),
    }
}

/// The member of either name, and whether it is the negated one. Exactly one must be there.
fn one_of<'a>(json: &'a Json, name: &str, negated: &str) -> Result<(bool, &'a Json)> {
    match (json.member(name), json.member(negated)) {
        (Some(value), None) => Ok((false, value)),
        (None, Some(value)) => Ok((true, value)),
        (None, None) => Err(malformed(format!("Missing required field {name}"))),
        (Some(_), Some(_)) => Err(malformed("Invalid policy syntax.")),
    }
}

/// Every action that is listed must be one of the bucket or of objects, whichever the statement lists.
fn check_applicability(statement: &Statement, bucket: &str) -> Result<()> {
    if statement.actions.negated || statement.resources.negated {
        return Ok(());
    }
    let bucket = format!("{ARN_PREFIX}{bucket}");
    let has_bucket = statement.resources.items.iter().any(|pattern| pattern.matches_plain(&bucket));
    let bucket = bucket + "/";
    let has_objects = statement.resources.items.iter().any(|pattern| pattern.may_begin_with(&bucket));
    let applies = |pattern: &Pattern| {
        action::ALL.iter().zip(action::LOWER.iter()).any(|(action, name)| {
            let fits = match action.resource {
                action::Resource::Bucket => has_bucket,
                action::Resource::Object => has_objects,
                action::Resource::Service => false,
            };
            fits && pattern.matches_plain(name)
        })
    };
    if statement.actions.items.iter().all(applies) {
        return Ok(());
    }
    Err(malformed("Action does not apply to any resource(s) in statement"))
}

/// Every action that is listed must have the keys of the conditions; of a pattern, one that it stands for.
fn check_conditions(statement: &Statement) -> Result<()> {
    if statement.actions.negated {
        return Ok(());
    }
    let has = |pattern: &Pattern, key: &str| {
        let mut actions = action::ALL.iter().zip(action::LOWER.iter());
        actions.any(|(action, name)| action.takes(key) && pattern.matches_plain(name))
    };
    let holds =
        |condition: &Condition| statement.actions.items.iter().all(|pattern| has(pattern, &condition.key));
    if statement.conditions.iter().all(holds) {
        return Ok(());
    }
    Err(malformed("Conditions do not apply to combination of actions and resources in statement"))
}

fn malformed(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::with_message(Code::MalformedPolicy, message)
}

#[cfg(test)]
mod tests;
