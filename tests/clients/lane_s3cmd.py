"""s3cmd: both signature versions, folders both ways, multipart upload and copy, signed URLs."""

import fixture as f
from fixture import BUCKET, WORK, run, same, step

CONFIG = f"""[default]
access_key = {f.ACCESS_KEY}
secret_key = {f.SECRET_KEY}
host_base = {f.HOST_PORT}
host_bucket = {f.HOST_PORT}
bucket_location = {f.REGION}
use_https = False
guess_mime_type = False
multipart_chunk_size_mb = 8
multipart_copy_chunk_size_mb = 16
progress_meter = False
max_retries = 1
"""
S3 = f"s3://{BUCKET}"


def s3cmd(*arguments):
    return run(f.BIN / "python", f.BIN / "s3cmd", "-c", WORK / "s3cfg", *arguments)


def listed(*arguments):
    """The addresses that `ls` prints."""
    return [line.split("s3://", 1)[1] for line in s3cmd("ls", *arguments).decode().splitlines()]


def main():
    (WORK / "s3cfg").write_text(CONFIG)
    with step("make a bucket"):
        s3cmd("mb", S3)
        assert BUCKET in listed()
    odd_keys()
    large_object()
    long_listing()
    signature_version_2()
    signed_urls()
    deletes()


def odd_keys():
    with step("a folder of odd names goes up and comes back"):
        f.write_tree(WORK / "odd", f.FILE_KEYS)
        s3cmd("put", "--recursive", "odd/", f"{S3}/odd/")
        (WORK / "odd-back").mkdir()
        s3cmd("get", "--recursive", f"{S3}/odd/", "odd-back/")
        f.same_tree("odd names", WORK / "odd-back", f.FILE_KEYS)
        same("listed", sorted(listed("--recursive", f"{S3}/odd/")), sorted(f"{BUCKET}/odd/{k}" for k in f.FILE_KEYS))


def large_object():
    big = f.big_bytes()
    (WORK / "big").write_bytes(big)
    with step("multipart upload and download"):
        s3cmd("put", "big", f"{S3}/big", "--add-header=x-amz-meta-colour:blue", "--mime-type=text/x-lane")
        s3cmd("get", f"{S3}/big", "big-back")
        same("SHA-256", f.sha256_of_file(WORK / "big-back"), f.sha256(big))
    with step("metadata round trip"):
        info = s3cmd("info", f"{S3}/big").decode()
        assert "text/x-lane" in info and "x-amz-meta-colour: blue" in info.lower(), info
    with step("multipart copy"):
        s3cmd("cp", f"{S3}/big", f"{S3}/copies/big")
        s3cmd("get", f"{S3}/copies/big", "copy-back")
        same("SHA-256", f.sha256_of_file(WORK / "copy-back"), f.sha256(big))
    with step("an interrupted download continues"):
        (WORK / "half").write_bytes(big[: f.BIG_BYTES // 2])
        s3cmd("get", "--continue", f"{S3}/big", "half")
        same("SHA-256", f.sha256_of_file(WORK / "half"), f.sha256(big))
    with step("copy, modify and move of a small object"):
        s3cmd("cp", f"{S3}/odd/plus+sign+.txt", f"{S3}/copies/plus + copy")
        s3cmd("modify", "--add-header=x-amz-meta-changed:yes", f"{S3}/copies/plus + copy")
        s3cmd("mv", f"{S3}/copies/plus + copy", f"{S3}/copies/moved+")
        s3cmd("get", f"{S3}/copies/moved+", "moved")
        same("moved", (WORK / "moved").read_bytes(), b"plus")
        info = s3cmd("info", f"{S3}/copies/moved+").decode()
        assert "x-amz-meta-changed: yes" in info.lower(), info


def long_listing():
    tree = f.many()
    with step(f"{f.MANY_KEYS} objects go up, are listed and come back"):
        f.write_tree(WORK / "many", tree)
        s3cmd("put", "--recursive", "many/", f"{S3}/many/")
        same("ls", listed(f"{S3}/many/"), [f"{BUCKET}/many/{k}" for k in tree])
        (WORK / "many-back").mkdir()
        s3cmd("sync", f"{S3}/many/", "many-back/")
        f.same_tree("sync", WORK / "many-back", tree)


def signature_version_2():
    with step("signature version 2"):
        data = f.random_bytes(20 * 1024 * 1024 + 1, salt=2)
        (WORK / "v2").write_bytes(data)
        s3cmd("--signature-v2", "put", "v2", f"{S3}/v2/with space+plus")
        s3cmd("--signature-v2", "get", f"{S3}/v2/with space+plus", "v2-back")
        same("content", (WORK / "v2-back").read_bytes(), data)
        same("ls", [f"{BUCKET}/v2/with space+plus"], [line.split("s3://", 1)[1] for line in s3cmd(
            "--signature-v2", "ls", f"{S3}/v2/").decode().splitlines()])


def signed_urls():
    with step("signed URL"):
        url = s3cmd("signurl", f"{S3}/odd/small.txt", "+600").decode().strip()
        same("content", f.fetch(url), f.FILE_KEYS["small.txt"])


def deletes():
    with step("delete one, many, and the bucket"):
        s3cmd("del", f"{S3}/big")
        same("one", [k for k in listed("--recursive", S3) if k == f"{BUCKET}/big"], [])
        s3cmd("del", "--recursive", "--force", S3)
        same("all", listed("--recursive", S3), [])
        s3cmd("rb", S3)
        assert BUCKET not in listed()


if __name__ == "__main__":
    main()
