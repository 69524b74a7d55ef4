#!/usr/bin/env python3
"""Holds the release build under load and looks at what that leaves behind: `ci/soak load`.

No time fails anything: what was measured is printed beside its target (LD-... of the project's table of figures).
Errors, threads, descriptors, memory and a store that is not sound do. Everything is on loopback, in one temporary
folder, within a bounded time; what a machine cannot do is SKIPPED with the reason.
"""

import argparse
import hashlib
import hmac
import json
import os
import resource
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from servers import ROOT, S3pail

TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PARTS = ("soak", "idle", "transfers", "slow", "burst", "signatures", "small")
KEYS = ("accessKey1", "verySecretKey1")
LIVE = b"GET /live HTTP/1.1\r\nHost: h\r\n\r\n"
# Descriptors of this process and of the servers, where the system gives them.
FILES = 20_000
WAIT_S = 60


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, with commas between them: {', '.join(PARTS)}")
    parser.add_argument("--seconds", type=float, default=600, help="of the part soak (default 600)")
    parser.add_argument("--connections", type=int, default=1000, help="of the part soak (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the part soak; 0 lets the clock choose")
    parser.add_argument("--binary", type=Path, default=TARGET / "release/s3pail")
    parser.add_argument("--no-build", dest="build", action="store_false", help="use what is built already")
    parser.add_argument("--dir", type=Path, help="where the servers keep their files (default: the system's)")
    args = parser.parse_args()
    args.binary = args.binary.resolve()
    args.only = args.only.split(",")
    if unknown := set(args.only) - set(PARTS):
        parser.error(f"--only: {', '.join(sorted(unknown))}: allowed are {', '.join(PARTS)}")
    if args.build:
        for target in (["--bin", "s3pail"], ["--example", "load"]):
            subprocess.run(["cargo", "build", "--locked", "--release", *target], cwd=ROOT, check=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, limit), hard))
    scratch = Path(tempfile.mkdtemp(prefix="s3pail-soak-", dir=args.dir))
    runner = Runner(args, scratch)
    try:
        for name in args.only:
            print(f"--- load: {name}", flush=True)
            getattr(runner, name)()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for line in runner.wrong:
        print(f"load: FAILED: {line}", flush=True)
    print(f"load: {len(runner.wrong)} failures" if runner.wrong else "load: passed", flush=True)
    return 1 if runner.wrong else 0


# --- The process under test ----------------------------------------------------------------------


