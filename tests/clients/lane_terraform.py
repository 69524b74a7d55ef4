"""What Terraform does to a bucket: it is made with every sub-resource, every one is read back and compared with what
was asked for, all are changed, read back again, and taken away. An answer of 501, or one that differs from what was
put (a drift, which Terraform would want to put right at every run), is a failure."""

import json

import boto3
from botocore.client import Config
from botocore.exceptions import ClientError

import fixture as f
from fixture import BUCKET, same, step

S3 = boto3.client("s3", endpoint_url=f.ENDPOINT, region_name=f.REGION, aws_access_key_id=f.ACCESS_KEY,
                  aws_secret_access_key=f.SECRET_KEY,
                  config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}))
LOGS = f"{BUCKET}-logs"
LOCKED = f"{BUCKET}-locked"


def policy(effect):
    statement = {"Sid": "one", "Effect": effect, "Principal": "*", "Action": "s3:GetObject",
                 "Resource": f"arn:aws:s3:::{BUCKET}/*", "Condition": {"Bool": {"aws:SecureTransport": "true"}}}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def tags(value):
    return {"TagSet": [{"Key": "environment", "Value": value}]}


def rule(days):
    return {"Rules": [{"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "log/"}, "Expiration": {"Days": days},
                       "NoncurrentVersionExpiration": {"NoncurrentDays": days},
                       "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}}]}


def cors(seconds):
    return {"CORSRules": [{"ID": "web", "AllowedMethods": ["GET", "PUT"], "AllowedOrigins": ["https://example.com"],
                           "AllowedHeaders": ["*"], "ExposeHeaders": ["ETag"], "MaxAgeSeconds": seconds}]}


def encryption(algorithm):
    return {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": algorithm}, "BucketKeyEnabled": False}]}


def block(on):
    return {"BlockPublicAcls": on, "IgnorePublicAcls": on, "BlockPublicPolicy": on, "RestrictPublicBuckets": on}


def replication(prefix):
    return {"Role": "arn:aws:iam::123456789012:role/replicate", "Rules": [
        {"ID": "all", "Priority": 1, "Status": "Enabled", "Filter": {"Prefix": prefix},
         "DeleteMarkerReplication": {"Status": "Disabled"}, "Destination": {"Bucket": f"arn:aws:s3:::{LOGS}"}}]}


def website(suffix):
    return {"IndexDocument": {"Suffix": suffix}, "ErrorDocument": {"Key": "error.html"}}


def logging(prefix):
    return {"LoggingEnabled": {"TargetBucket": LOGS, "TargetPrefix": prefix}}


def metrics(prefix):
    return {"Id": "m", "Filter": {"Prefix": prefix}}


def analytics(prefix):
    return {"Id": "a", "Filter": {"Prefix": prefix}, "StorageClassAnalysis": {}}


def inventory(prefix):
    return {"Id": "i", "IsEnabled": True, "IncludedObjectVersions": "All", "Schedule": {"Frequency": "Daily"},
            "Filter": {"Prefix": prefix},
            "Destination": {"S3BucketDestination": {"Bucket": f"arn:aws:s3:::{LOGS}", "Format": "CSV"}}}


def tiering(days):
    return {"Id": "t", "Status": "Enabled", "Tierings": [{"AccessTier": "ARCHIVE_ACCESS", "Days": days}]}


def ownership(kind):
    return {"Rules": [{"ObjectOwnership": kind}]}


# The sub-resource in the names of boto3's methods, the parameter that has it, its identifying parameters, and two
# values; what is read back stands under the last name. Without a way to delete it, `after` takes it away.
SETTINGS = [
    ("bucket_ownership_controls", "OwnershipControls", {}, ownership("BucketOwnerPreferred"), ownership("ObjectWriter")),
    ("public_access_block", "PublicAccessBlockConfiguration", {}, block(False), block(True)),
    ("bucket_tagging", "Tagging", {}, tags("one"), tags("two")),
    ("bucket_cors", "CORSConfiguration", {}, cors(10), cors(20)),
    ("bucket_encryption", "ServerSideEncryptionConfiguration", {}, encryption("AES256"), encryption("aws:kms")),
    ("bucket_lifecycle_configuration", "LifecycleConfiguration", {}, rule(30), rule(60)),
    ("bucket_website", "WebsiteConfiguration", {}, website("index.html"), website("start.html")),
    ("bucket_policy", "Policy", {}, policy("Deny"), policy("Deny").replace("one", "two")),
    ("bucket_replication", "ReplicationConfiguration", {}, replication("a/"), replication("b/")),
    ("bucket_metrics_configuration", "MetricsConfiguration", {"Id": "m"}, metrics("a/"), metrics("b/")),
    ("bucket_analytics_configuration", "AnalyticsConfiguration", {"Id": "a"}, analytics("a/"), analytics("b/")),
    ("bucket_inventory_configuration", "InventoryConfiguration", {"Id": "i"}, inventory("a/"), inventory("b/")),
    ("bucket_intelligent_tiering_configuration", "IntelligentTieringConfiguration", {"Id": "t"}, tiering(90), tiering(180)),
]
# Those that cannot be deleted, with the value that stands for nothing.
LASTING = [
    ("bucket_logging", "BucketLoggingStatus", logging("a/"), logging("b/"), {}),
    ("bucket_request_payment", "RequestPaymentConfiguration", {"Payer": "Requester"}, {"Payer": "BucketOwner"},
     {"Payer": "BucketOwner"}),
    ("bucket_accelerate_configuration", "AccelerateConfiguration", {"Status": "Enabled"}, {"Status": "Suspended"},
     {"Status": "Suspended"}),
    ("bucket_notification_configuration", "NotificationConfiguration", {}, {}, {}),
]
# Where the answer has the whole setting as its members, instead of one member of the request's name.
MEMBERS = {"bucket_tagging", "bucket_cors", "bucket_lifecycle_configuration", "bucket_website", "bucket_logging",
           "bucket_request_payment", "bucket_accelerate_configuration", "bucket_notification_configuration"}
# Every bucket is read for these, whether or not they were ever set.
READ_ALWAYS = ["acl", "location", "versioning", "logging", "request_payment", "accelerate_configuration",
               "notification_configuration"]
DELETES = {"bucket_lifecycle_configuration": "bucket_lifecycle"}


def read(name, parameter, identity):
    answer = getattr(S3, f"get_{name}")(Bucket=BUCKET, **identity)
    answer.pop("ResponseMetadata")
    answer.pop("TransitionDefaultMinimumObjectSize", None)
    if name in MEMBERS:
        return answer
    return answer[parameter]


def applied(name, parameter, identity, value):
    getattr(S3, f"put_{name}")(Bucket=BUCKET, **identity, **{parameter: value})
    for _ in range(2):
        found = read(name, parameter, identity)
        if name == "bucket_policy":
            found, value = json.loads(found), json.loads(value) if isinstance(value, str) else value
        same(name, found, value)


def gone(name, parameter, identity):
    try:
        read(name, parameter, identity)
    except ClientError as error:
        same(f"{name} after its deletion", error.response["ResponseMetadata"]["HTTPStatusCode"], 404)
    else:
        raise f.Failure(f"{name}: still there after its deletion")


def main():
    with step("buckets are made"):
        for bucket in (BUCKET, LOGS):
            S3.create_bucket(Bucket=bucket)
        S3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        same("versioning", S3.get_bucket_versioning(Bucket=BUCKET)["Status"], "Enabled")
        S3.put_bucket_versioning(Bucket=LOGS, VersioningConfiguration={"Status": "Enabled"})
    with step("what every bucket has can be read"):
        for name in READ_ALWAYS:
            getattr(S3, f"get_bucket_{name}")(Bucket=BUCKET)
    for name, parameter, identity, first, second in SETTINGS:
        with step(f"{name}: absent, put, read, changed, read"):
            gone(name, parameter, identity)
            applied(name, parameter, identity, first)
            applied(name, parameter, identity, second)
    for name, parameter, first, second, _ in LASTING:
        with step(f"{name}: put, read, changed, read"):
            applied(name, parameter, {}, first)
            applied(name, parameter, {}, second)
    with step("everything together is still what it was"):
        for name, parameter, identity, _, value in SETTINGS:
            found = read(name, parameter, identity)
            same(name, json.loads(found) if name == "bucket_policy" else found,
                 json.loads(value) if name == "bucket_policy" else value)
    with step("an object lock is kept"):
        S3.create_bucket(Bucket=LOCKED, ObjectLockEnabledForBucket=True)
        lock = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}
        S3.put_object_lock_configuration(Bucket=LOCKED, ObjectLockConfiguration=lock)
        same("lock", S3.get_object_lock_configuration(Bucket=LOCKED)["ObjectLockConfiguration"], lock)
    with step("everything is taken away"):
        for name, parameter, _, _, nothing in LASTING:
            getattr(S3, f"put_{name}")(Bucket=BUCKET, **{parameter: nothing})
        for name, parameter, identity, _, _ in reversed(SETTINGS):
            getattr(S3, f"delete_{DELETES.get(name, name)}")(Bucket=BUCKET, **identity)
            gone(name, parameter, identity)
        for bucket in (BUCKET, LOGS, LOCKED):
            S3.delete_bucket(Bucket=bucket)


if __name__ == "__main__":
    main()
