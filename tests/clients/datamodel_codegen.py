"""The life of a drop with the pydantic models that datamodel-code-generator generates.

Run as: datamodel_codegen.py FOLDER URL ADMIN_KEY
"""

import sys
from uuid import uuid4

import httpx

sys.path.insert(0, sys.argv[1])

import models  # noqa: E402

client = httpx.Client(base_url=sys.argv[2], headers={"authorization": f"Bearer {sys.argv[3]}"})


def sent(method, path, status, model, body=None, **headers):
    """Sends a model as a body and parses the response as a model."""
    # Unset fields are omitted: a model with its own defaults would otherwise send them.
    content = None if body is None else body.model_dump_json(exclude_unset=True)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    headers |= {"content-type": "application/json"} if body is not None else {}
    answer = client.request(method, path, content=content, headers=headers)
    assert answer.status_code == status, answer.text
    return model.model_validate_json(answer.content)


def keyed():
    return {"idempotency_key": str(uuid4())}


sent("GET", "/health/live", 200, models.Alive)
sent("GET", "/health/ready", 200, models.Ready)

price = models.Price(amount=999_999_999_999, currency="EUR")
new = models.NewDrop(name="Lamp 🪔", price=price, total_stock=1)
drop = sent("POST", "/v1/drops", 201, models.Drop, new, **keyed())
assert (drop.status.value, drop.hold_seconds, drop.max_per_hold) == ("live", 60, 1), drop
assert drop.price.amount == 999_999_999_999, drop
path = f"/v1/drops/{drop.id.root}"

body = models.NewHold(buyer_id="ann")
hold = sent("POST", f"{path}/holds", 201, models.Hold, body, **keyed())
assert (hold.status, hold.quantity.root) == (models.HoldStatus.held, 1), hold
fresh = sent("GET", f"{path}?at_least={hold.position.root}", 200, models.Drop)
assert fresh.status == models.DropStatus.sold_out, fresh

body = models.NewHold(buyer_id="ben")
refused = sent("POST", f"{path}/holds", 409, models.SoldOutProblem, body, **keyed())
assert (refused.available, refused.requested) == (0, 1), refused

body = models.NewWaitlistEntry(buyer_id="ben", display_name="Ben")
entry = sent("POST", f"{path}/waitlist", 201, models.WaitlistEntry, body, **keyed())
assert (entry.status.value, entry.place) == ("waiting", 1), entry
released = client.delete(f"/v1/holds/{hold.id.root}")
assert released.status_code == 204, released
entry = sent("GET", f"/v1/waitlist/{entry.id.root}", 200, models.WaitlistEntry)
assert entry.status == models.WaitlistStatus.offered, entry

body = models.Payment(payment_reference="payment-1")
bought = f"/v1/holds/{entry.hold_id.root}/purchase"
purchase = sent("POST", bought, 201, models.Purchase, body)
assert sent("POST", bought, 200, models.Purchase, body).id == purchase.id

body = models.NewAdjustment(delta=2, reason="a second box")
adjusted = sent("POST", f"{path}/stock-adjustments", 201, models.StockAdjustment, body, **keyed())
assert (adjusted.stock.total, adjusted.stock.sold) == (3, 1), adjusted
body = models.DropEdit(max_per_buyer=2)
edited = sent("PATCH", path, 200, models.Drop, body, if_match="*")
assert edited.max_per_buyer == 2, edited

listed = sent("GET", "/v1/drops?status=live&expand=top_purchasers", 200, models.DropList)
assert [each.id for each in listed.data] == [drop.id], listed
sent("GET", f"{path}/purchasers", 200, models.PurchaserList)
standing = sent("GET", f"{path}/buyers/ben", 200, models.BuyerStanding)
assert standing.purchased == 1, standing
assert sent("GET", "/v1/admin/metrics", 200, models.Metrics).units_sold == 1
sent("GET", "/v1/admin/timeline", 200, models.Timeline)

page = sent("GET", "/v1/log", 200, models.LogPage)
types = [event.event_type for event in page.data]
assert types[:3] == ["DropScheduled", "DropStarted", "HoldPlaced"], types
assert "PurchaseConfirmed" in types, types
for event in page.data:
    models.DropEvent.model_validate(event.payload)
assert sent("GET", "/v1/log/head", 200, models.LogHead).position.root == len(types)

sent("GET", f"/v1/drops/{uuid4()}", 404, models.DropNotFoundProblem)
wrong = sent("GET", "/v1/drops?limit=0&status=foo", 400, models.InvalidQueryProblem)
assert [fault.pointer for fault in wrong.errors] == ["/limit", "/status"], wrong

cancelled = sent("POST", f"{path}/cancel", 200, models.Drop)
assert cancelled.status == models.DropStatus.cancelled, cancelled
print("lived")
