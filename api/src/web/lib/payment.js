// Texts that describe the payment of an order by a provider.

import { money } from "./format.js";
import { hasText, text } from "./text.js";

/** @typedef {import("./api.js").OrderPayment} OrderPayment */

/** Returns whether money may still arrive. @param {OrderPayment} payment */
export function isOpen({ status }) {
  return status === "pending";
}

/** @param {OrderPayment} payment */
export function paymentWords({ provider, status, amount, late }) {
  const named = (/** @type {string} */ key, /** @type {string} */ other) =>
    hasText(key) ? text(key) : other;
  return text(late ? "payment.line_late" : "payment.line", {
    provider: named(`payment.provider.${provider}`, provider),
    amount: money(amount),
    state: named(`payment.status.${status}`, status.replaceAll("_", " ")),
  });
}
