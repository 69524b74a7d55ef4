"""boto3, the widest lane: signatures V4 and V2, checksums, conditions, versions, both addressing styles, errors."""

import base64
import binascii
import hashlib
import io
import socket
import urllib.error
from concurrent.futures import ThreadPoolExecutor

import awscrt.checksums
import boto3
from boto3.s3.transfer import TransferConfig
from botocore.client import Config
from botocore.exceptions import ClientError

import fixture as f
from fixture import BUCKET, WORK, same, step

# The smallest part that S3 accepts before the last one: 5 MiB.
PART_MIN = 5 * 1024 * 1024


def client(endpoint=f.ENDPOINT, secret=f.SECRET_KEY, access=f.ACCESS_KEY, **options):
    style = options.pop("addressing_style", "path")
    # No second attempts: what a retry would hide is a failure.
    config = Config(s3={"addressing_style": style}, retries={"total_max_attempts": 1}, max_pool_connections=16,
                    read_timeout=60, **options)
    return boto3.client("s3", endpoint_url=endpoint, region_name=f.REGION, aws_access_key_id=access,
                        aws_secret_access_key=secret, config=config)


S3 = client()


def put(key, data, s3=S3, **options):
    return s3.put_object(Bucket=BUCKET, Key=key, Body=data, **options)


def get(key, s3=S3, **options):
    return s3.get_object(Bucket=BUCKET, Key=key, **options)["Body"].read()


def head(key, **options):
    return S3.head_object(Bucket=BUCKET, Key=key, **options)


def listed(operation="list_objects_v2", s3=S3, bucket=BUCKET, **options):
    pages = s3.get_paginator(operation).paginate(Bucket=bucket, **options)
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


def refused(code, status, call, **options):
    """The call fails with this S3 error code (or, for HEAD, its bare status) and HTTP status."""
    try:
        call(**options)
    except ClientError as error:
        answer = error.response
        same(f"{call.__name__}: error", (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]),
             (code, status))
        return answer
    raise f.Failure(f"{call.__name__}: no {code}")


def upload(key, parts, s3=S3, **options):
    """A multipart upload by hand. Returns the answer of its completion."""
    checksum = {k: v for k, v in options.items() if k == "ChecksumAlgorithm"}
    upload_id = s3.create_multipart_upload(Bucket=BUCKET, Key=key, **options)["UploadId"]
    done = []
    for number, part in enumerate(parts, 1):
        answer = s3.upload_part(Bucket=BUCKET, Key=key, UploadId=upload_id, PartNumber=number, Body=part, **checksum)
        # Parts may be named with checksums only where the upload was begun with an algorithm.
        sums = {k: v for k, v in answer.items() if checksum and k.startswith("Checksum")}
        done.append({"PartNumber": number, "ETag": answer["ETag"]} | sums)
    return s3.complete_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload_id, MultipartUpload={"Parts": done})


def main():
    with step("make a bucket"):
        S3.create_bucket(Bucket=BUCKET)
        S3.head_bucket(Bucket=BUCKET)
        assert BUCKET in [b["Name"] for b in S3.list_buckets()["Buckets"]]
    odd_keys()
    metadata()
    large_object()
    ranges()
    copies()
    long_listing()
    signature_version_2()
    presigned_urls()
    checksums()
    multipart_checksums()
    checksum_modes()
    conditions()
    addressing_styles()
    versions()
    errors()
    deletes()


def odd_keys():
    with step("odd keys"):
        for key, data in f.API_KEYS.items():
            etag = put(key, data)["ETag"]
            same(f"ETag of {key!r}", etag, f'"{hashlib.md5(data).hexdigest()}"')
            same(repr(key), get(key), data)
        want = sorted(f.API_KEYS, key=str.encode)
        same("listed", listed(), want)
        same("listed by version 1", listed("list_objects"), want)
        same("listed in pages of 3", listed(PaginationConfig={"PageSize": 3}), want)
    with step("delimiters"):
        page = S3.list_objects_v2(Bucket=BUCKET, Delimiter="/")
        same("prefixes", [p["Prefix"] for p in page["CommonPrefixes"]],
             sorted({k.split("/")[0] + "/" for k in want if "/" in k}, key=str.encode))
        same("keys", [o["Key"] for o in page["Contents"]], [k for k in want if "/" not in k])
        page = S3.list_objects_v2(Bucket=BUCKET, Prefix="deep/", Delimiter="/")
        same("under a prefix", [p["Prefix"] for p in page["CommonPrefixes"]], ["deep/er/"])


