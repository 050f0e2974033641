"""A thin client of Holdfast, on the client that openapi-python-client generates.

`connect` returns the generated client, whose requests are repeated when that is safe; `result`
returns the body of a response or raises a problem; `follow` yields the events of the stream.
"""

from collections.abc import Callable

import httpx
from holdfast_client import AuthenticatedClient, Client

from .challenge import SolvingTransport
from .problem import HoldfastProblem, UnexpectedResponse, result
from .retry import RetryingTransport
from .stream import StreamEvent, follow

__all__ = [
    "HoldfastProblem",
    "RetryingTransport",
    "SolvingTransport",
    "StreamEvent",
    "UnexpectedResponse",
    "connect",
    "follow",
    "result",
]


def connect(
    base_url: str,
    token: str | None = None,
    *,
    timeout: float = 30,
    transport: Callable[[], httpx.BaseTransport] = httpx.HTTPTransport,
) -> Client | AuthenticatedClient:
    """Returns a client. `token` is a key, or the token of a buyer."""
    settings = {
        "base_url": base_url,
        "timeout": httpx.Timeout(timeout),
        "httpx_args": {"transport": SolvingTransport(RetryingTransport(transport()))},
    }
    return AuthenticatedClient(token=token, **settings) if token else Client(**settings)
