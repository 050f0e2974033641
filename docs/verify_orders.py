"""Independent check of the orders in a Holdfast export: python3 docs/verify_orders.py EXPORT.ndjson
Shares no code with Holdfast. Run docs/verify.py first: it checks hashes, sequences, holds, units.
Here: an order's holds follow it at once, one for each item, with its units and its deadline; so do
the purchases of a paid order, and the releases of one that its buyer cancelled; no hold of an order
is placed, sold or released without it; an order ends once. Void events have no effect.
Exit code 0: verified. 1: a check failed. 2: unreadable."""
import json
import sys


class Fault(Exception):
    pass


def same(name, expected, found):
    if expected != found:
        raise Fault(f"expected {name} {expected}, found {found}")


class Orders:
    def __init__(self):
        self.orders, self.of_hold, self.open, self.owed = {}, {}, set(), []

    def owe(self, kind, order, holds):
        items = self.orders[order]["items"]
        self.owed = [(kind, item["drop_id"], item["hold_id"]) for item in items if item["hold_id"] in holds]

    def drop(self, drop, kind, fields):
        hold = fields.get("hold_id")
        is_of_order = (
            kind == "HoldPlaced" and "order_id" in fields
            or kind == "PurchaseConfirmed" and hold in self.of_hold
            or kind == "HoldReleased" and hold in self.of_hold and fields["cause"] != "drop_cancelled"
        )
        order = self.orders.get(self.of_hold.get(hold))
        if self.owed:
            same("event", self.owed.pop(0), (kind, drop, hold))
            if kind == "HoldPlaced":
                item = next(item for item in order["items"] if item["hold_id"] == hold)
                same("order of the hold", self.of_hold[hold], fields.get("order_id"))
                same("units of the hold", item["quantity"], fields["quantity"])
                same("deadline of the hold", order["expires_at"], fields["expires_at"])
        elif is_of_order and not (kind == "HoldReleased" and order["state"] == "OrderCancelled"):
            raise Fault(f"hold {hold} of an order, without the order")
        if kind == "HoldPlaced":
            self.open.add(hold)
        elif kind in ("HoldExpired", "HoldReleased", "PurchaseConfirmed"):
            self.open.discard(hold)

    def order(self, order, kind, fields):
        state = self.orders.get(order, {}).get("state")
        if kind == "OrderPlaced":
            same("state of the order", None, state)
            self.orders[order] = {"items": fields["items"], "total": fields["total"], "expires_at": fields["expires_at"]}
            amounts = [item["quantity"] * item["price"]["amount"] for item in fields["items"]]
            same("total", sum(amounts), fields["total"]["amount"])
            self.of_hold.update({item["hold_id"]: order for item in fields["items"]})
            self.owe("HoldPlaced", order, self.of_hold)
        elif kind == "OrderFulfilled":
            return same("state of the order", "OrderPaid", state)
        else:
            same("state of the order", "OrderPlaced", state)
            if kind == "OrderPaid":
                same("total", self.orders[order]["total"], fields["total"])
                self.owe("PurchaseConfirmed", order, self.of_hold)
            elif kind == "OrderCancelled" and fields["cause"] == "buyer":
                self.owe("HoldReleased", order, self.open)
        self.orders[order]["state"] = kind

    def event(self, event):
        (kind, fields), = event["payload"].items()
        if event["aggregate_type"] == "Drop":
            self.drop(event["aggregate_id"], kind, fields)
        elif self.owed:
            raise Fault(f"{self.owed[0]} must follow the event of its order")
        elif event["aggregate_type"] == "Order":
            self.order(event["aggregate_id"], kind, fields)


def verify(lines):
    events = [json.loads(line) for line in lines if line.strip()]
    declared = [event["payload"].get("PositionVoided") for event in events if event["aggregate_type"] == "Log"]
    void, orders = {one["position"] for one in declared if one}, Orders()
    for event in events:
        try:
            if event["position"] in void:
                orders.owed[:1] = []
            elif event["aggregate_type"] in ("Drop", "Order", "Erasure", "Log"):
                orders.event(event)
        except Fault as fault:
            sys.exit(f"verify_orders.py: position {event['position']}: {fault}")
    if orders.owed:
        sys.exit(f"verify_orders.py: the export ends within an order: {orders.owed[0]} must follow")
    return f"verified {len(orders.orders)} orders"


try:
    print(verify(open(sys.argv[1], encoding="utf-8") if sys.argv[1:] else sys.stdin))
except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
    print(f"verify_orders.py: {error}", file=sys.stderr)
    sys.exit(2)
