# Shared by the scripts; sourced, not run.
# Owns: where things are, how a step speaks, how it fails. Set DATA before use to another directory if needed.

set -euo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TARGET=${CARGO_TARGET_DIR:-$REPO/target}
export TASKFORGE_DATA_DIR=${TASKFORGE_DATA_DIR:-$REPO/.taskforge}
[[ -d $HOME/.cargo/bin ]] && PATH=$HOME/.cargo/bin:$PATH

# say TEXT: one line about something that is being done.
say() { printf '%s\n' "==> $*" >&2; }

# die CAUSE NEXT-STEP
die() {
    printf 'error: %s\n' "$1" >&2
    [[ -n ${2:-} ]] && printf 'hint:  %s\n' "$2" >&2
    exit 1
}

# has COMMAND...: whether all are there. The system directories count even where PATH leaves them out.
has() {
    local name
    for name in "$@"; do
        PATH=$PATH:/usr/sbin:/sbin command -v "$name" >/dev/null || return 1
    done
}

# as_root COMMAND...
as_root() {
    if [[ $(id -u) == 0 ]]; then
        "$@"
    elif has sudo; then
        sudo "$@"
    else
        die "this needs root and there is no sudo: $*" "run it as root, then repeat the command"
    fi
}

# until_ok SECONDS COMMAND...: repeats the command until it succeeds; false when the time is over.
until_ok() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || return 1
        sleep 0.2
    done
}

# alive PID
alive() { [[ -n ${1:-} ]] && kill -0 "$1" 2>/dev/null; }

# stop PID SECONDS: asks a process that we started to end, and insists when the time is over.
stop() {
    alive "$1" || return 0
    kill "$1" 2>/dev/null || return 0
    local end=$((SECONDS + $2))
    while alive "$1" && ((SECONDS < end)); do sleep 0.1; done
    if alive "$1"; then kill -9 "$1" 2>/dev/null || true; fi
}