class Watched(S3pail):
    """A server on files whose process is looked at; `peaks` holds the most of what was seen."""

    def __init__(self, runner, name, more=(), sync="none"):
        self.runner, self.folder = runner, runner.scratch / name
        super().__init__(runner.args.binary, "file", self.folder, ["--log-level", "warn", *more], sync)
        host, port = self.address.rsplit(":", 1)
        self.peer = (host, int(port))
        self.peaks = (0, 0, 0)

    def footprint(self):
        """Threads, descriptors and resident KiB now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        number = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if len(line.split()) > 1}
        now = (int(number["Threads"]), len(os.listdir(f"/proc/{self.process.pid}/fd")), int(number["VmRSS"]))
        self.peaks = tuple(max(pair) for pair in zip(self.peaks, now, strict=True))
        return now

    def ask(self, request=LIVE):
        """The status of one request on a connection of its own; 0 where there was no answer."""
        try:
            with socket.create_connection(self.peer, timeout=WAIT_S) as stream:
                stream.sendall(request)
                return status_of(stream.recv(4096))
        except OSError:
            return 0

    def settles(self):
        """Waits until no thread has been started or ended for two seconds."""
        begin, looks = time.monotonic(), []
        while len(looks) < 10 or len(set(looks[-10:])) > 1:
            if time.monotonic() - begin > WAIT_S:
                break
            time.sleep(0.2)
            looks.append(self.footprint()[0])

    def comes_back(self, before, what):
        """Waits until threads and descriptors are what they were, give or take two."""
        begin = time.monotonic()
        while True:
            now = self.footprint()
            left = max(abs(now[0] - before[0]), abs(now[1] - before[1]))
            if left <= 2 or time.monotonic() - begin > WAIT_S:
                break
            time.sleep(0.2)
        print(f"{what}: threads {before[0]}, peak {self.peaks[0]}, end {now[0]}; descriptors {before[1]}, peak "
              f"{self.peaks[1]}, end {now[1]}; {before[2] / 1024:.1f} MiB, peak {self.peaks[2] / 1024:.1f}, end "
              f"{now[2] / 1024:.1f}; after {time.monotonic() - begin:.1f} s", flush=True)
        self.runner.check(left <= 2, f"{what}: threads and descriptors {before[:2]} before, {now[:2]} after")
        self.runner.check(self.ask() == 200, f"{what}: the server does not answer")

    def end(self):
        """Stops it, and looks whether its store is sound."""
        self.stop()
        self.runner.check(self.process.returncode == 0, f"{self.folder.name}: exit code {self.process.returncode}")
        words = [self.runner.args.binary, "check", "--data-path", self.folder / "data", "--metadata-path",
                 self.folder / "metadata"]
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=600, check=False)
        print(f"{self.folder.name}: s3pail check: exit code {done.returncode}: {last_line(done.stdout)}", flush=True)
        self.runner.check(done.returncode == 0, f"{self.folder.name}: check: {done.stdout[-2000:]}{done.stderr[-500:]}")
        log = self.log.read_text(errors="replace")
        self.runner.check("panicked" not in log, f"{self.folder.name}: a panic in the log")
        shutil.rmtree(self.folder, ignore_errors=True)


def last_line(text):
    return text.strip().splitlines()[-1] if text.strip() else ""


def status_of(answer):
    parts = answer.split(b" ", 2)
    return int(parts[1]) if len(parts) > 2 and parts[1].isdigit() else 0


class Looking:
    """Looks at a server's process ten times a second while a block runs."""

    def __init__(self, server):
        self.server, self.over = server, threading.Event()
        self.thread = threading.Thread(target=self.look)

    def __enter__(self):
        self.thread.start()

    def look(self):
        while not self.over.wait(0.1):
            self.server.footprint()

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def signed(method, path, fields=""):
    """The head of a request with an unsigned body (Signature Version 4)."""
    now, region, hashed = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), "us-east-1", "UNSIGNED-PAYLOAD"
    names = "host;x-amz-content-sha256;x-amz-date"
    request = f"{method}\n{path}\n\nhost:h\nx-amz-content-sha256:{hashed}\nx-amz-date:{now}\n\n{names}\n{hashed}"
    scope = f"{now[:8]}/{region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{KEYS[1]}".encode()
    for step in (now[:8], region, "s3", "aws4_request"):
        key = hmac.digest(key, step.encode(), "sha256")
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    return (f"{method} {path} HTTP/1.1\r\nHost: h\r\nX-Amz-Date: {now}\r\nX-Amz-Content-Sha256: {hashed}\r\n"
            f"Authorization: AWS4-HMAC-SHA256 Credential={KEYS[0]}/{scope}, SignedHeaders={names}, "
            f"Signature={signature}\r\n{fields}\r\n").encode()


# --- The parts -----------------------------------------------------------------------------------


