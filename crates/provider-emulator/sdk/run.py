"""The judge of the gateway: official clients, then the record, then the proofs. `scripts/sdk` runs it.

    python run.py --bin FOLDER --target FOLDER [--node FOLDER] [--emulator-only] [--only PART] [--seed N]

Every step prints its own count; the last line is `N passed, N failed`.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import time
import traceback
from pathlib import Path

import proof
from stand import CANARY, Emulator, Gateway, folder

HERE = Path(__file__).parent
COUNT = re.compile(r"^(\d+) passed, (\d+) failed$", re.MULTILINE)


class Count:
    def __init__(self):
        self.passed = self.failed = 0

    def suite(self, name, arguments, cwd=None):
        """A suite in a process of its own, whose last line is its count."""
        begun = time.monotonic()
        done = subprocess.run(arguments, cwd=cwd, capture_output=True, text=True, timeout=170)
        found = COUNT.findall(done.stdout)
        passed, failed = map(int, found[-1]) if found else (0, 1)
        if failed or not found:
            print(done.stdout + done.stderr[-3000:])
        self.passed, self.failed = self.passed + passed, self.failed + failed
        print(f"{name}: {passed} passed, {failed} failed, {time.monotonic() - begun:.1f} s", flush=True)

    def step(self, name, check):
        """A check of our own."""
        begun = time.monotonic()
        try:
            check()
        except Exception:  # It may fail in any way; the others are run all the same.
            self.failed += 1
            print(f"FAILED {name}\n{traceback.format_exc(limit=-3)}", flush=True)
            return
        self.passed += 1
        print(f"{name}: passed, {time.monotonic() - begun:.1f} s", flush=True)


def clients(count, world, options, emulator, gateway=None):
    """All clients against the emulator, or against the gateway."""
    to = ["--emulator", emulator.url] + (["--gateway", gateway.url, "--key", gateway.key] if gateway else [])
    only = ["--only", options.only] if options.only else []
    count.suite(f"{world}, Python", [sys.executable, "-m", "suite", *to, *only], HERE)
    if options.node:
        to = [emulator.url] + ([gateway.url, gateway.key] if gateway else [])
        count.suite(f"{world}, Node", ["node", "suite.mjs", *to], options.node)


def record(gateway, emulator):
    """The record has each attempt that arrived, and no more."""
    calls, seen = gateway.calls(), emulator.get("/_seen?limit=0")
    same(int(gateway.run("llm", "calls", "--count")), len(calls), "calls that are counted")
    sent = [c for c in calls if c["state"] != "refused"]
    attempts = sum(c["attempts"] for c in sent)
    print(f"record: {len(calls)} calls, {len(calls) - len(sent)} refused, {attempts} attempts; "
          f"the emulator saw {seen['posts']}")
    same(attempts, seen["posts"], "attempts that arrived")
    still = [c["id"] for c in calls if c["state"] == "begun"]
    same(still, [], "calls that did not end")
    cut = {c["asked_model"] for c in calls if c["state"] == "cut"}
    for wanted in ["openai/gpt-slow-n2000-i10", "anthropic/cut"]:
        assert wanted in cut, f"{wanted} is not recorded as cut: {cut}"


def same(found, wanted, what):
    assert found == wanted, f"{what}: {found} is not {wanted}"


def audited(gateway):
    gateway.run("audit", "verify")


def fallback(gateway):
    """An alias whose first target fails is answered by the second; the record has both attempts."""
    import openai

    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0, timeout=60)
    answer = client.chat.completions.create(model="second", messages=[{"role": "user", "content": "hello"}])
    assert "You said: hello" in answer.choices[0].message.content
    last = gateway.calls()[-1]
    same((last["asked_model"], last["provider"], last["model"]), ("second", "anthropic", "text"), "the last call")
    assert last["attempts"] >= 2, last


def keys_stay(gateway):
    """The provider's key is in no file of the data directory, no log, and no answer of the program."""
    files = [p for p in gateway.data.rglob("*") if p.is_file()] + [gateway.process.log]
    found = [str(p) for p in files if CANARY.encode() in p.read_bytes() or gateway.key.encode() in p.read_bytes()]
    same(found, [], "files with a key")
    assert CANARY not in gateway.run("llm", "export"), "the export has the key"


def starts_at_once(bin_dir, place, emulator):
    """From the start of the process to its first answer."""
    gateway = Gateway(bin_dir, place, emulator)
    took = [gateway.start()]
    gateway.stop()
    took.append(gateway.start())
    gateway.stop()
    print(f"start: {took[0] * 1000:.0f} ms with a new data directory, {took[1] * 1000:.0f} ms with an old one")


def through_the_gateway(count, options, emulator, place):
    gateway = Gateway(options.bin, place, emulator)
    gateway.start()
    try:
        gateway.make_key()
        emulator.forget()
        clients(count, "gateway", options, emulator, gateway)
        count.step("record equals what arrived", lambda: record(gateway, emulator))
        count.step("fallback", lambda: fallback(gateway))
        count.step("keys stay where they are", lambda: keys_stay(gateway))
        count.step("log verifies", lambda: audited(gateway))
        count.step("kill -9 under load", lambda: proof.killed(gateway, emulator, options.seed))
        count.step("log verifies after the kills", lambda: audited(gateway))
    finally:
        gateway.stop()
    count.step("log verifies at rest", lambda: audited(gateway))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True, help="where provider-emulator and taskforge are")
    parser.add_argument("--target", required=True, help="where to put what a run writes")
    parser.add_argument("--node", help="where the Node clients are installed; none: they are left out")
    parser.add_argument("--emulator-only", action="store_true", help="judge the emulator alone")
    parser.add_argument("--only", help="part of the names of Python cells")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of the kills")
    options = parser.parse_args()
    options.node = options.node and os.path.abspath(options.node)
    count, begun = Count(), time.monotonic()
    with folder(options.target) as place:
        place = Path(place)
        emulator = Emulator(options.bin, place)
        try:
            clients(count, "emulator", options, emulator)
            if not options.emulator_only:
                for name in ["main", "disk", "start"]:
                    (place / name).mkdir()
                through_the_gateway(count, options, emulator, place / "main")
                count.step("full disk", lambda: proof.full_disk(options.bin, place / "disk", emulator, options.seed))
                count.step("starts at once", lambda: starts_at_once(options.bin, place / "start", emulator))
        finally:
            emulator.stop()
    print(f"seed {options.seed}, {time.monotonic() - begun:.0f} s")
    print(f"{count.passed} passed, {count.failed} failed")
    sys.exit(1 if count.failed else 0)


if __name__ == "__main__":
    main()
