"""Follows a stream with httpx-sse and prints each event as a line of JSON. httpx-sse leaves the
reconnection to its caller: after the last `retry`, from the last `id`."""
import json
import sys
import time

import httpx
import httpx_sse

url, last_id, retry_ms = sys.argv[1], "", 3000
with httpx.Client(timeout=30, trust_env=False) as client:
    while True:
        headers = {"Last-Event-ID": last_id} if last_id else {}
        try:
            with httpx_sse.connect_sse(client, "GET", url, headers=headers) as source:
                source.response.raise_for_status()
                for event in source.iter_sse():
                    last_id = event.id
                    retry_ms = retry_ms if event.retry is None else event.retry
                    print(json.dumps({"event": event.event, "id": event.id, "data": event.data}), flush=True)
        except httpx.HTTPError as error:
            print(f"httpx-sse: {error!r}", file=sys.stderr, flush=True)
        time.sleep(retry_ms / 1000)
