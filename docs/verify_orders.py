"""Independent check of the orders in a Holdfast export: python3 docs/verify_orders.py EXPORT.ndjson
Shares no code with Holdfast. Run docs/verify.py first: it checks hashes, sequences, holds, units.
Here: an order's holds follow it at once, one for each item, with its units and its deadline; so do
the purchases of a paid order, and the releases of one that its buyer cancelled; no hold of an order
is placed, sold, extended or released without it; an order ends once, except that late money may buy
an expired one. Money that arrived is followed by one outcome, a sale of the whole order or a refund
of the whole money, for the right cause; a payment that starts moves the deadline within the terms,
with all holds; of no intent more is returned than was paid; returned money of a sale has its goods;
a refund is settled once. Void events have no effect.
Exit code 0: verified. 1: a check failed. 2: unreadable."""
import datetime
import json
import sys

RESOLVED = ("HoldExpired", "HoldReleased", "PurchaseConfirmed")


class Fault(Exception):
    pass


def same(name, expected, found):
    if expected != found:
        raise Fault(f"expected {name} {expected}, found {found}")


def find(name, things, key):
    if key not in things:
        raise Fault(f"there is no {name} {key}")
    return things[key]


def later(name, time, earliest):
    if time < earliest:
        raise Fault(f"{name} at {time}, before {earliest}")


def millis(time):
    return round(datetime.datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp() * 1000)


