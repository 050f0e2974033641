"""Independent check of a Holdfast export: python3 docs/verify.py EXPORT.ndjson [POSITION:HASH]
Shares no code with Holdfast; encoding: docs/AUDIT.md. Checks positions, hashes, times, sequences,
holds, units, pauses, limit groups, the kept head (EXPORT.ndjson.head). Void events have no effect.
Exit code 0: verified; a note if no head was kept. 1: a check failed. 2: unreadable, or no event."""
import datetime, hashlib, json, os, re, struct, sys
VALUE, STRING, Fault = json.JSONDecoder().raw_decode, re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"'), type("Fault", (Exception,), {})
def same(name, expected, found):
    if expected != found: raise Fault(f"expected {name} {expected}, found {found}")
integer, text, millis = lambda number: struct.pack(">q", number), lambda string: integer(len(string.encode())) + string.encode(), lambda time: round(datetime.datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp() * 1000)
def stored(shown, text): return shown if text is None or same("text on one line", re.sub("[\r\n]", " ", text), shown) else text  # the line has a space for each line break of the stored text
def events(export, most=16 << 20):  # in older exports an event with line breaks in a stored text takes several lines, at most 16 MiB
    lines, size, depth = [], 0, 0
    while line := export.readline(most):
        lines.append(line); size += len(line); bare = STRING.sub("", line)
        depth += bare.count("{") + bare.count("[") - bare.count("}") - bare.count("]")
        if depth <= 0 or size >= most: yield "".join(lines); lines, size, depth = [], 0, 0
    yield "".join(lines)
