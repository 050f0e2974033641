"""Signs and verifies webhooks with Stripe's official library for Python. Reads one JSON document,
prints one."""

import json
import sys
import time

from stripe import SignatureVerificationError, Webhook, WebhookSignature


def verify(case):
    time.time = lambda: case["now"]
    try:
        event = Webhook.construct_event(case["body"], case["header"], case["secret"], api_key="sk")
        return event.id
    except SignatureVerificationError:
        return None


cases = json.load(sys.stdin)
signed = [
    WebhookSignature.generate_signature_header(case["body"], case["secret"], timestamp=case["at"])
    for case in cases["sign"]
]
print(json.dumps({"signed": signed, "verified": [verify(case) for case in cases["verify"]]}))
