"""Anthropic Messages with the official Python client."""

import json

import anthropic

from .cells import check
from .world import CACHED, CITY, INPUT, OUTPUT, PNG_SHA, PNG_TEXT, THOUGHT, TOOLS, WRITE, eventually, fits_city, same, within

TOOL_LIST = [{"name": n, "description": n, "input_schema": CITY} for n in TOOLS]
HELLO = [{"role": "user", "content": "hello"}]
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG_TEXT}}


def body(world, provider, name, more):
    return {"model": world.model(provider, name), "max_tokens": 4000, "messages": HELLO, **more}


def create(world, provider, name, **more):
    return world.anthropic(provider).messages.create(**body(world, provider, name, more))


def collect(world, provider, name, **more):
    with world.anthropic(provider).messages.stream(**body(world, provider, name, more)) as stream:
        return stream.get_final_message()


def text_of(message):
    return "".join(b.text for b in message.content if b.type == "text")


def usage(found, provider, thought=0):
    cached, write = (found.cache_read_input_tokens or 0), (found.cache_creation_input_tokens or 0)
    same(found.input_tokens + cached + write, INPUT, "input tokens with those of the cache")
    same(found.output_tokens, OUTPUT + thought, "output tokens")
    same(cached, 0 if provider == "ollama" else CACHED, "cached tokens")
    same(write, WRITE if provider == "anthropic" else 0, "tokens written to the cache")


@check("messages")
def text(world, provider):
    answer = create(world, provider, "text")
    within("你好 🚀. You said: hello", text_of(answer))
    same(answer.stop_reason, "end_turn")
    usage(answer.usage, provider)


@check("messages")
def text_stream(world, provider):
    answer = collect(world, provider, "text")
    within("你好 🚀. You said: hello", text_of(answer))
    same(answer.stop_reason, "end_turn")
    usage(answer.usage, provider)


def second_turn(world, provider, name, answer, keep=True, **more):
    calls = [b for b in answer.content if b.type == "tool_use"]
    same([c.name for c in calls], TOOLS, "calls")
    for call in calls:
        fits_city(call.input)
    assert len({c.id for c in calls}) == 2, "two calls have two ids"
    kept = answer.content if keep else calls
    turn = {"role": "assistant", "content": [b.model_dump(exclude_none=True, exclude={"parsed_output"}) for b in kept]}
    results = [{"type": "tool_result", "tool_use_id": c.id, "content": f"result {n}"} for n, c in enumerate(calls)]
    messages = [*HELLO, turn, {"role": "user", "content": results}]
    said = text_of(create(world, provider, name, messages=messages, tools=TOOL_LIST, **more))
    within("The tools said", said)
    for n in range(2):
        within(f"result {n}", said)


@check("messages")
def two_tools(world, provider):
    answer = create(world, provider, "tools2", tools=TOOL_LIST)
    same(answer.stop_reason, "tool_use")
    second_turn(world, provider, "tools2", answer)


@check("messages")
def two_tools_stream(world, provider):
    answer = collect(world, provider, "tools2", tools=TOOL_LIST)
    same(answer.stop_reason, "tool_use")
    second_turn(world, provider, "tools2", answer)
    usage(answer.usage, provider)


@check("messages")
def odd_stream(world, provider):
    answer = collect(world, provider, "odd", tools=TOOL_LIST)
    same(text_of(answer), "Grüße — 你好 🚀, I shall look. ", "text")
    second_turn(world, provider, "odd", answer)
    usage(answer.usage, provider)


@check("messages")
def image(world, provider):
    content = [{"type": "text", "text": "what is this?"}, IMAGE]
    answer = create(world, provider, "image", messages=[{"role": "user", "content": content}])
    within(f"image/png 70 bytes sha256:{PNG_SHA}", text_of(answer))


