"""The AWS CLI v1: folders both ways, multipart upload and copy, long listings, presign, deletes."""

import json
import os

import fixture as f
from fixture import BUCKET, WORK, run, same, step

CONFIG = f"""[default]
region = {f.REGION}
aws_access_key_id = {f.ACCESS_KEY}
aws_secret_access_key = {f.SECRET_KEY}
cli_pager =
s3 =
    addressing_style = path
    multipart_threshold = {f.PART_BYTES}
    multipart_chunksize = {f.PART_BYTES}
    max_concurrent_requests = 8
"""
S3 = f"s3://{BUCKET}"


def aws(*arguments, stdin=None):
    return run(f.BIN / "python", f.BIN / "aws", "--endpoint-url", f.ENDPOINT, "--cli-read-timeout", "20", *arguments,
               stdin=stdin)


def api(*arguments):
    output = aws("s3api", *arguments, "--output", "json")
    return json.loads(output) if output.strip() else {}


def main():
    (WORK / "config").write_text(CONFIG)
    # No second attempts: what a retry would hide, such as an answer that never came, is a failure.
    os.environ |= {"AWS_CONFIG_FILE": str(WORK / "config"), "AWS_MAX_ATTEMPTS": "1"}
    with step("make a bucket"):
        aws("s3", "mb", S3)
        assert BUCKET in [b["Name"] for b in api("list-buckets")["Buckets"]]
    odd_keys()
    large_object()
    long_listing()
    streams_and_presigned_urls()
    deletes()


def odd_keys():
    with step("a folder of odd names goes up and comes back"):
        f.write_tree(WORK / "odd", f.FILE_KEYS)
        aws("s3", "cp", "odd", f"{S3}/odd/", "--recursive", "--only-show-errors")
        aws("s3", "cp", f"{S3}/odd/", "odd-back", "--recursive", "--only-show-errors")
        f.same_tree("odd names", WORK / "odd-back", f.FILE_KEYS)
        listed = [o["Key"] for o in api("list-objects-v2", "--bucket", BUCKET, "--prefix", "odd/")["Contents"]]
        same("listed", listed, sorted((f"odd/{k}" for k in f.FILE_KEYS), key=str.encode))
    with step("an empty object does not stall the next one on its connection"):
        # This client takes a final answer without 100 Continue for that of its next request, too.
        (WORK / "one.config").write_text(CONFIG.replace("requests = 8", "requests = 1"))
        os.environ["AWS_CONFIG_FILE"] = str(WORK / "one.config")
        pairs = {f"{i}{name}": data for i in range(4) for name, data in [("-empty", b""), ("-full", b"full")]}
        f.write_tree(WORK / "pairs", pairs)
        aws("s3", "cp", "pairs", f"{S3}/pairs/", "--recursive", "--only-show-errors")
        os.environ["AWS_CONFIG_FILE"] = str(WORK / "config")
    with step("a delimiter makes common prefixes"):
        page = api("list-objects-v2", "--bucket", BUCKET, "--prefix", "odd/", "--delimiter", "/")
        same("prefixes", [p["Prefix"] for p in page["CommonPrefixes"]], ["odd/..two-dots/", "odd/deep/"])


