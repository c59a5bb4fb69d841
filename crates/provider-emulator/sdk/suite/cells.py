"""The list of cells: a cell is a check with a name; a module registers its own."""

import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

_CHECKS = []


def check(ingress, only=None, alone=False):
    """Registers `f(world, provider)` for each provider that this ingress reaches; `only` names some of them."""

    def register(function):
        _CHECKS.append((ingress, only, alone, function))
        return function

    return register


class Skip(Exception):
    """This cell has nothing to check here."""


def cells(world, ingresses):
    """Name and call of each cell."""
    for ingress, only, alone, function in _CHECKS:
        if ingress not in ingresses:
            continue
        for provider in world.pairs(ingress):
            if only is None or provider in only:
                yield f"{ingress} → {provider}: {function.__name__}", alone, lambda f=function, p=provider: f(world, p)


def run(found, workers=8):
    """Runs the cells, those that must be alone after the others; returns the counts of passed and failed."""
    passed, failed, lock = [0], [0], threading.Lock()

    def one(name, call):
        try:
            call()
        except Skip:
            return
        except Exception as error:  # A cell may fail in any way that a client can.
            frames = [f for f in traceback.extract_tb(error.__traceback__) if "suite" in f.filename]
            at = f"{frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else "?"
            with lock:
                failed[0] += 1
                print(f"FAILED {name}\n       {at} {type(error).__name__}: {str(error)[:600]}", flush=True)
            return
        with lock:
            passed[0] += 1

    found = list(found)
    with ThreadPoolExecutor(workers) as pool:
        for name, alone, call in found:
            if not alone:
                pool.submit(one, name, call)
    for name, alone, call in found:
        if alone:
            one(name, call)
    return passed[0], failed[0]
