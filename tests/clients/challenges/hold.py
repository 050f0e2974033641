"""A buyer's hold of a drop with a challenge. Run as: hold.py FOLDER… URL DROP"""

import sys
from uuid import UUID, uuid4

*folders, url, drop = sys.argv[1:]
sys.path[:0] = folders

from holdfast import connect, result  # noqa: E402
from holdfast_client.api.holds_and_purchases import place_hold  # noqa: E402
from holdfast_client.models import NewHold  # noqa: E402

body, key = NewHold(buyer_id="ann"), str(uuid4())
client = connect(url)
held = place_hold.sync_detailed(UUID(drop), client=client, body=body, idempotency_key=key)
print(result(held).status)
