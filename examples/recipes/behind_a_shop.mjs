// Holdfast behind an existing shop: the shop knows its buyers by its own sessions, and its back end
// holds and purchases for them with the admin key. Browsers never reach Holdfast. Needs Node 18 or
// later and no packages.
//
// HOLDFAST_URL=… HOLDFAST_ADMIN_KEY=… DROP_ID=… [PORT=…] node behind_a_shop.mjs
//
// Left out, because each shop has its own: log-in, payment, and storage that outlasts a restart.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

const { HOLDFAST_URL, HOLDFAST_ADMIN_KEY, DROP_ID, PORT = "0" } = process.env;

/** The buyer of each session. @type {Map<string, string>} */
const sessions = new Map();
/** The buyer of each hold: an id alone permits nothing here. @type {Map<string, string>} */
const owners = new Map();

/** Calls Holdfast. A 503 and a lost response are repeated; the key makes it one operation. */
async function holdfast(method, path, body, key) {
  for (let attempt = 1; ; attempt += 1) {
    const response = await fetch(HOLDFAST_URL + path, {
      method,
      headers: {
        Authorization: `Bearer ${HOLDFAST_ADMIN_KEY}`,
        ...(body && { "Content-Type": "application/json" }),
        ...(key && { "Idempotency-Key": key }),
      },
      body: body && JSON.stringify(body),
    }).catch(() => undefined);
    if (response && response.status !== 503)
      return { status: response.status, body: await response.json() };
    if (attempt === 5) return { status: 503, body: { detail: "The shop is busy. Try again." } };
    await sleep(1000 * Number(response?.headers.get("retry-after") ?? 1));
  }
}

const escaped = (text) =>
  String(text).replace(/[&<>"']/g, (letter) => `&#${letter.codePointAt(0)};`);
const page = (title, content) =>
  `<!doctype html><html lang="en"><title>${escaped(title)}</title><h1>${escaped(title)}</h1>${content}`;

async function showDrop(buyer) {
  const { body: drop } = await holdfast("GET", `/v1/drops/${DROP_ID}`);
  // One key per form: a double click, or a reload of its result, is one hold.
  return page(
    drop.name,
    `<p>${drop.stock.available} of ${drop.stock.total} left, ${escaped(buyer)}</p>
     <form method="post" action="/holds"><input type="hidden" name="key" value="${randomUUID()}">
     <button>Hold one</button></form>`,
  );
}

async function placeHold(buyer, form) {
  const path = `/v1/drops/${DROP_ID}/holds`;
  // The buyer comes from the session, never from the form.
  const { status, body } = await holdfast("POST", path, { buyer_id: buyer }, form.get("key"));
  if (status !== 201) return { status, html: page("Not held", escaped(body.detail)) };
  owners.set(body.id, buyer);
  return { status: 303, location: `/holds/${body.id}` };
}

async function showHold(hold) {
  const { body } = await holdfast("GET", `/v1/holds/${hold}`);
  const pay = `<form method="post" action="/holds/${hold}/pay"><button>Pay</button></form>`;
  const until = `Reserved until ${escaped(body.expires_at)}`;
  return page("Your hold", body.status === "held" ? `<p>${until}</p>${pay}` : escaped(body.status));
}

async function pay(hold) {
  // Here the shop takes the money. Its reference makes the purchase one purchase.
  const payment = { payment_reference: `payment-of-${hold}` };
  const { status, body } = await holdfast("POST", `/v1/holds/${hold}/purchase`, payment);
  // After a refusal, such as 410 hold_expired, the shop returns the money.
  if (status >= 300) return { status, html: page("Not sold", escaped(body.detail)) };
  return { status: 200, html: page("Thank you", `<p>Purchase ${escaped(body.id)}</p>`) };
}

/** Returns the session of a request, with a new buyer if there is none. */
function sessionOf(request) {
  const [, session] = /(?:^|; )shop=([\w-]+)/.exec(request.headers.cookie ?? "") ?? [];
  if (session && sessions.has(session)) return session;
  const made = randomUUID();
  sessions.set(made, `customer-${sessions.size + 1}`);
  return made;
}

async function formOf(request) {
  let text = "";
  for await (const part of request) text += part;
  return new URLSearchParams(text);
}

async function respond(request, buyer) {
  const [, holds, hold, action] = request.url.split("/");
  const route = `${request.method} ${[holds, hold && "id", action].filter(Boolean).join("/")}`;
  if (hold && owners.get(hold) !== buyer) return { status: 404, html: page("Not found", "") };
  switch (route) {
    case "GET ":
      return { status: 200, html: await showDrop(buyer) };
    case "POST holds":
      return placeHold(buyer, await formOf(request));
    case "GET holds/id":
      return { status: 200, html: await showHold(hold) };
    case "POST holds/id/pay":
      return pay(hold);
    default:
      return { status: 404, html: page("Not found", "") };
  }
}

const server = createServer(async (request, response) => {
  const session = sessionOf(request);
  const unavailable = { status: 500, html: page("Not available", "") };
  const responded = respond(request, sessions.get(session)).catch(() => unavailable);
  const { status, html = "", location } = await responded;
  // `SameSite=Lax`: forms of other sites are sent without the session.
  response.writeHead(status, {
    "Content-Type": "text/html; charset=utf-8",
    "Set-Cookie": `shop=${session}; HttpOnly; SameSite=Lax; Path=/`,
    ...(location && { Location: location }),
  });
  response.end(html);
});
server.listen(Number(PORT), "127.0.0.1", () =>
  console.log(`listening on http://127.0.0.1:${server.address().port}`),
);
