"""Makes the demonstration's data and judges its result, independently of the program under test.

csv FILE EXPECTED              random sales into FILE, their totals as JSON into EXPECTED
report FILE EXPECTED [REASON]  the report holds every total (and the reason of the denial)
png FILE                       the picture decodes and is not blank
flip DIR                       changes one byte of the newest entries of a copy of the log
absent NEEDLE PATH...          no file below the paths holds the needle; read from the environment variable of that name
"""

import json
import os
import random
import struct
import sys
import zlib
from pathlib import Path

REGIONS = ["North", "South", "East", "West", "Centre", "Overseas"]
MAX_PIXELS = 50_000_000


def fail(message):
    sys.exit(f"check failed: {message}")


def money(cents):
    return f"{cents // 100}.{cents % 100:02d}"


def make_csv(file, expected):
    source = random.SystemRandom()
    regions = source.sample(REGIONS, 4)
    totals = {region: 0 for region in regions}
    rows = source.randint(80, 200)
    with open(file, "w") as out:
        out.write("date,region,amount\n")
        for n in range(rows):
            # Each region has at least one row.
            region = regions[n] if n < len(regions) else source.choice(regions)
            cents = source.randint(100, 500_000)
            totals[region] += cents
            out.write(f"2026-{n % 12 + 1:02d}-{n % 28 + 1:02d},{region},{money(cents)}\n")
    facts = {
        "rows": rows,
        "totals": {region: money(cents) for region, cents in sorted(totals.items())},
        "grand_total": money(sum(totals.values())),
    }
    Path(expected).write_text(json.dumps(facts, indent=2) + "\n")
    print(f"sales.csv: {rows} rows, {len(regions)} regions, grand total {facts['grand_total']}")


def check_report(file, expected, reason=None):
    text = Path(file).read_text()
    facts = json.loads(Path(expected).read_text())
    for region, total in facts["totals"].items():
        if not any(region in line and total in line for line in text.splitlines()):
            fail(f"the report has no line with {region} and {total}")
    if facts["grand_total"] not in text:
        fail(f"the report lacks the grand total {facts['grand_total']}")
    if reason and reason not in text:
        fail(f"the report lacks the reason of the denial: {reason}")
    told = " and the reason of the denial" if reason else ""
    print(f"report.md: holds the totals of {len(facts['totals'])} regions, the grand total{told}")


def paeth(a, b, c):
    p = a + b - c
    pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
    return a if pa <= pb and pa <= pc else b if pb <= pc else c


def chunks(data):
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        fail("not a PNG")
    at = 8
    while at + 12 <= len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        if at + 12 + size > len(data):
            break
        body = data[at + 8 : at + 8 + size]
        (crc,) = struct.unpack(">I", data[at + 8 + size : at + 12 + size])
        if zlib.crc32(kind + body) != crc:
            fail(f"the PNG chunk {kind.decode('latin-1')} is damaged")
        yield kind, body
        if kind == b"IEND":
            return
        at += 12 + size
    fail("the PNG is cut off")


def unfilter(raw, height, row_bytes, step):
    if len(raw) != height * (row_bytes + 1):
        fail(f"the picture has {len(raw)} bytes instead of {height * (row_bytes + 1)}")
    above = bytearray(row_bytes)
    for y in range(height):
        start = y * (row_bytes + 1)
        how, row = raw[start], bytearray(raw[start + 1 : start + 1 + row_bytes])
        if how > 4:
            fail(f"unknown PNG filter {how}")
        for x in range(row_bytes if how else 0):
            left = row[x - step] if x >= step else 0
            corner = above[x - step] if x >= step else 0
            guess = (0, left, above[x], (left + above[x]) // 2, paeth(left, above[x], corner))[how]
            row[x] = (row[x] + guess) & 255
        above = row
        yield bytes(row)


def check_png(file):
    header, packed = None, []
    for kind, body in chunks(Path(file).read_bytes()):
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", body)
        elif kind == b"IDAT":
            packed.append(body)
    if header is None or not packed:
        fail("the PNG has no picture")
    width, height, depth, colour, _, _, interlace = header
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour)
    if channels is None or depth != 8 or interlace:
        fail(f"unexpected kind of PNG: colour {colour}, depth {depth}, interlace {interlace}")
    if not 0 < width * height <= MAX_PIXELS:
        fail(f"unreasonable size {width}x{height}")
    raw = zlib.decompress(b"".join(packed))
    counts = {}
    for row in unfilter(raw, height, width * channels, channels):
        for x in range(0, len(row), channels):
            pixel = row[x : x + channels]
            counts[pixel] = counts.get(pixel, 0) + 1
    most = max(counts.values())
    if len(counts) < 8 or most > 0.995 * width * height:
        fail(f"the picture is blank: {len(counts)} colours, {most / (width * height):.1%} of it one colour")
    print(f"{Path(file).name}: {width}x{height}, {len(counts)} colours, decodes and is not blank")


def flip(folder):
    """One bit of one byte in the middle of the largest file of entries."""
    found = [p for p in Path(folder).rglob("*") if p.is_file() and "entries" in p.relative_to(folder).parts]
    if not found:
        fail(f"no file of log entries below {folder}")
    victim = max(found, key=lambda p: (p.stat().st_size, str(p)))
    data = bytearray(victim.read_bytes())
    at = len(data) // 2
    data[at] ^= 1
    victim.write_bytes(data)
    print(f"changed one bit of byte {at} of {victim.relative_to(folder)} in a copy of the log")


def absent(name, *paths):
    needle = os.environ[name].encode()
    files = 0
    for top in map(Path, paths):
        for path in [top, *top.rglob("*")] if top.is_dir() else [top]:
            if path.is_file() and not path.is_symlink():
                files += 1
                if needle in path.read_bytes():
                    fail(f"the provider's key is in {path}")
    if not files:
        fail("there is no file to look into")
    print(f"the provider's key is in none of {files} files")


if __name__ == "__main__":
    commands = {"csv": make_csv, "report": check_report, "png": check_png, "flip": flip, "absent": absent}
    commands[sys.argv[1]](*sys.argv[2:])