class Runner:
    def __init__(self, args, scratch):
        self.args, self.scratch, self.wrong = args, scratch, []
        self.load = args.binary.parent / "examples/load"

    def check(self, good, what):
        if not good:
            print(f"  FAILED: {what}", flush=True)
            self.wrong.append(what)

    def generate(self, *words):
        """Runs the load generator; returns its lines. Its progress is shown as it comes."""
        words = [str(word) for word in (self.load, *words)]
        done = subprocess.run(words, stdout=subprocess.PIPE, timeout=self.args.seconds + 1800, check=False)
        self.check(done.returncode == 0, f"load {' '.join(words[1:])}: exit code {done.returncode}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def mixed(self, server, connections, seconds, what, seed=0):
        """Mixed operations whose answers are compared; prints the figures."""
        lines = self.generate("soak", "--target", server.as_target(), "--connections", connections, "--seconds", seconds,
                              "--objects", 8, "--seed", seed)
        for line in lines[:-1]:
            print(f"  {line['operation']:13} {line['requests']:8}  p50 {line['p50_ms']:9.1f} ms  p99 {line['p99_ms']:9.1f}"
                  f" ms  max {line['max_ms']:9.1f} ms", flush=True)
        for line in lines[-1:]:
            print(f"{what}: {json.dumps(line)}", flush=True)

    def rate(self, server, operation, seconds=5, connections=1, size=4096, objects=100):
        """Requests a second and p99 of one operation."""
        more = [] if operation == "put" else ["--filled", "yes"]
        lines = self.generate("compare", "--target", f"{server.as_target()},prepared", "--operations", operation, "--seconds",
                              seconds, "--rounds", 1, "--objects", objects, "--size", size, "--connections", connections, *more)
        for line in lines:
            self.check(line["failures"] == 0, f"{operation}: {line['failures']} failures: {line['first_failure']}")
        return (lines[-1]["operations_per_s"], lines[-1]["p99_ms"]) if lines else (0, 0)

    def prepare(self, server, size=4096, objects=100):
        """A bucket `bench` with objects."""
        self.generate("compare", "--target", server.as_target(), "--operations", "head", "--seconds", 0.1, "--rounds", 1,
                      "--objects", objects, "--size", size, "--connections", 1)

    def soak(self):
        """LD-10, LD-30: every answer is right, and all comes back."""
        server = Watched(self, "soak", sync="strict")
        self.mixed(server, self.args.connections, self.args.seconds, "soak (0 errors; memory <= 1024 KiB/min)",
                   self.args.seed)
        server.end()

    def idle(self):
        """LD-01 and LD-03."""
        server = Watched(self, "idle", ["--workers", "16"])
        time.sleep(10)
        before = server.footprint()
        print(f"LD-01: idle: {before[0]} threads (<= 24), {before[1]} descriptors (<= 32), {before[2] / 1024:.1f} MiB "
              "(<= 20)", flush=True)
        self.check(before[0] <= 24 and before[1] <= 32 and before[2] <= 20 * 1024, f"LD-01: {before}")
        streams = [socket.create_connection(server.peer, timeout=WAIT_S) for _ in range(1000)]
        for stream in streams:
            stream.sendall(LIVE)
            self.check(status_of(stream.recv(4096)) == 200, "LD-03: an idle connection was not served")
        now = server.footprint()
        print(f"LD-03: 1000 idle connections: {now[0] - before[0]} threads more (0), {now[1] - before[1]} descriptors more "
              f"(1000), {(now[2] - before[2]) / 1000:.2f} KiB each (<= 8)", flush=True)
        self.check(now[0] <= before[0] and now[1] - before[1] <= 1000 and now[2] - before[2] <= 8000, f"LD-03: {now}")
        for stream in streams:
            stream.close()
        server.comes_back(before, "LD-03")
        server.end()

    def transfers(self):
        """LD-05, with 32 MiB instead of 5 GiB: 64 uploads and 64 downloads beside each other."""
        size, count = 32 << 20, 64
        server = Watched(self, "transfers")
        self.prepare(server, size, count)
        before = server.footprint()
        with Looking(server):
            up = threading.Thread(target=self.rate, args=(server, "put", 15, count, size, count))
            up.start()
            rate, _ = self.rate(server, "get", 15, count, size, count)
            up.join()
        each = (server.peaks[2] - before[2]) / (2 * count)
        print(f"LD-05: {2 * count} transfers: {each:.0f} KiB each (<= 512), {server.peaks[1] - before[1]} descriptors more "
              f"(<= {8 * count}), downloads {rate * size / 1e6:.0f} MB/s", flush=True)
        self.check(each <= 512 and server.peaks[1] - before[1] <= 8 * count, f"LD-05: {server.peaks}")
        server.comes_back(before, "LD-05")
        server.end()

    def slow(self):
        """LD-15, LD-16 and LD-17: clients that take their time, while others are served."""
        server = Watched(self, "slow", ["--workers", "16"])
        self.prepare(server)
        before = server.footprint()
        rate, p99 = self.rate(server, "get")
        heads = SlowHeads(server.peer, 1000)
        with Looking(server), heads:
            held, held_p99 = self.rate(server, "get", 15)
        print(f"LD-15: 1000 slow heads: {rate:.0f} -> {held:.0f} GET/s, p99 {p99} -> {held_p99} ms (at most doubled); "
              f"{heads.ended} were ended, the oldest at {heads.oldest:.1f} s (<= 12)", flush=True)
        self.check(heads.ended > 0, "LD-15: no slow head was ended")
        server.comes_back(before, "LD-15")
        server.end()
        for name, make in (("LD-16: 200 slow uploads", SlowUploads), ("LD-17: 200 stalled downloads", StalledDownloads)):
            server = Watched(self, "slow", ["--workers", "16"])
            before = server.footprint()
            others = make(server, 200)
            with Looking(server), others:
                # Those who stand in for workers that wait are there before it is counted how many threads are.
                server.settles()
                self.mixed(server, 50, 20, name)
            self.check(others.good == 200, f"{name}: {200 - others.good} of them were thrown out")
            print(f"{name}: {others.good} of them were held all the time", flush=True)
            server.comes_back(before, name)
            server.end()

    def burst(self):
        """LD-18, LD-19 and overload: more connections than there are places."""
        for name, attempts, more, files in (
                ("LD-18: 5000 connections, 1024 places", 5000, ["--connections", "1024"], None),
                ("LD-19: 2000 connections, 256 descriptors", 2000, [], 256),
                ("overload: 200 connections, 50 places", 200, ["--connections", "50"], None)):
            if (own := resource.getrlimit(resource.RLIMIT_NOFILE)[0]) < attempts + 100:
                print(f"{name}: SKIPPED: this process may have {own} files open", flush=True)
                continue
            with files_limited(files):
                server = Watched(self, "burst", ["--workers", "16", *more])
            before = server.footprint()
            with Looking(server):
                seen = burst(server.peer, attempts)
            begin = time.monotonic()
            while server.ask() != 200 and time.monotonic() - begin < WAIT_S:
                time.sleep(0.05)
            print(f"{name}: {seen}; normal after {time.monotonic() - begin:.2f} s (<= 5)", flush=True)
            # The system's own queue may drop a few of thousands.
            cut = seen.get("cut", 0) > attempts // 100
            wrong = set(seen) - {200, 503, "cut"}
            self.check(seen.get(200, 0) > 0 and seen.get(503, 0) > 0 and not wrong and not cut, f"{name}: {seen}")
            server.comes_back(before, name)
            server.end()

    def signatures(self):
        """LD-20: 10,000 wrong signatures a second on four connections."""
        server = Watched(self, "signatures", ["--workers", "16"])
        self.prepare(server)
        before = server.footprint()
        rate, p99 = self.rate(server, "get")
        wrong = WrongSignatures(server.peer, 4)
        with Looking(server), wrong:
            held, held_p99 = self.rate(server, "get", 15)
        print(f"LD-20: {wrong.rate:.0f} wrong signatures/s, all of them 403: {wrong.good}; valid clients {rate:.0f} -> "
              f"{held:.0f} GET/s, p99 {p99} -> {held_p99} ms (at most three times)", flush=True)
        self.check(wrong.good and wrong.rate > 0, "LD-20: another answer than 403")
        server.comes_back(before, "LD-20")
        server.end()

    def small(self):
        """LD-09: 64 MB and 8 workers."""
        group = Path("/sys/fs/cgroup/memory/s3pail-soak")
        if not group.parent.is_dir():
            group = Path("/sys/fs/cgroup/s3pail-soak")
        try:
            group.mkdir()
            limit = next(path for path in (group / "memory.limit_in_bytes", group / "memory.max") if path.exists())
            limit.write_text(str(64 << 20))
        except (OSError, StopIteration) as why:
            print(f"LD-09: SKIPPED: no control group with a memory limit can be made here: {why}", flush=True)
            if group.is_dir():
                group.rmdir()
            return
        server = Watched(self, "small", ["--workers", "8"])
        try:
            (group / "cgroup.procs").write_text(str(server.process.pid))
            before = server.footprint()
            with Looking(server):
                self.mixed(server, 100, 30, "LD-09: 100 connections within 64 MB")
            text = "".join(path.read_text() for path in (group / "memory.oom_control", group / "memory.events") if path.exists())
            kills = sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill "))
            print(f"LD-09: {kills} kills (0), peak {server.peaks[2] / 1024:.1f} MiB resident (<= 64)", flush=True)
            self.check(kills == 0 and server.process.poll() is None, "LD-09: killed for want of memory")
            server.comes_back(before, "LD-09")
        finally:
            server.end()
            group.rmdir()


class files_limited:
    """Limits the descriptors of the processes that are started in a block."""

    def __init__(self, files):
        self.files, self.before = files, resource.getrlimit(resource.RLIMIT_NOFILE)

    def __enter__(self):
        if self.files:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self.files, self.before[1]))

    def __exit__(self, *_):
        resource.setrlimit(resource.RLIMIT_NOFILE, self.before)


