#!/usr/bin/env bash
# Places orders on a running server and checks how they end: infra/probe.sh URL
set -euo pipefail
url=${1:?usage: infra/probe.sh URL}
sku=probe-$$
headers=$(mktemp)
trap 'rm -f "$headers"' EXIT

call() { # METHOD PATH [BODY] [HEADER…]: the body of the answer; fails on any error status
    local method=$1 path=$2 body=${3-}
    shift $(($# > 3 ? 3 : $#))
    curl --silent --show-error --fail-with-body --max-time 30 --dump-header "$headers" --request "$method" "$url$path" \
        --header 'Content-Type: application/json' "$@" ${body:+--data "$body"}
}

expect() { # WHAT TEXT ANSWER
    case $3 in
    *"$2"*) printf 'ok: %s\n' "$1" ;;
    *)
        printf 'not ok: %s: no %s in %s\n' "$1" "$2" "$3" >&2
        exit 1
        ;;
    esac
}

order() { # TOKEN QUANTITY
    call POST /v1/orders '{"customer_id":"6f1b2c1e-7f0a-4c52-9b0e-3c1de7b0a001","currency":"EUR","lines":[{"sku":"'"$sku"'","quantity":'"$2"'}],"payment":{"method":"card","token":"'"$1"'"}}' \
        --header 'Prefer: wait=20'
}

expect 'the process is healthy' '"up"' "$(call GET /healthz)"
call PUT "/v1/products/$sku" '{"name":"Tea","price":{"amount_minor":1999,"currency":"EUR"},"active":true}' >/dev/null
call POST "/v1/stock/$sku/receipts" '{"quantity":10,"reference":"delivery-1"}' >/dev/null
expect 'an order completes' '"status":"completed"' "$(order tok_visa 2)"
expect 'a declined order is rejected' '"status":"rejected"' "$(order tok_declined 1)"
expect 'an order beyond the stock is rejected' '"status":"rejected"' "$(order tok_visa 9)"
position=$(tr -d '\r' <"$headers" | sed -n 's/^[Rr]ecourse-[Pp]osition: //p')
expect 'goods left and nothing is held' '"on_hand":8,"reserved":0' \
    "$(call GET "/v1/stock/$sku" '' --header "Recourse-Min-Position: $position")"
