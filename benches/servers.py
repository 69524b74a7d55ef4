"""The servers that ci/bench measures, each started on loopback in a folder of its own.

nginx is the yardstick: a static file server that does no S3 at all, asked for the same bytes by the same
client in the same run, so that a ratio means the same on every machine. Where the system has no nginx its
Debian package is unpacked into .clients/ (nothing is installed). Other S3 servers are measured when their
binaries are on the PATH; none is installed here.
"""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
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


def run_load(words):
    """Runs the load generator; returns its lines of JSON. Its messages go to the user."""
    done = subprocess.run([str(w) for w in words], stdout=subprocess.PIPE, timeout=LOAD_TIMEOUT_S, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def server_options(backend, folder, sync="none"):
    return ["--backend", backend, "--listen", "127.0.0.1:0", "--data-path", f"{folder}/data", "--metadata-path",
            f"{folder}/metadata", "--sync", sync]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class S3pail(Server):
    def __init__(self, binary, backend, folder, more=(), sync="none"):
        self.name = f"s3pail {backend}"
        folder.mkdir(exist_ok=True)
        self.log = folder / "log"
        self.start([binary, *server_options(backend, folder, sync), *more], self.log, folder)
        self.address = self.wait_until(self.announced)

    def announced(self):
        for line in self.log.read_text(errors="replace").splitlines(keepends=True):
            if line.endswith("\n") and "listening on http://" in line:
                return line.split("listening on http://", 1)[1].split()[0]
        return None

    def as_target(self):
        return f"{self.name}=http://{self.address},{self.process.pid}"


class Nginx(Server):
    """Static files, and PUT by WebDAV."""

    def __init__(self, program, scratch, access_log):
        self.name = "nginx"
        folder = scratch / "nginx"
        (folder / "nginx-root/bench").mkdir(parents=True)
        self.port = free_port()
        # Started by root its workers would be somebody who may not write here.
        user = "user root;" if os.geteuid() == 0 else ""
        configuration = folder / "nginx.conf"
        configuration.write_text(NGINX_CONFIGURATION.format(
            user=user, folder=folder, port=self.port, access_log=f"{folder}/access.log" if access_log else "off"))
        self.start([program, "-p", folder, "-e", folder / "nginx-error.log", "-c", configuration], folder / "log",
                   folder)
        self.wait_until(self.answers)

    def answers(self):
        return listens(self.port)

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


class S3sFs(Server):
    """The file server of the s3s project."""

    def __init__(self, program, folder):
        self.name, self.port = "s3s-fs", free_port()
        (folder / "root").mkdir(parents=True)
        self.start([program, "--host", "127.0.0.1", "--port", self.port, "--access-key", "accessKey1", "--secret-key",
                    "verySecretKey1", folder / "root"], folder / "log", folder)
        self.wait_until(lambda: listens(self.port))

    def as_target(self):
        return f"s3s-fs=http://127.0.0.1:{self.port},{self.process.pid}"


GARAGE_CONFIGURATION = """
metadata_dir = "{folder}/meta"
data_dir = "{folder}/data"
db_engine = "lmdb"
replication_factor = 1
rpc_bind_addr = "127.0.0.1:{rpc}"
rpc_public_addr = "127.0.0.1:{rpc}"
rpc_secret = "{secret}"
[s3_api]
s3_region = "us-east-1"
api_bind_addr = "127.0.0.1:{port}"
root_domain = ".s3.localhost"
"""


class Garage(Server):
    """Garage with one node, laid out and given the bucket and a key."""

    def __init__(self, program, folder):
        self.name, self.port = "garage", free_port()
        self.key, self.secret = f"GK{secrets.token_hex(12)}", secrets.token_hex(32)
        folder.mkdir(parents=True)
        self.words = [program, "-c", folder / "garage.toml"]
        (folder / "garage.toml").write_text(GARAGE_CONFIGURATION.format(
            folder=folder, rpc=free_port(), port=self.port, secret=secrets.token_hex(32)))
        self.start([*self.words, "server"], folder / "log", folder)
        self.wait_until(lambda: listens(self.port))
        node = self.ask("node", "id", "-q").split("@")[0].strip()
        for words in (("layout", "assign", "-z", "here", "-c", "1G", node), ("layout", "apply", "--version", "1"),
                      ("bucket", "create", "bench"), ("key", "import", "--yes", self.key, self.secret),
                      ("bucket", "allow", "--read", "--write", "--owner", "bench", "--key", self.key)):
            self.ask(*words)

    def ask(self, *words):
        done = subprocess.run([*map(str, self.words), *words], capture_output=True, text=True, timeout=60,
                              env=ENVIRONMENT, check=False)
        if done.returncode:
            self.stop()
            raise RuntimeError(f"garage {words[0]} {words[1]}: {done.stderr.strip()[-300:]}")
        return done.stdout

    def as_target(self):
        return f"garage=http://127.0.0.1:{self.port},{self.process.pid},prepared,keys:{self.key}:{self.secret}"


PEERS = {"s3s-fs": S3sFs, "garage": Garage}


def add_peers(servers, scratch):
    """Starts the other S3 servers that are on the PATH, and says which are not."""
    for name, kind in PEERS.items():
        program = shutil.which(name)
        if not program:
            print(f"load: {name} SKIPPED: no {name} on the PATH", flush=True)
            continue
        try:
            servers.append(kind(program, scratch / name))
        except (OSError, RuntimeError, subprocess.SubprocessError) as why:
            print(f"load: {name} SKIPPED: {why}", flush=True)