def metadata():
    with step("metadata round trip"):
        given = {"ContentType": "text/x-lane; charset=utf-8", "CacheControl": "max-age=60",
                 "ContentDisposition": 'attachment; filename="a b.txt"', "ContentLanguage": "de",
                 "ContentEncoding": "identity", "Metadata": {"colour": "blue", "empty": "", "spaced": "a  b"}}
        put("metadata", b"x", **given)
        for answer in (head("metadata"), S3.get_object(Bucket=BUCKET, Key="metadata")):
            same("metadata", {k: answer[k] for k in given}, given)
        answer = S3.get_object(Bucket=BUCKET, Key="metadata", ResponseContentType="text/other")
        same("override", answer["ContentType"], "text/other")
    with step("tags"):
        tags = [{"Key": "a key", "Value": "a value+"}, {"Key": "empty", "Value": ""}]
        S3.put_object_tagging(Bucket=BUCKET, Key="metadata", Tagging={"TagSet": tags})
        same("tags", S3.get_object_tagging(Bucket=BUCKET, Key="metadata")["TagSet"], tags)
        S3.delete_object_tagging(Bucket=BUCKET, Key="metadata")
        same("tags", S3.get_object_tagging(Bucket=BUCKET, Key="metadata")["TagSet"], [])


def large_object():
    big = f.big_bytes()
    with step("multipart upload and download"):
        config = TransferConfig(multipart_threshold=f.PART_BYTES, multipart_chunksize=f.PART_BYTES, max_concurrency=4)
        S3.upload_fileobj(io.BytesIO(big), BUCKET, "big", Config=config, ExtraArgs={"Metadata": {"colour": "blue"}})
        S3.download_file(BUCKET, "big", str(WORK / "big"), Config=config)
        same("SHA-256", f.sha256_of_file(WORK / "big"), f.sha256(big))
        digests = b"".join(hashlib.md5(big[i:i + f.PART_BYTES]).digest() for i in range(0, len(big), f.PART_BYTES))
        parts = -(-f.BIG_BYTES // f.PART_BYTES)
        same("ETag", head("big")["ETag"], f'"{hashlib.md5(digests).hexdigest()}-{parts}"')
        same("metadata", head("big")["Metadata"], {"colour": "blue"})
    with step("one part of a finished upload"):
        answer = S3.get_object(Bucket=BUCKET, Key="big", PartNumber=2)
        same("parts", answer["PartsCount"], parts)
        same("part", answer["Body"].read(), big[f.PART_BYTES:2 * f.PART_BYTES])
    with step("the same bytes in one PUT"):
        put("big-at-once", big)
        same("SHA-256", f.sha256(get("big-at-once")), f.sha256(big))


def ranges():
    big = f.big_bytes()
    with step("ranged get"):
        border = f.PART_BYTES
        for given, want in [("0-0", big[:1]), (f"{border - 3}-{border + 3}", big[border - 3:border + 4]),
                            ("-5", big[-5:]), (f"{f.BIG_BYTES - 1}-", big[-1:]),
                            (f"{f.BIG_BYTES - 2}-{f.BIG_BYTES + 999}", big[-2:])]:
            answer = S3.get_object(Bucket=BUCKET, Key="big", Range=f"bytes={given}")
            same(given, answer["Body"].read(), want)
            same("status", answer["ResponseMetadata"]["HTTPStatusCode"], 206)
        refused("InvalidRange", 416, S3.get_object, Bucket=BUCKET, Key="big", Range=f"bytes={f.BIG_BYTES}-")


def copies():
    with step("copies, with and without new metadata"):
        source = {"Bucket": BUCKET, "Key": "metadata"}
        S3.copy_object(Bucket=BUCKET, Key="copy + of", CopySource=source)
        same("kept", head("copy + of")["Metadata"]["colour"], "blue")
        S3.copy_object(Bucket=BUCKET, Key="copy + of", CopySource=source, MetadataDirective="REPLACE",
                       Metadata={"colour": "red"})
        same("replaced", head("copy + of")["Metadata"], {"colour": "red"})
        odd = "unicod\u00e9-\u6f22\u5b57-\U0001f600.txt"
        S3.copy_object(Bucket=BUCKET, Key=odd + "2", CopySource={"Bucket": BUCKET, "Key": odd})
        same("odd source", get(odd + "2"), b"unicode")
        refused("InvalidRequest", 400, S3.copy_object, Bucket=BUCKET, Key="metadata", CopySource=source)
    with step("multipart copy"):
        config = TransferConfig(multipart_threshold=f.PART_BYTES, multipart_chunksize=16 * 1024 * 1024)
        S3.copy({"Bucket": BUCKET, "Key": "big"}, BUCKET, "big-copy", Config=config)
        same("SHA-256", f.sha256(get("big-copy")), f.sha256(f.big_bytes()))
        assert head("big-copy")["ETag"].endswith('-5"'), head("big-copy")["ETag"]


def long_listing():
    tree = f.many()
    with step(f"{f.MANY_KEYS} objects go up, are listed and come back"), ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda item: put(f"many/{item[0]}", item[1]), tree.items()))
        want = [f"many/{k}" for k in tree]
        same("version 2", listed(Prefix="many/"), want)
        same("version 1", listed("list_objects", Prefix="many/"), want)
        first = S3.list_objects_v2(Bucket=BUCKET, Prefix="many/")
        same("first page", (first["KeyCount"], first["MaxKeys"], first["IsTruncated"]), (1000, 1000, True))
        same("start after", listed(Prefix="many/", StartAfter=want[600]), want[601:])
        same("contents", list(threads.map(get, want)), list(tree.values()))


