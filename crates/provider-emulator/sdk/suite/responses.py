"""The Responses API with the official Python client."""

import json

import openai

from .cells import check
from .world import CACHED, CITY, INPUT, OUTPUT, PNG_SHA, PNG_TEXT, THOUGHT, TOOLS, eventually, fits_city, same, within

TOOL_LIST = [{"type": "function", "name": n, "description": n, "parameters": CITY, "strict": True} for n in TOOLS]
INCLUDE = ["reasoning.encrypted_content"]


def create(world, provider, name, **more):
    body = {"model": world.model(provider, name), "input": "hello", "store": False, **more}
    return world.openai(provider).responses.create(**body)


def collect(world, provider, name, **more):
    """The final response of a stream, its events in order."""
    body = {"model": world.model(provider, name), "input": "hello", "store": False, **more}
    numbers, text, arguments, final = [], "", {}, None
    with world.openai(provider).responses.stream(**body) as stream:
        for event in stream:
            numbers.append(event.sequence_number)
            if event.type == "response.output_text.delta":
                text += event.delta
            if event.type == "response.function_call_arguments.delta":
                arguments[event.item_id] = arguments.get(event.item_id, "") + event.delta
            if event.type in ["response.completed", "response.incomplete"]:
                final = event.response
    assert final, "the stream had no end"
    same(numbers, sorted(set(numbers)), "sequence numbers")
    same(text, final.output_text, "text of the deltas")
    same(arguments, {o.id: o.arguments for o in final.output if o.type == "function_call"}, "arguments of the deltas")
    return final


def usage(found, provider, thought=0):
    same(found.input_tokens, INPUT, "input tokens")
    same(found.output_tokens, OUTPUT + thought, "output tokens")
    same(found.total_tokens, INPUT + OUTPUT + thought, "total tokens")
    if provider != "ollama":
        same(found.input_tokens_details.cached_tokens, CACHED, "cached tokens")


@check("responses")
def text(world, provider):
    answer = create(world, provider, "text")
    same(answer.status, "completed")
    within("你好 🚀. You said: hello", answer.output_text)
    usage(answer.usage, provider)


@check("responses")
def text_stream(world, provider):
    answer = collect(world, provider, "text")
    same(answer.status, "completed")
    within("你好 🚀. You said: hello", answer.output_text)
    usage(answer.usage, provider)


def second_turn(world, provider, name, answer, keep=True):
    calls = [o for o in answer.output if o.type == "function_call"]
    same([c.name for c in calls], TOOLS, "calls")
    for call in calls:
        fits_city(json.loads(call.arguments))
    assert len({c.call_id for c in calls}) == 2, "two calls have two ids"
    kept = answer.output if keep else calls
    items = [o.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for o in kept]
    results = [{"type": "function_call_output", "call_id": c.call_id, "output": f"result {n}"} for n, c in enumerate(calls)]
    turn = [{"role": "user", "content": "hello"}, *items, *results]
    said = create(world, provider, name, input=turn, tools=TOOL_LIST, include=INCLUDE).output_text
    within("The tools said", said)
    for n in range(2):
        within(f"result {n}", said)


@check("responses")
def two_tools(world, provider):
    second_turn(world, provider, "tools2", create(world, provider, "tools2", tools=TOOL_LIST))


@check("responses")
def two_tools_stream(world, provider):
    answer = collect(world, provider, "tools2", tools=TOOL_LIST)
    second_turn(world, provider, "tools2", answer)
    usage(answer.usage, provider)


@check("responses")
def odd_stream(world, provider):
    answer = collect(world, provider, "odd", tools=TOOL_LIST)
    same(answer.output_text, "Grüße — 你好 🚀, I shall look. ", "text")
    second_turn(world, provider, "odd", answer)
    usage(answer.usage, provider)


@check("responses")
def image(world, provider):
    content = [
        {"type": "input_text", "text": "what is this?"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG_TEXT}", "detail": "auto"},
    ]
    answer = create(world, provider, "image", input=[{"role": "user", "content": content}])
    within(f"image/png 70 bytes sha256:{PNG_SHA}", answer.output_text)


@check("responses")
def schema(world, provider):
    form = {"format": {"type": "json_schema", "name": "city", "strict": True, "schema": CITY}}
    fits_city(json.loads(create(world, provider, "schema", text=form).output_text))


@check("responses")
def instructions_and_limits(world, provider):
    turn = [{"role": "developer", "content": "speak plainly"}, {"role": "user", "content": "three"}]
    more = {"instructions": "be brief", "max_output_tokens": 77, "temperature": 0.5, "top_p": 0.9}
    seen = json.loads(create(world, provider, "echo", input=turn, **more).output_text)
    within("be brief", seen["system"])
    within("speak plainly", seen["system"])
    same((seen["user"], seen["limit"]), ("three", 77))
    within("0.5", json.dumps(seen["settings"]))


@check("responses")
def reasoning(world, provider):
    answer = create(world, provider, "verify-signature", tools=TOOL_LIST, include=INCLUDE)
    usage(answer.usage, provider, THOUGHT)
    second_turn(world, provider, "verify-signature", answer)


@check("responses")
def reasoning_stream(world, provider):
    answer = collect(world, provider, "verify-signature", tools=TOOL_LIST, include=INCLUDE)
    usage(answer.usage, provider, THOUGHT)
    second_turn(world, provider, "verify-signature", answer)


@check("responses", only=["compatible", "anthropic", "gemini"])
def reasoning_dropped_by_the_client(world, provider):
    answer = create(world, provider, "verify-signature", tools=TOOL_LIST)
    second_turn(world, provider, "verify-signature", answer, keep=False)


@check("responses")
def cut_by_the_limit(world, provider):
    answer = create(world, provider, "length")
    same((answer.status, answer.incomplete_details.reason), ("incomplete", "max_output_tokens"))
    same(collect(world, provider, "length").status, "incomplete")


@check("responses")
def a_stream_that_breaks_is_no_whole_answer(world, provider):
    for name in ["cut", "err-stream"]:
        try:
            events = list(create(world, provider, name, stream=True))
        except openai.APIError:
            continue
        kinds = [e.type for e in events]
        assert "response.completed" not in kinds, f"{name}: {kinds}"
        assert "error" in kinds or "response.failed" in kinds, f"{name}: {kinds}"


@check("responses")
def errors(world, provider):
    for status, kind in [(429, openai.RateLimitError), (400, openai.BadRequestError)]:
        try:
            create(world, provider, f"err-{status}")
        except kind as error:
            assert error.message and error.type, error.body
            continue
        raise AssertionError(f"{status} was no {kind.__name__}")


@check("responses", alone=True)
def a_client_that_leaves_stops_the_provider(world, provider):
    before = world.get("/_active")
    stream = create(world, provider, "slow-n2000-i10", stream=True)
    for event in stream:
        if event.type == "response.output_text.delta":
            break
    stream.close()
    took = eventually(lambda: world.get("/_active")["live"] == before["live"])
    same(world.get("/_active")["cancelled"], before["cancelled"] + 1, "cancelled")
    assert took < 0.5, f"it took {took:.3f} s"
