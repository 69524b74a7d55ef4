"""An s3pail under test, for run.py and for the lanes that need one with settings of its own, and the other
servers that such lanes put beside it. Only the standard library is used here."""

import os
import signal
import socket
import subprocess
import time

# Nothing of the user's own settings reaches the servers.
SERVER_ENVIRONMENT = {"PATH": os.environ.get("PATH", "")}
START_TIMEOUT_S = 20
STOP_TIMEOUT_S = 20


class Server:
    """One s3pail on a free port of loopback, with its folders and log under `folder`."""

    def __init__(self, binary, backend, folder, *options, variables=None):
        folder.mkdir(parents=True)
        self.log = folder / "server.log"
        words = [binary, "--backend", backend, "--listen", "127.0.0.1:0", "--data-path", folder / "data",
                 "--metadata-path", folder / "metadata", "--sync", "none", *options]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([str(w) for w in words], stdout=log, stderr=subprocess.STDOUT,
                                            stdin=subprocess.DEVNULL, cwd=folder, env=SERVER_ENVIRONMENT | (variables or {}))
        self.endpoint = self.wait_for_endpoint()

    def wait_for_endpoint(self):
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            for line in self.log.read_text(errors="replace").splitlines(keepends=True):
                if line.endswith("\n") and "listening on http://" in line:
                    return "http://" + line.split("listening on http://", 1)[1].split()[0]
            time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"the server did not start: {self.log.read_text(errors='replace')[-2000:]}")

    def stop(self):
        """Ends this process only. Returns what was wrong with its end, or None."""
        if self.process.poll() is not None:
            return f"the server had ended by itself, status {self.process.returncode}"
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return f"the server ignored SIGTERM for {STOP_TIMEOUT_S} s"
        return None if status == 0 else f"the server ended with status {status} after SIGTERM"


def free_port():
    """A port of loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Companion:
    """Another program that listens on a port of loopback. Use it in a `with`: it ends with its block."""

    def __init__(self, words, port, folder, variables=None):
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "companion.log"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([str(w) for w in words], stdout=log, stderr=subprocess.STDOUT,
                                            stdin=subprocess.DEVNULL, cwd=folder,
                                            env=SERVER_ENVIRONMENT | (variables or {}))
        deadline = time.monotonic() + START_TIMEOUT_S
        while not listens(port):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{words[0]} did not start: {self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)

    def kill(self):
        """Ends this process only, and at once."""
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