# --- Clients that behave badly -------------------------------------------------------------------


class Beside:
    """What a thread does while a block runs."""

    def __enter__(self):
        self.over, self.ready = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.work)
        self.thread.start()
        self.ready.wait(WAIT_S)
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


class SlowHeads(Beside):
    """Heads that come one byte a second, spread over the second; one that is ended begins again."""

    AT_ONCE = 10

    def __init__(self, peer, count):
        self.peer, self.count, self.ended, self.oldest = peer, count, 0, 0.0

    def work(self):
        streams = {}
        while not self.over.is_set():
            while len(streams) < self.count:
                streams[socket.create_connection(self.peer, timeout=WAIT_S)] = time.monotonic()
            for number, (stream, since) in enumerate(list(streams.items())):
                if number % self.AT_ONCE == 0:
                    self.over.wait(self.AT_ONCE / self.count)
                stream.setblocking(False)
                try:
                    stream.send(b"G")
                    gone = stream.recv(4096) is not None
                except BlockingIOError:
                    gone = False
                except OSError:
                    gone = True
                if gone:
                    self.ended += 1
                    self.oldest = max(self.oldest, time.monotonic() - since)
                    stream.close()
                    del streams[stream]
            self.ready.set()
        for stream in streams:
            stream.close()


class SlowUploads(Beside):
    """Bodies of little more than one KiB a second, the least that is waited for. `good` counts those that were waited
    for all the time."""

    def __init__(self, server, count):
        self.server, self.count, self.good = server, count, 0

    def work(self):
        self.server.ask(signed("PUT", "/slow", "Content-Length: 0\r\n"))
        streams = []
        for number in range(self.count):
            stream = socket.create_connection(self.server.peer, timeout=WAIT_S)
            stream.sendall(signed("PUT", f"/slow/{number}", "Content-Length: 10000000\r\n"))
            streams.append(stream)
        self.ready.set()
        due = time.monotonic()
        while not self.over.is_set():
            for stream in streams:
                try:
                    stream.sendall(bytes(1100))
                except OSError:
                    pass
            due += 1
            self.over.wait(max(0, due - time.monotonic()))
        self.good = sum(not has_ended(stream) for stream in streams)
        for stream in streams:
            stream.close()


