// Texts that describe an order, on the pages of the shop and of the dashboard.

import { callForPage } from "./api.js";
import { until } from "./clock.js";
import { exact, money } from "./format.js";
import { text, texts } from "./text.js";

/**
 * @typedef {import("./api.js").Order} Order
 * @typedef {import("./api.js").Money} Money
 */

/** @type {Readonly<Record<import("./api.js").OrderStatus, string>>} */
export const ORDER_STATUS = texts({
  pending: "order.status.pending",
  paid: "order.status.paid",
  cancelled: "order.status.cancelled",
  expired: "order.status.expired",
  partially_refunded: "order.status.partially_refunded",
  refunded: "order.status.refunded",
});

/**
 * The steps in their order.
 * @type {Readonly<Record<import("./api.js").Fulfilment, string>>}
 */
export const FULFILMENT = texts({
  unfulfilled: "order.step.unfulfilled",
  processing: "order.step.processing",
  shipped: "order.step.shipped",
  delivered: "order.step.delivered",
});

/**
 * The current status: an order past its deadline is expired, even before that is recorded.
 * @param {Order} order
 */
export function orderStatusOf({ status, expires_at }) {
  return status === "pending" && until(expires_at) <= 0 ? "expired" : status;
}

/** Returns whether the order was paid, also if it was refunded since. @param {Order} order */
export function wasPaid({ paid_at }) {
  return paid_at !== null;
}

/**
 * The times of a refund in words: when it was requested, and when the money was returned.
 * @param {import("./api.js").MadeRefund} refund
 */
export function refundWords({ amount, quantity, status, requested_at, settled_at }) {
  const sum = refundSum({ amount, quantity });
  const requested = exact(requested_at);
  const settled = exact(settled_at ?? requested_at);
  if (status === "succeeded" && settled_at !== null)
    return text("refund.returned", { sum, requested, settled });
  if (status === "failed" && settled_at !== null)
    return text("refund.failed", { sum, requested, settled });
  return text("refund.pending", { sum, requested });
}

/**
 * An amount, with its number of units if there is one.
 * @param {{amount: import("./api.js").Money, quantity: number}} refund
 */
export function refundSum({ amount, quantity }) {
  return quantity > 0
    ? text("refund.sum", { amount: money(amount), count: quantity })
    : money(amount);
}

/** The units and the money that were refunded. @param {Order} order */
export function refundedOf({ items, total }) {
  return {
    quantity: items.reduce((sum, { refunded }) => sum + refunded.quantity, 0),
    amount: {
      amount: items.reduce((sum, { refunded }) => sum + refunded.amount.amount, 0),
      currency: total.currency,
    },
  };
}

/** The first digits of an id, enough to recognise it in a list. @param {string} id */
export function shortId(id) {
  return id.slice(0, 8);
}

/**
 * The last digits of a hold's id: the first ones are those of its drop.
 * @param {string} id
 */
export function shortHold(id) {
  return `…${id.slice(-8)}`;
}

/** The names of drops that were requested, by id. @type {Map<string, string>} */
const names = new Map();
/** The number of drops that one request can name. */
const MOST_NAMED = 100;

/**
 * Returns the names of drops, which are requested once. A drop without a name in the map is in
 * quarantine or does not exist.
 * @param {string[]} ids
 */
export async function namesOf(ids) {
  const unknown = [...new Set(ids)].filter((id) => !names.has(id));
  for (let at = 0; at < unknown.length; at += MOST_NAMED) {
    const some = unknown.slice(at, at + MOST_NAMED);
    const { data } = await callForPage(`/v1/drops?ids=${some.join()}`);
    for (const { id, name } of data) names.set(id, name);
  }
  return names;
}
