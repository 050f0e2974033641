// A shop on the HTTP API: creates a drop of one unit, places a hold, retries it, purchases it, and
// follows the stream. `shop.rs` is the same in Rust. Needs Node 18 or later and no packages.
//
// node examples/shop.mjs http://127.0.0.1:8080 "$(cat .holdfast/admin.key)"

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

const [url, adminKey] = process.argv.slice(2);

/**
 * Repeats a request until it has a response other than 503. This is safe, also after a lost
 * response: reads change nothing, a hold is purchased once, and other requests carry a key.
 */
async function send(method, path, { body, headers } = {}) {
  for (let attempt = 0; attempt < 10; attempt += 1) {
    const response = await fetch(url + path, {
      method,
      headers: { ...headers, ...(body && { "Content-Type": "application/json" }) },
      body: body && JSON.stringify(body),
    }).catch(() => undefined);
    if (response && response.status !== 503) return response;
    const seconds = Number(response?.headers.get("retry-after") ?? 1);
    console.log(`no result yet: the same request again in ${seconds} s`);
    await sleep(seconds * 1000);
  }
  throw new Error("the server is unavailable");
}

/** Returns the body of a response. A problem is an error. */
async function bodyOf(response) {
  const body = await response.json();
  if (!response.ok) throw new Error(JSON.stringify(body));
  return body;
}

/** Yields the states of drops from the stream. */
async function* statesOf(stream) {
  let received = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const events = (received + text).split("\n\n");
    received = events.pop();
    for (const event of events) {
      // Other lines are the event's name and id, and heartbeats.
      const data = event.split("\n").find((line) => line.startsWith("data: "));
      if (data) yield JSON.parse(data.slice("data: ".length));
    }
  }
  // A program that runs longer connects again, with the last id as `Last-Event-ID`.
  throw new Error("the stream ended");
}

// One key per operation. A shop stores it before it sends the request.
const newKey = () => ({ "Idempotency-Key": randomUUID() });

const create = { name: "Lamp", price: { amount: 4900, currency: "EUR" }, total_stock: 1 };
const headers = { ...newKey(), Authorization: `Bearer ${adminKey}` };
const drop = await bodyOf(await send("POST", "/v1/drops", { body: create, headers }));
const list = await bodyOf(await send("GET", "/v1/drops?status=live"));
for (const { name, stock } of list.data)
  console.log(`on sale: ${name} (${stock.available} available)`);
const stream = await fetch(`${url}/v1/stream?drops=${drop.id}`);

const hold = (buyer, key) =>
  send("POST", `/v1/drops/${drop.id}/holds`, { body: { buyer_id: buyer }, headers: key });
const key = newKey();
const held = await bodyOf(await hold("ann", key));
// The response might have been lost: the same key returns the same hold.
const again = await hold("ann", key);
console.log(`replayed: ${again.headers.has("idempotent-replayed")}`);
console.log(`same hold: ${(await bodyOf(again)).id === held.id}`);

const late = await (await hold("ben", newKey())).json();
if (late.code === "sold_out") console.log(`sold out: ${late.available} available`);

const payment = { payment_reference: "payment-1" };
const purchase = await send("POST", `/v1/holds/${held.id}/purchase`, { body: payment });
console.log(`purchased: ${JSON.stringify((await bodyOf(purchase)).total)}`);

for await (const { stock } of statesOf(stream.body)) if (stock.sold === 1) break;
console.log("the stream shows 1 unit sold");
