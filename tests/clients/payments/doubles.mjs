// Serves two doubles of Stripe on loopback ports, which it prints: stripe-stateful-mock, and
// localstripe (at LOCALSTRIPE_URL) behind the idempotency keys of stripe-stateful-mock, which
// localstripe ignores.
import { createRequire } from "node:module";

const require = createRequire(`${process.cwd()}/`);
const express = require("express");
const { createExpressApp } = require("stripe-stateful-mock");
const { idempotencyRoute } = require("stripe-stateful-mock/dist/api/idempotency");
require("loglevel").setLevel("silent");

const front = express();
front.use(express.text({ type: "application/x-www-form-urlencoded" }));
front.use(idempotencyRoute);
front.all("*", async (request, response) => {
  const reply = await fetch(process.env.LOCALSTRIPE_URL + request.originalUrl, {
    method: request.method,
    headers: {
      authorization: request.get("authorization"),
      "content-type": "application/x-www-form-urlencoded",
    },
    body: typeof request.body === "string" ? request.body : undefined,
  });
  response
    .status(reply.status)
    .type("json")
    .send(await reply.text());
});
front.use((error, _request, response, _next) => {
  response.status(error.statusCode ?? 500).send({ error: error.error });
});

const serve = (app) =>
  new Promise((listening) => {
    const server = app.listen(0, "127.0.0.1", () => listening(server.address().port));
  });
console.log(`${await serve(front)} ${await serve(createExpressApp())}`);
