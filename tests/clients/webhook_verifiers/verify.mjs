// Verifies received webhooks with standardwebhooks: one JSON line for each on standard input.
import { createInterface } from "node:readline";
import { Webhook, WebhookVerificationError } from "standardwebhooks";

for await (const line of createInterface({ input: process.stdin })) {
  const { secret, headers, body } = JSON.parse(line);
  try {
    new Webhook(secret).verify(Buffer.from(body, "base64"), headers);
    console.log("valid");
  } catch (error) {
    if (!(error instanceof WebhookVerificationError)) throw error;
    console.log("invalid");
  }
}