class StalledDownloads(Beside):
    """Answers that nobody reads. `good` counts those that were begun."""

    def __init__(self, server, count):
        self.server, self.count, self.good = server, count, 0

    def work(self):
        self.server.ask(signed("PUT", "/slow", "Content-Length: 0\r\n"))
        size = 32 << 20
        with socket.create_connection(self.server.peer, timeout=WAIT_S) as stream:
            stream.sendall(signed("PUT", "/slow/large", f"Content-Length: {size}\r\n"))
            stream.sendall(bytes(size))
            stream.recv(4096)
        streams = []
        for _ in range(self.count):
            stream = socket.socket()
            # Small, so that it is soon full.
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
            stream.settimeout(WAIT_S)
            stream.connect(self.server.peer)
            stream.sendall(signed("GET", "/slow/large"))
            streams.append(stream)
        self.good = sum(stream.recv(9) == b"HTTP/1.1 " for stream in streams)
        self.ready.set()
        self.over.wait()
        for stream in streams:
            stream.close()


class WrongSignatures(Beside):
    """Requests whose signature is wrong, a few at a time on each connection, `RATE` a second where that many are
    answered."""

    RATE = 10_000

    def __init__(self, peer, count):
        self.peer, self.count, self.rate, self.good = peer, count, 0.0, True

    def work(self):
        batch = 5
        request = signed("GET", "/bench/object-000001")
        at = request.index(b"Signature=") + len(b"Signature=")
        request = (request[:at] + b"0" * 64 + request[at + 64:]) * batch
        streams = [socket.create_connection(self.peer, timeout=WAIT_S) for _ in range(self.count)]
        begin, sent = time.monotonic(), 0
        self.ready.set()
        while not self.over.is_set() and self.good:
            for stream in streams:
                stream.sendall(request)
            for stream in streams:
                self.good &= count_refusals(stream, batch) == batch
                sent += batch
            self.over.wait(max(0, begin + sent / self.RATE - time.monotonic()))
        self.rate = sent / (time.monotonic() - begin)
        for stream in streams:
            stream.close()


