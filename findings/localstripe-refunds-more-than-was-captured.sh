#!/usr/bin/env bash
# localstripe 1.15.10 refunds more than was captured, and ignores Idempotency-Key.
#
# Behaviour: Refund checks neither the captured amount nor earlier refunds (resources.py), and no
# handler reads the header Idempotency-Key (server.py). A captured payment of 700 is refunded twice
# with 600 each, and the creation of a payment that is repeated under one key creates a second one.
# Stripe refuses the second refund, and returns the first payment for the repeat. Output: refunded:
# 600 600 of 700 / intents under one key: 2. Affected: tests that rely on the double to reveal a
# repeated refund or charge; they pass. (stripe-stateful-mock 0.0.16 of npm has both checks, but no
# payment intents.)
set -euo pipefail
work=$(mktemp -d)
cleanup() { [ -f "$work/pid" ] && kill "$(cat "$work/pid")" 2>/dev/null || true; sleep 0.3; rm -rf "$work"; }
trap cleanup EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --no-deps localstripe==1.15.10 aiohttp==3.14.5 \
  aiohappyeyeballs==2.7.1 aiosignal==1.4.0 attrs==26.1.0 frozenlist==1.8.0 idna==3.20 \
  multidict==7.2.1 propcache==0.5.4 python-dateutil==4.0.0 typing_extensions==4.16.0 \
  tzdata==2026.6 yarl==1.25.1
cat > "$work/serve.py" <<'PYTHON'
import socket
import sys
from aiohttp import web
from localstripe import resources, server

resources.Store.dump_to_disk = lambda store: None  # a file in /tmp
listener = socket.create_server(("127.0.0.1", 0))
open(sys.argv[1], "w").write(f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
web.run_app(server.app, sock=listener, print=None)
PYTHON
"$work/venv/bin/python" -I "$work/serve.py" "$work/url" >"$work/log" 2>&1 & echo $! > "$work/pid"
until [ -s "$work/url" ]; do sleep 0.1; done
said=$("$work/venv/bin/python" -I - "$(cat "$work/url")" <<'PYTHON'
import json
import sys
import urllib.parse
import urllib.request

def post(path, key=None, **form):
    headers = {"Authorization": "Bearer sk_test_12345", **({"Idempotency-Key": key} if key else {})}
    body = urllib.parse.urlencode(form).encode()
    with urllib.request.urlopen(urllib.request.Request(sys.argv[1] + path, body, headers)) as reply:
        return json.load(reply)

card = {"card[number]": "4242424242424242", "card[exp_month]": 12, "card[exp_year]": 2098, "card[cvc]": 123}
paid = post("/payment_intents", amount=700, currency="usd", capture_method="manual")["id"]
post(f"/payment_intents/{paid}", payment_method=post("/payment_methods", type="card", **card)["id"])
post(f"/payment_intents/{paid}/confirm")
assert post(f"/payment_intents/{paid}/capture")["status"] == "succeeded"
refunds = [post("/refunds", payment_intent=paid, amount=600) for _ in range(2)]
assert all(refund["status"] == "succeeded" for refund in refunds)
print("refunded:", *(refund["amount"] for refund in refunds), "of 700")
intents = {post("/payment_intents", key="one", amount=700, currency="usd")["id"] for _ in range(2)}
print("intents under one key:", len(intents))
PYTHON
)
echo "$said"
[ "$said" = $'refunded: 600 600 of 700\nintents under one key: 2' ]
