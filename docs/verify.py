#!/usr/bin/env python3
"""An independent check of a Holdfast export, in the standard library alone: python3 docs/verify.py EXPORT.ndjson

It shares no code with Holdfast: the encoding is that of docs/AUDIT.md. Checked: positions, hashes, times, sequences, and
that at every position available + held + sold = total, none negative, and every hold is resolved at most once, in time.
"""
import hashlib, json, re, struct, sys
from datetime import datetime, timezone

RAW = re.compile(r'"payload":(.*),"metadata":(.*),"hash":"[0-9a-f]{64}"\}\s*$', re.S)
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

def integer(number): return struct.pack(">q", number)
def text(string): return integer(len(string.encode())) + string.encode()
def millis(time): return round((datetime.fromisoformat(time.replace("Z", "+00:00")) - EPOCH).total_seconds() * 1000)

def verify(lines):
    previous, position, last_time = bytes(32), 0, 0
    sequences, stock, holds = {}, {}, {}  # stock: [available, held, sold, total]
    for line in lines:
        event, (payload, metadata) = json.loads(line), RAW.search(line).groups()
        assert event["position"] == position + 1, f"expected position {position + 1}, found {event['position']}"
        position, stream = event["position"], (event["aggregate_type"], event["aggregate_id"])
        at, time = f"position {position}: ", millis(event["recorded_at"])
        encoded = (b"holdfast.event.v1" + previous + integer(position) + integer(time) + text(stream[0]) + text(stream[1])
                   + integer(event["sequence"]) + text(event["event_type"]) + text(event["event_version"]) + text(payload) + text(metadata))
        previous = hashlib.sha256(encoded).digest()
        assert previous.hex() == event["hash"], at + f"expected hash {previous.hex()}, found {event['hash']}"
        assert time >= last_time, at + "time runs backwards"
        last_time, sequences[stream] = time, sequences.get(stream, 0) + 1
        assert event["sequence"] == sequences[stream], at + f"expected sequence {sequences[stream]}"
        if stream[0] != "Drop": continue
        kind, fields = next(iter(json.loads(payload).items()))
        assert kind == event["event_type"], at + "filed under another type"
        units, hold = stock.setdefault(stream, [0, 0, 0, 0]), fields.get("hold_id")
        def move(*change): units[:] = [unit + by for unit, by in zip(units, change)]
        if kind == "DropScheduled": move(fields["total_stock"], 0, 0, fields["total_stock"])
        elif kind == "StockAdjusted": move(fields["delta"], 0, 0, fields["delta"])
        elif kind == "HoldPlaced":
            assert hold not in holds, at + "placed twice"
            holds[hold] = (stream, fields["quantity"], fields.get("expires_at"))
            move(-fields["quantity"], fields["quantity"], 0, 0)
        elif kind in ("HoldExpired", "HoldReleased", "PurchaseConfirmed"):
            assert holds.get(hold, (None,))[0] == stream, at + "resolved twice, or never placed"
            _, quantity, expires_at = holds[hold]; holds[hold] = (None,)
            if kind == "PurchaseConfirmed":
                assert expires_at is None or fields["purchased_at"] < expires_at, at + "sold after it was over"
                move(0, -quantity, quantity, 0)
            else: move(quantity, -quantity, 0, 0)
        assert min(units) >= 0 and sum(units[:3]) == units[3], at + f"units are not conserved: {units}"
    return f"verified {position} events, head {position} {previous.hex()}"

if __name__ == "__main__":
    with (open(sys.argv[1], encoding="utf-8", newline="\n") if len(sys.argv) > 1 else sys.stdin) as export:
        try: print(verify(line for line in export if line.strip()))
        except AssertionError as fault: sys.exit(f"verify.py: {fault}")
