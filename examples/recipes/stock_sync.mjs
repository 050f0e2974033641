// Another platform's stock follows Holdfast: a receiver of webhooks that writes the number of
// available units. Needs Node 18 or later and `standardwebhooks` of npm.
//
// HOLDFAST_URL=… WEBHOOK_SECRET=whsec_… PLATFORM_URL=… [PORT=…] node stock_sync.mjs
//
// Webhooks arrive at least once, so each id is processed once. A webhook says that something
// changed; the number is read from Holdfast, at least as new as the webhook, and written as a
// number, not as a difference: a write that is repeated has no effect. If the platform fails, the
// response is 503, and Holdfast sends the webhook again.

import { createServer } from "node:http";
import { Webhook, WebhookVerificationError } from "standardwebhooks";

const { HOLDFAST_URL, WEBHOOK_SECRET, PLATFORM_URL, PORT = "0" } = process.env;
const webhook = new Webhook(WEBHOOK_SECRET);

/** The ids of processed webhooks. A shop stores them, next to the numbers. */
const processed = new Set();

async function processOnce(id, { data }) {
  if (processed.has(id) || !data.drop_id) return;
  const read = await fetch(`${HOLDFAST_URL}/v1/drops/${data.drop_id}?at_least=${data.position}`);
  if (!read.ok) throw new Error(`the drop cannot be read: ${read.status}`);
  const { status, stock } = await read.json();
  const available = status === "live" || status === "sold_out" ? stock.available : 0;
  const written = await fetch(`${PLATFORM_URL}/inventory/${data.drop_id}`, {
    method: "PUT",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ available }),
  });
  if (!written.ok) throw new Error(`the platform refused: ${written.status}`);
  processed.add(id);
}

async function receive(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  // The signature covers the bytes as they were sent.
  const body = Buffer.concat(parts).toString("utf8");
  try {
    await processOnce(request.headers["webhook-id"], webhook.verify(body, request.headers));
    return 204;
  } catch (error) {
    console.error(String(error));
    return error instanceof WebhookVerificationError ? 400 : 503;
  }
}

const server = createServer(async (request, response) => {
  response.writeHead(await receive(request)).end();
});
server.listen(Number(PORT), "127.0.0.1", () =>
  console.log(`listening on http://127.0.0.1:${server.address().port}`),
);
