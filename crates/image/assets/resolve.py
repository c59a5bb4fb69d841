"""Runs inside the resolver's container: asks uv, npm and apt what a request needs and prints their answers as JSON.

It has no network: a relay on 127.0.0.1 carries bytes to the registry proxy's socket, which is the only way out. It runs
no package code: wheels only, install scripts off, apt only simulates. All input is checked before it gets here, and
nothing goes through a shell.
"""

import difflib
import json
import os
import platform
import socket
import subprocess
import sys
import threading

PORT = 8081
BASE = f"http://127.0.0.1:{PORT}"
SHARED = "/run/taskforge"
WORK = "/tmp/work"
MAX_TEXT = 200_000


def pump(source, target):
    try:
        while chunk := source.recv(65536):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve(client):
    with client, socket.socket(socket.AF_UNIX) as out:
        try:
            out.connect(f"{SHARED}/registry.sock")
        except OSError:
            return
        back = threading.Thread(target=pump, args=(out, client), daemon=True)
        back.start()
        pump(client, out)
        back.join()


def relay():
    listener = socket.create_server(("127.0.0.1", PORT), backlog=128)

    def accept():
        while True:
            client, _ = listener.accept()
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def run(command, **env):
    done = subprocess.run(
        command,
        cwd=WORK,
        env={"PATH": os.environ["PATH"], "HOME": WORK, "LANG": "C.UTF-8", "NO_COLOR": "1", **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    return {"exit": done.returncode, "stdout": done.stdout, "stderr": done.stderr[-MAX_TEXT:]}


def write(name, lines):
    path = f"{WORK}/{name}"
    with open(path, "w") as file:
        file.write(lines if isinstance(lines, str) else "".join(f"{line}\n" for line in lines))
    return path


def pip(wish):
    return run(
        ["uv", "pip", "compile", write("requirements.in", wish["requirements"]),
         "--constraints", write("constraints.txt", wish["constraints"]),
         "--python", "/usr/bin/python3", "--only-binary", ":all:", "--default-index", f"{BASE}/pypi/simple",
         "--generate-hashes", "--no-annotate", "--no-header", "--no-config", "--no-cache", "--no-progress",
         "--no-sources", "--no-python-downloads", "--color", "never"],
        UV_HTTP_TIMEOUT="120", UV_CONCURRENT_DOWNLOADS="8",
    )


def npm(wish):
    folder = f"{WORK}/npm"
    os.makedirs(folder)
    write("npm/package.json", json.dumps(wish["package"]))
    if wish.get("lock"):
        write("npm/package-lock.json", json.dumps(wish["lock"]))
    answer = run(
        ["node", "/opt/taskforge/npm/bin/npm-cli.js", "install", "--prefix", folder, "--package-lock-only",
         "--ignore-scripts", "--no-audit", "--no-fund", "--omit", "dev", "--registry", f"{BASE}/npm/",
         "--cache", f"{WORK}/npm-cache", "--loglevel", "error", "--allow-git", "none", "--fetch-retries", "1"],
        npm_config_update_notifier="false",
    )
    lock = f"{folder}/package-lock.json"
    answer["lock"] = json.load(open(lock)) if answer["exit"] == 0 and os.path.exists(lock) else None
    return answer


def apt(wish):
    root = f"{WORK}/apt"
    for part in ("state/lists/partial", "cache/archives/partial"):
        os.makedirs(f"{root}/{part}")
    sources = [f"deb {BASE}/debian bookworm main", f"deb {BASE}/debian bookworm-updates main",
               f"deb {BASE}/debian-security bookworm-security main"]
    options = []
    for key, value in {
        "Dir::State": f"{root}/state", "Dir::State::status": f"{SHARED}/dpkg-status", "Dir::Cache": f"{root}/cache",
        "Dir::Etc::sourcelist": write("apt/sources.list", sources), "Dir::Etc::sourceparts": "-",
        "APT::Sandbox::User": "", "Acquire::Languages": "none", "Acquire::Retries": "1",
        "Acquire::ForceHash": "SHA256", "Acquire::Check-Valid-Until": "true", "Dir::Log": root, "Debug::NoLocking": "1",
        "APT::Get::AllowUnauthenticated": "false", "Acquire::AllowInsecureRepositories": "false",
    }.items():
        options += ["-o", f"{key}={value}"]
    get = ["apt-get", "-qq", "-y", "--no-install-recommends", *options]
    update = run([*get, "-o", "APT::Update::Error-Mode=any", "update"])
    if update["exit"] != 0:
        return {**update, "stage": "update"}
    names = [spec.split("=")[0] for spec in wish["specs"]]
    known = set(run(["apt-cache", *options, "pkgnames"])["stdout"].split())
    missing = [name for name in names if name not in known]
    if missing:
        near = {name: difflib.get_close_matches(name, known, n=3, cutoff=0.75) for name in missing}
        return {"exit": 100, "stage": "names", "stdout": "", "stderr": "", "missing": near}
    plan = run([*get, "--print-uris", "install", *wish["specs"]])
    if plan["exit"] == 0:
        wanted = [line.split("'")[2].split()[0] for line in plan["stdout"].splitlines() if line.startswith("'")]
        pairs = sorted(f"{p[0].split(':')[0]}={p[1].replace('%3a', ':')}" for p in (w.split("_") for w in wanted))
        plan["records"] = run(["apt-cache", *options, "show", *pairs])["stdout"] if pairs else ""
    return {**plan, "stage": "install"}


def main():
    os.makedirs(WORK)
    relay()
    with open(f"{SHARED}/request.json") as file:
        request = json.load(file)
    answers = {name: ask(request[name]) for name, ask in (("apt", apt), ("pip", pip), ("npm", npm)) if request.get(name)}
    libc = platform.libc_ver()[1]
    json.dump({"python": list(sys.version_info[:2]), "libc": libc, "machine": platform.machine(), **answers}, sys.stdout)


main()
