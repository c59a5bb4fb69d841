"""Fetches uv, pinned by version and SHA-256, from a simple index, with nothing but Python's standard library.

usage: fetch_uv.py SIMPLE_INDEX DIRECTORY
"""

import hashlib
import html.parser
import io
import os
import platform
import sys
import time
import urllib.parse
import urllib.request
import zipfile

UV = "0.13.9"
SHA256 = {
    "x86_64": "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19",
    "aarch64": "5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe",
}
ATTEMPTS = 4
MAX_BYTES = 200_000_000


def get(url: str) -> bytes:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                return answer.read(MAX_BYTES)
        except OSError as error:
            if attempt == ATTEMPTS:
                sys.exit(f"{url}: {error}")
            time.sleep(attempt)
    raise AssertionError("unreachable")


class Links(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag == "a":
            self.found += [value for name, value in attrs if name == "href" and value]


def main() -> None:
    index, target = sys.argv[1:]
    sha256 = SHA256.get(platform.machine()) or sys.exit(f"no pinned uv for {platform.machine()}")
    page = f"{index.rstrip('/')}/uv/"
    links = Links()
    links.feed(get(page).decode())
    match = [link for link in links.found if link.endswith(f"#sha256={sha256}")]
    if not match:
        sys.exit(f"{page} lists no file with SHA-256 {sha256} (uv {UV})")
    body = get(urllib.parse.urljoin(page, match[0].split("#")[0]))
    if hashlib.sha256(body).hexdigest() != sha256:
        sys.exit("uv: the file does not have the pinned SHA-256")
    os.makedirs(target, exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(body)) as wheel:
        name = next(n for n in wheel.namelist() if n.endswith("/scripts/uv"))
        path = os.path.join(target, "uv")
        with open(path, "wb") as out:
            out.write(wheel.read(name))
        os.chmod(path, 0o755)


main()