def count_refusals(stream, count):
    """Reads so many answers, and returns how many of them were 403."""
    answers = stream.makefile("rb")
    refused = 0
    for _ in range(count):
        refused += status_of(answers.readline()) == 403
        length = 0
        while (line := answers.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        answers.read(length)
    return refused


def has_ended(stream):
    stream.setblocking(False)
    try:
        return stream.recv(1) is not None
    except BlockingIOError:
        return False
    except OSError:
        return True


def burst(peer, attempts):
    """Opens so many connections at once, and keeps each that is served. Returns how many got which status, or were cut."""
    chooser, seen, kept = selectors.DefaultSelector(), {}, []
    for _ in range(attempts):
        stream = socket.socket()
        stream.setblocking(False)
        stream.connect_ex(peer)
        chooser.register(stream, selectors.EVENT_WRITE)
    deadline = time.monotonic() + WAIT_S
    while chooser.get_map() and time.monotonic() < deadline:
        for key, ready in chooser.select(1):
            stream = key.fileobj
            try:
                if ready & selectors.EVENT_WRITE:
                    stream.send(LIVE)
                    chooser.modify(stream, selectors.EVENT_READ)
                    continue
                answer = stream.recv(4096)
                found = status_of(answer) if answer else "cut"
            except OSError:
                found = "cut"
            seen[found] = seen.get(found, 0) + 1
            chooser.unregister(stream)
            kept.append(stream)
        # Those that are served give up their places only when nobody else comes in.
    seen.update({"no answer": len(chooser.get_map())} if chooser.get_map() else {})
    for stream in kept + [key.fileobj for key in chooser.get_map().values()]:
        stream.close()
    return seen


if __name__ == "__main__":
    sys.exit(main())
