#!/usr/bin/env python3
"""Builds the final stage of the Dockerfile and runs it, without a container engine.

The static binary is built from what the Dockerfile copies, and nothing else. buildah (Debian's, unpacked into
.clients/ where the system has none) makes the image. It is run twice: by buildah with chroot isolation as the
image's own user, and as any engine would run it hardened: as process 1, a random user id, all of the root
read-only but the two volumes, no capabilities. The last line says `container: passed`, `SKIPPED: why`, or
what failed. Only the standard library is used here.
"""

import argparse
import base64
import ctypes
import errno
import hashlib
import hmac
import http.client
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from email.utils import formatdate
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "clients"))

from run import CLIENTS, Unavailable, command  # noqa: E402
from server import free_port, listens  # noqa: E402

IMAGE_BYTES_MAX = 10 * 1024 * 1024
TARGET = "x86_64-unknown-linux-musl"
BUILDAH = CLIENTS / "buildah"
PACKAGES = ("buildah", "libgpgme11", "libassuan0", "libgpg-error0", "libseccomp2", "libdevmapper1.02.1", "libsubid4")
ACCESS_KEY, SECRET_KEY = "containerKey", "containerSecretKey"
DEADLINE_S = 30
PR_SET_NO_NEW_PRIVS = 38


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=Path, help="a static binary, instead of building one")
    args = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="s3pail-container-"))
    try:
        check_namespaces()
        binary = args.binary.resolve() if args.binary else build_binary()
        test(Tools(scratch), binary, scratch)
    except Unavailable as why:
        print(f"SKIPPED: {why}")
        return 0
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print("container: passed")
    return 0


def check_namespaces():
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        raise Unavailable("images are made and run here as root only")
    command(["unshare", "--mount", "--pid", "--fork", "sh", "-c", "mount --make-rprivate / && mount -t tmpfs t /mnt"],
            "no namespaces or mounts")


def build_binary():
    """Builds what the first stage builds, from what it copies."""
    targets = subprocess.run(["rustc", "--print", "target-libdir", "--target", TARGET], capture_output=True, text=True,
                             check=False)
    if targets.returncode != 0 or not Path(targets.stdout.strip()).is_dir():
        raise Unavailable(f"the Rust target {TARGET} is not installed (rustup target add {TARGET})")
    context = ROOT / "target/container/context"
    shutil.rmtree(context, ignore_errors=True)
    for words in instructions(stage(0), "COPY"):
        for source in words[:-1]:
            path = context / words[-1] / (source if words[-1] == "./" else "")
            path.parent.mkdir(parents=True, exist_ok=True)
            # With their times, so that a second build finds nothing to do.
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, path)
            else:
                shutil.copy2(ROOT / source, path)
    print(f"building a static binary for {TARGET}", flush=True)
    folder = ROOT / "target/container/build"
    # C code of crates (ring, where it is built in) needs no C library; the system's compiler will do.
    variables = os.environ | {"CARGO_TARGET_DIR": str(folder)}
    variables.setdefault("CC_" + TARGET.replace("-", "_"), "cc")
    subprocess.run(["cargo", "build", "--release", "--locked", "--bin", "s3pail", "--target", TARGET], cwd=context,
                   env=variables, check=True)
    return folder / TARGET / "release/s3pail"


# --- The Dockerfile ------------------------------------------------------------------------------


def stage(number):
    """The lines of a stage, those that go on joined."""
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    starts = [at for at, line in enumerate(lines) if line.startswith("FROM ")] + [len(lines)]
    return lines[starts[number]:starts[number + 1]]


def instructions(lines, name):
    return [line.split()[1:] for line in lines if line.split()[:1] == [name]]


def final_stage():
    """The final stage, with the one change that its files come from a folder and not from the first stage."""
    lines = stage(1)
    expected = "COPY --from=build /image /"
    assert lines[0] == "FROM scratch" and lines.count(expected) == 1, "the final stage has another shape"
    return "\n".join("COPY image /" if line == expected else line for line in lines) + "\n"


# --- buildah -------------------------------------------------------------------------------------


