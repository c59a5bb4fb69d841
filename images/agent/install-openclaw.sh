#!/bin/sh
# Installs OpenClaw exactly as package-lock.json pins it and removes what a headless agent never reads.
# usage: install-openclaw.sh REGISTRY
set -eu
mkdir -p /opt/openclaw && cd /opt/openclaw
cp /definition/package.json /definition/package-lock.json .
export NODE_EXTRA_CA_CERTS=/run/ca.pem npm_config_cache=/tmp/npm-cache
node /opt/fetched/npm/bin/npm-cli.js ci --registry "$1" --omit dev --no-audit --no-fund --loglevel error

cd node_modules
# The browser control panel, the remote worker, TypeScript (Node runs none below node_modules) and the documents.
rm -rf openclaw/dist/control-ui openclaw/docs openclaw/dist/worker/worker.mjs openclaw/dist/worker/sqlite-store.worker.mjs
# Desktop and browser automation, the compiler, and a provider that is never called directly.
for gone in @trycua @mistralai typescript playwright-core chrome-devtools-mcp; do
    find . -xdev -path "*node_modules/$gone" -prune -exec rm -rf {} +
    rm -rf "./$gone"
done
find . -xdev \( -name '*.ts' -o -name '*.mts' -o -name '*.cts' -o -name '*.map' \) -type f -delete
find . -xdev -type f -iname '*.md' -not -iname 'license*' -delete
find . -xdev -type d \( -name test -o -name tests -o -name __tests__ -o -name .github \) -prune -exec rm -rf {} +
find . -xdev -type l ! -exec test -e {} \; -delete
# Native files for other platforms.
case "$(uname -m)" in x86_64) other=arm64 ;; *) other=x64 ;; esac
find . -xdev -type d \( -name "*darwin*" -o -name "*win32*" -o -name "*freebsd*" -o -name "*openbsd*" -o -name "*musl*" \
    -o -name "*linux*$other*" \) -path '*koffi*' -prune -exec rm -rf {} +
rm -rf /tmp/npm-cache
