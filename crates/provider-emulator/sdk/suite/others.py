"""Gemini's and Ollama's own clients: of the emulator, and of a gateway that speaks Gemini."""

from google.genai import errors as gerrors
from google.genai import types as g

from .cells import check
from .world import CACHED, CITY, INPUT, OUTPUT, PNG, PNG_SHA, THOUGHT, TOOLS, fits_city, same, within

DECLARED = [g.FunctionDeclaration(name=n, description=n, parameters_json_schema=CITY) for n in TOOLS]
NO_CALLING = g.AutomaticFunctionCallingConfig(disable=True)


def config(**more):
    return g.GenerateContentConfig(automatic_function_calling=NO_CALLING, **more)


def ask(world, provider, name, contents="hello", **more):
    # The client closes its connections when it is no longer held.
    client = world.genai()
    return client.models.generate_content(model=world.model(provider, name), contents=contents, config=config(**more))


@check("genai")
def text(world, provider):
    answer = ask(world, provider, "text")
    within("你好 🚀. You said: hello", answer.text)
    usage = answer.usage_metadata
    same((usage.prompt_token_count, usage.candidates_token_count), (INPUT, OUTPUT), "usage")
    if provider != "ollama":
        same(usage.cached_content_token_count, CACHED, "cached tokens")


@check("genai")
def text_stream(world, provider):
    client, model = world.genai(), world.model(provider, "text")
    chunks = list(client.models.generate_content_stream(model=model, contents="hello", config=config()))
    within("你好 🚀. You said: hello", "".join(c.text or "" for c in chunks))
    same(chunks[-1].candidates[0].finish_reason, g.FinishReason.STOP)
    same(chunks[-1].usage_metadata.candidates_token_count, OUTPUT)


def second_turn(world, provider, name, content):
    calls = [p.function_call for p in content.parts if p.function_call]
    same([c.name for c in calls], TOOLS, "calls")
    for call in calls:
        fits_city(call.args)
    parts = [g.Part(function_response=g.FunctionResponse(id=c.id, name=c.name, response={"r": f"result {n}"})) for n, c in enumerate(calls)]
    contents = [g.Content(role="user", parts=[g.Part(text="hello")]), content, g.Content(role="user", parts=parts)]
    said = ask(world, provider, name, contents=contents, tools=[g.Tool(function_declarations=DECLARED)]).text
    within("result 0", said)
    within("result 1", said)


@check("genai")
def two_tools(world, provider):
    answer = ask(world, provider, "tools2", tools=[g.Tool(function_declarations=DECLARED)])
    second_turn(world, provider, "tools2", answer.candidates[0].content)


@check("genai")
def reasoning(world, provider):
    answer = ask(world, provider, "verify-signature", tools=[g.Tool(function_declarations=DECLARED)])
    same(answer.usage_metadata.thoughts_token_count, THOUGHT)
    second_turn(world, provider, "verify-signature", answer.candidates[0].content)


@check("genai")
def image(world, provider):
    contents = [g.Part.from_bytes(data=PNG, mime_type="image/png"), "what is this?"]
    within(f"image/png 70 bytes sha256:{PNG_SHA}", ask(world, provider, "image", contents=contents).text)


@check("genai")
def schema(world, provider):
    answer = ask(world, provider, "schema", response_mime_type="application/json", response_json_schema=CITY)
    fits_city(answer.parsed)


@check("genai")
def errors(world, provider):
    for name, status in [("err-429", 429), ("err-400", 400)]:
        try:
            ask(world, provider, name)
        except gerrors.ClientError as error:
            same(error.code, status)
            continue
        raise AssertionError(f"{name} was no error")


def ollama_cells(world):
    """Ollama's client, which no ingress of a gateway serves; name and call of each cell."""
    tools = [{"type": "function", "function": {"name": n, "parameters": CITY}} for n in TOOLS]
    ask_ = [{"role": "user", "content": "hello"}]

    def text_():
        answer = world.ollama().chat(model="text", messages=ask_)
        within("You said: hello", answer.message.content)
        same((answer.prompt_eval_count, answer.eval_count), (INPUT, OUTPUT))

    def stream():
        lines = list(world.ollama().chat(model="text", messages=ask_, stream=True))
        within("You said: hello", "".join(line.message.content for line in lines))
        same([line.done for line in lines][-2:], [False, True])

    def two_tools_():
        answer = world.ollama().chat(model="tools2", messages=ask_, tools=tools)
        same([c.function.name for c in answer.message.tool_calls], TOOLS)
        results = [{"role": "tool", "tool_name": c.function.name, "content": "ok"} for c in answer.message.tool_calls]
        again = world.ollama().chat(model="tools2", messages=[*ask_, answer.message, *results], tools=tools)
        within("The tools said", again.message.content)

    def image_():
        message = {"role": "user", "content": "?", "images": [PNG]}
        within(PNG_SHA, world.ollama().chat(model="image", messages=[message]).message.content)

    for function in [text_, stream, two_tools_, image_]:
        yield f"ollama → ollama: {function.__name__.strip('_')}", False, function
