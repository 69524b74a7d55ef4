"""rclone as another S3 store: s3pail in front of it as a location of type aws_s3, used with boto3.

What arrives in the other store is read where it keeps it, in files. It takes each part of an upload only once, so
what becomes of parts that are uploaded again is tested with a second s3pail (tests/it/s3_drafts.rs). It checks
signatures, so a location with a wrong secret is refused."""

import json
import os
import time

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.client import Config
from botocore.exceptions import ClientError

import fixture as f
from fixture import BUCKET, WORK, same, step
from server import Companion, Server, free_port

REMOTE_KEYS = ("remoteAccessKey", "remoteSecretKey")
DEADLINE_S = 20
PART = 5 * 1024 * 1024
STORE = WORK / "store"
REMOTE = STORE / "remote"


def start_rclone(port):
    REMOTE.mkdir(parents=True, exist_ok=True)
    words = [f.BIN / "rclone", "serve", "s3", "--config", os.devnull, "--cache-dir", WORK / "cache", "--auth-key",
             ",".join(REMOTE_KEYS), "--addr", f"127.0.0.1:{port}", "--vfs-cache-mode", "off", STORE]
    return Companion(words, port, WORK / "rclone", {"HOME": str(WORK)})


def locations(port):
    def upstream(**details):
        return {"type": "aws_s3", "legacyAwsBehavior": False, "details": {
            "awsEndpoint": f"127.0.0.1:{port}", "https": False, "pathStyle": True, "bucketName": "remote",
            "credentialsProfile": "far", **details}}
    wrong = {"accessKey": REMOTE_KEYS[0], "secretKey": "wrong"}
    return {
        "us-east-1": upstream(),
        "local": {"type": "mem", "legacyAwsBehavior": False, "details": {}},
        "match": upstream(bucketMatch=True),
        "wrong": upstream(credentialsProfile="unused", credentials=wrong),
        "missing": upstream(bucketName="no-such-bucket"),
    }


def main():
    port = free_port()
    (WORK / "locations.json").write_text(json.dumps(locations(port)))
    (WORK / "credentials").write_text(
        "[default]\naws_access_key_id = nobody\naws_secret_access_key = nothing\n\n"
        f"[far]\naws_access_key_id = {REMOTE_KEYS[0]}\naws_secret_access_key = {REMOTE_KEYS[1]}\n")
    rclone = start_rclone(port)
    server = Server(os.environ["LANE_BINARY"], os.environ["LANE_BACKEND"], WORK / "server", "--data", "multiple",
                    "--location-file", WORK / "locations.json",
                    variables={"AWS_SHARED_CREDENTIALS_FILE": str(WORK / "credentials")})
    try:
        s3 = client(server)
        s3.create_bucket(Bucket=BUCKET)
        objects(s3)
        parts(s3)
        copies(s3)
        deletes(s3)
        refusals(s3, server)
        rclone.kill()
        away(s3, server)
        rclone = start_rclone(port)
        with step("what was stored is there again"):
            same("kept", read(s3, "kept"), f.random_bytes(300_000, salt=7))
    finally:
        wrong = server.stop()
        rclone.kill()
    same("the end of the server", wrong, None)


def stored():
    """What lies in the other store: path in its bucket to content."""
    while True:
        try:
            return f.read_tree(REMOTE)
        except FileNotFoundError:
            # A body or its folder went away in the meantime.
            continue


def until_stored(what, contents):
    """Waits until the other store holds exactly these contents. Replaced bodies go away in the background."""
    deadline = time.monotonic() + DEADLINE_S
    while sorted(map(f.sha256, stored().values())) != sorted(map(f.sha256, contents)):
        if time.monotonic() > deadline:
            raise f.Failure(f"{what}: the other store has {sorted((k, len(v)) for k, v in stored().items())}")
        time.sleep(0.05)


def read(s3, key, **options):
    return s3.get_object(Bucket=BUCKET, Key=key, **options)["Body"].read()


def objects(s3):
    with step("objects of every size arrive and come back, whole and in ranges"):
        for salt, length in enumerate((0, 1, 65_536, 65_537, 3_000_001)):
            data = f.random_bytes(length, salt=salt)
            s3.put_object(Bucket=BUCKET, Key="one", Body=data, Metadata={"colour": "blue"})
            same(f"{length} bytes", read(s3, "one"), data)
            until_stored(f"{length} bytes", [data] if length else [])
        for text in ("bytes=0-0", "bytes=-1", "bytes=65535-65537", "bytes=3000000-"):
            first, _, last = text.removeprefix("bytes=").partition("-")
            part = data[int(first):int(last) + 1 if last else None] if first else data[-int(last):]
            same(text, read(s3, "one", Range=text), part)
        same("metadata", s3.head_object(Bucket=BUCKET, Key="one")["Metadata"], {"colour": "blue"})
        path, = stored()
        assert path.startswith(f"{BUCKET}/one/"), path
    with step("odd keys"):
        for key, content in f.API_KEYS.items():
            s3.put_object(Bucket=BUCKET, Key=key, Body=content)
            same(repr(key), read(s3, key), content)
        listed = [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
        same("listing", sorted(listed), sorted([*f.API_KEYS, "one"]))
        until_stored("odd keys", [data, *filter(None, f.API_KEYS.values())])
        s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in listed]})
        until_stored("after the deletion", [])
    with step("bucketMatch leaves the bucket out of remote keys"):
        s3.put_object(Bucket=BUCKET, Key="dir/key", Body=b"m", Metadata={"scal-location-constraint": "match"})
        path, = stored()
        assert path.startswith("dir/key/"), path
        s3.delete_object(Bucket=BUCKET, Key="dir/key")
        until_stored("after the deletion", [])


