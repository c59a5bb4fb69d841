"""A small agent for end-to-end tests: python3 agent.py BEHAVIOUR [ARGUMENT...].

It talks to the model and to TaskForge's tools as any program in a sandbox would. A connection that breaks is tried
again, as every client of a model does. Each behaviour can be started again at any point and goes on where it was.
"""

import http.client
import json
import os
import socket
import sys
import time
import urllib.error
import urllib.request

MODEL = os.environ["TASKFORGE_MODEL"]
STATE = os.environ["TASKFORGE_STATE_DIR"]
TRIES = 900


def post(url, body, tries=TRIES):
    """The status and the body of the answer."""
    data = json.dumps(body).encode()
    for attempt in range(tries):
        request = urllib.request.Request(url, data, {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=600) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except (OSError, http.client.HTTPException):
            if attempt == tries - 1:
                raise
            time.sleep(0.2)


def chat(words, model=MODEL, **more):
    body = {"model": model, "messages": [{"role": "user", "content": words}], **more}
    return post(os.environ["OPENAI_BASE_URL"] + "/chat/completions", body)


def tool(name, **arguments):
    """What a TaskForge tool says."""
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
    for _ in range(TRIES):
        status, answer = post(os.environ["TASKFORGE_MCP_URL"], call)
        said = json.loads(answer)
        if "result" in said:
            text = said["result"]["content"][0]["text"]
            print(f"{name}: {text}", flush=True)
            return text
        time.sleep(0.5)
    raise SystemExit(f"{name} never worked: {answer}")


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def prompt():
    with open(os.environ["TASKFORGE_PROMPT_FILE"]) as file:
        return file.read()


def starts():
    """How often this was started, this time included."""
    with open(f"{STATE}/starts", "a+") as file:
        file.write(f"{time.time()}\n")
        file.seek(0)
        return len(file.readlines())


def submit(summary, *files):
    tool("submit_result", summary=summary, files=list(files))


def has(module):
    try:
        __import__(module)
        return True
    except ImportError:
        return False


def packages(*names):
    """Asks for pip packages until they are there, then proves that they work."""
    status, _ = chat("I begin.")
    missing = [n for n in names if not has(n)]
    if missing:
        if "could not be installed" in prompt() or "Denied" in prompt():
            write("told.txt", prompt())
            return submit("It could not be done.", "told.txt")
        asked = [{"ecosystem": "pip", "name": n} for n in missing]
        return tool("request_packages", packages=asked, reason="The program imports them.")
    write("result.txt", "".join(f"{n} works\n" for n in names))
    submit("All packages work.", "result.txt")


def chain(*names):
    """Asks for one package after the other."""
    missing = [n for n in names if not has(n)]
    if missing:
        asked = [{"ecosystem": "pip", "name": missing[0]}]
        return tool("request_packages", packages=asked, reason="One after the other.")
    submit("All packages came.")


def listen():
    """Reports until a person writes, and writes down what it heard."""
    starts()
    chat("I listen.")
    before = prompt().split("Message from", 1)
    heard = before[1] if len(before) == 2 else ""
    while not heard:
        time.sleep(0.4)
        said = tool("report_progress", message="I listen.")
        heard = said.split("Message from", 1)[1] if "Message from" in said else ""
    write("heard.txt", heard)
    submit("I heard something.", "heard.txt")


def broken():
    """Asks for a package that cannot be installed; told so, for another one; told that it works, submits."""
    told = prompt()
    if "Approved:" in told:
        return submit("The other one works.", "told.txt")
    if "could not be installed" in told:
        write("told.txt", told)
        return tool("request_packages", packages=[{"ecosystem": "npm", "name": "left-pad"}], reason="Another one.")
    tool("request_packages", packages=[{"ecosystem": "pip", "name": "taskforge-broken"}], reason="It is broken.")


def question():
    if "Answer by" not in prompt():
        chat("I wonder.")
        return tool("ask_human", question="Which colour?", options=["blue", "green"])
    write("answer.txt", prompt())
    submit("I was answered.", "answer.txt")


def expire():
    """Asks, and is told that nobody decided."""
    if "Nobody decided" not in prompt():
        chat("I ask.")
        return tool("request_packages", packages=[{"ecosystem": "pip", "name": "six"}], reason="I wait.")
    write("told.txt", prompt())
    submit("Nobody decided.", "told.txt")


def pair():
    """Two requests in one turn."""
    if "decided" not in prompt():
        for name in ["six", "toml"]:
            tool("request_packages", packages=[{"ecosystem": "pip", "name": name}], reason="One of two.")
        return
    write("told.txt", prompt())
    submit("Both were decided.", "told.txt")


def steps(count, seconds):
    """Works in steps that are done once each, whatever happens."""
    starts()
    for n in range(1, int(count) + 1):
        if not os.path.exists(f"{STATE}/step-{n}"):
            status, answer = chat(f"step {n}")
            assert status == 200, answer
            time.sleep(float(seconds))
            write(f"{STATE}/step-{n}", "done")
            with open("steps.txt", "a") as file:
                file.write(f"{n}\n")
    submit("All steps are done.", "steps.txt")


def spend(count):
    """Works in steps of one model call each. A refused one is tried again and again, as a stubborn client does."""
    starts()
    for n in range(1, int(count) + 1):
        if os.path.exists(f"{STATE}/step-{n}"):
            continue
        status, answer = chat(f"step {n}")
        while status == 429:
            with open("refused.txt", "a") as file:
                file.write(answer + "\n")
            time.sleep(0.2)
            status, answer = chat(f"step {n}")
        assert status == 200, answer
        write(f"{STATE}/step-{n}", "done")
        with open("steps.txt", "a") as file:
            file.write(f"{n}\n")
    write("told.txt", prompt())
    submit("All steps are done.", "steps.txt", "told.txt")
    # A client that goes on after its result must not ask for more budget.
    chat("One more.")


def again():
    """Never ends its work: each turn is a question that is answered."""
    starts()
    tool("ask_human", question=f"Shall I go on after {time.time()}?")


def silent():
    """Neither asks nor submits."""
    write(f"prompt-{starts()}.txt", prompt())


def calls(*models):
    """Calls models that it may or may not use, and writes down what it got."""
    got = {}
    for model in models:
        try:
            status, answer = chat("Say it.", model=model, stream=model.endswith("cut"))
            got[model] = {"status": status, "answer": answer}
        except http.client.HTTPException as error:
            got[model] = {"status": 0, "answer": repr(error)}
    write("got.json", json.dumps(got))
    submit("I called.", "got.json")


def retry():
    """Calls the model until an answer is whole; a broken one is asked for again a few times."""
    for _ in range(3):
        try:
            status, answer = post(
                os.environ["OPENAI_BASE_URL"] + "/chat/completions",
                {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "Say it."}]},
                tries=1,
            )
            print(status, answer, flush=True)
        except (OSError, http.client.HTTPException) as error:
            print("broken:", repr(error), flush=True)
    submit("I tried three times.")


