#!/bin/sh
# Runs one whole OpenClaw task against a scripted model, so that V8's compile cache holds what a start needs.
set -eu
mkdir -p /tmp/warm /tmp/warm/state /tmp/warm/workspace /tmp/home
chown -R 61000:61000 /tmp/warm /tmp/home
chmod 1777 /tmp
run() { setpriv --reuid 61000 --regid 61000 --clear-groups "$@"; }
run env HOME=/tmp/home node /warm/model.mjs 8080 & server=$!
trap 'kill $server 2>/dev/null || true' EXIT
for session in first second first; do
    cd /tmp/warm/workspace
    run env HOME=/tmp/home NODE_COMPILE_CACHE=/opt/cc OPENCLAW_CONFIG_PATH=/warm/openclaw.json OPENCLAW_STATE_DIR=/tmp/warm/state \
        OPENCLAW_OFFLINE=1 OPENCLAW_NO_AUTO_UPDATE=1 \
        openclaw agent --local --agent main --session-id "$session" --timeout 120 --json --message-file /warm/prompt.md \
        > /tmp/warm/out.json 2> /tmp/warm/err.txt || { cat /tmp/warm/out.json /tmp/warm/err.txt; exit 1; }
    grep -q '"stopReason": *"stop"' /tmp/warm/out.json || { cat /tmp/warm/out.json /tmp/warm/err.txt; exit 1; }
done
du -sh /opt/cc
find /opt/cc -type f | wc -l
