"""Chat Completions with the official Python client."""

import json

import openai

from .cells import Skip, check
from .world import CACHED, CITY, INPUT, OUTPUT, PNG_SHA, PNG_TEXT, THOUGHT, TOOLS, eventually, fits_city, same, within

TOOL_LIST = [{"type": "function", "function": {"name": n, "description": n, "parameters": CITY}} for n in TOOLS]
HELLO = [{"role": "user", "content": "hello"}]


def create(world, provider, name, **more):
    body = {"model": world.model(provider, name), "messages": HELLO, **more}
    return world.openai(provider).chat.completions.create(**body)


def collect(world, provider, name, **more):
    """The final completion as the client's own accumulator builds it."""
    body = {"model": world.model(provider, name), "messages": HELLO, "stream_options": {"include_usage": True}, **more}
    with world.openai(provider).chat.completions.stream(**body) as stream:
        return stream.get_final_completion()


def usage(found, provider, thought=0):
    same(found.prompt_tokens, INPUT, "prompt tokens")
    same(found.completion_tokens, OUTPUT + thought, "completion tokens")
    same(found.total_tokens, INPUT + OUTPUT + thought, "total tokens")
    if provider != "ollama":
        same(found.prompt_tokens_details.cached_tokens, CACHED, "cached tokens")


@check("chat")
def text(world, provider):
    answer = create(world, provider, "text")
    within("You said: hello", answer.choices[0].message.content)
    within("你好 🚀", answer.choices[0].message.content)
    same(answer.choices[0].finish_reason, "stop")
    usage(answer.usage, provider)


@check("chat")
def text_stream(world, provider):
    answer = collect(world, provider, "text")
    within("你好 🚀. You said: hello", answer.choices[0].message.content)
    same(answer.choices[0].finish_reason, "stop")
    usage(answer.usage, provider)


@check("chat")
def stream_without_usage(world, provider):
    body = {"model": world.model(provider, "text"), "messages": HELLO, "stream": True}
    chunks = list(world.openai(provider).chat.completions.create(**body))
    same([c.usage for c in chunks if c.usage], [], "usage that nobody asked for")
    within("You said: hello", "".join(c.choices[0].delta.content or "" for c in chunks if c.choices))


def second_turn(world, provider, name, message, keep=True):
    """Sends the calls back with their results; a client that drops what it does not know keeps the calls alone."""
    calls = message.tool_calls
    same([c.function.name for c in calls], TOOLS, "calls")
    for call in calls:
        fits_city(json.loads(call.function.arguments))
    assert len({c.id for c in calls}) == 2, "two calls have two ids"
    if keep:
        turn = message.model_dump(exclude_none=True, exclude={"parsed"})
        for call in turn["tool_calls"]:
            call["function"].pop("parsed_arguments", None)
    else:
        plain = [{"id": c.id, "type": "function", "function": {"name": c.function.name, "arguments": c.function.arguments}} for c in calls]
        turn = {"role": "assistant", "tool_calls": plain}
    results = [{"role": "tool", "tool_call_id": c.id, "content": f"result {n}"} for n, c in enumerate(calls)]
    answer = create(world, provider, name, messages=[*HELLO, turn, *results], tools=TOOL_LIST)
    said = answer.choices[0].message.content
    within("The tools said", said)
    for n in range(2):
        within(f"result {n}", said)
    same(answer.choices[0].finish_reason, "stop")


@check("chat")
def two_tools(world, provider):
    answer = create(world, provider, "tools2", tools=TOOL_LIST)
    same(answer.choices[0].finish_reason, "tool_calls")
    second_turn(world, provider, "tools2", answer.choices[0].message)


@check("chat")
def two_tools_stream(world, provider):
    answer = collect(world, provider, "tools2", tools=TOOL_LIST)
    same(answer.choices[0].finish_reason, "tool_calls")
    second_turn(world, provider, "tools2", answer.choices[0].message)
    usage(answer.usage, provider)