def signature_version_2():
    old = client(signature_version="s3")
    with step("signature version 2 in the header"):
        data = f.random_bytes(100_000, salt=5)
        put("v2/with space+plus", data, s3=old, Metadata={"colour": "blue"}, ContentType="text/x-lane")
        same("content", get("v2/with space+plus", s3=old), data)
        same("sub-resource", old.get_object_tagging(Bucket=BUCKET, Key="v2/with space+plus")["TagSet"], [])
        same("override", old.get_object(Bucket=BUCKET, Key="v2/with space+plus",
                                        ResponseContentType="text/other")["ContentType"], "text/other")
        same("listed", listed(s3=old, Prefix="v2/"), ["v2/with space+plus"])
        upload("v2/parts", [bytes(PART_MIN), b"end"], s3=old)
        same("parts", get("v2/parts", s3=old), bytes(PART_MIN) + b"end")
        refused("SignatureDoesNotMatch", 403, client(signature_version="s3", secret="wrong").list_objects_v2,
                Bucket=BUCKET)


def presigned_urls():
    for version in ("s3v4", "s3"):
        with step(f"presigned get and put, signature version {version}"):
            s3 = client(signature_version=version)
            key = f"signed/{version} + put"
            target = {"Bucket": BUCKET, "Key": key}
            f.fetch(s3.generate_presigned_url("put_object", target), "PUT", b"put by URL", {"Content-Type": ""})
            url = s3.generate_presigned_url("get_object", target, ExpiresIn=60)
            same("content", f.fetch(url), b"put by URL")
            same("method", status_of(url, "DELETE"), 403)
            same("other key", status_of(url.replace("signed/", "signe/", 1)), 403)
            same("no signature", status_of(url.split("?")[0]), 403)
            url = s3.generate_presigned_url("list_objects_v2", {"Bucket": BUCKET, "Prefix": "signed/"})
            assert b"<Key>signed/" in f.fetch(url)


def status_of(url, method="GET"):
    try:
        f.fetch(url, method)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    return 200


def encoded(number, length):
    return base64.b64encode(number.to_bytes(length, "big")).decode()


# The checksum algorithms, each by an implementation that is not the server's.
ALGORITHMS = {
    "CRC32": lambda data: encoded(binascii.crc32(data), 4),
    "CRC32C": lambda data: encoded(awscrt.checksums.crc32c(data), 4),
    "CRC64NVME": lambda data: encoded(awscrt.checksums.crc64nvme(data), 8),
    "SHA1": lambda data: base64.b64encode(hashlib.sha1(data).digest()).decode(),
    "SHA256": lambda data: base64.b64encode(hashlib.sha256(data).digest()).decode(),
}


