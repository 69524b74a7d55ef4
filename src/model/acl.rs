//! Access control lists: who was granted what on a bucket or an object.
//!
//! Source: S3 user guide, "Access control list (ACL) overview".

use serde::{Deserialize, Serialize};

/// What a grant allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Permission {
    /// List a bucket, read an object.
    Read,
    /// Create and delete objects in a bucket.
    Write,
    /// Read the ACL.
    ReadAcp,
    /// Write the ACL.
    WriteAcp,
    /// All of them.
    FullControl,
}

impl Permission {
    /// All permissions, in the order S3 documents them.
    pub const ALL: [Permission; 5] = [
        Permission::Read,
        Permission::Write,
        Permission::ReadAcp,
        Permission::WriteAcp,
        Permission::FullControl,
    ];

    /// The text of the `Permission` element.
    pub fn as_str(self) -> &'static str {
        match self {
            Permission::Read => "READ",
            Permission::Write => "WRITE",
            Permission::ReadAcp => "READ_ACP",
            Permission::WriteAcp => "WRITE_ACP",
            Permission::FullControl => "FULL_CONTROL",
        }
    }

    /// The request header that grants it.
    pub fn grant_header(self) -> &'static str {
        match self {
            Permission::Read => "x-amz-grant-read",
            Permission::Write => "x-amz-grant-write",
            Permission::ReadAcp => "x-amz-grant-read-acp",
            Permission::WriteAcp => "x-amz-grant-write-acp",
            Permission::FullControl => "x-amz-grant-full-control",
        }
    }

    /// Reads the text of the `Permission` element.
    pub fn parse(text: &str) -> Option<Permission> {
        Permission::ALL.into_iter().find(|permission| permission.as_str() == text)
    }

    /// Whether holding `self` includes `wanted`.
    pub fn covers(self, wanted: Permission) -> bool {
        self == wanted || self == Permission::FullControl
    }
}

/// A predefined group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Group {
    /// Everybody, signed or not.
    AllUsers,
    /// Everybody with an account.
    AuthenticatedUsers,
    /// The log delivery service.
    LogDelivery,
}

impl Group {
    /// All groups.
    pub const ALL: [Group; 3] = [Group::AllUsers, Group::AuthenticatedUsers, Group::LogDelivery];

    /// The URI that names it.
    pub fn uri(self) -> &'static str {
        match self {
            Group::AllUsers => "http://acs.amazonaws.com/groups/global/AllUsers",
            Group::AuthenticatedUsers => "http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
            Group::LogDelivery => "http://acs.amazonaws.com/groups/s3/LogDelivery",
        }
    }

    /// Reads the URI.
    pub fn parse(uri: &str) -> Option<Group> {
        Group::ALL.into_iter().find(|group| group.uri() == uri)
    }
}

/// Who a grant is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grantee {
    /// An account, by canonical id.
    Account(String),
    /// A group.
    Group(Group),
}

/// One entry of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Who.
    pub grantee: Grantee,
    /// What.
    pub permission: Permission,
}

/// The grants of a bucket or an object. Owners have their rights without a grant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Acl {
    /// In the order they were given.
    pub grants: Vec<Grant>,
}

/// A predefined list (`x-amz-acl`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CannedAcl {
    /// The owner alone.
    Private,
    /// Everybody reads.
    PublicRead,
    /// Everybody reads and writes.
    PublicReadWrite,
    /// Everybody with an account reads.
    AuthenticatedRead,
    /// Kept for completeness: like `private` here, as there is no EC2 to grant to.
    AwsExecRead,
    /// The bucket's owner reads (objects only).
    BucketOwnerRead,
    /// The bucket's owner controls (objects only).
    BucketOwnerFullControl,
    /// Log delivery writes (buckets only).
    LogDeliveryWrite,
}

impl CannedAcl {
    /// Reads the value of `x-amz-acl`.
    pub fn parse(text: &str) -> Option<CannedAcl> {
        Some(match text {
            "private" => CannedAcl::Private,
            "public-read" => CannedAcl::PublicRead,
            "public-read-write" => CannedAcl::PublicReadWrite,
            "authenticated-read" => CannedAcl::AuthenticatedRead,
            "aws-exec-read" => CannedAcl::AwsExecRead,
            "bucket-owner-read" => CannedAcl::BucketOwnerRead,
            "bucket-owner-full-control" => CannedAcl::BucketOwnerFullControl,
            "log-delivery-write" => CannedAcl::LogDeliveryWrite,
            _ => return None,
        })
    }

