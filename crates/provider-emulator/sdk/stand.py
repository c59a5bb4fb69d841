"""Processes of a run: the emulator, a gateway in front of it, and the program's commands on its data."""

import json
import os
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

# A gateway starts in under a second; a busy machine takes longer.
PATIENCE = 30.0

CONFIG = """\
durability = "{durability}"

[providers.openai]
kind = "openai"
base_url = "{emulator}/openai/v1"
api_key_env = "SUITE_KEY"

[providers.compatible]
kind = "openai-compatible"
base_url = "{emulator}/compatible/v1"
api_key_env = "SUITE_KEY"

[providers.anthropic]
kind = "anthropic"
base_url = "{emulator}/anthropic"
api_key_env = "SUITE_KEY"

[providers.gemini]
kind = "gemini"
base_url = "{emulator}/gemini"
api_key_env = "SUITE_KEY"

[providers.ollama]
kind = "ollama"
base_url = "{emulator}/ollama"

[models.second]
targets = ["openai/err-500", "anthropic/text"]
"""

# What the gateway gives to the providers; nothing that is written may contain it.
CANARY = "sk-canary-5f0c2b7e91d4"


class Failed(Exception):
    """A process did not do what it should; with what it said."""


def fetch(url, key=None, timeout=10):
    """A GET; the body."""
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {key}"} if key else {})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return answer.read()


def until(what, seconds=PATIENCE, why="it did not happen"):
    """Waits until `what` gives something true, and returns it."""
    end = time.monotonic() + seconds
    while True:
        found = what()
        if found:
            return found
        if time.monotonic() > end:
            raise Failed(f"{why} within {seconds:.0f} s")
        time.sleep(0.01)


class Process:
    """A child with its output in a file; ended with its handle."""

    def __init__(self, arguments, log, env=None):
        self.log = Path(log)
        self.file = open(log, "ab")
        self.child = subprocess.Popen(arguments, stdout=self.file, stderr=subprocess.STDOUT, env=env)

    def said(self):
        return self.log.read_text(errors="replace")

    def stop(self, how=signal.SIGTERM):
        if self.child.poll() is None:
            self.child.send_signal(how)
            try:
                self.child.wait(20)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        self.file.close()


class Emulator(Process):
    """The providers."""

    def __init__(self, bin_dir, folder):
        super().__init__([f"{bin_dir}/provider-emulator", "--listen", "127.0.0.1:0"], f"{folder}/emulator.log")
        line = until(lambda: [l for l in self.said().splitlines() if l.startswith("listening on ")], why="the emulator did not listen")
        self.url = line[0].removeprefix("listening on ")

    def get(self, path):
        return json.loads(fetch(self.url + path))

    def forget(self):
        request = urllib.request.Request(self.url + "/_seen", method="DELETE")
        urllib.request.urlopen(request, timeout=10).close()

    def markers(self):
        return set(fetch(self.url + "/_markers", timeout=60).decode().split())


class Gateway:
    """A gateway by itself with its own data directory; it can be killed and started again."""

    def __init__(self, bin_dir, folder, emulator, durability="process", data=None):
        self.program, self.folder = f"{bin_dir}/taskforge", Path(folder)
        self.data = Path(data or self.folder / "data")
        self.config = self.folder / "gateway.toml"
        self.config.write_text(CONFIG.format(emulator=emulator.url, durability=durability))
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("TASKFORGE_")}
        self.env |= {"SUITE_KEY": CANARY, "TASKFORGE_DATA_DIR": str(self.data)}
        self.process, self.address, self.key = None, None, None

    def start(self):
        """Starts it and returns how long it took to answer."""
        begun = time.monotonic()
        address = self.address or f"127.0.0.1:{free_port()}"
        arguments = [self.program, "gateway", "--config", str(self.config), "--listen", address]
        self.process = Process(arguments, self.folder / "gateway.log", self.env)
        self.address, self.url = address, f"http://{address}"
        until(self.answers, why="the gateway did not answer")
        return time.monotonic() - begun

    def answers(self):
        if self.process.child.poll() is not None:
            raise Failed(f"the gateway ended: {self.process.said()[-2000:]}")
        try:
            fetch(self.url + "/healthz", timeout=2)
            return True
        except urllib.error.HTTPError:
            # It says that it is not well; on a small disk it never is.
            return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def run(self, *arguments, check=True):
        """Runs a command of the program on this data; its output."""
        done = subprocess.run([self.program, *arguments], env=self.env, capture_output=True, text=True, timeout=120)
        if check and done.returncode:
            raise Failed(f"taskforge {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def make_key(self, name="suite"):
        self.key = json.loads(self.run("--json", "key", "create", name))["key"]
        return self.key

    def calls(self):
        return [json.loads(line) for line in self.run("--json", "llm", "calls").splitlines()]

    def stop(self, how=signal.SIGTERM):
        if self.process:
            self.process.stop(how)
            self.process = None


def free_port():
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def folder(target):
    """A folder for a run, removed with its handle."""
    root = Path(target) / "sdk"
    root.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix="run-", dir=root)
