"""What a cell is run against: clients of every ingress, the emulator behind it, and how models are named.

Two worlds: the emulator itself, where a client speaks its own provider's API (this judges the emulator), and the
gateway, where every ingress reaches every provider (this judges the gateway).
"""

import base64
import hashlib
import json
import time
import urllib.request

import anthropic
import ollama
import openai
from google import genai
from google.genai import types as gtypes

PROVIDERS = ["openai", "compatible", "anthropic", "gemini", "ollama"]
TIMEOUT = 20.0

# A picture of one pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PNG_TEXT = base64.b64encode(PNG).decode()
PNG_SHA = hashlib.sha256(PNG).hexdigest()

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
TOOLS = ["get_weather", "get_time"]

# What the emulator says of every answer (crates/provider-emulator/src/answer.rs).
INPUT, CACHED, WRITE, OUTPUT, THOUGHT = 25, 8, 5, 12, 7


class World:
    """Clients and names."""

    def __init__(self, emulator, gateway=None, key="any-key"):
        self.emulator, self.gateway, self.key = emulator, gateway, key

    def pairs(self, ingress):
        """The providers that this ingress reaches here."""
        if self.gateway:
            return PROVIDERS
        own = {"chat": ["openai", "compatible"], "responses": ["openai"], "messages": ["anthropic"], "genai": ["gemini"]}
        return own[ingress]

    def model(self, provider, name):
        # OpenAI's models are known by their names; the emulator knows them with and without this beginning.
        if provider == "openai" and name != "embed":
            name = f"gpt-{name}"
        return f"{provider}/{name}" if self.gateway else name

    def openai(self, provider, key=None):
        base = f"{self.gateway}/v1" if self.gateway else f"{self.emulator}/{provider}/v1"
        return openai.OpenAI(base_url=base, api_key=key or self.key, max_retries=0, timeout=TIMEOUT)

    def anthropic(self, provider, key=None):
        base = self.gateway or f"{self.emulator}/{provider}"
        return anthropic.Anthropic(base_url=base, api_key=key or self.key, max_retries=0, timeout=TIMEOUT)

    def genai(self, key=None):
        base = self.gateway or f"{self.emulator}/gemini"
        options = gtypes.HttpOptions(base_url=base, timeout=int(TIMEOUT * 1000))
        return genai.Client(api_key=key or self.key, http_options=options)

    def ollama(self):
        return ollama.Client(host=f"{self.emulator}/ollama", timeout=TIMEOUT)

    def get(self, path, base=None):
        """A GET of the emulator (or of `base`) as JSON."""
        request = urllib.request.Request((base or self.emulator) + path, headers={"authorization": f"Bearer {self.key}"})
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return json.load(answer)

    def seen(self, marker):
        """The requests with this marker that arrived at the emulator, the newest first."""
        return self.get(f"/_seen?limit=100&contains={marker}")["entries"]


def eventually(what, seconds=5.0):
    """Waits until `what` is true and returns how long it took."""
    begun = time.monotonic()
    while not what():
        if time.monotonic() - begun > seconds:
            raise AssertionError(f"not true within {seconds} s")
        time.sleep(0.005)
    return time.monotonic() - begun


def same(found, wanted, what=""):
    """Fails with both values unless they are equal."""
    if found != wanted:
        raise AssertionError(f"{what}: {found!r} is not {wanted!r}")


def within(part, whole):
    """Fails with both values unless the one is in the other."""
    if part not in whole:
        raise AssertionError(f"{part!r} is not in {whole!r}")


def fits_city(value):
    """Fails unless arguments or an answer fit the schema."""
    same(set(value), {"city", "days"}, "keys")
    assert isinstance(value["city"], str) and isinstance(value["days"], int), value
    return value