@check("chat")
def odd_stream(world, provider):
    answer = collect(world, provider, "odd", tools=TOOL_LIST)
    same(answer.choices[0].message.content, "Grüße — 你好 🚀, I shall look. ", "text")
    same(answer.choices[0].finish_reason, "tool_calls")
    second_turn(world, provider, "odd", answer.choices[0].message)
    usage(answer.usage, provider)


@check("chat")
def split_bytes(world, provider):
    answer = collect(world, provider, "tools2+bytes", tools=TOOL_LIST)
    same([c.function.name for c in answer.choices[0].message.tool_calls], TOOLS)


@check("chat")
def chosen_tool(world, provider):
    if provider == "ollama":
        return refused_or_chosen(world, provider)
    choice = {"type": "function", "function": {"name": "get_time"}}
    answer = create(world, provider, "tools1", tools=TOOL_LIST, tool_choice=choice)
    same([c.function.name for c in answer.choices[0].message.tool_calls], ["get_time"])


def refused_or_chosen(world, provider):
    """Ollama has no choice of tools: a gateway may offer that tool alone, or refuse."""
    choice = {"type": "function", "function": {"name": "get_time"}}
    try:
        answer = create(world, provider, "tools1", tools=TOOL_LIST, tool_choice=choice)
    except openai.BadRequestError as error:
        within("tool_choice", str(error))
        return
    same([c.function.name for c in answer.choices[0].message.tool_calls], ["get_time"])


@check("chat")
def image(world, provider):
    content = [
        {"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG_TEXT}"}},
    ]
    answer = create(world, provider, "image", messages=[{"role": "user", "content": content}])
    within(f"image/png 70 bytes sha256:{PNG_SHA}", answer.choices[0].message.content)


@check("chat")
def schema(world, provider):
    form = {"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": CITY}}
    answer = create(world, provider, "schema", response_format=form)
    fits_city(json.loads(answer.choices[0].message.content))


@check("chat")
def instructions_and_limits(world, provider):
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "developer", "content": "speak plainly"},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "three"},
    ]
    more = {"max_completion_tokens": 77, "stop": ["END", "FIN"], "temperature": 0.5, "top_p": 0.9}
    answer = create(world, provider, "echo", messages=messages, **more)
    seen = json.loads(answer.choices[0].message.content)
    within("be brief", seen["system"])
    within("speak plainly", seen["system"])
    same(seen["user"], "three")
    same(seen["limit"], 77, "limit")
    same(seen["stop"], ["END", "FIN"], "stop sequences")
    within("0.5", json.dumps(seen["settings"]))
    within("0.9", json.dumps(seen["settings"]))


@check("chat")
def reasoning(world, provider):
    answer = create(world, provider, "verify-signature", tools=TOOL_LIST)
    same(answer.choices[0].finish_reason, "tool_calls")
    usage(answer.usage, provider, THOUGHT)
    second_turn(world, provider, "verify-signature", answer.choices[0].message)


@check("chat")
def reasoning_stream(world, provider):
    answer = collect(world, provider, "verify-signature", tools=TOOL_LIST)
    usage(answer.usage, provider, THOUGHT)
    second_turn(world, provider, "verify-signature", answer.choices[0].message)


@check("chat", only=["anthropic", "gemini"])
def reasoning_dropped_by_the_client(world, provider):
    answer = create(world, provider, "verify-signature", tools=TOOL_LIST)
    second_turn(world, provider, "verify-signature", answer.choices[0].message, keep=False)


@check("chat", only=["anthropic", "gemini"])
def reasoning_stream_dropped_by_the_client(world, provider):
    answer = collect(world, provider, "verify-signature", tools=TOOL_LIST)
    second_turn(world, provider, "verify-signature", answer.choices[0].message, keep=False)


@check("chat")
def cut_by_the_limit(world, provider):
    same(create(world, provider, "length").choices[0].finish_reason, "length")
    chunks = list(create(world, provider, "length", stream=True))
    reasons = [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason]
    same(reasons, ["length"])


