// Finds everything about one buyer, from an id of the buyer, an order, a hold, a purchase, a
// waitlist entry or a payment.
//
// The server lists a buyer's drops, a page at a time, each with the buyer's newest holds, purchases
// and waitlist entries, and the buyer's newest orders.

import { Problem, call } from "./api.js";

/**
 * @typedef {import("./api.js").Order} Order
 * @typedef {import("./api.js").Hold} Hold
 * @typedef {import("./api.js").Waiting} Waiting
 * @typedef {{id: string, drop_id: string, quantity: number, total: import("./api.js").Money,
 *   purchased_at: string, refunded: import("./api.js").RefundTotal,
 *   payment_reference: string | null}} Bought
 * @typedef {{drop_id: string, drop_name: string, held: number, purchased: number, refunded: number,
 *   holds: Hold[], purchases: Bought[], waitlist: Waiting[], has_more: boolean}} InDrop
 * @typedef {{buyer_id: string, drops: InDrop[], has_more: boolean,
 *   orders: {data: Order[], has_more: boolean}}} Buyer
 */

const ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
/** Orders, or drops, that one request lists. */
const PAGE = 100;
/** The most orders that are read. */
const MOST_ORDERS = 1000;

/**
 * Returns the response, or null if there is none with this id.
 * @param {string} path
 */
async function find(path) {
  try {
    return await call(path);
  } catch (problem) {
    if (problem instanceof Problem && problem.status === 404) return null;
    throw problem;
  }
}

/**
 * The buyer that a text means, and the kind of the text. A text that is no other id is the id of a
 * buyer.
 * @param {string} text
 * @returns {Promise<{buyer: string | null, by: string}>} `buyer`: null after an erasure
 */
export async function buyerOf(text) {
  if (ID.test(text)) {
    const id = encodeURIComponent(text.toLowerCase());
    for (const [path, by] of [
      ["orders", "order"],
      ["holds", "hold"],
      ["purchases", "purchase"],
      ["waitlist", "waitlist entry"],
    ]) {
      const found = await find(`/v1/${path}/${id}`);
      if (found) return { buyer: found.buyer_id ?? null, by: by ?? "" };
    }
  }
  const paid = await call(`/v1/orders?limit=1&payment_reference=${encodeURIComponent(text)}`).catch(
    () => null,
  );
  if (paid?.data[0]) return { buyer: paid.data[0].buyer_id, by: "payment reference" };
  return { buyer: text, by: "buyer id" };
}

/**
 * All orders of the buyer, newest first.
 * @param {string} buyer
 * @returns {Promise<{orders: Order[], hasMore: boolean}>}
 */
export async function ordersOf(buyer) {
  /** @type {Order[]} */
  const orders = [];
  for (;;) {
    const after = orders.at(-1)?.id;
    const query = new URLSearchParams({ buyer_id: buyer, limit: String(PAGE) });
    if (after) query.set("starting_after", after);
    const page = await call(`/v1/orders?${query}`);
    orders.push(...page.data);
    if (!page.has_more || orders.length >= MOST_ORDERS) return { orders, hasMore: page.has_more };
  }
}

/**
 * A page of a buyer's drops, and the buyer's newest orders.
 * @param {string} buyer @param {string} after the last drop of the page before; empty: none
 * @returns {Promise<Buyer>}
 */
export async function readBuyer(buyer, after) {
  const query = new URLSearchParams({ limit: String(PAGE) });
  if (after) query.set("starting_after", after);
  return call(`/v1/admin/buyers/${encodeURIComponent(buyer)}?${query}`);
}
