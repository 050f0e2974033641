// The sign-in page of a shop whose buyers use the pages of Holdfast: it signs a token for the buyer
// of its own session and hands it over in the fragment of the page that the buyer came from. Needs
// Node 18 or later and no packages.
//
// HOLDFAST_BUYER_SECRET=… HOLDFAST_ORIGIN=https://drops.example [PORT=…] node sign_in.mjs
//
// Holdfast's setting: HOLDFAST_SIGN_IN_URL=https://shop.example/sign-in
// Left out, because each shop has its own: the log-in. Here each new visitor is a new customer.

import { createHmac, randomUUID } from "node:crypto";
import { createServer } from "node:http";

const { HOLDFAST_BUYER_SECRET, HOLDFAST_ORIGIN, PORT = "0" } = process.env;

/** An hour. The pages ask for a new sign-in after it. */
const SECONDS = 3600;

/** The buyer of each session. @type {Map<string, string>} */
const sessions = new Map();

function buyerToken(buyerId) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const exp = Math.floor(Date.now() / 1000) + SECONDS;
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: buyerId, exp })}`;
  return `${signed}.${createHmac("sha256", HOLDFAST_BUYER_SECRET).update(signed).digest("base64url")}`;
}

/**
 * Returns the page to return to. Only pages of Holdfast get a token: a return to any other address
 * would give the buyer's token to the author of the link.
 */
function pageOf(returnTo) {
  try {
    const page = new URL(returnTo ?? "/", HOLDFAST_ORIGIN);
    return page.origin === HOLDFAST_ORIGIN ? page : undefined;
  } catch {
    return undefined;
  }
}

/** Returns the session of a request, with a new buyer if there is none. */
function sessionOf(request) {
  const [, session] = /(?:^|; )shop=([\w-]+)/.exec(request.headers.cookie ?? "") ?? [];
  if (session && sessions.has(session)) return session;
  const made = randomUUID();
  sessions.set(made, `customer-${sessions.size + 1}`);
  return made;
}

const server = createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url, "http://shop");
  const page = pathname === "/sign-in" ? pageOf(searchParams.get("return_to")) : undefined;
  if (!page) return response.writeHead(404).end();
  const session = sessionOf(request);
  page.hash = `token=${buyerToken(sessions.get(session))}`;
  response.writeHead(303, {
    Location: page.href,
    // No cache may keep the token, and no page that follows may name this one.
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Set-Cookie": `shop=${session}; HttpOnly; SameSite=Lax; Path=/`,
  });
  return response.end();
});
server.listen(Number(PORT), "127.0.0.1", () =>
  console.log(`listening on http://127.0.0.1:${server.address().port}`),
);
