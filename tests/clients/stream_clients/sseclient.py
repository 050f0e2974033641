"""Follows a stream with sseclient-py and prints each event as a line of JSON. sseclient-py leaves
the reconnection to its caller: after the last `retry`, from the last `id`."""
import json
import sys
import time

import requests
import sseclient

url, last_id, retry_ms = sys.argv[1], None, 3000
with requests.Session() as session:
    session.trust_env = False
    while True:
        headers = {"Accept": "text/event-stream"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        try:
            with session.get(url, stream=True, headers=headers, timeout=30) as response:
                response.raise_for_status()
                for event in sseclient.SSEClient(response).events():
                    last_id = event.id
                    retry_ms = int(event.retry or retry_ms)
                    print(json.dumps({"event": event.event, "id": event.id, "data": event.data}), flush=True)
        except requests.RequestException as error:
            print(f"sseclient-py: {error!r}", file=sys.stderr, flush=True)
        time.sleep(retry_ms / 1000)