def checksums():
    data = f.random_bytes(300_001, salt=6)
    for name, checksum in ALGORITHMS.items():
        with step(f"checksum {name}"):
            key, field = f"checksum/{name}", f"Checksum{name}"
            same("put", put(key, data, ChecksumAlgorithm=name)[field], checksum(data))
            answer = S3.get_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
            same("get", (answer[field], answer["ChecksumType"]), (checksum(data), "FULL_OBJECT"))
            same("content", answer["Body"].read(), data)
            assert field not in S3.head_object(Bucket=BUCKET, Key=key), "sent without being asked for"
            attributes = S3.get_object_attributes(Bucket=BUCKET, Key=key, ObjectAttributes=["Checksum", "ObjectSize"])
            same("attributes", (attributes["Checksum"][field], attributes["ObjectSize"]), (checksum(data), len(data)))
            refused("BadDigest", 400, S3.put_object, Bucket=BUCKET, Key=key, Body=data, **{field: checksum(b"other")})
            same("refused and kept", get(key), data)
    with step("Content-MD5"):
        put("md5", data, ContentMD5=base64.b64encode(hashlib.md5(data).digest()).decode())
        refused("BadDigest", 400, S3.put_object, Bucket=BUCKET, Key="md5", Body=data,
                ContentMD5=base64.b64encode(hashlib.md5(b"other").digest()).decode())
        refused("InvalidDigest", 400, S3.put_object, Bucket=BUCKET, Key="md5", Body=data, ContentMD5="short")


def multipart_checksums():
    parts = [f.random_bytes(PART_MIN, salt=7), f.random_bytes(1001, salt=8)]
    whole = b"".join(parts)
    for name, checksum in ALGORITHMS.items():
        with step(f"multipart checksum {name}"):
            full = name in ("CRC32", "CRC32C", "CRC64NVME")
            composite = checksum(b"".join(base64.b64decode(checksum(p)) for p in parts)) + "-2"
            kinds = {"FULL_OBJECT": checksum(whole)} if full else {}
            kinds |= {"COMPOSITE": composite} if name != "CRC64NVME" else {}
            for kind, want in kinds.items():
                key, field = f"checksum/{name}-{kind}", f"Checksum{name}"
                answer = upload(key, parts, ChecksumAlgorithm=name, ChecksumType=kind)
                same("complete", (answer[field], answer["ChecksumType"]), (want, kind))
                answer = head(key, ChecksumMode="ENABLED")
                same("head", (answer[field], answer["ChecksumType"]), (want, kind))
                same("content", get(key), whole)


def checksum_modes():
    data = f.random_bytes(200_000, salt=9)
    for mode in ("when_supported", "when_required"):
        with step(f"request_checksum_calculation={mode}"):
            s3 = client(request_checksum_calculation=mode, response_checksum_validation=mode)
            answer = put(f"mode/{mode}", data, s3=s3)
            # AWS adds CRC64NVME where the client sends nothing.
            field = "ChecksumCRC32" if mode == "when_supported" else "ChecksumCRC64NVME"
            assert field in answer, answer
            same("content", get(f"mode/{mode}", s3=s3), data)
            s3.upload_fileobj(io.BytesIO(bytes(2 * PART_MIN)), BUCKET, f"mode/{mode}-parts",
                              Config=TransferConfig(multipart_threshold=PART_MIN, multipart_chunksize=PART_MIN))
            same("parts", get(f"mode/{mode}-parts", s3=s3), bytes(2 * PART_MIN))
            s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": f"mode/{mode}-parts"}]})


