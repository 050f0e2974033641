// A buyer's hold of a drop with a challenge. Run as: node hold.mjs URL DROP

import { createHoldfast, result } from "./dist/index.js";

const [baseUrl, id] = process.argv.slice(2);
const holdfast = createHoldfast({ baseUrl });
const header = { "Idempotency-Key": crypto.randomUUID() };
const held = holdfast.POST("/v1/drops/{id}/holds", {
  params: { path: { id }, header },
  body: { buyer_id: "ann" },
});
console.log((await result(held)).status);
