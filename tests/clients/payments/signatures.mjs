// Signs and verifies webhooks with Stripe's official library for Node. Reads one JSON document,
// prints one.
import { text } from "node:stream/consumers";
import { Stripe } from "stripe";

const { webhooks } = new Stripe("sk_test_unused");
const { sign, verify } = JSON.parse(await text(process.stdin));
const signed = sign.map(({ body, secret, at }) =>
  webhooks.generateTestHeaderString({ payload: body, secret, timestamp: at }),
);
const verified = verify.map(({ body, header, secret, now }) => {
  try {
    return webhooks.constructEvent(body, header, secret, 300, undefined, now * 1000).id;
  } catch (error) {
    if (error.type !== "StripeSignatureVerificationError") throw error;
    return null;
  }
});
console.log(JSON.stringify({ signed, verified }));
