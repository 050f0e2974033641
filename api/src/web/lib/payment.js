// Texts that describe the payment of an order by a provider.

import { money } from "./format.js";

/** @typedef {import("./api.js").OrderPayment} OrderPayment */

/** @type {Record<string, string>} */
const PROVIDERS = { demo: "Demo payment", stripe: "Stripe" };
/** @type {Record<string, string>} */
const STATUS = {
  pending: "in progress",
  succeeded: "received",
  failed: "declined",
};

/** Returns whether money may still arrive. @param {OrderPayment} payment */
export function isOpen({ status }) {
  return status === "pending";
}

/** @param {OrderPayment} payment */
export function paymentWords({ provider, status, amount, late }) {
  const state = STATUS[status] ?? status.replaceAll("_", " ");
  return `${PROVIDERS[provider] ?? provider}: ${money(amount)}, ${state}${late ? ", late" : ""}`;
}
