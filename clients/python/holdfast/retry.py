"""Repeats requests that may have had no effect yet, each with the idempotency key that it has.

Promise: only requests that are safe to repeat are sent again: reads, changes by PUT, PATCH and
DELETE, requests with an idempotency key, and purchases and cancellations, which the API makes once.
A 429 changed nothing, so it is repeated always. Limit: `attempts` in all, and no wait beyond
`longest_wait_seconds`: a response that demands a longer one is returned.
"""

import random
import time

import httpx

FIRST_WAIT_SECONDS = 0.2


class RetryingTransport(httpx.BaseTransport):
    """Sends requests with another transport, several times if necessary."""

    def __init__(
        self,
        transport: httpx.BaseTransport,
        *,
        attempts: int = 6,
        longest_wait_seconds: float = 10,
    ) -> None:
        self._transport = transport
        self._attempts = attempts
        self._longest_wait_seconds = longest_wait_seconds

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        for attempt in range(1, self._attempts + 1):
            is_last = attempt == self._attempts
            jitter = random.uniform(0, FIRST_WAIT_SECONDS * 2**attempt)
            try:
                response = self._transport.handle_request(request)
            except httpx.TransportError:
                if is_last or not is_repeatable(request):
                    raise
                time.sleep(min(jitter, self._longest_wait_seconds))
                continue
            demanded = demanded_wait(request, response)
            # Never earlier than the server permits, and not all clients in step.
            wait = None if demanded is None else demanded + jitter
            if is_last or wait is None or wait > self._longest_wait_seconds:
                return response
            response.close()
            time.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        self._transport.close()


def is_repeatable(request: httpx.Request) -> bool:
    """Returns whether the request has one effect, however often it is sent."""
    is_made_once = request.url.path.endswith(("/purchase", "/cancel"))
    return request.method != "POST" or "idempotency-key" in request.headers or is_made_once


def demanded_wait(request: httpx.Request, response: httpx.Response) -> float | None:
    """Returns the seconds to wait at least; None if this response is the result."""
    is_unavailable = response.status_code == 503 and is_repeatable(request)
    if response.status_code != 429 and not is_unavailable:
        return None
    seconds = response.headers.get("retry-after", "")
    return float(seconds) if seconds.isdecimal() else None
