// The room of one buyer: a search box, then the buyer's holds, waitlist entries, orders, purchases
// and history in one place, over all drops.

import { Problem, call } from "../lib/api.js";
import { until } from "../lib/clock.js";
import { byId, h, mark, write } from "../lib/dom.js";
import { isolate, nameOrUnnamed } from "../lib/foreign.js";
import { count, duration, exact, money, units } from "../lib/format.js";
import {
  ORDER_STATUS,
  FULFILMENT,
  orderStatusOf,
  refundedOf,
  shortHold,
  shortId,
} from "../lib/order.js";
import { attempt, queryOf, startRoom } from "../lib/room.js";
import { service } from "../lib/service.js";
import { buyerOf, ordersOf, readBuyer } from "../lib/support.js";
import { RecordTable, badge, part, rowButton } from "../elements/record-table.js";
import { openDialog } from "../elements/form-dialog.js";
import "../elements/service-note.js";
import "../elements/toast-list.js";
import { at } from "../lib/base.js";

/**
 * @typedef {import("../lib/api.js").Order} Order
 * @typedef {import("../lib/api.js").Hold} Hold
 * @typedef {import("../lib/api.js").Waiting} Waiting
 * @typedef {import("../lib/support.js").Bought} Bought
 * @typedef {import("../lib/support.js").InDrop} InDrop
 * @typedef {{id: string, at: string, words: string, drops: string[], order: string | null}} Moment
 */

/** @type {HTMLInputElement} */
const search = byId("q");
const holdTable = part("#holds record-table", RecordTable);
const waitlistTable = part("#waitlist record-table", RecordTable);
const orderTable = part("#orders record-table", RecordTable);
const purchaseTable = part("#purchases record-table", RecordTable);
const historyTable = part("#history record-table", RecordTable);

/** The present search; an older one that is still running stops. */
let run = 0;
let buyer = "";
/** @type {Order[]} */
let orders = [];
/** The drops of the pages that were read. @type {InDrop[]} */
let drops = [];
/** The names of drops. @type {Map<string, string>} */
const names = new Map();

/** @param {string} id */
function dropLink(id) {
  return h(
    "a",
    { href: `/drops/${id}`, dir: "auto" },
    nameOrUnnamed(names.get(id) ?? `Drop ${shortId(id)}`),
  );
}

/** @param {string} id */
function orderLink(id) {
  return h("a", { href: `/admin/orders/${id}`, "data-act": "open" }, shortId(id));
}

const also = () => names.size;

/** The order of a hold or a purchase. @param {string} id */
function orderOf(id) {
  return orders.find(({ items }) =>
    items.some(({ hold_id, purchase_id }) => hold_id === id || purchase_id === id),
  );
}

/** All holds that were not purchased, newest first. @returns {Hold[]} */
function allHolds() {
  const holds = drops.flatMap((drop) => drop.holds);
  return holds.sort((one, other) => Date.parse(other.placed_at) - Date.parse(one.placed_at));
}

function openHolds() {
  return allHolds().filter(({ status }) => status === "held");
}

/** Newest first. @returns {Bought[]} */
function allPurchases() {
  const all = drops.flatMap((drop) => drop.purchases);
  return all.sort((one, other) => Date.parse(other.purchased_at) - Date.parse(one.purchased_at));
}

function allEntries() {
  return drops.flatMap((drop) => drop.waitlist);
}

holdTable.begin("Open holds", [
  { words: "Drop", cell: ({ drop_id }) => dropLink(drop_id) },
  { words: "Hold", cell: ({ id }) => h("span", { class: "code", title: id }, shortHold(id)) },
  { words: "Units", kind: "number", cell: ({ quantity }) => count(quantity) },
  {
    words: "Price",
    kind: "number",
    cell: (/** @type {Hold} */ { price, quantity }) => (price ? money(price, quantity) : "–"),
  },
  { words: "Placed", kind: "number", cell: ({ placed_at }) => exact(placed_at) },
  {
    words: "Expires",
    kind: "number",
    cell: (/** @type {Hold} */ { expires_at }) =>
      `${exact(expires_at)}, in ${duration(until(expires_at))}`,
  },
  {
    words: "Order",
    cell: (/** @type {Hold} */ { id }) => {
      const order = orderOf(id);
      return order ? orderLink(order.id) : "–";
    },
  },
  {
    words: "Actions",
    kind: "actions",
    cell: (/** @type {Hold} */ hold) =>
      orderOf(hold.id)
        ? null
        : rowButton("Release", `hold ${shortHold(hold.id)}`, () =>
            attempt(async () => {
              await call(`/v1/holds/${hold.id}`, { method: "DELETE" });
              void show(buyer, false);
              return "The hold is released.";
            }),
          ),
  },
]);

waitlistTable.begin("Waitlist entries", [
  { words: "Drop", cell: ({ drop_id }) => dropLink(drop_id) },
  { words: "Entry", cell: ({ id }) => h("span", { class: "code", title: id }, shortId(id)) },
  { words: "Status", cell: (/** @type {Waiting} */ { status }) => badge(status, status) },
  {
    words: "Place",
    kind: "number",
    cell: (/** @type {Waiting} */ { place, blocked_by }) =>
      blocked_by ? "cannot be served" : place === null ? "–" : count(place),
  },
  { words: "Units", kind: "number", cell: ({ quantity }) => count(quantity) },
  { words: "Joined", kind: "number", cell: ({ joined_at }) => exact(joined_at) },
]);

