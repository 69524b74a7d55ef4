"""What every Python lane shares: where the server is, what is stored, and how a difference is told.

All content comes from one printed seed, so a failure can be run again byte for byte.
"""

import contextlib
import hashlib
import os
import random
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ENDPOINT = os.environ["LANE_ENDPOINT"]
HOST_PORT = ENDPOINT.removeprefix("http://")
PORT = int(HOST_PORT.rsplit(":", 1)[1])
ACCESS_KEY = os.environ["LANE_ACCESS_KEY"]
SECRET_KEY = os.environ["LANE_SECRET_KEY"]
REGION = os.environ["LANE_REGION"]
WORK = Path(os.environ["LANE_WORK"])
BIN = Path(os.environ["LANE_BIN"])
SEED = int(os.environ["LANE_SEED"])
LANE = Path(sys.argv[0]).stem.removeprefix("lane_")
BUCKET = f"lane-{LANE}-{SEED % 100_000:05d}"

# Past 64 MiB, and not a multiple of any part size: the last part is a short one.
BIG_BYTES = 65 * 1024 * 1024 + 3
PART_BYTES = 8 * 1024 * 1024
# More than the 1000 keys of one page of ListObjects.
MANY_KEYS = 1100
COMMAND_TIMEOUT_S = 300

# Keys that can also be names of local files, for the clients that move folders.
FILE_KEYS = {
    "small.txt": b"hello, bucket\n",
    "empty.bin": b"",
    "with space and  two.txt": b"space",
    "plus+sign+.txt": b"plus",
    "percent%41 %2F% 100%.txt": b"percent",
    "unicod\u00e9-\u6f22\u5b57-\U0001f600.txt": b"unicode",
    "deep/er/and/deeper/leaf": b"slashes",
    ".hidden": b"leading dot",
    "..two-dots/.in/.side": b"leading dots",
    "amp&eq=hash#semi;at@colon:comma,.txt": b"reserved",
    "quote'single$dollar!(paren)~.txt": b"shell",
}

# Keys that only an API can name.
API_KEYS = FILE_KEYS | {
    "folder/": b"",
    "double//slash": b"two slashes",
    "/leading-slash": b"a slash first",
    "question?mark&x=*[glob]{brace}": b"query-like",
    "<xml>&amp;\"quotes\"</xml>": b"markup",
    "back\\slash|pipe^caret`tick": b"unsafe characters",
    "tab\tand\nnewline\rreturn": b"control characters",
    "k" * 1024: b"the longest key",
}


class Failure(AssertionError):
    """The server answered something else than was expected."""


@contextlib.contextmanager
def step(name):
    """Names what is being tried; printed with its time once it has passed."""
    start = time.monotonic()
    print(f"   ... {name}", flush=True)
    try:
        yield
    except BaseException:
        print(f"  FAILED {name}", flush=True)
        raise
    print(f"    ok {name} ({time.monotonic() - start:.1f} s)", flush=True)


def same(what, got, want):
    """Fails unless both are equal. Long bytes are told by length and SHA-256."""
    if got != want:
        raise Failure(f"{what}: got {shorten(got)}, wanted {shorten(want)}")


def shorten(value):
    if isinstance(value, (bytes, bytearray)) and len(value) > 200:
        return f"{len(value)} bytes with SHA-256 {sha256(value)}"
    text = repr(value)
    return text if len(text) <= 2000 else text[:2000] + "..."


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def sha256_of_file(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else sha256(
            file.read())


def random_bytes(length, salt=0):
    """Bytes that depend only on the seed of the run and on `salt`."""
    return random.Random(SEED * 1000 + salt).randbytes(length)


def big_bytes():
    """The content of the multipart upload."""
    return random_bytes(BIG_BYTES)


def many():
    """The keys, without prefix, and contents of the long listing."""
    return {f"key-{i:05d}": f"value {i}".encode() for i in range(MANY_KEYS)}


def write_tree(folder, contents):
    """Writes the map of relative names to bytes under a new folder."""
    for name, data in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def read_tree(folder):
    """The inverse of `write_tree`."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def same_tree(what, folder, contents):
    """Fails with the first differing names unless the folder holds exactly `contents`."""
    got = read_tree(folder)
    same(f"{what}: missing files", sorted(contents.keys() - got.keys()), [])
    same(f"{what}: extra files", sorted(got.keys() - contents.keys()), [])
    for name, data in contents.items():
        same(f"{what}: {name!r}", got[name], data)


def run(*command, stdin=None):
    """Runs a client; returns its standard output as bytes. Its exit status decides."""
    done = subprocess.run([str(c) for c in command], input=stdin, capture_output=True, cwd=WORK,
                          timeout=COMMAND_TIMEOUT_S, check=False)
    if done.returncode != 0:
        shown = " ".join(str(c) for c in command)
        output = tail(done.stdout) + "\n" + tail(done.stderr)
        raise Failure(f"exit status {done.returncode} of: {shown[:500]}\n{output}")
    return done.stdout


def tail(output):
    return output.decode(errors="replace")[-3000:]


def fetch(url, method="GET", body=None, headers=None):
    """A plain HTTP request without credentials of its own, for presigned URLs. Returns the body."""
    request = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()
