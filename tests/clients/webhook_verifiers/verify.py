"""Verifies received webhooks with standardwebhooks: one JSON line for each on standard input."""

import base64
import json
import sys

from standardwebhooks import Webhook, WebhookVerificationError

for line in sys.stdin:
    case = json.loads(line)
    body = base64.b64decode(case["body"])
    try:
        Webhook(case["secret"]).verify(body, case["headers"])
        print("valid", flush=True)
    except WebhookVerificationError:
        print("invalid", flush=True)
