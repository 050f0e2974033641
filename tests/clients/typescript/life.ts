// The life of a drop with the types that openapi-typescript generates, through openapi-fetch.
//
// Run as: life.js URL ADMIN_KEY

import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

declare const process: { argv: string[] };
declare const crypto: { randomUUID(): string };

const [url = "", adminKey = ""] = process.argv.slice(2);
const client = createClient<paths>({
  baseUrl: url,
  headers: { authorization: `Bearer ${adminKey}` },
});

function is(claim: unknown, seen: unknown): asserts claim {
  if (!claim) throw new Error(`not as expected: ${JSON.stringify(seen)}`);
}

/** Returns the data of a response, which must have this status. */
function answered<T>(
  status: number,
  { data, error, response }: { data?: T; error?: unknown; response: Response },
): T {
  is(response.status === status, error ?? data);
  return data as T;
}

/** Returns the problem of a response, which must have this status. */
function refused<P>(status: number, { error, response }: { error?: P; response: Response }): P {
  is(response.status === status && error !== undefined, response);
  return error;
}

const keyed = () => ({ "Idempotency-Key": crypto.randomUUID() });

// Without the fields that have defaults: the types must not require them.
const price = { amount: 999_999_999_999, currency: "EUR" };
const created = await client.POST("/v1/drops", {
  params: { header: keyed() },
  body: { name: "Lamp 🪔", price, total_stock: 1 },
});
const drop = answered(201, created);
const status: components["schemas"]["DropStatus"] = drop.status;
is(status === "live" && drop.hold_seconds === 60 && drop.price.amount === price.amount, drop);
const path = { id: drop.id };

const hold = answered(
  201,
  await client.POST("/v1/drops/{id}/holds", {
    params: { path, header: keyed() },
    body: { buyer_id: "ann" },
  }),
);
is(hold.status === "held" && hold.quantity === 1, hold);
const fresh = answered(
  200,
  await client.GET("/v1/drops/{id}", { params: { path, query: { at_least: hold.position } } }),
);
is(fresh.status === "sold_out", fresh);

const soldOut = refused(
  409,
  await client.POST("/v1/drops/{id}/holds", {
    params: { path, header: keyed() },
    body: { buyer_id: "ben" },
  }),
);
// The code identifies the problem, for the compiler as well.
is(soldOut.code === "sold_out", soldOut);
is(soldOut.available === 0 && soldOut.requested === 1, soldOut);

const entry = answered(
  201,
  await client.POST("/v1/drops/{id}/waitlist", {
    params: { path, header: keyed() },
    body: { buyer_id: "ben", display_name: "Ben" },
  }),
);
is(entry.status === "waiting" && entry.place === 1, entry);
answered(204, await client.DELETE("/v1/holds/{id}", { params: { path: { id: hold.id } } }));
const offered = answered(
  200,
  await client.GET("/v1/waitlist/{id}", { params: { path: { id: entry.id } } }),
);
is(offered.status === "offered" && offered.hold_id !== null, offered);

const bought = {
  params: { path: { id: offered.hold_id } },
  body: { payment_reference: "payment-1" },
};
const purchase = answered(201, await client.POST("/v1/holds/{id}/purchase", bought));
const again = answered(200, await client.POST("/v1/holds/{id}/purchase", bought));
is(again.id === purchase.id, again);

const adjusted = answered(
  201,
  await client.POST("/v1/drops/{id}/stock-adjustments", {
    params: { path, header: keyed() },
    body: { delta: 2, reason: "a second box" },
  }),
);
is(adjusted.stock.total === 3, adjusted);
const edited = answered(
  200,
  await client.PATCH("/v1/drops/{id}", {
    params: { path, header: { "If-Match": "*" } },
    body: { max_per_buyer: 2 },
  }),
);
is(edited.max_per_buyer === 2, edited);

const listed = answered(
  200,
  await client.GET("/v1/drops", {
    params: { query: { status: "live", expand: "top_purchasers" } },
  }),
);
is(listed.data.length === 1 && listed.data[0]?.id === drop.id, listed);
const standing = answered(
  200,
  await client.GET("/v1/drops/{id}/buyers/{buyer_id}", {
    params: { path: { ...path, buyer_id: "ben" } },
  }),
);
is(standing.purchased === 1 && standing.next_hold_at === null, standing);
const metrics = answered(200, await client.GET("/v1/admin/metrics"));
is(metrics.units_sold === 1, metrics);

const log = answered(200, await client.GET("/v1/log"));
// As NDJSON the body would be a text.
is(typeof log !== "string", log);
is(log.data[0]?.event_type === "DropScheduled" && log.head.position === log.data.length, log);

const wrong = refused(400, await client.GET("/v1/drops", { params: { query: { limit: 0 } } }));
is(wrong.code === "invalid_query" && wrong.errors[0]?.pointer === "/limit", wrong);

const cancelled = answered(200, await client.POST("/v1/drops/{id}/cancel", { params: { path } }));
is(cancelled.status === "cancelled", cancelled);
console.log("lived");
