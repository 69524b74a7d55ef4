"""s5cmd: many requests at once, over many connections, from one fast client (AWS SDK for Go v1)."""

import json
import os

import fixture as f
from fixture import BUCKET, WORK, run, same, step

S3 = f"s3://{BUCKET}"


def s5cmd(*arguments, stdin=None):
    return run(f.BIN / "python", f.BIN / "s5cmd", "--endpoint-url", f.ENDPOINT, "--retry-count", "0", *arguments,
               stdin=stdin)


def listed(pattern):
    """The keys that `ls` prints, relative to the pattern's folder."""
    return [json.loads(line)["key"] for line in s5cmd("--json", "ls", pattern).decode().splitlines()]


def main():
    os.environ |= {"AWS_ACCESS_KEY_ID": f.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": f.SECRET_KEY,
                   "AWS_REGION": f.REGION}
    with step("make a bucket"):
        s5cmd("mb", S3)
        assert S3 in s5cmd("ls").decode()
    odd_keys()
    large_object()
    long_listing()
    streams_and_presigned_urls()
    deletes()


def odd_keys():
    with step("a folder of odd names goes up and comes back"):
        f.write_tree(WORK / "odd", f.FILE_KEYS)
        s5cmd("cp", "odd/", f"{S3}/odd/")
        s5cmd("cp", f"{S3}/odd/*", "odd-back/")
        f.same_tree("odd names", WORK / "odd-back", f.FILE_KEYS)


def large_object():
    big = f.big_bytes()
    (WORK / "big").write_bytes(big)
    with step("multipart upload and download"):
        s5cmd("cp", "--part-size", "8", "--concurrency", "4", "--metadata", "colour=blue", "--content-type",
              "text/x-lane", "big", f"{S3}/big")
        s5cmd("cp", "--part-size", "8", "--concurrency", "4", f"{S3}/big", "big-back")
        same("SHA-256", f.sha256_of_file(WORK / "big-back"), f.sha256(big))
    with step("metadata round trip"):
        head = json.loads(s5cmd("--json", "head", f"{S3}/big"))
        same("size", head["size"], f.BIG_BYTES)
        same("type", head["content_type"], "text/x-lane")
        same("metadata", {k.lower(): v for k, v in head["metadata"].items()}, {"colour": "blue"})
    with step("copy and move on the server"):
        s5cmd("cp", f"{S3}/big", f"{S3}/copies/big")
        s5cmd("mv", f"{S3}/copies/big", f"{S3}/copies/big moved+")
        same("SHA-256", f.sha256(s5cmd("cat", f"{S3}/copies/big moved+")), f.sha256(big))


def long_listing():
    tree = f.many()
    with step(f"{f.MANY_KEYS} objects go up, are listed and come back"):
        f.write_tree(WORK / "many", tree)
        s5cmd("--numworkers", "32", "cp", "many/", f"{S3}/many/")
        want = [f"{S3}/many/{k}" for k in tree]
        same("version 2", listed(f"{S3}/many/*"), want)
        lines = s5cmd("--json", "--use-list-objects-v1", "ls", f"{S3}/many/*").decode().splitlines()
        same("version 1", [json.loads(line)["key"] for line in lines], want)
        same("du", json.loads(s5cmd("--json", "du", f"{S3}/many/*"))["count"], f.MANY_KEYS)
        s5cmd("--numworkers", "32", "sync", f"{S3}/many/*", "many-back/")
        f.same_tree("sync", WORK / "many-back", tree)


def streams_and_presigned_urls():
    with step("a stream of unknown length"):
        data = f.random_bytes(20 * 1024 * 1024 + 1, salt=4)
        s5cmd("pipe", "--part-size", "5", f"{S3}/stream", stdin=data)
        same("stream", s5cmd("cat", f"{S3}/stream"), data)
    with step("presigned get"):
        url = s5cmd("presign", f"{S3}/odd/small.txt").decode().strip()
        same("content", f.fetch(url), f.FILE_KEYS["small.txt"])


def deletes():
    with step("delete one, many, and the bucket"):
        s5cmd("rm", f"{S3}/stream")
        s5cmd("rm", f"{S3}/many/*")
        assert not any("/many/" in key for key in listed(f"{S3}/*"))
        s5cmd("rm", f"{S3}/*")
        s5cmd("rb", S3)
        assert S3 not in s5cmd("ls").decode()


if __name__ == "__main__":
    main()
