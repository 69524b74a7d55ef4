//! The settings of a bucket that decide who may do what in it, besides its list of grants and its
//! policy.
//!
//! Sources: S3 user guide, "Controlling ownership of objects and disabling ACLs for your bucket",
//! "Blocking public access to your Amazon S3 storage", "Using Requester Pays general purpose buckets".

use serde::{Deserialize, Serialize};

/// Who owns what others write into a bucket, and whether access control lists count in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ObjectOwnership {
    /// The bucket's owner owns everything in it, and lists neither count nor can be set.
    BucketOwnerEnforced,
    /// The bucket's owner owns what is written with the canned list `bucket-owner-full-control`.
    BucketOwnerPreferred,
    /// Who writes an object owns it. What buckets do that were never told otherwise.
    ObjectWriter,
}

impl ObjectOwnership {
    /// All settings.
    pub const ALL: [ObjectOwnership; 3] = [
        ObjectOwnership::BucketOwnerEnforced,
        ObjectOwnership::BucketOwnerPreferred,
        ObjectOwnership::ObjectWriter,
    ];

    /// The text of the `ObjectOwnership` element and of the header `x-amz-object-ownership`.
    pub fn as_str(self) -> &'static str {
        match self {
            ObjectOwnership::BucketOwnerEnforced => "BucketOwnerEnforced",
            ObjectOwnership::BucketOwnerPreferred => "BucketOwnerPreferred",
            ObjectOwnership::ObjectWriter => "ObjectWriter",
        }
    }

    /// Reads that text.
    pub fn parse(text: &str) -> Option<ObjectOwnership> {
        ObjectOwnership::ALL.into_iter().find(|ownership| ownership.as_str() == text)
    }
}

/// What public access a bucket refuses, whatever its lists and its policy say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicAccessBlock {
    /// Refuse requests that would set a public list.
    pub block_public_acls: bool,
    /// Take public grants as if they were not there.
    pub ignore_public_acls: bool,
    /// Refuse a policy that is public.
    pub block_public_policy: bool,
    /// While the policy is public, let in nobody but the owner's account.
    pub restrict_public_buckets: bool,
}
