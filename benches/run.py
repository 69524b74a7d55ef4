#!/usr/bin/env python3
"""Measures s3pail: size, start, idle memory, load beside nginx, and the memory cost of one huge object.

Everything runs on loopback, in one temporary folder, within a bounded time. nginx is the yardstick: a
static file server that does no S3 at all, asked for the same bytes by the same client in the same run,
so that a ratio means the same on every machine. Where the system has no nginx its Debian package is
unpacked into .clients/ (nothing is installed); where that cannot be done, only s3pail is measured.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NGINX_FOLDER = ROOT / ".clients/nginx"
START_TIMEOUT_S = 20
STOP_TIMEOUT_S = 20
INSTALL_TIMEOUT_S = 300
LOAD_TIMEOUT_S = 1800

# Nothing of the user's own settings reaches the servers.
ENVIRONMENT = {"PATH": os.environ.get("PATH", "")}

NGINX_CONFIGURATION = """
{user}
daemon off;
worker_processes auto;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ worker_connections 1024; }}
http {{
    access_log {access_log};
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 60s;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-unused;
    fastcgi_temp_path {folder}/nginx-unused;
    uwsgi_temp_path {folder}/nginx-unused;
    scgi_temp_path {folder}/nginx-unused;
    server {{
        listen 127.0.0.1:{port};
        root {folder}/nginx-root;
        dav_methods PUT;
        create_full_put_path on;
    }}
}}
"""


def main():
    args = arguments()
    if args.build:
        build()
    load = ROOT / "target/release/examples/load"
    scratch = Path(tempfile.mkdtemp(prefix="s3pail-bench-", dir=args.dir))
    try:
        results = {"binary_bytes": args.binary.stat().st_size}
        print(f"stripped release binary: {results['binary_bytes'] / 1e6:.2f} MB", flush=True)
        results["startup"] = {backend: startup(load, args, backend) for backend in ("file", "mem")}
        results["fixture"] = fixture(load, args)
        results["load"] = compare(load, args, scratch)
        results["big"] = big(load, args, scratch)
        results["hops"] = hops(load, args, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")
    failures = sum(line["failures"] for line in results["load"] + results["hops"])
    return 1 if failures else 0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short round of everything: does it work?")
    parser.add_argument("--rounds", type=int, help="visits of each server (default 5)")
    parser.add_argument("--seconds", type=float, help="per operation, server and round (default 2)")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--size", type=int, default=1024, help="bytes of an object under load")
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/s3pail")
    parser.add_argument("--no-build", dest="build", action="store_false", help="measure what is built already")
    parser.add_argument("--no-nginx", dest="nginx", action="store_false", help="measure s3pail alone")
    parser.add_argument("--access-log", action="store_true",
                        help="let both servers log each request (default: neither)")
    parser.add_argument("--dir", type=Path, help="where the servers keep their files (default: the system's)")
    parser.add_argument("--json", type=Path, help="write all results there, too")
    args = parser.parse_args()
    args.binary = args.binary.resolve()
    args.rounds = args.rounds or (1 if args.quick else 5)
    args.seconds = args.seconds or (0.5 if args.quick else 2)
    args.starts = 5 if args.quick else 31
    args.big_bytes = (64 << 20) if args.quick else (1 << 30)
    return args


def build():
    for target in (["--bin", "s3pail"], ["--example", "load"]):
        subprocess.run(["cargo", "build", "--locked", "--release", *target], cwd=ROOT, check=True)


# --- What is measured ----------------------------------------------------------------------------


def startup(load, args, backend):
    words = [load, "startup", "--rounds", args.starts, "--", args.binary, *server_options(backend, "{dir}")]
    result, = run_load(words)
    print(f"{backend}: start to first 200 answer {result['first_answer_ms']:.1f} ms (median of {result['starts']}, "
          f"{result['fastest_ms']:.1f} to {result['slowest_ms']:.1f}), "
          f"idle {result['idle_resident_kib'] / 1024:.1f} MiB resident", flush=True)
    return result


def fixture(load, args):
    words = [load, "fixture", "--rounds", args.starts, "--", args.binary, "--fixture", "--listen", "127.0.0.1:0"]
    result, = run_load(words)
    print(f"fixture: in-process start to first 200 answer {result['start_to_first_answer_ms']:.1f} ms, stop "
          f"{result['stop_ms']:.1f} ms; binary to ready line {result['binary_to_ready_line_ms']:.1f} ms; reset with "
          f"{result['objects']} objects {result['reset_ms']:.1f} ms, restore {result['restore_ms']:.1f} ms; "
          f"{result['servers']} servers in one process {result['servers_resident_kib'] / 1024:.0f} MiB", flush=True)
    return result


def compare(load, args, scratch):
    servers = []
    try:
        if args.nginx:
            add_nginx(servers, scratch, args.access_log)
        quiet = [] if args.access_log else ["--log-level", "warn"]
        for backend in ("file", "mem"):
            servers.append(S3pail(args.binary, backend, scratch / f"load-{backend}", quiet))
        print(f"load: {args.size} byte objects, {args.connections} connections, signed requests, --sync none, "
              f"{'one log line each' if args.access_log else 'no access logs'}, "
              f"medians of {args.rounds} rounds of {args.seconds} s; ratios are to {servers[0].name}", flush=True)
        words = [load, "compare", "--size", args.size, "--connections", args.connections, "--seconds", args.seconds,
                 "--rounds", args.rounds]
        for server in servers:
            words += ["--target", server.as_target()]
        results = run_load(words)
    finally:
        for server in servers:
            server.stop()
    print_table(results)
    return results


def add_nginx(servers, scratch, access_log):
    try:
        servers.append(Nginx(nginx_program(), scratch, access_log))
    except (OSError, RuntimeError, subprocess.SubprocessError) as why:
        print(f"load: nginx SKIPPED: {why}", flush=True)


def print_table(results):
    print(f"  {'':<5} {'server':<12} {'ops/s':>8} {'ratio':>6} {'MB/s':>7} {'p50 ms':>7} {'p99 ms':>7} "
          f"{'CPU us':>7} {'failed':>6}")
    for line in results:
        print(f"  {line['operation']:<5} {line['target']:<12} {line['operations_per_s'] or 0:>8.0f} "
              f"{line['ratio'] or 0:>6.2f} {line['mb_per_s'] or 0:>7.1f} {line['p50_ms']:>7.2f} {line['p99_ms']:>7.2f} "
              f"{line['server_cpu_us']:>7.1f} {line['failures']:>6}")
        if line["first_failure"]:
            print(f"        ! {line['first_failure'][:200]}")
    sys.stdout.flush()


def big(load, args, scratch):
    server = S3pail(args.binary, "file", scratch / "big")
    try:
        result, = run_load([load, "big", "--size", args.big_bytes, "--target", server.as_target()])
    finally:
        server.stop()
    before, up, down = (result[f"peak_kib_{when}"] / 1024 for when in ("before", "after_upload", "after_download"))
    print(f"one object of {args.big_bytes / (1 << 20):.0f} MiB: up {result['upload_mb_per_s']:.0f} MB/s, "
          f"down {result['download_mb_per_s']:.0f} MB/s; peak memory {before:.1f} MiB before, "
          f"{up:.1f} after the upload, {down:.1f} after the download", flush=True)
    return result


def hops(load, args, scratch):
    """What it costs when bodies lie with a second process on loopback: a data daemon, another S3 store."""
    servers, results = [], []
    quiet = ["--log-level", "warn"]
    try:
        direct = S3pail(args.binary, "file", scratch / "hop-direct", quiet)
        servers.append(direct)
        daemon = S3pail(args.binary, "file", scratch / "hop-daemon", [*quiet, "--role", "data"])
        servers.append(daemon)
        far = S3pail(args.binary, "file", scratch / "hop-far", quiet)
        servers.append(far)
        near = through_daemon(args, scratch, daemon, quiet)
        servers.append(near)
        for size in (args.size, 64 << 10):
            print(f"bodies with a data daemon: {size} byte objects, as above; ratios are to {direct.name}", flush=True)
            results += versus(load, args, direct, near, ["--size", size, "--connections", args.connections])
        # Its first run makes the bucket.
        run_load([load, "compare", "--size", 1, "--objects", 1, "--connections", 1, "--seconds", 0.1, "--rounds", 1,
                  "--target", far.as_target()])
        upstream = through_s3(args, scratch, far, quiet)
        servers.append(upstream)
        print(f"bodies with a second s3pail as aws_s3: 64 MiB objects, one connection; ratios are to {direct.name}",
              flush=True)
        results += versus(load, args, direct, upstream, ["--size", 64 << 20, "--objects", 2, "--connections", 1])
    finally:
        for server in reversed(servers):
            server.stop()
    for server in (near, upstream):
        print(f"peak memory of {server.name}: {server.peak_kib / 1024:.1f} MiB", flush=True)
    return results


def versus(load, args, direct, other, words):
    results = run_load([load, "compare", *words, "--seconds", args.seconds, "--rounds", args.rounds,
                        "--target", direct.as_target(), "--target", other.as_target()])
    print_table(results)
    return results


def through_daemon(args, scratch, daemon, quiet):
    host, port = daemon.address.rsplit(":", 1)
    configuration = scratch / "through-daemon.json"
    configuration.write_text(json.dumps({"dataClient": {"host": host, "port": int(port)}}))
    server = S3pail(args.binary, "file", scratch / "hop-near", [*quiet, "--config", configuration])
    server.name = "data daemon"
    return server


def through_s3(args, scratch, far, quiet):
    locations = scratch / "through-s3.json"
    locations.write_text(json.dumps({"us-east-1": {"type": "aws_s3", "legacyAwsBehavior": True, "details": {
        "awsEndpoint": far.address, "https": False, "bucketName": "bench",
        "credentials": {"accessKey": "accessKey1", "secretKey": "verySecretKey1"}}}}))
    server = S3pail(args.binary, "file", scratch / "hop-s3", [*quiet, "--data", "multiple", "--location-file", locations])
    server.name = "aws_s3"
    return server


def run_load(words):
    """Runs the load generator; returns its lines of JSON. Its messages go to the user."""
    done = subprocess.run([str(w) for w in words], stdout=subprocess.PIPE, timeout=LOAD_TIMEOUT_S, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


# --- The servers ---------------------------------------------------------------------------------


def server_options(backend, folder):
    return ["--backend", backend, "--listen", "127.0.0.1:0", "--data-path", f"{folder}/data", "--metadata-path",
            f"{folder}/metadata", "--sync", "none"]


class Server:
    """A process of ours; only it is ended."""

    def start(self, words, log, folder):
        with open(log, "wb") as output:
            self.process = subprocess.Popen([str(w) for w in words], stdout=output, stderr=subprocess.STDOUT,
                                            stdin=subprocess.DEVNULL, cwd=folder, env=ENVIRONMENT)

    def wait_until(self, ready):
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            if found := ready():
                return found
            time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"{self.name} did not start")

    def stop(self):
        if self.process.poll() is None:
            self.peak_kib = peak_kib(self.process.pid)
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def peak_kib(pid):
    """The most memory that a process ever had resident; 0 where the system does not say."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


