"""Parses deliveries in the format `cloudevents` with the official SDK.

Reads one JSON object a line: {"headers": {...}, "body_base64": "..."}; prints {"attributes": {...}, "data": ...} for each.
"""

import base64
import json
import sys
from datetime import datetime

from cloudevents.core.bindings.http import HTTPMessage, from_http_event

for line in sys.stdin:
    delivery = json.loads(line)
    message = HTTPMessage(headers=delivery["headers"], body=base64.b64decode(delivery["body_base64"]))
    event = from_http_event(message)
    attributes = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in event.get_attributes().items()
    }
    print(json.dumps({"attributes": attributes, "data": event.get_data()}))