orderTable.begin("Orders", [
  { words: "Order", cell: ({ id }) => orderLink(id) },
  {
    words: "Status",
    cell: (/** @type {Order} */ order) =>
      badge(ORDER_STATUS[orderStatusOf(order)], orderStatusOf(order)),
  },
  {
    words: "Items",
    kind: "wide",
    cell: (/** @type {Order} */ { items }) =>
      items.map(({ drop_id, quantity }) =>
        h("span", { class: "line" }, `${count(quantity)} × `, dropLink(drop_id)),
      ),
  },
  { words: "Total", kind: "number", cell: ({ total }) => money(total) },
  {
    words: "Refunded",
    kind: "number",
    cell: (/** @type {Order} */ order) => {
      const { quantity, amount } = refundedOf(order);
      return quantity > 0 ? money(amount) : "–";
    },
  },
  {
    words: "Fulfilment",
    cell: (/** @type {Order} */ { paid_at, fulfilment }) =>
      paid_at === null ? "–" : FULFILMENT[fulfilment],
  },
  { words: "Placed", kind: "number", cell: ({ placed_at }) => exact(placed_at) },
]);

purchaseTable.begin("Purchases", [
  { words: "Drop", cell: ({ drop_id }) => dropLink(drop_id) },
  { words: "Purchase", cell: ({ id }) => h("span", { class: "code", title: id }, shortId(id)) },
  { words: "Units", kind: "number", cell: ({ quantity }) => count(quantity) },
  { words: "Total", kind: "number", cell: ({ total }) => money(total) },
  {
    words: "Refunded",
    kind: "number",
    cell: (/** @type {Bought} */ { refunded }) =>
      refunded.quantity > 0
        ? `${money(refunded.amount)}, ${units(refunded.quantity, "unit")}`
        : "–",
  },
  {
    words: "Order",
    cell: (/** @type {Bought} */ { id }) => {
      const order = orderOf(id);
      return order ? orderLink(order.id) : "–";
    },
  },
  {
    words: "Payment reference",
    kind: "wide",
    cell: (/** @type {Bought} */ { id, payment_reference }) => {
      const reference = payment_reference ?? orderOf(id)?.payment_reference;
      return reference ? h("bdi", {}, reference) : "–";
    },
  },
  { words: "Bought", kind: "number", cell: ({ purchased_at }) => exact(purchased_at) },
]);

historyTable.begin("History", [
  { words: "Time", cell: ({ at }) => exact(at) },
  { words: "Event", kind: "wide", cell: ({ words }) => words },
  {
    words: "Drops",
    kind: "wide",
    cell: (/** @type {Moment} */ { drops }) =>
      drops.map((id) => h("span", { class: "line" }, dropLink(id))),
  },
  {
    words: "Order",
    cell: (/** @type {Moment} */ { order }) => (order ? orderLink(order) : "–"),
  },
]);

/** The known facts about the buyer, as a list of events, newest first. @returns {Moment[]} */
function moments() {
  /** @type {Moment[]} */
  const all = [];
  /**
   * @type {(key: string, at: string | null, words: string, of: string[],
   *   order?: string | null) => void}
   */
  const add = (id, at, words, of, order = null) => {
    if (at) all.push({ id, at, words, drops: of, order });
  };
  for (const order of orders) {
    const of = order.items.map(({ drop_id }) => drop_id);
    const total = money(order.total);
    add(`${order.id} placed`, order.placed_at, `Order placed: ${total}`, of, order.id);
    const late = order.late ? ", after the deadline" : "";
    add(`${order.id} paid`, order.paid_at, `Order paid: ${total}${late}`, of, order.id);
    add(`${order.id} cancelled`, order.cancelled_at, "Order cancelled", of, order.id);
    if (orderStatusOf(order) === "expired")
      add(`${order.id} expired`, order.expires_at, "Order expired", of, order.id);
  }
  for (const { id, drop_id, status, quantity, placed_at, expires_at } of allHolds()) {
    if (orderOf(id)) continue;
    const released = status === "released" ? ", released since" : "";
    add(id, placed_at, `Hold placed: ${units(quantity, "unit")}${released}`, [drop_id]);
    if (status === "expired")
      add(`${id} expired`, expires_at, `Hold expired: ${units(quantity, "unit")}`, [drop_id]);
  }
  for (const entry of allEntries())
    add(entry.id, entry.joined_at, `Joined the waitlist: ${units(entry.quantity, "unit")}`, [
      entry.drop_id,
    ]);
  for (const bought of allPurchases()) {
    if (orderOf(bought.id)) continue;
    const words = `Bought: ${units(bought.quantity, "unit")} for ${money(bought.total)}`;
    add(bought.id, bought.purchased_at, words, [bought.drop_id]);
  }
  return all.sort((one, other) => Date.parse(other.at) - Date.parse(one.at));
}

