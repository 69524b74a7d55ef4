"""A real Redis for the statistics: keys, expiry and sums; requests go on when it is killed, and counts when it is back."""

import json
import os
import socket
import time
from pathlib import Path

import boto3
from botocore.client import Config
from botocore.exceptions import ClientError

import fixture as f
from fixture import BUCKET, WORK, same, step
from server import Companion, Server, free_port

REDIS = Path(os.environ["LANE_REDIS"])
PASSWORD = "open sesame"
DEADLINE_S = 20
# No request may wait for Redis; this only has to be shorter than any of its time-outs would add up to.
SLOWEST_S = 5


def start_redis(port):
    # Beside a program that was only unpacked lie its libraries.
    libraries = ":".join(str(p) for p in (REDIS.parent.parent / "lib").glob("*-linux-gnu"))
    words = [REDIS, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--requirepass",
             PASSWORD, "--daemonize", "no", "--dir", WORK]
    return Companion(words, port, WORK / "redis", {"LD_LIBRARY_PATH": libraries})


def ask(port, *words):
    """One command over a raw socket; the answer as it stands on the wire."""
    lines = [["AUTH", PASSWORD], list(words)]
    sent = b"".join(b"*%d\r\n" % len(line) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w.encode()) for w in line)
                    for line in lines)
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as stream, stream.makefile("rb") as answers:
        stream.sendall(sent)
        same("AUTH", answers.readline(), b"+OK\r\n")
        head = answers.readline().rstrip()
        if head[:1] == b"*":
            return [bulk(answers, answers.readline()) for _ in range(int(head[1:]))]
        return bulk(answers, head) if head[:1] == b"$" else int(head.lstrip(b":"))


def bulk(answers, head):
    length = int(head.strip()[1:])
    return None if length < 0 else answers.read(length + 2)[:-2].decode()


def keys(port, name):
    return sorted(ask(port, "KEYS", f"s3:{name}:*"))


def total(port, name):
    return sum(int(ask(port, "GET", key) or 0) for key in keys(port, name))


def until(what, holds):
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        if time.monotonic() > deadline:
            raise f.Failure(f"not within {DEADLINE_S} s: {what}")
        time.sleep(0.02)


def main():
    port = free_port()
    folder = WORK / "server"
    WORK.joinpath("config.json").write_text(json.dumps(
        {"localCache": {"host": "127.0.0.1", "port": port, "password": PASSWORD}}))
    with start_redis(port) as redis:
        server = Server(os.environ["LANE_BINARY"], os.environ["LANE_BACKEND"], folder, "--config", WORK / "config.json")
        try:
            counted(server, port)
            killed(server, port, redis)
        finally:
            wrong = server.stop()
        same("the end of the server", wrong, None)


def counted(server, port):
    s3 = client(server)
    with step("requests are counted under the old keys, and expire"):
        before = int(time.time())
        s3.create_bucket(Bucket=BUCKET)
        for number in range(20):
            s3.put_object(Bucket=BUCKET, Key=f"key {number}", Body=b"x")
        try:
            s3.get_object(Bucket=BUCKET, Key="missing")
            raise f.Failure("a key that is missing was found")
        except ClientError as error:
            same("status", error.response["ResponseMetadata"]["HTTPStatusCode"], 404)
        until("22 requests are counted", lambda: total(port, "requests") == 22)
        same("failures", total(port, "500s"), 0)
        for key in keys(port, "requests"):
            start = int(key.rsplit(":", 1)[1])
            same(f"{key}: whole intervals of 5 s", start % 5000, 0)
            assert before - 5 <= start // 1000 <= time.time(), key
            assert 0 < ask(port, "TTL", key) <= 30, key
    with step("the health answers show the sums"):
        for path in ("/_/healthcheck", "/live"):
            same(path, json.loads(f.fetch(server.endpoint + path)),
                 {"requests": 22, "500s": 0, "sampleDuration": 30})
        same("deep", json.loads(f.fetch(server.endpoint + "/_/healthcheck/deep"))["localCache"],
             {"code": 200, "message": "OK"})


def killed(server, port, redis):
    s3 = client(server)
    redis.kill()
    with step("requests go on without Redis, none of them slowly"):
        for number in range(100):
            start = time.monotonic()
            s3.put_object(Bucket=BUCKET, Key=f"key {number}", Body=b"y")
            took = time.monotonic() - start
            assert took < SLOWEST_S, f"{took} s"
        health = json.loads(f.fetch(server.endpoint + "/_/healthcheck"))
        assert health["requests"] >= 100, health
        deep = json.loads(f.fetch(server.endpoint + "/_/healthcheck/deep"))
        assert deep["localCache"]["code"] == 200 and deep["localCache"]["message"].startswith("away"), deep
    with step("a Redis that is back is told again"), start_redis(port):
        def told():
            s3.head_bucket(Bucket=BUCKET)
            return total(port, "requests") > 0
        until("it is told again", told)


def client(server):
    config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, read_timeout=60)
    return boto3.client("s3", endpoint_url=server.endpoint, region_name=f.REGION, config=config,
                        aws_access_key_id=f.ACCESS_KEY, aws_secret_access_key=f.SECRET_KEY)


if __name__ == "__main__":
    main()