def conditions():
    with step("conditional reads"):
        etag, modified = head("small.txt")["ETag"], head("small.txt")["LastModified"]
        target = {"Bucket": BUCKET, "Key": "small.txt"}
        S3.get_object(**target, IfMatch=etag)
        refused("PreconditionFailed", 412, S3.get_object, **target, IfMatch='"other"')
        refused("304", 304, S3.get_object, **target, IfNoneMatch=etag)
        refused("304", 304, S3.head_object, **target, IfModifiedSince=modified)
        refused("PreconditionFailed", 412, S3.get_object, **target, IfUnmodifiedSince=modified.replace(year=2001))
    with step("conditional writes"):
        target = {"Bucket": BUCKET, "Key": "once"}
        first = S3.put_object(**target, Body=b"first", IfNoneMatch="*")["ETag"]
        refused("PreconditionFailed", 412, S3.put_object, **target, Body=b"second", IfNoneMatch="*")
        refused("PreconditionFailed", 412, S3.put_object, **target, Body=b"second", IfMatch='"other"')
        same("kept", get("once"), b"first")
        second = S3.put_object(**target, Body=b"second", IfMatch=first)["ETag"]
        refused("NoSuchKey", 404, S3.put_object, Bucket=BUCKET, Key="absent", Body=b"", IfMatch=first)
        refused("PreconditionFailed", 412, S3.delete_object, **target, IfMatch=first)
        S3.delete_object(**target, IfMatch=second)
    with step("of writers that race for a new key one wins"), ThreadPoolExecutor(8) as threads:
        wins = list(threads.map(lambda i: wins_race(f"race-{i // 8}"), range(80)))
        same("winners", sum(wins), 10)
    with step("conditional completion"):
        target = {"Bucket": BUCKET, "Key": "small.txt"}
        upload_id = S3.create_multipart_upload(**target)["UploadId"]
        part = S3.upload_part(**target, UploadId=upload_id, PartNumber=1, Body=b"x")["ETag"]
        parts = {"Parts": [{"PartNumber": 1, "ETag": part}]}
        refused("PreconditionFailed", 412, S3.complete_multipart_upload, **target, UploadId=upload_id,
                MultipartUpload=parts, IfNoneMatch="*")
        S3.abort_multipart_upload(**target, UploadId=upload_id)
        same("kept", get("small.txt"), f.FILE_KEYS["small.txt"])
    with step("conditional copy"):
        source = {"Bucket": BUCKET, "Key": "small.txt"}
        S3.copy_object(Bucket=BUCKET, Key="small-copy", CopySource=source, CopySourceIfMatch=etag)
        refused("PreconditionFailed", 412, S3.copy_object, Bucket=BUCKET, Key="small-copy", CopySource=source,
                CopySourceIfNoneMatch=etag)


def wins_race(key):
    try:
        put(key, b"racer", IfNoneMatch="*")
        return True
    except ClientError as error:
        # 409 is S3's answer to a write that lost while another one was going on.
        assert error.response["Error"]["Code"] in ("PreconditionFailed", "ConditionalRequestConflict"), error
        return False


def addressing_styles():
    """Virtual-hosted style through names under localhost, which not every resolver knows."""
    resolve = socket.getaddrinfo

    def resolve_localhost(host, *rest, **options):
        name = host.decode() if isinstance(host, bytes) else host
        return resolve("127.0.0.1" if str(name).endswith("localhost") else host, *rest, **options)

    socket.getaddrinfo = resolve_localhost
    try:
        for style in ("path", "virtual"):
            for version in ("s3v4", "s3"):
                with step(f"addressing style {style}, signature version {version}"):
                    s3 = client(f"http://localhost:{f.PORT}", addressing_style=style, signature_version=version)
                    key = f"style/{style}/{version}/+"
                    put(key, b"style", s3=s3)
                    same("content", get(key, s3=s3), b"style")
                    same("listed", listed(s3=s3, Prefix=key), [key])
                    url = s3.generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": key})
                    assert (f"//{BUCKET}.localhost" in url) == (style == "virtual"), url
                    same("presigned", f.fetch(url), b"style")
    finally:
        socket.getaddrinfo = resolve


def versions():
    bucket = f"{BUCKET}-versions"
    with step("versions"):
        S3.create_bucket(Bucket=bucket)
        target = {"Bucket": bucket, "Key": "v"}
        S3.put_object(**target, Body=b"null")
        S3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        ids = [S3.put_object(**target, Body=str(i).encode())["VersionId"] for i in range(3)]
        marker = S3.delete_object(**target)
        assert marker["DeleteMarker"]
        refused("NoSuchKey", 404, S3.get_object, **target)
        same("old", S3.get_object(**target, VersionId=ids[0])["Body"].read(), b"0")
        same("null", S3.get_object(**target, VersionId="null")["Body"].read(), b"null")
        page = S3.list_object_versions(Bucket=bucket)
        same("order", [v["VersionId"] for v in page["Versions"]], [*reversed(ids), "null"])
        same("marker", [m["IsLatest"] for m in page["DeleteMarkers"]], [True])
        S3.delete_object(**target, VersionId=marker["VersionId"])
        same("undeleted", S3.get_object(**target)["Body"].read(), b"2")
        refused("NoSuchVersion", 404, S3.get_object, **target, VersionId=marker["VersionId"])
        refused("BucketNotEmpty", 409, S3.delete_bucket, Bucket=bucket)
        doomed = [{"Key": "v", "VersionId": v} for v in [*ids, "null"]]
        same("deleted", len(S3.delete_objects(Bucket=bucket, Delete={"Objects": doomed})["Deleted"]), 4)
        S3.delete_bucket(Bucket=bucket)