def large_object():
    big = f.big_bytes()
    (WORK / "big").write_bytes(big)
    with step("multipart upload and download"):
        aws("s3", "cp", "big", f"{S3}/big", "--metadata", "colour=blue,Size=xl", "--content-type", "text/x-lane",
            "--cache-control", "max-age=60", "--only-show-errors")
        aws("s3", "cp", f"{S3}/big", "big-back", "--only-show-errors")
        same("SHA-256", f.sha256_of_file(WORK / "big-back"), f.sha256(big))
    with step("metadata round trip"):
        head = api("head-object", "--bucket", BUCKET, "--key", "big")
        same("metadata", head["Metadata"], {"colour": "blue", "size": "xl"})
        same("type", (head["ContentType"], head["CacheControl"]), ("text/x-lane", "max-age=60"))
        same("length", head["ContentLength"], f.BIG_BYTES)
        parts = -(-f.BIG_BYTES // f.PART_BYTES)
        assert head["ETag"].strip('"').endswith(f"-{parts}"), head["ETag"]
    with step("ranged get"):
        for given, want in [("bytes=0-9", big[:10]), ("bytes=8388600-8388620", big[8388600:8388621]),
                            ("bytes=-7", big[-7:]), (f"bytes={f.BIG_BYTES - 3}-", big[-3:])]:
            api("get-object", "--bucket", BUCKET, "--key", "big", "--range", given, "part-of-big")
            same(given, (WORK / "part-of-big").read_bytes(), want)
    with step("multipart copy"):
        aws("s3", "cp", f"{S3}/big", f"{S3}/copies/big", "--only-show-errors")
        aws("s3", "cp", f"{S3}/copies/big", "copy-back", "--only-show-errors")
        same("SHA-256", f.sha256_of_file(WORK / "copy-back"), f.sha256(big))
    with step("copy and move of a small object"):
        # A multipart copy of this client leaves the metadata behind; a plain one keeps it.
        (WORK / "coloured").write_bytes(b"small")
        aws("s3", "cp", "coloured", f"{S3}/coloured", "--metadata", "colour=red", "--only-show-errors")
        aws("s3", "cp", f"{S3}/coloured", f"{S3}/copies/coloured", "--only-show-errors")
        same("metadata", api("head-object", "--bucket", BUCKET, "--key", "copies/coloured")["Metadata"],
             {"colour": "red"})
        aws("s3", "cp", f"{S3}/odd/plus+sign+.txt", f"{S3}/copies/plus + copy", "--only-show-errors")
        aws("s3", "mv", f"{S3}/copies/plus + copy", f"{S3}/copies/moved%20", "--only-show-errors")
        same("moved", aws("s3", "cp", f"{S3}/copies/moved%20", "-"), b"plus")


def long_listing():
    tree = f.many()
    with step(f"{f.MANY_KEYS} objects go up"):
        f.write_tree(WORK / "many", tree)
        aws("s3", "cp", "many", f"{S3}/many/", "--recursive", "--only-show-errors")
    want = [f"many/{k}" for k in tree]
    with step("listings of every version and page size"):
        same("ls", len(aws("s3", "ls", f"{S3}/many/").splitlines()), f.MANY_KEYS)
        for listing in (["list-objects-v2"], ["list-objects"], ["list-objects-v2", "--page-size", "7"]):
            page = api(*listing, "--bucket", BUCKET, "--prefix", "many/")
            same(str(listing), [o["Key"] for o in page["Contents"]], want)
        first = api("list-objects-v2", "--bucket", BUCKET, "--prefix", "many/", "--no-paginate")
        same("first page", (len(first["Contents"]), first["IsTruncated"]), (1000, True))
    with step("sync down, and a second sync up finds nothing to do"):
        aws("s3", "sync", f"{S3}/many/", "many-back", "--only-show-errors")
        f.same_tree("sync", WORK / "many-back", tree)
        same("second sync", aws("s3", "sync", "many-back", f"{S3}/many/"), b"")


def streams_and_presigned_urls():
    with step("a stream of unknown length"):
        data = f.random_bytes(20 * 1024 * 1024 + 1, salt=1)
        aws("s3", "cp", "-", f"{S3}/stream", stdin=data)
        same("stream", aws("s3", "cp", f"{S3}/stream", "-"), data)
    with step("presigned get"):
        url = aws("s3", "presign", f"{S3}/odd/with space and  two.txt").decode().strip()
        same("presigned", f.fetch(url), b"space")


def deletes():
    with step("delete one, many, and the bucket with the rest"):
        aws("s3", "rm", f"{S3}/stream", "--only-show-errors")
        doomed = {"Objects": [{"Key": f"many/{k}"} for k in list(f.many())[:1000]]}
        (WORK / "doomed.json").write_text(json.dumps(doomed))
        gone = api("delete-objects", "--bucket", BUCKET, "--delete", "file://doomed.json")
        same("deleted", len(gone["Deleted"]), 1000)
        same("rest", len(api("list-objects-v2", "--bucket", BUCKET, "--prefix", "many/")["Contents"]),
             f.MANY_KEYS - 1000)
        aws("s3", "rb", S3, "--force")
        assert BUCKET not in [b["Name"] for b in api("list-buckets").get("Buckets") or []]


if __name__ == "__main__":
    main()
