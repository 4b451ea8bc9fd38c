#!/usr/bin/env bash
# Every test, those against real engines included as far as the engines can be had on this machine;
# what was skipped is said at the end, with a count. In CI nothing is skipped.
#
#   infra/test.sh [what cargo test takes]
set -euo pipefail
cd "$(dirname "$0")/.."
RECOURSE_SKIPPED=$(mktemp)
export RECOURSE_SKIPPED
trap 'rm -f "$RECOURSE_SKIPPED"' EXIT

infra/engines/prepare.sh || [ -z "${CI:-}" ] || exit 1
with=(--features recourse/distributed)
for program in g++ make; do
    command -v "$program" >/dev/null || {
        printf 'every test of the distributed engines: %s, which builds their clients\n' "$program" >>"$RECOURSE_SKIPPED"
        [ -z "${CI:-}" ] || exit 1
        with=()
    }
done

passed=0
cargo test --workspace "${with[@]}" "$@" || passed=$?
if [ -s "$RECOURSE_SKIPPED" ]; then
    printf '\nSKIPPED %d, for want of what they need:\n' "$(wc -l <"$RECOURSE_SKIPPED")"
    sort "$RECOURSE_SKIPPED"
fi
exit "$passed"
