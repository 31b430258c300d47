"""Signs and judges requests with what vendors publish on PyPI, one JSON object a line in and out.

In:  {"act": "sign" | "judge", "library": "stripe" | "slack" | "twilio" | "standardwebhooks", "secret": "...",
      "now": <seconds>, "id": "...", "url": "...", "headers": [["name", "value"], ...], "body_base64": "..."}
Out: {"headers": [["name", "value"], ...]} for "sign", {"valid": true | false, "why": "..."} for "judge".

A library that looks at the clock is shown "now". Headers that are there twice are handed over as WSGI servers do: joined by
a comma.
"""

import base64
import json
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from urllib.parse import parse_qsl, parse_qs, urlsplit

import standardwebhooks.webhooks
import stripe
from slack_sdk.signature import SignatureVerifier
from standardwebhooks import Webhook
from twilio.request_validator import RequestValidator, SIGNATURE_SETTINGS_HEADER, get_signature_algorithm

Pairs = list[tuple[str, str]]


class Line:
    """One line, with the body and the headers as a web framework has them."""

    def __init__(self, line: dict) -> None:
        self.secret: str = line["secret"]
        self.now: int = line["now"]
        self.id: str = line.get("id", "")
        self.url: str = line.get("url") or ""
        self.body: bytes = base64.b64decode(line["body_base64"])
        self.headers: dict[str, str] = {}
        for name, value in line.get("headers", []):
            name = name.lower()
            self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value


class Fields(dict):
    """Form fields with all values of a name, as Django's QueryDict has them."""

    def getlist(self, name: str) -> list[str]:
        return self[name]


def twilio_params(line: Line) -> object:
    """What Twilio's documentation hands to the validator: the body's text where the URL has its hash, else the fields."""
    if "bodySHA256" in parse_qs(urlsplit(line.url).query):
        return line.body.decode()
    fields = Fields()
    for name, value in parse_qsl(line.body.decode(), keep_blank_values=True):
        fields.setdefault(name, []).append(value)
    return fields


def twilio_sign(line: Line) -> Pairs:
    params = twilio_params(line)
    signature = RequestValidator(line.secret).compute_signature(line.url, {} if isinstance(params, str) else params)
    return [("X-Twilio-Signature", signature)]


def twilio_judge(line: Line) -> bool:
    algorithm = get_signature_algorithm(line.headers.get(SIGNATURE_SETTINGS_HEADER.lower()))
    signature = line.headers.get("x-twilio-signature", "")
    return RequestValidator(line.secret).validate(line.url, twilio_params(line), signature, algorithm)


def slack_sign(line: Line) -> Pairs:
    signature = SignatureVerifier(line.secret).generate_signature(timestamp=str(line.now), body=line.body)
    return [("X-Slack-Request-Timestamp", str(line.now)), ("X-Slack-Signature", signature)]


def slack_judge(line: Line) -> bool:
    clock = type("Clock", (), {"now": lambda self: float(line.now)})()
    return SignatureVerifier(line.secret, clock).is_valid_request(line.body, line.headers)


def stripe_sign(line: Line) -> Pairs:
    header = stripe.WebhookSignature.generate_signature_header(line.body.decode(), line.secret, line.now)
    return [("Stripe-Signature", header)]


def stripe_judge(line: Line) -> bool:
    wall, time.time = time.time, lambda: float(line.now)
    try:
        header = line.headers.get("stripe-signature")
        return stripe.WebhookSignature.verify_header(line.body, header, line.secret, stripe.Webhook.DEFAULT_TOLERANCE)
    finally:
        time.time = wall


def standard_sign(line: Line) -> Pairs:
    at = datetime.fromtimestamp(line.now, tz=timezone.utc)
    signature = Webhook(line.secret).sign(line.id, at, line.body.decode())
    return [("webhook-id", line.id), ("webhook-timestamp", str(line.now)), ("webhook-signature", signature)]


def standard_judge(line: Line) -> bool:
    class Shown(datetime):
        @classmethod
        def now(cls, tz: timezone | None = None) -> datetime:
            return datetime.fromtimestamp(line.now, tz=tz)

    wall, standardwebhooks.webhooks.datetime = standardwebhooks.webhooks.datetime, Shown
    try:
        Webhook(line.secret).verify(line.body, line.headers, json_parse=False)
    finally:
        standardwebhooks.webhooks.datetime = wall
    return True


SIGN: dict[str, Callable[[Line], Pairs]] = {
    "stripe": stripe_sign,
    "slack": slack_sign,
    "twilio": twilio_sign,
    "standardwebhooks": standard_sign,
}
JUDGE: dict[str, Callable[[Line], bool]] = {
    "stripe": stripe_judge,
    "slack": slack_judge,
    "twilio": twilio_judge,
    "standardwebhooks": standard_judge,
}


def main() -> None:
    for text in sys.stdin:
        read = json.loads(text)
        line = Line(read)
        if read["act"] == "sign":
            out = {"headers": SIGN[read["library"]](line)}
        else:
            try:
                out = {"valid": bool(JUDGE[read["library"]](line))}
            except Exception as error:  # Some libraries raise whatever their parsing raises: refused all the same.
                out = {"valid": False, "why": f"{type(error).__name__}: {error}"[:200]}
        print(json.dumps(out))


main()
