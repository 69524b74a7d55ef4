#!/usr/bin/env python3
"""Measures s3pail: size, start, idle memory, load beside nginx, one huge object, a million small ones.

Everything runs on loopback, in one temporary folder, within a bounded time. The servers are in servers.py,
what a million objects cost in scale.py.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import scale
from servers import ROOT, Nginx, S3pail, add_peers, nginx_program, run_load, server_options


TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PARTS = ("start", "load", "sizes", "listing", "sync", "big", "million", "hops")


def main():
    args = arguments()
    if args.build:
        build()
    load = args.binary.parent / "examples/load"
    scratch = Path(tempfile.mkdtemp(prefix="s3pail-bench-", dir=args.dir))
    try:
        results = {"binary_bytes": args.binary.stat().st_size}
        print(f"stripped release binary: {results['binary_bytes'] / 1e6:.2f} MB", flush=True)
        backends = ("file", "mem") if "start" in args.only else ()
        results["startup"] = {backend: startup(load, args, backend) for backend in backends}
        results["fixture"] = fixture(load, args) if "start" in args.only else []
        results["load"] = compare(load, args, scratch) if "load" in args.only else []
        results["sizes"] = scale.sizes(load, args, scratch, add_nginx) if "sizes" in args.only else []
        results["listing"] = scale.listing(load, args, scratch, add_peers) if "listing" in args.only else []
        results["sync"] = scale.sync_modes(load, args, scratch) if "sync" in args.only else []
        if "big" in args.only:
            results["big"] = big(load, args, scratch)
        if "million" in args.only:
            results["million"] = scale.million(load, args, scratch)
        results["hops"] = hops(load, args, scratch) if "hops" in args.only else []
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")
    failures = sum(line["failures"] for part in ("load", "sizes", "sync", "hops") for line in results[part])
    return 1 if failures else 0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short round of everything: does it work?")
    parser.add_argument("--rounds", type=int, help="visits of each server (default 5)")
    parser.add_argument("--seconds", type=float, help="per operation, server and round (default 2)")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, with commas between them: {', '.join(PARTS)}")
    parser.add_argument("--keys", type=int, help="objects of the part million (default 1,000,000)")
    parser.add_argument("--size", type=int, default=1024, help="bytes of an object under load")
    parser.add_argument("--binary", type=Path, default=TARGET / "release/s3pail")
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
    args.only = args.only.split(",")
    if unknown := set(args.only) - set(PARTS):
        parser.error(f"--only: {', '.join(sorted(unknown))}: allowed are {', '.join(PARTS)}")
    args.keys = args.keys or (20_000 if args.quick else 1_000_000)
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
        add_peers(servers, scratch)
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
    scale.print_table(results)
    return results


def add_nginx(servers, scratch, access_log):
    try:
        servers.append(Nginx(nginx_program(), scratch, access_log))
    except (OSError, RuntimeError, subprocess.SubprocessError) as why:
        print(f"load: nginx SKIPPED: {why}", flush=True)


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
        results += one_hop(load, args, direct, near)
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


def one_hop(load, args, direct, near):
    """One small body at a time, and the least that a second process can add to it."""
    print(f"GET of {args.size} bytes with a data daemon, one connection; ratios are to {direct.name}", flush=True)
    words = ["--size", args.size, "--connections", 1, "--operations", "get"]
    results = versus(load, args, direct, near, words)
    bare = run_load([load, "loopback"])[0]["p50_ms"]
    alone, hop = (line["p50_ms"] for line in results)
    print(f"  a hop takes {hop * 1000:.0f} us against {alone * 1000:.0f} us, {hop / alone:.2f} times; a bare exchange on "
          f"loopback takes {bare * 1000:.0f} us, which alone makes it {(alone + bare) / alone:.2f} times", flush=True)
    return results


def versus(load, args, direct, other, words):
    results = run_load([load, "compare", *words, "--seconds", args.seconds, "--rounds", args.rounds,
                        "--target", direct.as_target(), "--target", other.as_target()])
    scale.print_table(results)
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


if __name__ == "__main__":
    sys.exit(main())
