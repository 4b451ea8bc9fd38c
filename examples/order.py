#!/usr/bin/env python3
"""Places an order, waits until it has settled, then watches its saga to its end: order.py [URL]

Needs Python 3.9 and nothing else. Run again it finds the same order, by its Idempotency-Key.
"""

import http.client
import json
import sys
import time
import urllib.error
import urllib.request

URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:7171"


def call(method, path, body, headers=None):
    """The answer's JSON; a refusal is urllib's HTTPError."""
    request = urllib.request.Request(
        URL + path,
        method=method,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **(headers or {})},
    )
    with urllib.request.urlopen(request, timeout=40) as answer:
        return json.load(answer)


def messages(path):
    """Server-Sent Events, as (event, data). Who is cut off comes back with the
    id of the last whole message."""
    last, failures = None, 0
    while failures < 5:
        headers = {"Last-Event-ID": last} if last else {}
        request = urllib.request.Request(URL + path, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=40) as stream:
                event, data, seen = "message", [], last
                for line in stream:
                    name, _, value = line.decode().rstrip("\r\n").partition(":")
                    value = value.removeprefix(" ")
                    if name == "event":
                        event = value
                    elif name == "data":
                        data.append(value)
                    elif name == "id":
                        seen = value
                    elif line.strip() == b"":
                        # Only now is the message whole, and its id one to come back with.
                        last = seen
                        if data:
                            failures = 0
                            yield event, json.loads("\n".join(data))
                        event, data = "message", []
        except urllib.error.HTTPError:
            raise
        except (OSError, http.client.HTTPException):
            pass
        failures += 1
        time.sleep(1)
    raise OSError(f"{path} breaks off again and again")


def main():
    # What is bought has to be there. All of this may be repeated: a PUT is what it says, and a
    # delivery counts once.
    price = {"amount_minor": 1999, "currency": "EUR"}
    call("PUT", "/v1/products/example-tea", {"name": "Tea", "price": price, "active": True})
    delivery = {"quantity": 1000, "reference": "example-delivery"}
    call("POST", "/v1/stock/example-tea/receipts", delivery)

    order = call(
        "POST",
        "/v1/orders",
        {
            "customer_id": "6f1b2c1e-7f0a-4c52-9b0e-3c1de7b0a001",
            "currency": "EUR",
            "lines": [{"sku": "example-tea", "quantity": 2}],
            "payment": {"method": "card", "token": "tok_visa"},
        },
        {"Idempotency-Key": "example-python", "Prefer": "wait=20"},
    )
    total = order["total"]
    print("order   ", order["order_id"], order["status"], total["amount_minor"], total["currency"])

    for event, saga in messages(f"/v1/sagas/{order['saga_id']}/watch?from=start"):
        if event == "end":
            break
        step = [step for step in saga["steps"] if step["status"] != "pending"][-1]
        print("saga    ", saga["status"], step["name"], step["status"], flush=True)
    print("end")


try:
    main()
except urllib.error.HTTPError as refused:
    # RFC 9457: what is wrong, with a stable code and each field.
    problem = refused.read().decode()
    sys.exit(f"refused  {refused.url}: {problem}")
except OSError as error:
    sys.exit(f"refused  {URL}: {error}")
