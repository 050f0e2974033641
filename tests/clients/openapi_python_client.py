"""The life of a drop with the client that openapi-python-client generates.

Run as: openapi_python_client.py FOLDER URL ADMIN_KEY
"""

import sys
from uuid import uuid4

sys.path.insert(0, sys.argv[1])

from holdfast_client import AuthenticatedClient  # noqa: E402
from holdfast_client.api.admin import read_metrics, read_timeline  # noqa: E402
from holdfast_client.api.drops import (  # noqa: E402
    adjust_stock,
    cancel_drop,
    create_drop,
    edit_drop,
    list_drops,
    list_purchasers,
    read_buyer,
    read_drop,
)
from holdfast_client.api.health import is_alive, is_ready  # noqa: E402
from holdfast_client.api.holds_and_purchases import (  # noqa: E402
    place_hold,
    purchase_hold,
    read_hold,
    release_hold,
)
from holdfast_client.api.log import list_events, read_head  # noqa: E402
from holdfast_client.api.waitlist import join_waitlist, read_waitlist_entry  # noqa: E402
from holdfast_client.models import (  # noqa: E402
    Drop,
    DropEdit,
    DropNotFoundProblem,
    DropStatus,
    Hold,
    HoldStatus,
    InvalidQueryProblem,
    InvalidValueProblem,
    ListDropsExpand,
    NewAdjustment,
    NewDrop,
    NewHold,
    NewWaitlistEntry,
    Payment,
    Price,
    Purchase,
    SoldOutProblem,
    WaitlistStatus,
)

client = AuthenticatedClient(base_url=sys.argv[2], token=sys.argv[3])


def sent(operation, expected, /, *args, **kwargs):
    """Calls an operation and returns the response as the client parsed it."""
    answer = operation.sync_detailed(*args, client=client, **kwargs)
    assert answer.status_code == expected, answer
    return answer.parsed


def key():
    return str(uuid4())


assert sent(is_alive, 200).status == "live"
assert sent(is_ready, 200).status == "ready"

price = Price(amount=999_999_999_999, currency="EUR")
new = NewDrop(name="Lamp 🪔", price=price, total_stock=1)
drop = sent(create_drop, 201, body=new, idempotency_key=key())
assert isinstance(drop, Drop), drop
assert (drop.status, drop.hold_seconds, drop.max_per_hold) == (DropStatus.LIVE, 60, 1), drop
assert drop.price.amount == 999_999_999_999, drop

hold = sent(place_hold, 201, drop.id, body=NewHold(buyer_id="ann"), idempotency_key=key())
assert isinstance(hold, Hold), hold
assert (hold.status, hold.quantity, hold.purchased_at) == (HoldStatus.HELD, 1, None), hold
assert sent(read_drop, 200, drop.id, at_least=hold.position).status == DropStatus.SOLD_OUT

refused = sent(place_hold, 409, drop.id, body=NewHold(buyer_id="ben"), idempotency_key=key())
assert isinstance(refused, SoldOutProblem), refused
assert (refused.available, refused.requested) == (0, 1), refused

entry = NewWaitlistEntry(buyer_id="ben", display_name="Ben")
entry = sent(join_waitlist, 201, drop.id, body=entry, idempotency_key=key())
assert (entry.status, entry.place, entry.hold_id) == (WaitlistStatus.WAITING, 1, None), entry

sent(release_hold, 204, hold.id)
assert sent(read_hold, 200, hold.id).status == HoldStatus.RELEASED
entry = sent(read_waitlist_entry, 200, entry.id)
assert entry.status == WaitlistStatus.OFFERED and entry.price.currency == "EUR", entry

payment = Payment(payment_reference="payment-1")
purchase = sent(purchase_hold, 201, entry.hold_id, body=payment)
assert isinstance(purchase, Purchase) and purchase.quantity == 1, purchase
assert sent(purchase_hold, 200, entry.hold_id, body=payment).id == purchase.id

adjustment = NewAdjustment(delta=2, reason="a second box")
adjusted = sent(adjust_stock, 201, drop.id, body=adjustment, idempotency_key=key())
assert (adjusted.stock.total, adjusted.stock.sold) == (3, 1), adjusted
edited = sent(edit_drop, 200, drop.id, body=DropEdit(max_per_buyer=2), if_match="*")
assert edited.max_per_buyer == 2, edited

listed = sent(list_drops, 200, status=DropStatus.LIVE, expand=ListDropsExpand.TOP_PURCHASERS)
assert [(each.id, each.top_purchasers[0].buyer) for each in listed.data] == [(drop.id, "Ben")]
assert sent(list_purchasers, 200, drop.id).data[0].quantity == 1
standing = sent(read_buyer, 200, drop.id, "ben")
assert (standing.purchased, standing.next_hold_at) == (1, None), standing

assert sent(read_metrics, 200).units_sold == 1
assert sum(bucket.sold for bucket in sent(read_timeline, 200).buckets) == 1

page = sent(list_events, 200)
types = [event.event_type for event in page.data]
assert types[:3] == ["DropScheduled", "DropStarted", "HoldPlaced"], types
assert "PurchaseConfirmed" in types, types
assert page.data[0].payload.to_dict()["DropScheduled"]["total_stock"] == 1, page.data[0]
assert sent(read_head, 200).position == len(types)

missing = sent(read_drop, 404, uuid4())
assert isinstance(missing, DropNotFoundProblem), missing
wrong = NewDrop(name="", price=Price(amount=-1, currency="EUR"), total_stock=1)
wrong = sent(create_drop, 422, body=wrong, idempotency_key=key())
assert isinstance(wrong, InvalidValueProblem), wrong
assert [fault.pointer for fault in wrong.errors] == ["/name", "/price/amount"], wrong
wrong = sent(list_drops, 400, limit=0)
assert isinstance(wrong, InvalidQueryProblem), wrong
assert [fault.pointer for fault in wrong.errors] == ["/limit"], wrong

assert sent(cancel_drop, 200, drop.id).status == DropStatus.CANCELLED
print("lived")
