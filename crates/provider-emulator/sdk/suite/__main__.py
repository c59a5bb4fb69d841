"""Runs the cells: `python -m suite --emulator URL [--gateway URL --key KEY]`. The last line is the count."""

import argparse
import sys
import urllib.error
import urllib.request

from . import chat, messages, others, responses  # noqa: F401  They register their cells.
from .cells import cells, run
from .world import World


def speaks_gemini(gateway, key):
    """Whether the gateway has Gemini's ingress."""
    request = urllib.request.Request(f"{gateway}/v1beta/models", headers={"x-goog-api-key": key})
    try:
        with urllib.request.urlopen(request, timeout=5):
            return True
    except urllib.error.HTTPError:
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--emulator", required=True)
    parser.add_argument("--gateway")
    parser.add_argument("--key", default="any-key")
    parser.add_argument("--only", help="part of the cells' names")
    options = parser.parse_args()
    world = World(options.emulator, options.gateway, options.key)
    ingresses = ["chat", "responses", "messages"]
    if not options.gateway or speaks_gemini(options.gateway, options.key):
        ingresses.append("genai")
    found = list(cells(world, ingresses))
    if not options.gateway:
        found += others.ollama_cells(world)
    if options.only:
        found = [cell for cell in found if options.only in cell[0]]
    passed, failed = run(found)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
