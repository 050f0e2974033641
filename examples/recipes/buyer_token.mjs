// Signs a token for a buyer, as a shop does after its own log-in: a JWT with HS256. Needs Node 18
// or later and no packages.
//
// HOLDFAST_BUYER_SECRET=… [HOLDFAST_BUYER_AUDIENCE=…] node buyer_token.mjs BUYER_ID

import { createHmac } from "node:crypto";

/** An hour. A token cannot be revoked, so a page asks for a new one instead. */
const SECONDS = 3600;

function buyerToken(buyerId, secret, audience) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const exp = Math.floor(Date.now() / 1000) + SECONDS;
  // Without an audience, JSON.stringify leaves `aud` out.
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: buyerId, aud: audience, exp })}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

const { HOLDFAST_BUYER_SECRET: secret, HOLDFAST_BUYER_AUDIENCE: audience } = process.env;
console.log(buyerToken(process.argv[2], secret, audience));
