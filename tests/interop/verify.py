"""Verifies deliveries with the official Standard Webhooks library of Python; Ed25519 with `cryptography`.

Reads one JSON object a line: {"headers": {...}, "body_base64": "...", "secrets": ["whsec_..."], "public_keys": ["<base64>"]}.
Every secret and every key must fit, and none may fit once the body is changed. Prints {"verified": N}.
"""

import base64
import json
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook, WebhookVerificationError


def ed25519_fits(headers: dict[str, str], body: bytes, public_key: str) -> bool:
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key))
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    for signature in headers["webhook-signature"].split(" "):
        version, value = signature.split(",")
        if version != "v1a":
            continue
        try:
            key.verify(base64.b64decode(value), content)
            return True
        except InvalidSignature:
            pass
    return False


def main() -> None:
    verified = 0
    for line in sys.stdin:
        delivery = json.loads(line)
        headers = delivery["headers"]
        body = base64.b64decode(delivery["body_base64"])
        changed = body[:-1] + bytes([body[-1] ^ 1]) if body else b"x"
        for secret in delivery["secrets"]:
            webhook = Webhook(secret)
            webhook.verify(body, headers, json_parse=False)
            try:
                webhook.verify(changed, headers, json_parse=False)
            except WebhookVerificationError:
                pass
            else:
                sys.exit(f"{headers['webhook-id']}: a changed body was accepted")
            verified += 1
        for public_key in delivery["public_keys"]:
            if not ed25519_fits(headers, body, public_key):
                sys.exit(f"{headers['webhook-id']}: no Ed25519 signature fits")
            if ed25519_fits(headers, changed, public_key):
                sys.exit(f"{headers['webhook-id']}: a changed body was accepted by Ed25519")
            verified += 1
    print(json.dumps({"verified": verified}))


main()