def memory():
    held = []
    while True:
        held.append(bytearray(8 << 20))


def disk():
    """Fills the workspace in small files, so that no limit of a single file ends it first."""
    n = 0
    while True:
        n += 1
        with open(f"fill-{n}", "wb") as file:
            file.write(os.urandom(4 << 20))
        time.sleep(0.01)


def hammer():
    """Calls the model again and again, whatever it is told."""
    while True:
        chat("Again.")
        time.sleep(0.2)


def forever():
    starts()
    while True:
        time.sleep(1)


def hostile():
    """A tree that tries to lead its readers astray."""
    os.mkfifo("pipe")
    os.symlink("/etc/shadow", "shadow")
    os.symlink("../../../../../../etc", "etc")
    os.symlink("loop", "loop")
    os.mkdir("deep")
    os.symlink("..", "deep/up")
    with open("sparse", "wb") as file:
        file.truncate(3 << 30)
    for name in ["...", "..a", "-rf", "new\nline", "esc\x1b[2J", "bidi\u202etxt", "~", "a'b\"c", "%2e%2e%2fx", "..\\up"]:
        write(name, "plain")
    with open(b"bad-\xff-utf8", "wb") as file:
        file.write(b"bytes")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("socket")
    try:
        os.mknod("device", 0o666 | 0o060000, os.makedev(8, 0))
        device = "made"
    except OSError as error:
        device = f"refused: {error.strerror}"
    deep = "d"
    for _ in range(80):
        os.mkdir(deep)
        deep += "/d"
    write("good.txt", f"device {device}\n")
    submit("A tree.")


def probe(*paths):
    """What can be reached and what can be done from inside."""
    out = {"env": dict(os.environ), "uid": os.getuid(), "routes": {}}
    for path in paths:
        request = urllib.request.Request("http://127.0.0.1:8080" + path)
        try:
            out["routes"][path] = urllib.request.urlopen(request, timeout=20).status
        except urllib.error.HTTPError as error:
            out["routes"][path] = error.code
    for name, attempt in {
        "network": lambda: socket.create_connection(("1.1.1.1", 53), 3),
        "root_fs": lambda: open("/usr/new", "w"),
        "run_dir": lambda: open("/run/taskforge/new", "w"),
        "setuid": lambda: os.setuid(0),
        "other_interfaces": lambda: [n for _, n in socket.if_nameindex() if n != "lo"],
    }.items():
        try:
            out[name] = str(attempt())
        except OSError as error:
            out[name] = f"refused: {error.strerror}"
    write("probe.json", json.dumps(out))
    submit("I looked around.", "probe.json")


globals()[sys.argv[1]](*sys.argv[2:])
