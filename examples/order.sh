#!/usr/bin/env bash
# Places an order, waits until it has settled, then watches its saga to its end: order.sh [URL]
# Needs bash and curl. Run again it finds the same order, by its Idempotency-Key.
set -euo pipefail
url=${1:-http://127.0.0.1:7171}
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

call() { # METHOD PATH BODY [HEADER…]: the body of the answer; a refusal is shown and ends this
    local method=$1 path=$2 body=$3 status
    shift 3
    status=$(curl --silent --show-error --max-time 40 --output "$answer" --write-out '%{http_code}' \
        --request "$method" "$url$path" --header 'Content-Type: application/json' --data "$body" "$@")
    case $status in
    2*) cat "$answer" ;;
    *)
        printf 'refused  %s %s: ' "$method" "$path" >&2
        cat "$answer" >&2
        printf '\n' >&2
        return 1
        ;;
    esac
}

field() { # NAME JSON: the first field of that name, text or number
    sed -E 's/.*"'"$1"'":"?([^",}]*).*/\1/' <<<"${2%%\"$1\":*}\"$1\":${2#*\"$1\":}"
}

# What is bought has to be there. All of this may be repeated: a PUT is what it says, and a
# delivery counts once.
call PUT /v1/products/example-tea \
    '{"name":"Tea","price":{"amount_minor":1999,"currency":"EUR"},"active":true}' >/dev/null
call POST /v1/stock/example-tea/receipts '{"quantity":1000,"reference":"example-delivery"}' >/dev/null

order=$(call POST /v1/orders \
    '{"customer_id":"6f1b2c1e-7f0a-4c52-9b0e-3c1de7b0a001","currency":"EUR",
      "lines":[{"sku":"example-tea","quantity":2}],"payment":{"method":"card","token":"tok_visa"}}' \
    --header 'Idempotency-Key: example-curl' --header 'Prefer: wait=20')
printf 'order    %s %s %s %s\n' "$(field order_id "$order")" "$(field status "$order")" \
    "$(field amount_minor "$order")" "$(field currency "$order")"

show() { # SAGA: its own status stands first, the step that was sent last is the last begun
    local step
    step=$(grep -oE '"name":"[^"]*","kind":"[^"]*","status":"[^"]*"' <<<"$1" | grep -v '"pending"' | tail -1)
    printf 'saga     %s %s %s\n' "$(field status "${1%%\"steps\"*}")" \
        "$(field name "$step")" "$(field status "$step")"
}

# Server-Sent Events: lines of a message, then an empty one. Whoever is cut off comes back with the
# id of the last whole message, and gets what came since.
saga=$(field saga_id "$order")
last=''
ended=''
failures=0
while [ "$failures" -lt 5 ]; do
    failures=$((failures + 1))
    seen=$last event='' data=''
    while IFS= read -r line; do
        value=${line#*:}
        value=${value# }
        case $line in
        id:*) seen=$value ;;
        event:*) event=$value ;;
        data:*) data=$value ;;
        '')
            last=$seen
            [ "$event" != end ] || { ended=yes; break 2; }
            [ -z "$data" ] || { failures=0; show "$data"; }
            event='' data=''
            ;;
        esac
    done < <(curl --silent --show-error --no-buffer --max-time 40 --fail-with-body \
        "$url/v1/sagas/$saga/watch?from=start" ${last:+--header "Last-Event-ID: $last"})
    sleep 1
done
[ "$ended" ] || { printf 'refused  the saga %s cannot be watched\n' "$saga" >&2; exit 1; }
printf 'end\n'
