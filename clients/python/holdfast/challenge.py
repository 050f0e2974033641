"""Solves the challenge that a drop may require before a hold, an order or a waitlist entry, and
sends the request again with the solution.

Promise: the second request has the idempotency key of the first, so it has one effect. Limit: after
`MOST` challenges of one request the response is returned as it is.
"""

import base64
import hashlib
import itertools
import json

import httpx

HEADER = "challenge-solution"
# An edit of the drop may require a second challenge.
MOST = 3


class SolvingTransport(httpx.BaseTransport):
    """Sends requests with another transport, and solves the challenges of its responses."""

    def __init__(self, transport: httpx.BaseTransport) -> None:
        self._transport = transport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        for _ in range(MOST):
            response = self._transport.handle_request(request)
            challenge = challenge_of(response)
            if challenge is None:
                return response
            response.close()
            request.headers[HEADER] = solve(challenge)
        return self._transport.handle_request(request)

    def close(self) -> None:
        self._transport.close()


def challenge_of(response: httpx.Response) -> dict | None:
    """Returns the challenge that the response has; None if it has none."""
    if response.status_code != 403:
        return None
    try:
        problem = json.loads(response.read())
    except ValueError:
        return None
    return problem.get("challenge") if isinstance(problem, dict) else None


def solve(challenge: dict) -> str:
    """Returns the value of the header `Challenge-Solution`."""
    parameters = challenge["parameters"]
    nonce, salt = bytes.fromhex(parameters["nonce"]), bytes.fromhex(parameters["salt"])
    prefix = bytes.fromhex(parameters["keyPrefix"])
    for counter in itertools.count():
        password = nonce + counter.to_bytes(4, "big")
        key = hashlib.pbkdf2_hmac(
            "sha256", password, salt, parameters["cost"], parameters["keyLength"]
        )
        if key.startswith(prefix):
            solution = {"counter": counter, "derivedKey": key.hex()}
            payload = {"challenge": challenge, "solution": solution}
            return base64.b64encode(json.dumps(payload).encode()).decode()
    raise AssertionError("the numbers do not end")