class Tools:
    """buildah, with storage and settings under a folder of its own."""

    def __init__(self, scratch):
        self.program = shutil.which("buildah") or self.unpack()
        storage, containers = scratch / "storage.conf", scratch / "containers.conf"
        policy = scratch / "home/.config/containers/policy.json"
        storage.write_text(f'[storage]\ndriver = "vfs"\nrunroot = "{scratch}/run"\ngraphroot = "{scratch}/graph"\n')
        policy.parent.mkdir(parents=True)
        policy.write_text('{"default":[{"type":"insecureAcceptAnything"}]}')
        containers.write_text("")
        self.variables = {"PATH": os.environ["PATH"], "HOME": str(scratch / "home"),
                          "CONTAINERS_STORAGE_CONF": str(storage), "CONTAINERS_CONF": str(containers)}

    def unpack(self):
        """Unpacks Debian's package into .clients/buildah. Nothing is installed."""
        if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
            raise Unavailable("buildah is not installed and this is no Debian")
        program = BUILDAH / "usr/bin/buildah"
        if not program.is_file():
            BUILDAH.mkdir(parents=True, exist_ok=True)
            download = ["apt-get", "-q", "download", *PACKAGES]
            try:
                command(download, "apt-get download", cwd=BUILDAH)
            except Unavailable:
                command(["apt-get", "-q", "update"], "apt-get update")
                command(download, "apt-get download", cwd=BUILDAH)
            for package in BUILDAH.glob("*.deb"):
                command(["dpkg-deb", "-x", package, BUILDAH], "dpkg-deb")
        return str(program)

    def words(self, *arguments):
        """A command line. A program that was only unpacked finds its libraries in a mount namespace, because it
        starts itself anew without any variable that could say where they are."""
        line = [self.program, *arguments]
        if self.program.startswith(str(BUILDAH)):
            script = ('mount --make-rprivate / && mount --bind "$1" /usr/local/lib && ldconfig -C "$2" && '
                      'mount --bind "$2" /etc/ld.so.cache && shift 2 && exec "$@"')
            libraries = next(BUILDAH.glob("usr/lib/*-linux-gnu"))
            cache = Path(self.variables["HOME"]) / "ld.so.cache"
            line = ["unshare", "--mount", "sh", "-c", script, "sh", libraries, cache, *line]
        return [str(word) for word in line]

    def __call__(self, *arguments):
        done = subprocess.run(self.words(*arguments), env=self.variables, capture_output=True, text=True, timeout=300,
                              check=False)
        assert done.returncode == 0, f"buildah {arguments[0]}: {done.stderr[-2000:]}"
        return done.stdout.strip()


# --- The test ------------------------------------------------------------------------------------


def test(buildah, binary, scratch):
    context = scratch / "context"
    context.mkdir()
    subprocess.run([ROOT / "ci/image-tree", binary, context / "image"], check=True)
    (context / "Dockerfile").write_text(final_stage())
    buildah("bud", "--format", "docker", "--layers=false", "--tag", "s3pail", "--file", context / "Dockerfile", context)
    config = json.loads(buildah("inspect", "--type", "image", "s3pail"))["Docker"]["config"]
    check_settings(config)
    container = buildah("from", "--pull-never", "s3pail")
    # A mount stays only in the namespace that it was made in; the driver's folder is there without one.
    root = Path(buildah("mount", container))
    check_size(root)
    run_by_buildah(buildah, container, config, scratch)
    run_hardened(root, config, scratch)


def check_settings(config):
    expected = {"User": "65532:65532", "WorkingDir": "/usr/src/app", "Entrypoint": ["/usr/local/bin/s3pail"],
                "ExposedPorts": {"8000/tcp": {}},
                "Volumes": {"/usr/src/app/localData": {}, "/usr/src/app/localMetadata": {}}}
    for name, value in expected.items():
        assert config[name] == value, f"{name}: {config[name]}"
    assert "S3PAIL_BIND_ADDRESS=0.0.0.0" in config["Env"], config["Env"]
    assert config["Healthcheck"]["Test"] == ["CMD", "/usr/local/bin/s3pail", "healthcheck"], config["Healthcheck"]
    print("the image has its settings: user, entry point, port, volumes, health check")