def errors():
    with step("errors of objects and buckets"):
        refused("NoSuchKey", 404, S3.get_object, Bucket=BUCKET, Key="absent")
        refused("404", 404, S3.head_object, Bucket=BUCKET, Key="absent")
        refused("NoSuchBucket", 404, S3.list_objects_v2, Bucket=f"{BUCKET}-absent")
        refused("404", 404, S3.head_bucket, Bucket=f"{BUCKET}-absent")
        refused("NoSuchBucket", 404, S3.put_object, Bucket=f"{BUCKET}-absent", Key="k", Body=b"")
        refused("BucketNotEmpty", 409, S3.delete_bucket, Bucket=BUCKET)
        refused("KeyTooLongError", 400, S3.put_object, Bucket=BUCKET, Key="k" * 1025, Body=b"")
        refused("NoSuchTagSet", 404, S3.get_bucket_tagging, Bucket=BUCKET)
        refused("NoSuchBucketPolicy", 404, S3.get_bucket_policy, Bucket=BUCKET)
        refused("NoSuchCORSConfiguration", 404, S3.get_bucket_cors, Bucket=BUCKET)
        refused("NoSuchLifecycleConfiguration", 404, S3.get_bucket_lifecycle_configuration, Bucket=BUCKET)
    with step("errors of identity"):
        refused("SignatureDoesNotMatch", 403, client(secret="wrong").list_objects_v2, Bucket=BUCKET)
        refused("InvalidAccessKeyId", 403, client(access="nobody").list_objects_v2, Bucket=BUCKET)
        answer = refused("AccessDenied", 403, client(access="accessKey2", secret="verySecretKey2").list_objects_v2,
                         Bucket=BUCKET) \
            if other_account() else None
        assert answer is None or answer["ResponseMetadata"]["RequestId"]
    with step("errors of multipart uploads"):
        target = {"Bucket": BUCKET, "Key": "parts"}
        refused("NoSuchUpload", 404, S3.upload_part, **target, UploadId="absent", PartNumber=1, Body=b"")
        refused("NoSuchUpload", 404, S3.abort_multipart_upload, **target, UploadId="absent")
        upload_id = S3.create_multipart_upload(**target)["UploadId"]
        target["UploadId"] = upload_id
        etags = [S3.upload_part(**target, PartNumber=n, Body=b"small")["ETag"] for n in (1, 2)]

        def complete(*parts):
            given = [{"PartNumber": n, "ETag": etag} for n, etag in parts]
            return S3.complete_multipart_upload(**target, MultipartUpload={"Parts": given})

        refused("InvalidArgument", 400, S3.upload_part, **target, PartNumber=10_001, Body=b"")
        refused("EntityTooSmall", 400, lambda: complete((1, etags[0]), (2, etags[1])))
        refused("InvalidPart", 400, lambda: complete((3, etags[1])))
        refused("InvalidPartOrder", 400, lambda: complete((2, etags[1]), (1, etags[0])))
        uploads = S3.list_multipart_uploads(Bucket=BUCKET)["Uploads"]
        same("uploads", [u["UploadId"] for u in uploads], [upload_id])
        same("parts", [(p["PartNumber"], p["Size"]) for p in S3.list_parts(**target)["Parts"]], [(1, 5), (2, 5)])
        S3.abort_multipart_upload(**target)
        refused("NoSuchUpload", 404, S3.list_parts, **target)


def other_account():
    """Whether the server has the second account of the default configuration."""
    try:
        client(access="accessKey2", secret="verySecretKey2").list_buckets()
        return True
    except ClientError:
        return False


def deletes():
    with step("delete one, many, and the bucket"):
        S3.delete_object(Bucket=BUCKET, Key="big")
        S3.delete_object(Bucket=BUCKET, Key="big")
        keys = listed()
        assert "big" not in keys
        for start in range(0, len(keys), 1000):
            doomed = [{"Key": key} for key in keys[start:start + 1000]]
            answer = S3.delete_objects(Bucket=BUCKET, Delete={"Objects": doomed})
            same("errors", answer.get("Errors", []), [])
            same("deleted", {d["Key"] for d in answer["Deleted"]}, {d["Key"] for d in doomed})
        same("rest", listed(), [])
        S3.delete_bucket(Bucket=BUCKET)
        assert BUCKET not in [b["Name"] for b in S3.list_buckets()["Buckets"]]


if __name__ == "__main__":
    main()