CHANGES = {"HoldExtended": "extended_at", "HoldChanged": "changed_at", "HoldExpired": "", "HoldReleased": "", "PurchaseConfirmed": "purchased_at"}
def move(units, holds, drop, event_type, payload, time):  # units: [available, held, sold, total]; an open hold: [drop, quantity, end]
    [(kind, fields)], held, sold, total = payload.items(), 0, 0, 0; same("type", event_type, kind); hold, quantity = holds.get(fields.get("hold_id")), fields.get("quantity", 0); begun = fields.get("started_at", fields.get("ended_at")); same("time of the record", max(millis(begun), time) if begun else time, time)
    if kind in ("DropScheduled", "DropDrafted", "StockAdjusted"): total = fields["delta" if kind[0] == "S" else "total_stock"]
    elif kind in ("DropPaused", "DropResumed"): same("pause", kind == "DropPaused", not holds.get((drop,))); holds[drop,] = kind == "DropPaused"
    elif kind == "HoldPlaced":
        if fields["hold_id"] in holds: raise Fault("placed twice")
        over = millis(fields["expires_at"]) if "expires_at" in fields else millis(fields["placed_at"]) + 1000 * fields["hold_seconds"]; held, holds[fields["hold_id"]] = quantity, [drop, quantity, over]
    elif kind in CHANGES:
        if not hold or hold[0] != drop: raise Fault("resolved twice, or never placed")
        if CHANGES[kind] and millis(fields[CHANGES[kind]]) >= hold[2]: raise Fault(f"{'sold' if kind[0] == 'P' else 'changed'} after it was over")
        same("quantity of the hold", hold[1], fields.get("previous_quantity", fields.get("quantity", hold[1])))
        if kind == "HoldExtended": same("end", max(hold[2] + 1, end := millis(fields["expires_at"])), end); hold[2] = end
        elif kind == "HoldChanged": held, hold[1] = quantity - hold[1], quantity
        else: held, sold, holds[fields["hold_id"]] = -quantity, quantity if kind[0] == "P" else 0, None
        if sold: holds[fields["purchase_id"]] = [drop, quantity, fields["total"]["amount"] // quantity]  # a purchase: [drop, units left to refund, price of one]
    elif kind == "PurchaseRefunded":
        bought = holds.get(fields["purchase_id"]) or (None, 0, 0); same("drop of the purchase", bought[0], drop); same("amount", bought[2] * quantity, fields["amount"]["amount"])
        sold, total, bought[1] = -quantity, 0 if fields["restocked"] else -quantity, bought[1] - quantity; same("units left to refund", max(0, bought[1]), bought[1])
    terms = fields.get("terms") or holds.get(drop) or {}; group, buyer, _ = account = terms.get("limit_group"), fields.get("buyer"), "units"; same("limit group", (holds.get(drop) or terms).get("limit_group"), group); holds[drop] = terms
    if group: holds[account] = taken = holds.get(account, 0) + held + sold; same(f"units of buyer {buyer} in limit group {group}", min(taken, terms.get("max_per_buyer", taken)) if held > 0 else taken, taken)
    if held > 0 and (terms.get("draft") or holds.get((drop,))): raise Fault("units were held in a draft or in a pause")
    units[:] = map(sum, zip(units, (total - held - sold, held, sold, total)))
    if min(units) < 0 or sum(units[:3]) != units[3]: raise Fault(f"units are not conserved: {units}")
def voided(export):  # positions that a later event declares void: they stay in the chain and have no effect
    void = set()
    try:
        export.seek(0)  # standard input cannot be read twice
        for event in map(json.loads, filter(str.strip, events(export))):
            declared = event["payload"].get("PositionVoided") if event["aggregate_type"] == "Log" else None
            if declared and declared["position"] < event["position"]: void.add(declared["position"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError): pass
    return void
def kept_head(file="", head="", *_):  # {position: hash}, empty without a kept head
    if not head and os.path.exists(f"{file}.head"): head = open(f"{file}.head", encoding="ascii").read()
    return {int(head.split(":")[0]): head.split(":")[1].strip()} if head else {}
def verify(export, kept, void=frozenset()):
    position, head, last_time, sequences, stock, holds, incidents, _ = 0, bytes(32), 0, {}, {}, {}, [], void and export.seek(0)
    try:
        for line in filter(str.strip, events(export)):
            event, begin = json.loads(line), line.index('"payload":') + 10
            same("position", position + 1, event["position"]); same("characters of recorded_at", 24, len(event["recorded_at"]))
            end = VALUE(line, begin)[1]; shown = line[begin:end], line[end + 12:line.rindex(',"hash":')]  # hashed byte for byte as stored
            texts = event["event_type"], event["event_version"], *map(stored, shown, map(event.get, ("payload_text", "metadata_text"))); time, stream = millis(event["recorded_at"]), (event["aggregate_type"], event["aggregate_id"])
            encoded = integer(position + 1), integer(time), *map(text, stream), integer(event["sequence"]), *map(text, texts)
            head = hashlib.sha256(b"holdfast.event.v1" + head + b"".join(encoded)).digest(); same("hash", head.hex(), event["hash"])
            if position + 1 not in void: same("sequence", sequences.get(stream, 0) + 1, event["sequence"])
            same("time in order", max(last_time, time), time); sequences[stream] = max(event["sequence"], sequences.get(stream, 0))
            if stream[0] == "Log": incidents.append((position + 1, *json.loads(texts[2]).items()))
            if stream[0] == "Log" and "PositionVoided" == incidents[-1][1][0] and incidents[-1][1][1]["position"] not in void: raise Fault("the effect of a void position was applied")
            if stream[0] == "Drop" and position + 1 not in void: move(stock.setdefault(stream, [0] * 4), holds, stream, event["event_type"], json.loads(texts[2]), time)
            position, last_time = position + 1, time; same("hash of the kept head", kept.get(position, head.hex()), head.hex())
        if position < max(kept, default=0): raise Fault(f"the export ends before it, but the kept head is at position {max(kept)}")
    except (Fault, ValueError, LookupError, TypeError, AttributeError, struct.error) as fault:
        if not void and (void := voided(export)): return verify(export, kept, void)
        sys.exit(f"verify.py: position {position + 1}: {'' if isinstance(fault, Fault) else 'no event of an export: '}{fault}")
    if not kept and not position: raise OSError("there is no event, so there was nothing to verify")
    if position > max(kept, default=-1): print(f"note: cut off after position {position} it would verify as well: no head was kept for a later position", file=sys.stderr)
    listed = (f"{kind} at position {at}: position {fields['position']}, {fields['reason']}" for at, (kind, fields) in incidents)
    return f"verified {position} events, head {position} {head.hex()}" + (f"\n{len(incidents)} incident{'s' * (len(incidents) > 1)}: " if incidents else "") + "; ".join(listed)
try:
    print(verify(open(sys.argv[1], encoding="utf-8", newline="\n") if sys.argv[1:] else sys.stdin, kept_head(*sys.argv[1:])))
except (OSError, RecursionError, ValueError, IndexError) as error: print(f"verify.py: {error}", file=sys.stderr); sys.exit(2)
