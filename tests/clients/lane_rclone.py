"""rclone: folders both ways, checked; streams, ranges, server-side copies, purge."""

import json
import os

import fixture as f
from fixture import BUCKET, WORK, run, same, step

CONFIG = f"""[pail]
type = s3
provider = Other
endpoint = {f.ENDPOINT}
region = {f.REGION}
access_key_id = {f.ACCESS_KEY}
secret_access_key = {f.SECRET_KEY}
force_path_style = true
upload_cutoff = 8Mi
chunk_size = 8Mi
copy_cutoff = 16Mi
"""
PAIL = f"pail:{BUCKET}"


def rclone(*arguments, stdin=None):
    return run(f.BIN / "rclone", "--config", WORK / "rclone.conf", "--retries", "1", "--low-level-retries", "1",
               *arguments, stdin=stdin)


def main():
    (WORK / "rclone.conf").write_text(CONFIG)
    os.environ["RCLONE_CACHE_DIR"] = str(WORK / "cache")
    with step("make a bucket"):
        rclone("mkdir", PAIL)
        assert f"{BUCKET}/" in rclone("lsf", "pail:").decode().splitlines()
    odd_keys()
    large_object()
    long_listing()
    streams_and_links()
    deletes()


def odd_keys():
    with step("a folder of odd names goes up and comes back"):
        f.write_tree(WORK / "odd", f.FILE_KEYS)
        rclone("copy", "odd", f"{PAIL}/odd")
        rclone("check", "--download", "odd", f"{PAIL}/odd")
        rclone("copy", f"{PAIL}/odd", "odd-back")
        f.same_tree("odd names", WORK / "odd-back", f.FILE_KEYS)


def large_object():
    big = f.big_bytes()
    (WORK / "big").mkdir()
    (WORK / "big/file").write_bytes(big)
    with step("multipart upload and download"):
        rclone("copyto", "big/file", f"{PAIL}/big", "--metadata", "--metadata-set", "colour=blue",
               "--metadata-set", "content-type=text/x-lane")
        rclone("copyto", f"{PAIL}/big", "big-back")
        same("SHA-256", f.sha256_of_file(WORK / "big-back"), f.sha256(big))
    with step("metadata and MD5 round trip"):
        item, = json.loads(rclone("lsjson", "--metadata", "--hash", "--files-only", "--include", "/big", PAIL))
        same("size", item["Size"], f.BIG_BYTES)
        same("metadata", (item["Metadata"]["colour"], item["Metadata"]["content-type"]), ("blue", "text/x-lane"))
    with step("ranged get"):
        same("range", rclone("cat", "--offset", "8388600", "--count", "21", f"{PAIL}/big"), big[8388600:8388621])
    with step("multipart copy and move on the server"):
        rclone("copyto", f"{PAIL}/big", f"{PAIL}/copies/big")
        rclone("moveto", f"{PAIL}/copies/big", f"{PAIL}/copies/big moved+")
        same("SHA-256", f.sha256(rclone("cat", f"{PAIL}/copies/big moved+")), f.sha256(big))


def long_listing():
    tree = f.many()
    with step(f"{f.MANY_KEYS} objects go up, are listed and come back"):
        f.write_tree(WORK / "many", tree)
        rclone("copy", "--transfers", "8", "--checkers", "8", "many", f"{PAIL}/many")
        same("lsf", rclone("lsf", f"{PAIL}/many").decode().split(), list(tree))
        same("chunks of 100", rclone("lsf", "--s3-list-chunk", "100", f"{PAIL}/many").decode().split(), list(tree))
        same("version 1", rclone("lsf", "--s3-list-version", "1", f"{PAIL}/many").decode().split(), list(tree))
        rclone("sync", "--transfers", "8", f"{PAIL}/many", "many-back")
        f.same_tree("sync", WORK / "many-back", tree)


def streams_and_links():
    with step("a stream of unknown length"):
        data = f.random_bytes(20 * 1024 * 1024 + 1, salt=3)
        rclone("rcat", f"{PAIL}/stream", stdin=data)
        same("stream", rclone("cat", f"{PAIL}/stream"), data)
    with step("link is a presigned get"):
        url = rclone("link", "--expire", "1h", f"{PAIL}/odd/plus+sign+.txt").decode().strip()
        same("content", f.fetch(url), b"plus")


def deletes():
    with step("delete one, many, and the bucket"):
        rclone("deletefile", f"{PAIL}/stream")
        rclone("delete", "--include", "key-000*", f"{PAIL}/many")
        same("rest", len(rclone("lsf", f"{PAIL}/many").split()), f.MANY_KEYS - 100)
        rclone("delete", PAIL)
        same("all", rclone("lsf", "--recursive", "--files-only", PAIL), b"")
        rclone("rmdir", PAIL)
        assert f"{BUCKET}/" not in rclone("lsf", "pail:").decode().splitlines()


if __name__ == "__main__":
    main()