function showAll() {
  const none = (/** @type {string} */ words) => ({ none: words, also });
  holdTable.show(openHolds(), none("No open holds in these drops."));
  waitlistTable.show(allEntries(), none("No waitlist entries in these drops."));
  orderTable.show(orders, {
    none: "No orders.",
    also: (order) => [names.size, orderStatusOf(order)],
  });
  purchaseTable.show(allPurchases(), none("No purchases in these drops."));
  historyTable.show(moments(), none("Nothing is known about this buyer."));
  showSums();
}

/** The sums of the buyer's orders and purchases, by currency. */
function showSums() {
  /** @type {Map<string, {paid: number, refunded: number}>} */
  const sums = new Map();
  const purchases = allPurchases();
  for (const { total, refunded } of purchases) {
    const sum = sums.get(total.currency) ?? { paid: 0, refunded: 0 };
    sum.paid += total.amount;
    sum.refunded += refunded.amount.amount;
    sums.set(total.currency, sum);
  }
  const paid = [...sums].map(([currency, { paid, refunded }]) => {
    const returned = refunded > 0 ? `, ${money({ amount: refunded, currency })} refunded` : "";
    return `${money({ amount: paid, currency })} paid${returned}`;
  });
  const parts = [
    units(orders.length, "order"),
    units(purchases.length, "purchase"),
    units(openHolds().length, "open hold"),
    ...paid,
  ];
  write(byId("sums"), parts.join(" · "));
}

/**
 * Adds a page of drops.
 * @param {import("../lib/support.js").Buyer} page
 */
function addDrops(page) {
  drops.push(...page.drops);
  for (const { drop_id, drop_name } of page.drops) names.set(drop_id, drop_name);
  byId("more").hidden = !page.has_more;
  const scope = page.has_more
    ? `Of the newest ${units(drops.length, "drop")} of this buyer; the orders are of all.`
    : `Of ${units(drops.length, "drop")}: every one of this buyer.`;
  const isCut = drops.some(({ has_more }) => has_more);
  write(byId("asked"), isCut ? `${scope} Of some, only the newest holds are shown.` : scope);
}

/**
 * Shows everything about a buyer. The refusal of a request is shown instead.
 * @param {string} text @param {boolean} isNew a new search, and not a refresh
 */
async function show(text, isNew) {
  run += 1;
  const mine = run;
  write(byId("refused"), "");
  write(byId("progress"), "Searching…");
  byId("missing").hidden = true;
  if (isNew) byId("found").hidden = true;
  try {
    const { buyer: id, by } = await buyerOf(text);
    if (mine !== run) return;
    if (id === null) {
      write(byId("missing-words"), `The buyer of this ${by} was erased.`);
      byId("missing").hidden = false;
      return;
    }
    const page = await readBuyer(id, "");
    const known = page.orders.has_more
      ? await ordersOf(id)
      : { orders: page.orders.data, hasMore: false };
    if (mine !== run) return;
    [buyer, orders, drops] = [id, known.orders, []];
    addDrops(page);
    const isKnown = orders.length + drops.length > 0;
    // As the shop spelled it: the search ignores the case.
    write(byId("name"), orders[0]?.buyer_id ?? page.buyer_id);
    write(byId("by"), by === "buyer id" ? "" : `Found by ${by}.`);
    byId("more-orders").hidden = !known.hasMore;
    mark(byId("list"), "href", `/admin/orders${queryOf({ buyer_id: buyer })}`);
    write(
      byId("missing-words"),
      "No order, hold, purchase or waitlist entry has this id or buyer.",
    );
    byId("missing").hidden = isKnown;
    byId("found").hidden = !isKnown;
    showAll();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (problem.status === 401) return location.reload();
    write(byId("refused"), problem.message);
  } finally {
    if (mine === run) write(byId("progress"), "");
  }
}

byId("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = search.value.trim();
  history.replaceState(null, "", at(`/admin/buyers${queryOf({ q: text })}`));
  if (text) void show(text, true);
  else search.focus();
});
byId("more").addEventListener("click", () =>
  attempt(async () => {
    const mine = run;
    const page = await readBuyer(buyer, drops.at(-1)?.drop_id ?? "");
    if (mine === run) addDrops(page);
    showAll();
    return `${units(drops.length, "drop")} are shown.`;
  }),
);
byId("refresh").addEventListener("click", () => void show(buyer, false));
byId("erase").addEventListener("click", () => {
  openDialog(
    "Erase this buyer",
    [
      h(
        "p",
        {},
        `Removes the id, names, payment references and tracking of ${isolate(buyer)} everywhere. Purchases and stock stay. This cannot be undone.`,
      ),
    ],
    { words: "Erase the buyer", kind: "danger", keep: "Keep the buyer" },
    async () => {
      await call(`/v1/admin/buyers/${encodeURIComponent(buyer)}`, { method: "DELETE" });
      void show(buyer, true);
      return "The buyer is erased.";
    },
  );
});

startRoom();
service.follow();
const first = new URLSearchParams(location.search).get("q")?.trim();
if (first) {
  search.value = first;
  void show(first, true);
}
