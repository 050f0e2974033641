// The TypeScript client on an unreliable connection. Run as: node check.mjs URL ADMIN_KEY

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { createHoldfast, HoldfastProblem, result } from "./dist/index.js";

const [baseUrl, token] = process.argv.slice(2);
const holdfast = createHoldfast({ baseUrl, token });
const header = () => ({ "Idempotency-Key": randomUUID() });

const body = { name: "Lamp", price: { amount: 4900, currency: "EUR" }, total_stock: 1 };
const drop = await result(holdfast.POST("/v1/drops", { params: { header: header() }, body }));
const events = holdfast.follow({ drops: [drop.id] });
const nextState = async () => (await events.next()).value.data.stock;
assert.equal((await nextState()).held, 0);

const hold = (buyer_id) =>
  holdfast.POST("/v1/drops/{id}/holds", {
    params: { path: { id: drop.id }, header: header() },
    body: { buyer_id },
  });
const held = await hold("ann");
console.log(`replayed: ${held.response.headers.get("idempotent-replayed")}`);
// The connection is cut before this state arrives.
let stock = await nextState();
while (stock.held !== 1) stock = await nextState();

const refused = await result(hold("ben")).catch((error) => error);
assert.ok(refused instanceof HoldfastProblem, refused);
console.log(`${refused.code}: ${refused.as("sold_out").available} available`);
assert.equal(refused.as("limit_reached"), undefined);

const path = { id: (await result(Promise.resolve(held))).id };
const purchase = await result(holdfast.POST("/v1/holds/{id}/purchase", { params: { path } }));
console.log(`purchased: ${purchase.total.amount}`);
while (stock.sold !== 1) stock = await nextState();
await events.return();

const missing = { params: { path: { id: randomUUID() } } };
const absent = await result(holdfast.GET("/v1/drops/{id}", missing)).catch((error) => error);
console.log(`${absent.code}: ${absent.status}`);
const unknown = holdfast.follow({ drops: ["x"] }).next();
console.log(`stream: ${(await unknown.catch((error) => error)).code}`);
