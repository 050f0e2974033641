// Records requests. First Stripe's official library sends some; then the port is printed, and other
// programs may. GET /recorded returns all requests, in order.
import { createServer } from "node:http";
import { text } from "node:stream/consumers";
import { Stripe } from "stripe";

const recorded = [];
const intent = {
  id: "pi_1",
  object: "payment_intent",
  amount: 1999,
  currency: "eur",
  status: "requires_capture",
  client_secret: "pi_1_secret_1",
};
const refund = { id: "re_1", object: "refund", amount: 999, currency: "eur", status: "succeeded" };
const server = createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, "http://localhost");
  const reply = (body) => response.end(JSON.stringify(body));
  response.setHeader("content-type", "application/json");
  if (pathname === "/recorded") return reply(recorded);
  const fields = (parameters) => [...parameters].map((pair) => pair.join("=")).sort();
  const { authorization, "idempotency-key": key, "stripe-version": version } = request.headers;
  recorded.push({
    method: request.method,
    pathname,
    query: fields(searchParams),
    authorization,
    version,
    // The library adds a random key to a POST without one.
    key: key?.startsWith("stripe-node-retry-") ? undefined : key,
    type: request.method === "POST" ? request.headers["content-type"] : undefined,
    body: fields(new URLSearchParams(await text(request))),
  });
  if (pathname.startsWith("/v1/payment_intents")) return reply(intent);
  if (request.method === "POST") return reply(refund);
  reply({ object: "list", data: [refund], has_more: false, url: "/v1/refunds" });
}).listen(0, "127.0.0.1", async () => {
  const { port } = server.address();
  const stripe = new Stripe("sk_test_1", {
    host: "127.0.0.1",
    port,
    protocol: "http",
    maxNetworkRetries: 0,
  });
  const [payment, order, refundId] = JSON.parse(process.env.IDS);
  await stripe.paymentIntents.create(
    {
      amount: 1999,
      currency: "eur",
      capture_method: "manual",
      metadata: { order_id: order, payment_id: payment },
    },
    { idempotencyKey: `start_${payment}` },
  );
  await stripe.paymentIntents.capture("pi_1", { amount_to_capture: 1999 });
  await stripe.paymentIntents.cancel("pi_1");
  await stripe.refunds.create(
    { payment_intent: "pi_1", amount: 999, metadata: { refund_id: refundId } },
    { idempotencyKey: `refund_${refundId}` },
  );
  await stripe.paymentIntents.retrieve("pi_1");
  await stripe.refunds.list({ payment_intent: "pi_1", limit: 100 });
  console.log(port);
});
