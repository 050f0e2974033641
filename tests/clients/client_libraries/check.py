"""The Python client on an unreliable connection. Run as: check.py FOLDER… URL ADMIN_KEY"""

import sys
from uuid import uuid4

*folders, url, token = sys.argv[1:]
sys.path[:0] = folders

from holdfast import HoldfastProblem, connect, follow, result  # noqa: E402
from holdfast_client.api.drops import create_drop, read_drop  # noqa: E402
from holdfast_client.api.holds_and_purchases import place_hold, purchase_hold  # noqa: E402
from holdfast_client.models import NewDrop, NewHold, Price, SoldOutProblem  # noqa: E402

client = connect(url, token)


def refused(call):
    """Returns the problem that a call raises."""
    try:
        call()
    except HoldfastProblem as problem:
        return problem
    raise AssertionError("the call succeeded")


new = NewDrop(name="Lamp", price=Price(amount=4900, currency="EUR"), total_stock=1)
key = str(uuid4())
drop = result(create_drop.sync_detailed(client=client, body=new, idempotency_key=key))
events = follow(client, drops=[drop.id])
assert next(events).data.stock.held == 0


def hold(buyer):
    body, key = NewHold(buyer_id=buyer), str(uuid4())
    return place_hold.sync_detailed(drop.id, client=client, body=body, idempotency_key=key)


held = hold("ann")
print(f"replayed: {held.headers.get('idempotent-replayed')}")
# The connection is cut before this state arrives.
stock = next(event.data.stock for event in events if event.data.stock.held == 1)
assert stock.available == 0, stock

problem = refused(lambda: result(hold("ben")))
assert isinstance(problem.problem, SoldOutProblem), problem
print(f"{problem.code}: {problem.problem.available} available")

purchase = result(purchase_hold.sync_detailed(result(held).id, client=client))
print(f"purchased: {purchase.total.amount}")
stock = next(event.data.stock for event in events if event.data.stock.sold == 1)
events.close()

problem = refused(lambda: result(read_drop.sync_detailed(uuid4(), client=client)))
print(f"{problem.code}: {problem.status}")
print(f"stream: {refused(lambda: next(follow(client, drops=['x']))).code}")
