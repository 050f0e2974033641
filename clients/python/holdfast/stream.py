"""The SSE stream: the present state first, then every change, across reconnects.

Promise: after an interruption the stream continues with the last id that was received, so that no
last state is missed. Limit: states are conflated by the server, and a state may arrive twice.
"""

import json
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import httpx
from holdfast_client import AuthenticatedClient, Client
from holdfast_client.models import Drop, Order, WaitlistNews
from httpx_sse import SSEError, connect_sse

from .problem import HoldfastProblem, UnexpectedResponse

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 15.0
# The server sends a heartbeat at least every 15 s, so a silent connection is dead.
SILENCE_SECONDS = 40.0
MODELS = {"drop": Drop, "waitlist": WaitlistNews, "order": Order}


@dataclass(frozen=True)
class StreamEvent:
    """One event: `data` is a Drop, WaitlistNews or Order, by `event`."""

    event: str
    id: str
    data: Any


def follow(
    client: Client | AuthenticatedClient,
    *,
    drops: Iterable[str] = (),
    orders: Iterable[str] = (),
    waitlist: Iterable[str] = (),
    last_event_id: str = "",
) -> Iterator[StreamEvent]:
    """Yields events until the caller stops. Refusals that a later attempt does not change raise."""
    subjects = {"drops": drops, "orders": orders, "waitlist": waitlist}
    named = {name: ",".join(map(str, ids)) for name, ids in subjects.items()}
    parameters = {name: ids for name, ids in named.items() if ids}
    connection = client.get_httpx_client()
    timeout = httpx.Timeout(SILENCE_SECONDS)
    wait = FIRST_WAIT_SECONDS
    while True:
        headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
        settings = {"params": parameters, "headers": headers, "timeout": timeout}
        try:
            with connect_sse(connection, "GET", "/v1/stream", **settings) as source:
                refuse_final(source.response)
                for sse in source.iter_sse():
                    # The package also yields blocks without data, such as comments.
                    if sse.event in MODELS and sse.data:
                        last_event_id = sse.id
                        wait = FIRST_WAIT_SECONDS
                        data = MODELS[sse.event].from_dict(json.loads(sse.data))
                        yield StreamEvent(sse.event, sse.id, data)
        except (httpx.TransportError, SSEError):
            pass
        # All clients lose a connection at the same moment, and must not return in step.
        time.sleep(wait * random.uniform(0.5, 1.5))
        wait = min(2 * wait, LONGEST_WAIT_SECONDS)


def refuse_final(response: httpx.Response) -> None:
    """Raises if no later attempt would succeed. The transport has waited for the others."""
    if response.status_code < 400 or response.status_code >= 500:
        return
    if "retry-after" in response.headers:
        return
    response.read()
    try:
        problem = json.loads(response.text, object_hook=lambda members: SimpleNamespace(**members))
    except json.JSONDecodeError:
        problem = None
    if hasattr(problem, "code") and hasattr(problem, "detail"):
        raise HoldfastProblem(problem)
    raise UnexpectedResponse(response.status_code)
