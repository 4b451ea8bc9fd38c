#!/usr/bin/env bash
# The official clients of EventStoreDB for Python and JavaScript against a log of ours:
#
#   infra/esdb-clients/run.sh PROGRAM      `recourse`, built with the feature `distributed`
#
# Wants Python 3 with venv, Node 20 and npm, and ways to PyPI and npm.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=$(realpath "$1")
scratch=$(mktemp -d)
server=
trap 'if [ -n "$server" ]; then kill "$server"; fi; rm -rf "$scratch"' EXIT

python3 -m venv "$scratch/python"
"$scratch/python/bin/pip" install --quiet --disable-pip-version-check \
    --requirement "$here/requirements.txt"
cp "$here/package.json" "$here/package-lock.json" "$scratch/"
(cd "$scratch" && npm ci --silent --no-audit --no-fund)

"$program" serve store --data "$scratch/data" --esdb-listen 127.0.0.1:0 >"$scratch/said" &
server=$!
for _ in $(seq 100); do
    address=$(sed -n 's/.*esdb:\/\/\([^?]*\).*/\1/p' "$scratch/said")
    [ -z "$address" ] || break
    kill -0 "$server"
    sleep 0.1
done
timeout 60 "$scratch/python/bin/python" "$here/check.py" "$address"
(cd "$scratch" && timeout 60 node "$here/check.mjs" "$address")
# It ends as it should.
kill "$server"
wait "$server"
server=