@check("chat")
def refusal(world, provider):
    choice = create(world, provider, "refuse").choices[0]
    told = [choice.message.refusal, choice.message.content, choice.finish_reason]
    if provider == "gemini":
        same(choice.finish_reason, "content_filter")
    else:
        within("cannot help", " ".join(t for t in told if t))


@check("chat")
def a_stream_that_breaks_is_no_whole_answer(world, provider):
    for name in ["cut", "cut-utf8", "err-stream"]:
        try:
            chunks = list(create(world, provider, name, stream=True))
        except openai.APIError:
            continue
        raise AssertionError(f"{name} ended like a whole answer: {chunks[-1]}")


@check("chat")
def a_stream_without_an_end_is_no_whole_answer(world, provider):
    if not world.gateway:
        raise Skip
    try:
        chunks = list(create(world, provider, "eof", stream=True))
    except openai.APIError:
        return
    raise AssertionError(f"ended like a whole answer: {chunks[-1]}")


@check("chat")
def errors(world, provider):
    for status, kind in [(429, openai.RateLimitError), (403, openai.PermissionDeniedError), (400, openai.BadRequestError)]:
        for stream in [False, True]:
            try:
                create(world, provider, f"err-{status}", stream=stream)
            except kind as error:
                assert error.message and error.type, error.body
                continue
            raise AssertionError(f"{status} was no {kind.__name__}")


@check("chat")
def a_failure_that_passes_is_not_seen(world, provider):
    if not world.gateway:
        raise Skip
    turn = [{"role": "user", "content": f"of {provider} only"}]
    answer = create(world, provider, "err-500-then-ok", messages=turn)
    within("You said: of", answer.choices[0].message.content)


@check("chat", only=["openai", "compatible"])
def logprobs(world, provider):
    answer = create(world, provider, "text", logprobs=True)
    assert answer.choices[0].logprobs.content[0].logprob < 0


@check("chat", alone=True)
def a_client_that_leaves_stops_the_provider(world, provider):
    before = world.get("/_active")
    stream = create(world, provider, "slow-n2000-i10", stream=True)
    next(iter(stream))
    same(world.get("/_active")["live"], before["live"] + 1, "live")
    stream.close()
    took = eventually(lambda: world.get("/_active")["live"] == before["live"])
    same(world.get("/_active")["cancelled"], before["cancelled"] + 1, "cancelled")
    assert took < 0.5, f"it took {took:.3f} s"


@check("chat")
def unknown_model(world, provider):
    try:
        create(world, provider, "tools3")
    except (openai.NotFoundError, openai.BadRequestError) as error:
        if world.gateway:
            within("tools2", error.message)
        return
    raise AssertionError("an unknown model answered")


@check("chat", only=["openai", "compatible"])
def wrong_key(world, provider):
    try:
        world.openai(provider, key="wrong-key").chat.completions.create(model=world.model(provider, "text"), messages=HELLO)
    except openai.AuthenticationError as error:
        assert "wrong-key" not in str(error.body), "the key came back"
        return
    raise AssertionError("a wrong key was taken")


@check("chat", only=["openai", "compatible", "gemini", "ollama"])
def embeddings(world, provider):
    client = world.openai(provider)
    both = client.embeddings.create(model=world.model(provider, "embed"), input=["one", "two"])
    plain = client.embeddings.create(model=world.model(provider, "embed"), input="one", encoding_format="float")
    same(len(both.data), 2)
    same([d.index for d in both.data], [0, 1])
    near = max(abs(a - b) for a, b in zip(both.data[0].embedding, plain.data[0].embedding))
    assert near < 1e-5, near
    assert abs(sum(x * x for x in plain.data[0].embedding) - 1) < 1e-3


@check("chat", only=["openai"])
def models(world, provider):
    names = {m.id for m in world.openai(provider).models.list()}
    for each in world.pairs("chat") if world.gateway else [provider]:
        within(world.model(each, "tools2"), names)
    same(world.openai(provider).models.retrieve(world.model(provider, "text")).id, world.model(provider, "text"))