    /// The grants it stands for. `owner` owns the resource, `bucket_owner` the bucket it lies in.
    pub fn grants(self, owner: &str, bucket_owner: &str) -> Acl {
        let group = |group, permission| Grant { grantee: Grantee::Group(group), permission };
        let account = |id: &str, permission| Grant { grantee: Grantee::Account(id.to_owned()), permission };
        let mut grants = vec![account(owner, Permission::FullControl)];
        match self {
            CannedAcl::Private | CannedAcl::AwsExecRead => {}
            CannedAcl::PublicRead => grants.push(group(Group::AllUsers, Permission::Read)),
            CannedAcl::PublicReadWrite => {
                grants.push(group(Group::AllUsers, Permission::Read));
                grants.push(group(Group::AllUsers, Permission::Write));
            }
            CannedAcl::AuthenticatedRead => grants.push(group(Group::AuthenticatedUsers, Permission::Read)),
            CannedAcl::BucketOwnerRead if owner != bucket_owner => {
                grants.push(account(bucket_owner, Permission::Read));
            }
            CannedAcl::BucketOwnerFullControl if owner != bucket_owner => {
                grants.push(account(bucket_owner, Permission::FullControl));
            }
            CannedAcl::BucketOwnerRead | CannedAcl::BucketOwnerFullControl => {}
            CannedAcl::LogDeliveryWrite => {
                grants.push(group(Group::LogDelivery, Permission::Write));
                grants.push(group(Group::LogDelivery, Permission::ReadAcp));
            }
        }
        Acl { grants }
    }
}

impl Acl {
    /// The list of the owner alone.
    pub fn private(owner: &str) -> Acl {
        CannedAcl::Private.grants(owner, owner)
    }

    /// Whether the list grants `permission` to an account (`None`: anonymous).
    pub fn allows(&self, account: Option<&str>, permission: Permission) -> bool {
        self.grants.iter().filter(|grant| grant.permission.covers(permission)).any(|grant| {
            match &grant.grantee {
                Grantee::Account(id) => account == Some(id.as_str()),
                Grantee::Group(Group::AllUsers) => true,
                Grantee::Group(Group::AuthenticatedUsers) => account.is_some(),
                Grantee::Group(Group::LogDelivery) => false,
            }
        })
    }

    /// Whether the list grants `permission` to an account by its id, leaving groups aside.
    pub fn allows_by_id(&self, account: Option<&str>, permission: Permission) -> bool {
        self.grants
            .iter()
            .filter(|grant| grant.permission.covers(permission))
            .any(|grant| matches!(&grant.grantee, Grantee::Account(id) if account == Some(id.as_str())))
    }

    /// Whether anything is granted to everybody or to everybody with an account.
    pub fn is_public(&self) -> bool {
        self.grants.iter().any(|grant| {
            matches!(
                grant.grantee,
                Grantee::Group(Group::AllUsers) | Grantee::Group(Group::AuthenticatedUsers)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canned_lists_grant_what_they_say() {
        let cases: [(&str, Option<&str>, Permission, bool); 8] = [
            ("private", Some("other"), Permission::Read, false),
            ("private", Some("owner"), Permission::WriteAcp, true),
            ("public-read", None, Permission::Read, true),
            ("public-read", None, Permission::Write, false),
            ("public-read-write", None, Permission::Write, true),
            ("authenticated-read", None, Permission::Read, false),
            ("authenticated-read", Some("other"), Permission::Read, true),
            ("bucket-owner-full-control", Some("bucket"), Permission::WriteAcp, true),
        ];
        for (canned, account, permission, expected) in cases {
            let acl = CannedAcl::parse(canned).expect("known").grants("owner", "bucket");
            assert_eq!(acl.allows(account, permission), expected, "{canned} {account:?} {permission:?}");
        }
    }
}