def check_size(root):
    files = [path for path in root.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    names = [str(path.relative_to(root)) for path in files]
    assert "usr/local/bin/s3pail" in names and size < IMAGE_BYTES_MAX, f"{names}: {size} bytes"
    head = (root / "usr/local/bin/s3pail").read_bytes()
    assert head[:4] == b"\x7fELF" and b"/ld-linux" not in head and b"/ld-musl" not in head, "the binary is not static"
    for folder in ("usr/src/app/localData", "usr/src/app/localMetadata", "tmp"):
        mode = (root / folder).stat().st_mode & 0o7777
        assert mode == 0o1777, f"{folder}: {mode:o}"
    print(f"the image has {size} bytes ({size / 1024 / 1024:.1f} MiB), all of them in {len(files)} file")


def settings(port):
    """What users of the old image set, and a Redis that is not there: statistics must not stop anything."""
    return {"ENDPOINT": "s3.container.test", "LISTEN_ADDR": f"127.0.0.1:{port}", "LOG_LEVEL": "debug",
            "REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(free_port()),
            "SCALITY_ACCESS_KEY_ID": ACCESS_KEY, "SCALITY_SECRET_ACCESS_KEY": SECRET_KEY}


def run_by_buildah(buildah, container, config, scratch):
    port = free_port()
    given = [word for pair in settings(port).items() for word in ("--env", "=".join(pair))]
    run = ["run", "--isolation", "chroot", *given, container, "--"]
    log = scratch / "buildah.log"
    with open(log, "wb") as output:
        # Its own process namespace, so that everything in it ends with it.
        words = ["unshare", "--pid", "--fork", "--kill-child=KILL", *buildah.words(*run, *config["Entrypoint"])]
        process = subprocess.Popen(words, env=buildah.variables, stdout=output, stderr=subprocess.STDOUT,
                                   stdin=subprocess.DEVNULL)
    try:
        serve(process, port, log)
        buildah(*run, *config["Healthcheck"]["Test"][1:])
    finally:
        process.kill()
        process.wait()
    print("buildah runs it with chroot isolation as the image's user: it serves and is healthy")


def run_hardened(root, config, scratch):
    port, uid = free_port(), random.SystemRandom().randrange(100_000, 2_000_000_000)
    log = scratch / "hardened.log"
    variables = dict(pair.split("=", 1) for pair in config["Env"]) | settings(port)
    plan = {"root": str(root), "uid": uid, "folder": config["WorkingDir"], "volumes": list(config["Volumes"]),
            "words": config["Entrypoint"], "variables": variables}
    launcher = ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", sys.executable, "-B", __file__]
    with open(log, "wb") as output:
        process = subprocess.Popen([*launcher, "--inside", json.dumps(plan)], stdout=output, stderr=subprocess.STDOUT,
                                   stdin=subprocess.DEVNULL)
    try:
        serve(process, port, log)
        asked = subprocess.run([*launcher, "--inside", json.dumps(plan | {"words": config["Healthcheck"]["Test"][1:]})],
                               capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        assert asked.returncode == 0, f"health check: {asked.stderr}"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        status = Path(f"/proc/{children[0]}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert fields["Uid"].split() == [str(uid)] * 4 and fields["NSpid"].split()[-1] == "1", status
        assert int(fields["CapEff"], 16) == 0 and fields["NoNewPrivs"] == "1", status
        os.kill(int(children[0]), signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0, log.read_text(errors="replace")[-2000:]
    finally:
        process.kill()
        process.wait()
    assert SECRET_KEY not in log.read_text(errors="replace"), "the log shows a secret"
    print(f"as process 1, uid {uid}, read-only root, no capabilities: it serves, is healthy, ends with 0 at SIGTERM")


def inside(plan):
    """Becomes what an engine would start, in namespaces that are there already."""
    root = plan["root"]
    mount = [["mount", "--make-rprivate", "/"], ["mount", "--bind", root, root],
             ["mount", "-o", "remount,bind,ro", root]]
    for volume in plan["volumes"]:
        mount.append(["mount", "-t", "tmpfs", "-o", "mode=1777,size=64m", "volume", root + volume])
    for words in mount:
        subprocess.run(words, check=True)
    os.chroot(root)
    os.chdir(plan["folder"])
    ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(*[plan["uid"]] * 3)
    os.setresuid(*[plan["uid"]] * 3)
    try:
        os.mkdir("/tmp/written")
    except OSError as error:
        assert error.errno == errno.EROFS, error
    else:
        sys.exit("the root can be written")
    os.execve(plan["words"][0], plan["words"], plan["variables"])


# --- A client ------------------------------------------------------------------------------------


def serve(process, port, log):
    """A bucket and an object, by path and by the host that ENDPOINT named."""
    deadline = time.monotonic() + DEADLINE_S
    while not listens(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"it does not serve: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.02)
    body = os.urandom(200_000)
    for method, path, sent in (("PUT", "/pail", b""), ("PUT", "/pail/key", body), ("GET", "/pail/key", b"")):
        status, answer = ask(port, method, path, sent)
        assert status == 200, f"{method} {path}: {status} {answer[:500]}"
    assert answer == body, "other bytes came back"
    status, answer = ask(port, "GET", "/key", b"", "/pail/key", "pail.s3.container.test")
    assert status == 200 and answer == body, f"ENDPOINT: {status} {answer[:500]}"


def ask(port, method, path, body, resource=None, host=None):
    date = formatdate(usegmt=True)
    text = f"{method}\n\n\n{date}\n{resource or path}"
    signature = base64.b64encode(hmac.new(SECRET_KEY.encode(), text.encode(), hashlib.sha1).digest()).decode()
    headers = {"Date": date, "Authorization": f"AWS {ACCESS_KEY}:{signature}"} | ({"Host": host} if host else {})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside(json.loads(sys.argv[2]))
    sys.exit(main())