class S3pail(Server):
    def __init__(self, binary, backend, folder, more=()):
        self.name = f"s3pail {backend}"
        folder.mkdir()
        self.log = folder / "log"
        self.start([binary, *server_options(backend, folder), *more], self.log, folder)
        self.address = self.wait_until(self.announced)

    def announced(self):
        for line in self.log.read_text(errors="replace").splitlines(keepends=True):
            if line.endswith("\n") and "listening on http://" in line:
                return line.split("listening on http://", 1)[1].split()[0]
        return None

    def as_target(self):
        return f"{self.name}=http://{self.address},{self.process.pid}"


class Nginx(Server):
    def __init__(self, program, scratch, access_log):
        self.name = "nginx"
        folder = scratch / "nginx"
        (folder / "nginx-root/bench").mkdir(parents=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        # Started by root its workers would be somebody who may not write here.
        user = "user root;" if os.geteuid() == 0 else ""
        configuration = folder / "nginx.conf"
        configuration.write_text(NGINX_CONFIGURATION.format(
            user=user, folder=folder, port=self.port, access_log=f"{folder}/access.log" if access_log else "off"))
        self.start([program, "-p", folder, "-e", folder / "nginx-error.log", "-c", configuration], folder / "log",
                   folder)
        self.wait_until(self.answers)

    def answers(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def as_target(self):
        return f"nginx=http://127.0.0.1:{self.port},{self.process.pid},dav"


def nginx_program():
    """The path of an nginx that can PUT. Raises where there is none and none can be unpacked."""
    found = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    program = found or NGINX_FOLDER / "usr/sbin/nginx"
    if not Path(program).exists():
        unpack_nginx()
    options = subprocess.run([str(program), "-V"], capture_output=True, text=True, timeout=60, check=True).stderr
    if "http_dav_module" not in options:
        raise RuntimeError(f"{program} was built without its DAV module")
    return program


def unpack_nginx():
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise RuntimeError("nginx is not installed and this is no Debian")
    NGINX_FOLDER.mkdir(parents=True, exist_ok=True)
    download = ["apt-get", "-q", "download", "nginx"]
    if subprocess.run(download, cwd=NGINX_FOLDER, capture_output=True, timeout=INSTALL_TIMEOUT_S,
                      check=False).returncode != 0:
        if os.geteuid() == 0:
            subprocess.run(["apt-get", "-q", "update"], capture_output=True, timeout=INSTALL_TIMEOUT_S, check=True)
        subprocess.run(download, cwd=NGINX_FOLDER, capture_output=True, timeout=INSTALL_TIMEOUT_S, check=True)
    package = next(iter(NGINX_FOLDER.glob("nginx_*.deb")), None)
    if package is None:
        raise RuntimeError("apt-get brought no nginx package")
    subprocess.run(["dpkg-deb", "-x", package, NGINX_FOLDER], timeout=60, check=True)


if __name__ == "__main__":
    sys.exit(main())
