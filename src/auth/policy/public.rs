//! What makes a statement public.
//!
//! After "The meaning of public" in "Blocking public access to your Amazon S3 storage" (S3 User Guide): a
//! policy is public until it is shown not to be. A statement is not public when it grants only to fixed
//! principals, or only under a condition that pins one of a few keys to fixed values.

use super::condition::Condition;
use super::{Effect, Statement};

/// Keys that, pinned to values without wildcards or variables, keep the public out.
const PINNING_KEYS: [&str; 11] = [
    "aws:principalorgid",
    "aws:principalarn",
    "aws:principalaccount",
    "aws:sourcearn",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:sourceowner",
    "aws:sourceaccount",
    "aws:userid",
    "s3:dataaccesspointaccount",
    "s3:dataaccesspointarn",
];

impl Statement {
    pub(super) fn is_public(&self) -> bool {
        self.effect == Effect::Allow
            && (self.principals.negated || self.principals.items.everyone)
            && !self.conditions.iter().any(keeps_the_public_out)
    }
}

fn keeps_the_public_out(condition: &Condition) -> bool {
    match condition.key.as_str() {
        "aws:sourceip" => condition.pins_to_narrow_networks(),
        key => PINNING_KEYS.contains(&key) && condition.pins_to_fixed_values(),
    }
}
