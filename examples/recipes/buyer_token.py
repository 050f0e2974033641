"""Signs a token for a buyer, as a shop does after its own log-in: a JWT with HS256.

Needs Python 3.11 or later and no packages.

HOLDFAST_BUYER_SECRET=… [HOLDFAST_BUYER_AUDIENCE=…] python3 buyer_token.py BUYER_ID
"""

import hmac
import json
import os
import sys
import time
from base64 import urlsafe_b64encode

# An hour. A token cannot be revoked, so a page asks for a new one instead.
SECONDS = 3600


def buyer_token(buyer_id: str, secret: str, audience: str | None = None) -> str:
    claims = {"sub": buyer_id, "exp": int(time.time()) + SECONDS}
    if audience is not None:
        claims["aud"] = audience
    parts = [{"alg": "HS256", "typ": "JWT"}, claims]
    signed = b".".join(encoded(json.dumps(part).encode()) for part in parts)
    signature = hmac.digest(secret.encode(), signed, "sha256")
    return b".".join([signed, encoded(signature)]).decode()


def encoded(part: bytes) -> bytes:
    return urlsafe_b64encode(part).rstrip(b"=")


if __name__ == "__main__":
    environment = os.environ
    secret = environment["HOLDFAST_BUYER_SECRET"]
    print(buyer_token(sys.argv[1], secret, environment.get("HOLDFAST_BUYER_AUDIENCE")))
