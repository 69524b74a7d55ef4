//! The sub-resources of a bucket that a document of `--init` may set, one row each.

use super::actor::{Actor, Call};
use super::xml;
use crate::config::given::{ConfigError, Given};
use crate::http::Method;
use serde_json::{Value, json};

/// One setting of a bucket.
pub struct Setting {
    /// Its key in the document.
    pub key: &'static str,
    /// The sub-resource in the query.
    sub: &'static str,
    /// The root element; empty for JSON, which goes as it is.
    root: &'static str,
    /// Under which element a text or a list alone is put, and whether the setting is a list of several
    /// with ids.
    short: Short,
    /// What it looks like.
    pub shape: &'static str,
}

#[derive(Clone, Copy)]
enum Short {
    /// An object only.
    None,
    /// A text alone becomes this element.
    Text(&'static str),
    /// A list alone becomes this element, repeated.
    List(&'static str),
    /// An object of texts becomes tags.
    Tags,
    /// A text alone is the owner's choice in the only rule.
    Ownership,
    /// A text alone is a canned list.
    CannedAcl,
    /// A list of objects, each with an `Id`, each put by itself.
    WithIds,
}

const fn row(
    key: &'static str,
    sub: &'static str,
    root: &'static str,
    short: Short,
    shape: &'static str,
) -> Setting {
    Setting { key, sub, root, short, shape }
}

/// In the order in which they are applied.
pub static SETTINGS: &[Setting] = &[
    row(
        "ownership",
        "ownershipControls",
        "OwnershipControls",
        Short::Ownership,
        "a text such as BucketOwnerEnforced, or an object",
    ),
    row("publicAccessBlock", "publicAccessBlock", "PublicAccessBlockConfiguration", Short::None, "an object"),
    row(
        "versioning",
        "versioning",
        "VersioningConfiguration",
        Short::Text("Status"),
        "Enabled or Suspended, or an object",
    ),
    row("objectLockConfiguration", "object-lock", "ObjectLockConfiguration", Short::None, "an object"),
    row(
        "encryption",
        "encryption",
        "ServerSideEncryptionConfiguration",
        Short::List("Rule"),
        "a list of rules, or an object",
    ),
    row(
        "acl",
        "acl",
        "AccessControlPolicy",
        Short::CannedAcl,
        "a canned ACL, or an object with Owner and Grants",
    ),
    row("policy", "policy", "", Short::None, "a policy document"),
    row("cors", "cors", "CORSConfiguration", Short::List("CORSRule"), "a list of rules, or an object"),
    row(
        "lifecycle",
        "lifecycle",
        "LifecycleConfiguration",
        Short::List("Rule"),
        "a list of rules, or an object",
    ),
    row("tags", "tagging", "Tagging", Short::Tags, "an object of texts"),
    row("website", "website", "WebsiteConfiguration", Short::None, "an object"),
    row(
        "accelerate",
        "accelerate",
        "AccelerateConfiguration",
        Short::Text("Status"),
        "Enabled or Suspended, or an object",
    ),
    row(
        "requestPayment",
        "requestPayment",
        "RequestPaymentConfiguration",
        Short::Text("Payer"),
        "Requester or BucketOwner, or an object",
    ),
    row("analytics", "analytics", "AnalyticsConfiguration", Short::WithIds, "a list of objects with Id"),
    row(
        "intelligentTiering",
        "intelligent-tiering",
        "IntelligentTieringConfiguration",
        Short::WithIds,
        "a list of objects with Id",
    ),
    row("inventory", "inventory", "InventoryConfiguration", Short::WithIds, "a list of objects with Id"),
    row("metrics", "metrics", "MetricsConfiguration", Short::WithIds, "a list of objects with Id"),
];

/// Those that name other buckets or report what happens: applied when every bucket and object is there.
pub static LATE_SETTINGS: &[Setting] = &[
    row("logging", "logging", "BucketLoggingStatus", Short::None, "an object"),
    row("replication", "replication", "ReplicationConfiguration", Short::None, "an object"),
    row("notification", "notification", "NotificationConfiguration", Short::None, "an object"),
];

impl Setting {
    /// Puts the setting of a bucket.
    ///
    /// # Errors
    /// The place of the value, what S3 says of it, and the shape that is allowed.
    pub fn apply(&self, actor: &Actor<'_>, bucket: &str, given: &Given) -> Result<(), ConfigError> {
        let refused = |place: &Given, why: String| {
            ConfigError(format!("{}: {why}; allowed: {}", place.origin, self.shape))
        };
        if !matches!(self.short, Short::WithIds) {
            return self.put(actor, bucket, &given.value, "").map_err(|why| refused(given, why));
        }
        let items = given.value.as_array().ok_or_else(|| given.refuse(self.shape))?;
        for (index, item) in items.iter().enumerate() {
            let place = given.child(&format!("[{index}]"), item);
            let id = place.require("Id", "a text, not empty")?;
            let id = crate::codec::uri::encode(id.text("a text, not empty")?);
            self.put(actor, bucket, item, &id).map_err(|why| refused(&place, why))?;
        }
        Ok(())
    }

    fn put(&self, actor: &Actor<'_>, bucket: &str, value: &Value, id: &str) -> Result<(), String> {
        let path = format!("/{bucket}");
        let query = if id.is_empty() { self.sub.to_owned() } else { format!("{}&id={id}", self.sub) };
        let mut call = Call { query: &query, ..Call::new(Method::Put, &path) };
        match (self.short, value) {
            (Short::CannedAcl, Value::String(acl)) => {
                call.headers.push(("x-amz-acl".to_owned(), acl.clone()));
            }
            _ => call = call.with_body(self.body(value)?),
        }
        actor.expect(call).map(|_| ())
    }

    fn body(&self, value: &Value) -> Result<Vec<u8>, String> {
        match (self.short, value) {
            _ if self.root.is_empty() => Ok(value.to_string().into_bytes()),
            // Whoever has the XML already.
            (_, Value::String(text)) if text.trim_start().starts_with('<') => Ok(text.clone().into_bytes()),
            (Short::Text(element), Value::String(text)) => {
                xml::document(self.root, &json!({ element: text }))
            }
            (Short::Ownership, Value::String(text)) => {
                xml::document(self.root, &json!({ "Rule": { "ObjectOwnership": text } }))
            }
            (Short::List(element), Value::Array(items)) => {
                xml::document(self.root, &json!({ element: items }))
            }
            (Short::Tags, Value::Object(tags)) if !tags.contains_key("TagSet") => {
                let tags: Vec<Value> =
                    tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
                xml::document(self.root, &json!({ "TagSet": tags }))
            }
            (_, Value::Object(_)) => xml::document(self.root, value),
            _ => Err(format!("{value} is not allowed")),
        }
    }
}