def parts(s3):
    big = f.big_bytes()
    with step("a multipart upload is one of the other store, and then one object"):
        s3.upload_file(f.write_tree(WORK / "up", {"big": big}) / "big", BUCKET, "big",
                       Config=TransferConfig(multipart_threshold=PART, multipart_chunksize=f.PART_BYTES))
        until_stored("one object", [big])
        path, = stored()
        assert path.startswith(f"{BUCKET}/big/"), path
        same("SHA-256", f.sha256(read(s3, "big")), f.sha256(big))
        seam = f.PART_BYTES
        same("over a seam", read(s3, "big", Range=f"bytes={seam - 5}-{seam + 5}"), big[seam - 5:seam + 6])
        part = s3.get_object(Bucket=BUCKET, Key="big", PartNumber=2)
        same("part 2", part["Body"].read(), big[seam:2 * seam])
        same("parts", part["PartsCount"], -(-len(big) // seam))
    with step("an encrypted upload is one object that the other store cannot read"):
        s3.upload_file(WORK / "up" / "big", BUCKET, "sealed", ExtraArgs={"ServerSideEncryption": "AES256"},
                       Config=TransferConfig(multipart_threshold=PART, multipart_chunksize=f.PART_BYTES))
        same("SHA-256", f.sha256(read(s3, "sealed")), f.sha256(big))
        same("over a seam", read(s3, "sealed", Range=f"bytes={seam - 5}-{seam + 5}"), big[seam - 5:seam + 6])
        bodies = [body for path, body in stored().items() if path.startswith(f"{BUCKET}/sealed/")]
        same("objects", len(bodies), 1)
        assert len(bodies[0]) > len(big) and big[:64] not in bodies[0], "the other store can read it"
        s3.delete_object(Bucket=BUCKET, Key="sealed")
    with step("an upload that is aborted leaves nothing"):
        upload = s3.create_multipart_upload(Bucket=BUCKET, Key="aborted")["UploadId"]
        s3.upload_part(Bucket=BUCKET, Key="aborted", UploadId=upload, PartNumber=1, Body=b"z" * PART)
        s3.abort_multipart_upload(Bucket=BUCKET, Key="aborted", UploadId=upload)
        until_stored("one object", [big])


def copies(s3):
    source = {"Bucket": BUCKET, "Key": "kept"}
    data = f.random_bytes(300_000, salt=7)
    with step("copies within the location, out of it and back"):
        s3.delete_object(Bucket=BUCKET, Key="big")
        s3.put_object(Bucket=BUCKET, Key="kept", Body=data)
        s3.copy_object(Bucket=BUCKET, Key="copy", CopySource=source)
        s3.copy_object(Bucket=BUCKET, Key="near", CopySource=source, MetadataDirective="REPLACE",
                       Metadata={"scal-location-constraint": "local"})
        s3.copy_object(Bucket=BUCKET, Key="back", CopySource={"Bucket": BUCKET, "Key": "near"},
                       MetadataDirective="REPLACE", Metadata={"scal-location-constraint": "us-east-1"})
        for key in ("kept", "copy", "near", "back"):
            same(key, read(s3, key), data)
        until_stored("three of four", [data] * 3)
        upload = s3.create_multipart_upload(Bucket=BUCKET, Key="assembled")["UploadId"]
        etag = s3.upload_part_copy(Bucket=BUCKET, Key="assembled", UploadId=upload, PartNumber=1, CopySource=source,
                                   CopySourceRange="bytes=100-200000")["CopyPartResult"]["ETag"]
        s3.complete_multipart_upload(Bucket=BUCKET, Key="assembled", UploadId=upload,
                                     MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
        same("assembled", read(s3, "assembled"), data[100:200_001])


def deletes(s3):
    with step("deletions reach the other store"):
        for key in ("copy", "near", "back", "assembled"):
            s3.delete_object(Bucket=BUCKET, Key=key)
        until_stored("one is kept", [f.random_bytes(300_000, salt=7)])


def refusals(s3, server):
    with step("a wrong secret and a missing bucket fail their own location only"):
        before = stored().keys()
        for location in ("wrong", "missing"):
            refused(s3.put_object, Bucket=BUCKET, Key="refused", Body=b"x" * 100_000,
                    Metadata={"scal-location-constraint": location})
        same("the other store", stored().keys(), before)
        same("kept", len(read(s3, "kept")), 300_000)
        deep = health(server)
        for location in ("wrong", "missing"):
            assert deep[location]["error"], deep
        for location in ("us-east-1", "match", "local"):
            same(location, deep[location]["code"], 200)


def away(s3, server):
    with step("a store that is away is a temporary error of its objects alone"):
        refused(s3.get_object, Bucket=BUCKET, Key="kept")
        refused(s3.put_object, Bucket=BUCKET, Key="kept", Body=b"new")
        s3.put_object(Bucket=BUCKET, Key="near", Body=b"n", Metadata={"scal-location-constraint": "local"})
        same("near", read(s3, "near"), b"n")
        assert health(server)["us-east-1"]["error"]


def refused(call, **options):
    try:
        call(**options)
    except ClientError as error:
        answer = error.response
        same(call.__name__, (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]),
             ("ServiceUnavailable", 503))
        return
    raise f.Failure(f"{call.__name__} was not refused")


def health(server):
    try:
        return json.loads(f.fetch(server.endpoint + "/_/healthcheck/deep"))
    except f.urllib.error.HTTPError as error:
        return json.loads(error.read())


def client(server):
    config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, read_timeout=60)
    return boto3.client("s3", endpoint_url=server.endpoint, region_name=f.REGION, config=config,
                        aws_access_key_id=f.ACCESS_KEY, aws_secret_access_key=f.SECRET_KEY)


if __name__ == "__main__":
    main()
