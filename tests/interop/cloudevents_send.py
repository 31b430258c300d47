"""Makes CloudEvents with the official SDK and posts them to webhookd: structured, binary and, by hand, as a batch.

The argument is the API's address (host:port). Prints what was sent, one JSON object a line:
{"mode": ..., "attributes": {...}, "data": ..., "status": 202}.
"""

import http.client
import json
import sys
from datetime import datetime, timezone

from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

DATA = [
    {"total": 1.5, "lines": [1, 2, 3], "note": "Grüße €"},
    {},
    {"deep": {"deeper": {"deepest": None}}},
    "a plain text that is JSON",
    None,
]


def event(mode: str, n: int, data: object) -> CloudEvent:
    attributes = {
        "id": f"sdk-{mode}-{n}",
        "source": f"https://shop.example.com/orders?n={n}",
        "type": "com.example.order.paid",
        "subject": "Größe 7/ä €",
        "time": datetime(2024, 2, 29, 12, 30, 15, 250000, tzinfo=timezone.utc),
        "tenant": "acme",
        "datacontenttype": "application/json",
    }
    return CloudEvent(attributes=attributes, data=data)


def shown(attributes: dict) -> dict:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in attributes.items()}


def main() -> None:
    connection = http.client.HTTPConnection(sys.argv[1], timeout=30)
    for mode, convert in (("structured", to_structured_event), ("binary", to_binary_event)):
        for n, data in enumerate(DATA):
            # In binary mode the SDK writes a text as it is, which is no JSON, whatever its content type says.
            if mode == "binary" and not isinstance(data, dict):
                continue
            sent = event(mode, n, data)
            message = convert(sent)
            connection.request("POST", "/v1/events", body=message.body, headers=dict(message.headers))
            answer = connection.getresponse()
            answer.read()
            line = {"mode": mode, "attributes": shown(sent.get_attributes()), "data": data, "status": answer.status}
            print(json.dumps(line))
    batch = [event("batch", n, data) for n, data in enumerate(DATA)]
    body = b"[" + b",".join(to_structured_event(one).body for one in batch) + b"]"
    headers = {"content-type": "application/cloudevents-batch+json"}
    connection.request("POST", "/v1/events", body=body, headers=headers)
    answer = connection.getresponse()
    answer.read()
    for one in batch:
        line = {"mode": "batch", "attributes": shown(one.get_attributes()), "data": one.get_data()}
        print(json.dumps(line | {"status": answer.status}))


main()
