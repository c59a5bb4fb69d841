"""Fail-closed: what the emulator saw has a record, whatever happens to the gateway; without a record nothing leaves.

Each request carries a marker of its own. The emulator tells which markers arrived, the record which were begun.
"""

import http.client
import json
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

from stand import Failed, Gateway, until

WORKERS = 12
ROUNDS = 6
# What the file system of the full disk holds.
SMALL_MB = 96
REFUSED = 40
MOST_BEFORE_FULL = 20_000


class Load:
    """Calls from several connections until it is told to stop; what was answered in full, by marker."""

    def __init__(self, gateway, prefix):
        self.gateway, self.prefix = gateway, prefix
        self.stopping, self.lock = threading.Event(), threading.Lock()
        self.sent, self.answered = 0, set()
        self.threads = [threading.Thread(target=self.work, args=(n,), daemon=True) for n in range(WORKERS)]
        for thread in self.threads:
            thread.start()

    def work(self, worker):
        connection, n = None, 0
        while not self.stopping.is_set():
            marker = f"marker-{self.prefix}-{worker}-{n}"
            n += 1
            try:
                connection = connection or http.client.HTTPConnection(self.gateway.address, timeout=5)
                with self.lock:
                    self.sent += 1
                if call(connection, self.gateway.key, marker, ways(n)):
                    with self.lock:
                        self.answered.add(marker)
            except (OSError, http.client.HTTPException):
                connection = None
                time.sleep(0.01)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(30)


def ways(n):
    """Formats in turn: passed through and translated, streamed and not."""
    provider = ["compatible", "openai", "anthropic", "gemini", "ollama"][n % 5]
    return f"{provider}/text", n % 2 == 0


def call(connection, key, marker, way):
    """One call; whether it was answered in full."""
    model, stream = way
    body = json.dumps({"model": model, "stream": stream, "messages": [{"role": "user", "content": marker}]})
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", body, headers)
    answer = connection.getresponse()
    text = answer.read()
    whole = text.rstrip().endswith(b"data: [DONE]") if stream else text.startswith(b"{")
    return answer.status == 200 and whole


def recorded(gateway):
    """The state of each marker's call."""
    states = {}
    for line in gateway.run("llm", "export").splitlines():
        call = json.loads(line)
        text = json.dumps(call)
        at = text.find("marker-")
        if at >= 0:
            end = next(i for i in range(at, len(text)) if not (text[i].isalnum() or text[i] == "-"))
            states[text[at:end]] = call.get("state") or call["call"]["state"]
    return states


def killed(gateway, emulator, seed):
    """Load, and kill -9 at random times; then the record is compared with what arrived and what was answered."""
    rng = random.Random(seed)
    emulator.forget()
    answered = set()
    for round_ in range(ROUNDS):
        load = Load(gateway, f"k{seed}-{round_}")
        try:
            until(lambda: len(load.answered) > 20, why="no call was answered")
            time.sleep(rng.uniform(0.05, 0.6))
        finally:
            gateway.stop(signal.SIGKILL)
            load.stop()
        answered |= load.answered
        gateway.start()
    arrived, states = emulator.markers(), recorded(gateway)
    missing = arrived - set(states)
    print(f"kill -9 under load: seed {seed}, {ROUNDS} kills, {len(arrived)} arrived, {len(answered)} answered, "
          f"{len(states)} recorded, {len(missing)} without a record", flush=True)
    assert len(arrived) > 100, "too few calls to prove anything"
    assert not missing, f"the emulator saw calls without a record: {sorted(missing)[:5]}"
    lost = sorted(m for m in answered if states.get(m) != "ended")
    assert not lost, f"{len(lost)} answered calls are not recorded as ended: {[(m, states.get(m)) for m in lost[:5]]}"
    still = [m for m, state in states.items() if state == "begun"]
    assert not still, f"a crash left calls open: {still[:5]}"


class SmallDisk:
    """A file system of its own that can be filled."""

    def __init__(self, path):
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)

    def __enter__(self):
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_MB}m", "suite", str(self.path)], check=True)
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "--lazy", str(self.path)], check=True)

    def fill(self):
        """Takes all that is free."""
        with open(self.path / "filler", "ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
            except OSError:
                pass
            try:
                while True:
                    file.write(bytes(64))
            except OSError:
                pass

    def free(self):
        (self.path / "filler").unlink(missing_ok=True)


def one(gateway, marker, n=0):
    connection = http.client.HTTPConnection(gateway.address, timeout=10)
    try:
        return call(connection, gateway.key, marker, ways(n))
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def full_disk(bin_dir, folder, emulator, seed):
    """Once the log cannot be written, nothing arrives; with space again, calls do, and all that arrived is recorded."""
    with SmallDisk(Path(folder) / "small") as disk:
        gateway = Gateway(bin_dir, folder, emulator, data=disk.path / "data")
        gateway.start()
        try:
            gateway.make_key()
            assert one(gateway, f"marker-d{seed}-before"), "a call before the disk is full"
            emulator.forget()
            went = 0
            # What was reserved on the disk before may still be written to.
            for went in range(MOST_BEFORE_FULL):
                if went % 20 == 0:
                    disk.fill()
                if not one(gateway, f"marker-d{seed}-{went}", went):
                    break
            else:
                raise Failed(f"{MOST_BEFORE_FULL} calls went through with a full disk")
            before = emulator.markers()
            for n in range(REFUSED):
                disk.fill()
                assert not one(gateway, f"marker-r{seed}-{n}", n), "a call was answered although the log cannot be written"
            late = emulator.markers() - before
            print(f"full disk: {went} calls used up what was reserved, {REFUSED} were refused, "
                  f"{len(late)} of those arrived", flush=True)
            assert not late, f"the emulator saw {sorted(late)[:5]}"
            disk.free()
            until(lambda: one(gateway, f"marker-d{seed}-after"), why="no call went through with space again")
            missing = emulator.markers() - set(recorded(gateway))
            assert not missing, f"the emulator saw calls without a record: {sorted(missing)[:5]}"
        finally:
            gateway.stop()