def written(milliseconds):
    time = datetime.datetime.fromtimestamp(milliseconds // 1000, datetime.timezone.utc)
    return time.strftime("%Y-%m-%dT%H:%M:%S") + f".{milliseconds % 1000:03}Z"


class Orders:
    def __init__(self):
        self.orders, self.of_hold, self.open, self.terms = {}, {}, {}, {}
        # The events that must follow; a success without its outcome; a return without its goods.
        self.owed, self.success, self.goods, self.cancelled = [], None, None, set()
        # Purchased holds whose money a provider took, and intents in any order.
        self.of_provider, self.intents = {}, {}

    def owe(self, kind, item, fields):
        self.owed.append((kind, item["drop_id"], item["hold_id"], fields))

    def settled(self):
        if self.owed:
            raise Fault(f"{self.owed[0][:3]} must follow the event of its order")
        if self.success:
            raise Fault(f"payment {self.success['payment_id']} succeeded without a sale or a refund")
        if self.goods and (self.goods["left"] or not self.goods["begun"]):
            raise Fault(f"refund {self.goods['refund_id']} returns money without its goods")
        self.goods = None

    def drop(self, drop, kind, fields):
        hold = fields.get("hold_id")
        if kind == "PurchaseRefunded" and self.goods and self.goods["refund_id"] == fields["refund_id"]:
            return self.returned(drop, hold, fields)
        order = self.orders.get(self.of_hold.get(hold))
        is_of_order = (
            kind == "HoldPlaced" and "order_id" in fields
            or kind in ("PurchaseConfirmed", "HoldExtended", "HoldChanged") and hold in self.of_hold
            or kind == "HoldReleased" and hold in self.of_hold and fields["cause"] != "drop_cancelled"
            or kind == "PurchaseRefunded" and hold in self.of_provider
        )
        if self.owed:
            *event, expected = self.owed.pop(0)
            same("event", event, [kind, drop, hold])
            for name, value in expected.items():
                same(f"{name} of the hold", value, fields.get(name))
        else:
            self.settled()
            if is_of_order and not (kind == "HoldReleased" and order["state"] == "OrderCancelled"):
                raise Fault(f"hold {hold} of an order, without the order")
        if kind in ("DropScheduled", "DropRescheduled"):
            self.terms[drop] = fields["terms"]
        elif kind == "DropCancelled":
            self.cancelled.add(drop)
        elif kind == "HoldPlaced":
            self.open[hold] = fields["buyer"]
        elif kind in RESOLVED:
            self.open.pop(hold, None)

    def returned(self, drop, hold, fields):
        order, later = self.orders[self.goods["order"]], self.goods["later"]
        at = next((at for at, item in enumerate(later) if (item["drop_id"], item["hold_id"]) == (drop, hold)), None)
        if at is None:
            raise Fault(f"hold {hold} is not a later item of its order")
        item = later[at]
        del later[: at + 1]
        same("purchase", order["purchases"][hold], fields["purchase_id"])
        same("refunded_at", self.goods["requested_at"], fields["refunded_at"])
        same("reason and key", self.goods["asked"], (fields["reason"], fields.get("key")))
        amount = {**item["price"], "amount": fields["quantity"] * item["price"]["amount"]}
        same("amount of the goods", amount, fields["amount"])
        self.goods["begun"] = True
        if self.goods["left"] is not None:
            self.goods["left"] -= amount["amount"]
            same("money left for goods", max(0, self.goods["left"]), self.goods["left"])

    def order(self, order, kind, fields):
        success, self.success = self.success, None
        if success and not (success["order"] == order and success["intent"] == fields.get("intent")):
            self.success = success
        self.settled()
        if success and kind not in ("OrderPaid", "PaymentArrivedLate", "RefundRequested"):
            raise Fault(f"{kind} is not the outcome of a payment")
        known = self.orders.get(order, {})
        state = known.get("state")
        if kind == "OrderPlaced":
            same("state of the order", None, state)
            items, total, until = fields["items"], fields["total"], fields["expires_at"]
            known = {"items": items, "total": total, "expires_at": until, "placed_at": fields["placed_at"]}
            self.orders[order] = {**known, "payments": {}, "refunds": {}, "requested": {}, "state": kind}
            amounts = [item["quantity"] * item["price"]["amount"] for item in items]
            same("total", sum(amounts), total["amount"])
            self.of_hold.update({item["hold_id"]: order for item in items})
            for item in items:
                self.owe("HoldPlaced", item, {"order_id": order, "quantity": item["quantity"], "expires_at": until})
        elif kind.startswith(("Payment", "Refund")):
            getattr(self, kind)(order, known, fields, success)
        elif kind == "OrderFulfilled":
            same("state of the order", "OrderPaid", state)
        elif kind == "OrderPaid":
            self.paid(order, known, fields, success)
        else:
            same("state of the order", "OrderPlaced", state)
            if kind == "OrderExpired":
                same("deadline", known["expires_at"], fields["expired_at"])
            elif fields["cause"] == "buyer":
                for item in known["items"]:
                    if item["hold_id"] in self.open:
                        self.owe("HoldReleased", item, {})
            known["state"] = kind

    def paid(self, order, known, fields, success):
        late = fields.get("late", False)
        same("state of the order", "OrderExpired" if late else "OrderPlaced", known.get("state"))
        same("total", known["total"], fields["total"])
        same("payment", success and success["payment_id"], fields.get("payment_id"))
        same("intent", success and success["intent"], fields.get("intent"))
        if success:
            same("amount paid", known["total"], success["amount"])
            later("paid", fields["paid_at"], success["at"])
            same("paid_at", fields["paid_at"] if late else success["at"], fields["paid_at"])
        same("lateness", bool(success and success["late"]), late)
        if not late and millis(fields["paid_at"]) >= millis(known["expires_at"]):
            raise Fault("the order was paid after its deadline")
        same("purchases", len(known["items"]), len(fields["purchases"]))
        for item, purchase in zip(known["items"], fields["purchases"]):
            bought = {"purchase_id": purchase["purchase_id"], "purchased_at": fields["paid_at"]}
            if late:
                item["hold_id"] = purchase["hold_id"]
                self.of_hold[item["hold_id"]] = order
                terms = find("drop", self.terms, item["drop_id"])
                same("price", terms["price"], item["price"])
                placed = {"order_id": order, "quantity": item["quantity"], "placed_at": fields["paid_at"]}
                placed |= {"buyer": known["buyers"][item["drop_id"]]}
                placed |= {"expires_at": written(millis(fields["paid_at"]) + 1000 * terms["hold_seconds"])}
                self.owe("HoldPlaced", item, placed)
            same("hold", item["hold_id"], purchase["hold_id"])
            total = {**item["price"], "amount": item["quantity"] * item["price"]["amount"]}
            self.owe("PurchaseConfirmed", item, bought | {"total": total})
            if success:
                self.of_provider[item["hold_id"]] = order
        known["purchases"] = {purchase["hold_id"]: purchase["purchase_id"] for purchase in fields["purchases"]}
        known["state"], known["paid_by"] = "OrderPaid", success and success["intent"]

    def PaymentStarted(self, order, known, fields, _):
        same("state of the order", "OrderPlaced", known.get("state"))
        same("amount", known["total"], fields["amount"])
        same("earlier start", False, fields["payment_id"] in known["payments"])
        deadline, until = known["expires_at"], fields["expires_at"]
        if not millis(known["placed_at"]) <= millis(fields["started_at"]) < millis(deadline):
            raise Fault("the payment was started before the order, or after its deadline")
        terms = [find("drop", self.terms, item["drop_id"]) for item in known["items"]]
        longest = min(max(one["hold_seconds"], one.get("max_hold_seconds") or 0) for one in terms)
        latest = max(millis(deadline), millis(known["placed_at"]) + 1000 * longest)
        same("deadline", latest, millis(until))
        keys = [payment["key"] for payment in known["payments"].values() if payment["key"]]
        same("earlier use of the key", False, fields.get("key") in keys)
        same("cancelled drops", [], [item["drop_id"] for item in known["items"] if item["drop_id"] in self.cancelled])
        payment = {"failed": False, "succeeded": False, "key": fields.get("key"), "started_at": fields["started_at"]}
        known["payments"][fields["payment_id"]] = payment
        same("payments of the order", min(10, len(known["payments"])), len(known["payments"]))
        known["expires_at"] = until
        known["buyers"] = {item["drop_id"]: find("open hold", self.open, item["hold_id"]) for item in known["items"]}
        if latest > millis(deadline):
            moved = {"previous_expires_at": deadline, "expires_at": until, "extended_at": fields["started_at"]}
            for item in known["items"]:
                self.owe("HoldExtended", item, moved)

    def PaymentSucceeded(self, order, known, fields, _):
        payment = find("payment", known.get("payments", {}), fields["payment_id"])
        payment["succeeded"] = True
        later("succeeded", fields["succeeded_at"], payment["started_at"])
        same("earlier success of the intent", None, self.intents.get(fields["intent"]))
        intent = {"order": order, "amount": fields["amount"], "payment_id": fields["payment_id"], "left": fields["amount"]["amount"]}
        self.intents[fields["intent"]] = intent
        self.success = {**intent, "intent": fields["intent"], "at": fields["succeeded_at"], "late": False}

    def PaymentFailed(self, order, known, fields, _):
        payment = find("payment", known.get("payments", {}), fields["payment_id"])
        same("earlier end of the payment", (False, False), (payment["failed"], payment["succeeded"]))
        later("failed", fields["failed_at"], payment["started_at"])
        payment["failed"] = True

    def PaymentArrivedLate(self, order, known, fields, success):
        if not success or success["late"] or known["state"] not in ("OrderExpired", "OrderCancelled"):
            raise Fault("money arrived late without a success, or for an order that is not over")
        same("payment", success["payment_id"], fields["payment_id"])
        same("arrival", success["at"], fields["arrived_at"])
        self.success = {**success, "late": True}

    def RefundRequested(self, order, known, fields, success):
        intent, amount = find("intent", self.intents, fields["intent"]), fields["amount"]
        same("order of the intent", order, intent["order"])
        same("earlier request", None, known["refunds"].get(fields["refund_id"]))
        known["refunds"][fields["refund_id"]] = "requested"
        known["requested"][fields["refund_id"]] = fields["requested_at"]
        same("payment of the intent", intent["payment_id"], fields["payment_id"])
        same("currency", intent["amount"]["currency"], amount["currency"])
        if not 0 <= amount["amount"] <= intent["left"]:
            raise Fault(f"{amount['amount']} are returned, but only {intent['left']} are left")
        intent["left"] -= amount["amount"]
        if fields["cause"] == "return":
            same("success before a return", None, success)
            same("intent that bought the order", known.get("paid_by"), fields["intent"])
            self.goods = {"order": order, "refund_id": fields["refund_id"], "left": amount["amount"], "begun": False}
            asked = fields.get("reason"), fields.get("key")
            self.goods |= {"later": list(known["items"]), "asked": asked, "requested_at": fields["requested_at"]}
            return
        if not success:
            raise Fault("money is returned that did not just arrive")
        same("amount", success["amount"], amount)
        same("reason and key", (None, None), (fields.get("reason"), fields.get("key")))
        later("returned", fields["requested_at"], success["at"])
        whole = success["amount"] == known["total"]
        causes = {
            ("OrderPaid", False): "double",
            ("OrderPlaced", False): None if whole else "wrong_amount",
            ("OrderExpired", True): "late" if whole else "wrong_amount",
            ("OrderCancelled", True): "order_over",
        }
        same("cause", causes.get((known["state"], success["late"])), fields["cause"])

    def RefundSettled(self, order, known, fields, _):
        before = find("refund", known.get("refunds", {}), fields["refund_id"])
        if before == "succeeded" or before == fields["outcome"]:
            raise Fault(f"the refund was settled before: {before}")
        later("settled", fields["settled_at"], known["requested"][fields["refund_id"]])
        known["refunds"][fields["refund_id"]] = fields["outcome"]

    def event(self, event):
        (kind, fields), = event["payload"].items()
        if event["aggregate_type"] == "Drop":
            self.drop(event["aggregate_id"], kind, fields)
        elif event["aggregate_type"] == "Order":
            self.order(event["aggregate_id"], kind, fields)
        else:
            self.settled()

    def void(self):
        self.success = None
        self.owed[:1] = []
        if self.goods:
            self.goods.update(left=None, begun=True)

    def verdict(self):
        refunds = [outcome for order in self.orders.values() for outcome in order["refunds"].values()]
        sales = sum(1 for order in self.orders.values() if order.get("paid_by"))
        settled = refunds.count("succeeded")
        lines = [f"verified {len(self.orders)} orders"]
        if self.intents:
            lines.append(
                f"payments: {len(self.intents)} succeeded, {sales} sales, {settled} refunds settled, "
                f"{len(refunds) - settled} refunds open"
            )
        return "\n".join(lines)


def verify(lines):
    events = [json.loads(line) for line in lines if line.strip()]
    declared = [event["payload"].get("PositionVoided") for event in events if event["aggregate_type"] == "Log"]
    void, orders = {one["position"] for one in declared if one}, Orders()
    for event in events:
        try:
            if event["position"] in void:
                orders.void()
            elif event["aggregate_type"] in ("Drop", "Order", "Erasure", "Log"):
                orders.event(event)
        except Fault as fault:
            sys.exit(f"verify_orders.py: position {event['position']}: {fault}")
    try:
        orders.settled()
    except Fault as fault:
        sys.exit(f"verify_orders.py: the export ends within an order: {fault}")
    return orders.verdict()


try:
    print(verify(open(sys.argv[1], encoding="utf-8") if sys.argv[1:] else sys.stdin))
except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
    print(f"verify_orders.py: {error}", file=sys.stderr)
    sys.exit(2)
