#!/usr/bin/env bash
# httpx-sse 0.4.3 delivers an empty event for a comment between two empty lines; sseclient-py 1.9.0
# delivers an event that was cut off by the end of the connection.
#
# Behaviour: by the standard (WHATWG HTML, 9.2.6) a block without data is discarded, and so is an
# event that is incomplete at the end of the stream. httpx-sse returns an event without data, with
# the last id, for every empty line after the first id or retry, so its caller receives a heartbeat
# (": comment", empty line) as an event. sseclient-py returns everything after the last empty line.
# Output: httpx-sse: [('drop', '1', 'a'), ('message', '1', '')] / sseclient-py: ['a', '{"cut'].
# Affected: servers that send heartbeats or a lone retry (without an empty line after them this does
# not occur), and callers of sseclient-py, which receive incomplete JSON when a server is killed.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --no-deps --only-binary :all: httpx-sse==0.4.3 httpx==0.28.1 \
  httpcore==1.0.9 h11==0.16.0 anyio==4.16.0 idna==3.20 certifi==2026.10.19.post1 \
  typing_extensions==4.16.0 sseclient-py==1.9.0
said=$("$work/venv/bin/python" -I - <<'PYTHON'
import httpx
import httpx_sse
import sseclient

stream = b"event: drop\nid: 1\ndata: a\n\n: still here\n\n"
answer = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=stream)
print("httpx-sse:", [(event.event, event.id, event.data) for event in httpx_sse.EventSource(answer).iter_sse()])
cut = [b"data: a\n\n", b'data: {"cut']
print("sseclient-py:", [event.data for event in sseclient.SSEClient(iter(cut)).events()])
PYTHON
)
echo "$said"
[ "$said" = "httpx-sse: [('drop', '1', 'a'), ('message', '1', '')]
sseclient-py: ['a', '{\"cut']" ]
