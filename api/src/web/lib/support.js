// Finds everything about one buyer, from an id of the buyer, an order, a hold, a purchase, a
// waitlist entry or a payment.
//
// The API has no list of a buyer's drops. The drops of the buyer's orders are known; the others are
// asked one by one, the newest drops first, and the purchases of a drop are read only if its count
// of the buyer's units says that some are not in orders.
// Limit: holds that were released or expired outside of orders are in no list of the API.

import { Problem, call } from "./api.js";
import { evident, readCsv } from "./csv.js";

/**
 * @typedef {import("./api.js").Order} Order
 * @typedef {import("./api.js").Hold} Hold
 * @typedef {import("./api.js").Waiting} Waiting
 * @typedef {import("./api.js").Drop} Drop
 * @typedef {{id: string, drop_id: string, quantity: number, total: import("./api.js").Money,
 *   purchased_at: string, refunded: import("./api.js").RefundTotal,
 *   order_id: string | null, payment_reference: string | null}} Bought `order_id`: null for a hold
 *   without an order
 * @typedef {{drop: Drop, held: number, purchased: number, holds: Hold[],
 *   waitlist: Waiting | null}} Standing
 */

const ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
/** Orders, and drops, that one request lists. */
const PAGE = 100;
/** The most orders that are read. */
const MOST_ORDERS = 1000;
/** The number of drops that are asked at the same time. */
const AT_ONCE = 6;

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
 * The buyer's orders, newest first.
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

/** Reads the next page of the shop's drops, newest first. @param {string} after the last drop */
export async function moreDrops(after) {
  const query = new URLSearchParams({ limit: String(PAGE) });
  if (after) query.set("starting_after", after);
  /** @type {{data: Drop[], has_more: boolean}} */
  const page = await call(`/v1/drops?${query}`);
  return page;
}

/** Reads drops by their ids. @param {string[]} ids @returns {Promise<Drop[]>} */
export async function dropsById(ids) {
  const drops = [];
  for (let at = 0; at < ids.length; at += PAGE)
    drops.push(...(await call(`/v1/drops?ids=${ids.slice(at, at + PAGE).join()}`)).data);
  return drops;
}

/**
 * The buyer's units in each of these drops; drops without any, and without a waitlist entry, are
 * left out.
 * @param {string} buyer @param {Drop[]} drops
 * @returns {Promise<Standing[]>}
 */
export async function standingsOf(buyer, drops) {
  /** @type {Standing[]} */
  const found = [];
  const left = [...drops];
  const look = async () => {
    for (let drop = left.shift(); drop; drop = left.shift()) {
      const standing = await find(`/v1/drops/${drop.id}/buyers/${encodeURIComponent(buyer)}`);
      if (!standing) continue;
      const { held, purchased, holds = [], waitlist = null } = standing;
      if (held > 0 || purchased > 0 || waitlist)
        found.push({ drop, held, purchased, holds, waitlist });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, look));
  return found;
}

/** The buyer's purchases in orders. @param {Order[]} orders @returns {Bought[]} */
export function purchasesIn(orders) {
  return orders.flatMap((order) =>
    order.items.flatMap(({ purchase_id: id, drop_id, quantity, total, refunded }) =>
      id && order.paid_at
        ? [
            {
              id,
              drop_id,
              quantity,
              total,
              purchased_at: order.paid_at,
              refunded,
              order_id: order.id,
              payment_reference: order.payment_reference ?? null,
            },
          ]
        : [],
    ),
  );
}

/**
 * The buyer's purchases of one drop, from the list of all its purchases.
 * @param {string} buyer @param {string} dropId
 * @returns {Promise<Bought[]>}
 */
export async function purchasesOf(buyer, dropId) {
  /** @type {Bought[]} */
  const found = [];
  const wanted = folded(buyer);
  await readCsv(`/v1/drops/${dropId}/purchases`, (line) => {
    if (folded(evident(line.buyer_id ?? "")) !== wanted) return;
    const currency = line.currency ?? "";
    found.push({
      id: line.id ?? "",
      drop_id: dropId,
      quantity: Number(line.quantity),
      total: { amount: Number(line.amount), currency },
      purchased_at: line.purchased_at ?? "",
      refunded: {
        quantity: Number(line.refunded_quantity),
        amount: { amount: Number(line.refunded_amount), currency },
      },
      order_id: null,
      payment_reference: line.payment_reference ? evident(line.payment_reference) : null,
    });
  });
  return found;
}

/**
 * A buyer id as the server compares it, nearly: without regard to case. Upper and then lower case
 * together fold like Unicode's full case folding.
 * @param {string} id
 */
function folded(id) {
  return id.trim().normalize("NFC").toUpperCase().toLowerCase().normalize("NFC");
}