@check("messages")
def image_in_a_result(world, provider):
    answer = create(world, provider, "tools1", tools=TOOL_LIST)
    turn = {"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in answer.content]}
    result = {"type": "tool_result", "tool_use_id": answer.content[-1].id, "content": [{"type": "text", "text": "a screen"}, IMAGE]}
    messages = [*HELLO, turn, {"role": "user", "content": [result]}]
    try:
        said = text_of(create(world, provider, "image", messages=messages, tools=TOOL_LIST))
    except anthropic.BadRequestError as error:
        # What a format cannot carry is refused by name.
        within("image", str(error))
        return
    within(f"image/png 70 bytes sha256:{PNG_SHA}", said)


@check("messages")
def schema(world, provider):
    form = {"format": {"type": "json_schema", "schema": CITY}}
    fits_city(json.loads(text_of(create(world, provider, "schema", output_config=form))))


@check("messages")
def instructions_and_limits(world, provider):
    messages = [*HELLO, {"role": "assistant", "content": "two"}, {"role": "user", "content": "three"}]
    system = [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}]
    more = {"system": system, "max_tokens": 77, "stop_sequences": ["END"], "extra_body": {"temperature": 0.5}}
    seen = json.loads(text_of(create(world, provider, "echo", messages=messages, **more)))
    within("be brief", seen["system"])
    same((seen["user"], seen["limit"], seen["stop"]), ("three", 77, ["END"]))
    within("0.5", json.dumps(seen["settings"]))
    if provider == "anthropic":
        same(seen["cache_markers"], 1, "cache markers")


THINK = {"thinking": {"type": "enabled", "budget_tokens": 2000}}


@check("messages")
def reasoning(world, provider):
    answer = create(world, provider, "verify-signature", tools=TOOL_LIST, **THINK)
    usage(answer.usage, provider, THOUGHT)
    if provider == "anthropic":
        same([b.type for b in answer.content][:2], ["thinking", "redacted_thinking"])
    second_turn(world, provider, "verify-signature", answer, **THINK)


@check("messages")
def reasoning_stream(world, provider):
    answer = collect(world, provider, "verify-signature", tools=TOOL_LIST, **THINK)
    usage(answer.usage, provider, THOUGHT)
    second_turn(world, provider, "verify-signature", answer, **THINK)


@check("messages", only=["compatible", "gemini"])
def reasoning_dropped_by_the_client(world, provider):
    answer = create(world, provider, "verify-signature", tools=TOOL_LIST)
    second_turn(world, provider, "verify-signature", answer, keep=False)


@check("messages")
def cut_by_the_limit(world, provider):
    same(create(world, provider, "length").stop_reason, "max_tokens")
    same(collect(world, provider, "length").stop_reason, "max_tokens")


@check("messages")
def a_stream_that_breaks_is_no_whole_answer(world, provider):
    for name in ["cut", "err-stream"]:
        try:
            answer = collect(world, provider, name)
        except Exception as error:  # Of the client, or of the HTTP library under it.
            assert not isinstance(error, AssertionError), error
            continue
        raise AssertionError(f"{name} ended like a whole answer: {answer}")


@check("messages")
def errors(world, provider):
    for status, kind in [(429, anthropic.RateLimitError), (400, anthropic.BadRequestError)]:
        try:
            create(world, provider, f"err-{status}")
        except kind as error:
            same(error.body["type"], "error")
            continue
        raise AssertionError(f"{status} was no {kind.__name__}")


@check("messages")
def unknown_model(world, provider):
    try:
        create(world, provider, "tools3")
    except (anthropic.NotFoundError, anthropic.BadRequestError) as error:
        if world.gateway:
            within("tools2", str(error))
        return
    raise AssertionError("an unknown model answered")


@check("messages", only=["anthropic"])
def wrong_key(world, provider):
    try:
        client = world.anthropic(provider, key="wrong-key")
        client.messages.create(model=world.model(provider, "text"), max_tokens=10, messages=HELLO)
    except anthropic.AuthenticationError:
        return
    raise AssertionError("a wrong key was taken")


@check("messages")
def count_tokens(world, provider):
    model = world.model(provider, "text")
    counted = world.anthropic(provider).messages.count_tokens(model=model, messages=HELLO, tools=TOOL_LIST)
    assert counted.input_tokens > 0
    if provider in ["anthropic", "gemini"]:
        same(counted.input_tokens, INPUT)


@check("messages", only=["anthropic"])
def models(world, provider):
    client = world.anthropic(provider)
    within(world.model(provider, "tools2"), {m.id for m in client.models.list()})


@check("messages", alone=True)
def a_client_that_leaves_stops_the_provider(world, provider):
    before = world.get("/_active")
    with world.anthropic(provider).messages.stream(**body(world, provider, "slow-n2000-i10", {})) as stream:
        for event in stream:
            if event.type == "text":
                break
    took = eventually(lambda: world.get("/_active")["live"] == before["live"])
    same(world.get("/_active")["cancelled"], before["cancelled"] + 1, "cancelled")
    assert took < 0.5, f"it took {took:.3f} s"
