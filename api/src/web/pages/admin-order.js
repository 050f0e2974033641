// The room of one order: its items, holds, purchases and money, and the administrator's actions.

import { Problem, call } from "../lib/api.js";
import { until } from "../lib/clock.js";
import { byId, h, mark, write } from "../lib/dom.js";
import { isolate, nameOrUnnamed } from "../lib/foreign.js";
import { count, duration, exact, money, units } from "../lib/format.js";
import {
  FULFILMENT,
  ORDER_STATUS,
  namesOf,
  orderStatusOf,
  refundWords,
  refundedOf,
  shortHold,
  shortId,
  wasPaid,
} from "../lib/order.js";
import { keepFresh, queryOf, startRoom } from "../lib/room.js";
import { paymentWords } from "../lib/payment.js";
import { service } from "../lib/service.js";
import { setTitle } from "../lib/title.js";
import {
  openCancelOrder,
  openFulfil,
  openRefund,
  openTakenPayment,
  refundable,
} from "../elements/order-form.js";
import { RecordTable, badge, part } from "../elements/record-table.js";
import "../elements/service-note.js";
import "../elements/toast-list.js";
import { pathHere } from "../lib/base.js";

/**
 * @typedef {import("../lib/api.js").Order} Order
 * @typedef {import("../lib/api.js").OrderItem} OrderItem
 * @typedef {import("../lib/api.js").Hold} Hold
 */

const REFRESH_MS = 2000;
const HOLD_STATUS = {
  held: "Held",
  purchased: "Purchased",
  expired: "Expired",
  released: "Released",
};

const id = pathHere().split("/").at(-1) ?? "";
const table = part("record-table", RecordTable);
/** @type {Order | undefined} */
let shown;
/** @type {Map<string, string>} */
let names = new Map();
/** The holds of the items, by id. @type {Map<string, Hold>} */
const holds = new Map();

table.begin("Items", [
  {
    words: "Drop",
    cell: ({ drop_id }) =>
      h(
        "a",
        { href: `/drops/${drop_id}`, dir: "auto", "data-act": "open" },
        nameOrUnnamed(names.get(drop_id) ?? shortId(drop_id)),
      ),
  },
  {
    words: "Hold",
    cell: ({ hold_id }) => {
      const hold = holds.get(hold_id);
      return [
        hold && badge(HOLD_STATUS[hold.status], hold.status),
        h("span", { class: "line code", title: hold_id }, shortHold(hold_id)),
      ];
    },
  },
  {
    words: "Purchase",
    cell: ({ purchase_id }) =>
      purchase_id === null
        ? "–"
        : h("span", { class: "code", title: purchase_id }, shortId(purchase_id)),
  },
  { words: "Units", kind: "number", cell: ({ quantity }) => count(quantity) },
  { words: "Price", kind: "number", cell: ({ price }) => money(price) },
  { words: "Total", kind: "number", cell: ({ total }) => money(total) },
  {
    words: "Refunded",
    kind: "number",
    cell: (/** @type {OrderItem} */ { refunded }) =>
      refunded.quantity > 0
        ? [
            money(refunded.amount),
            h("span", { class: "line hint" }, units(refunded.quantity, "unit")),
          ]
        : "–",
  },
]);

async function load() {
  /** @type {Order} */
  let order;
  try {
    order = await call(`/v1/orders/${encodeURIComponent(id)}`);
  } catch (problem) {
    if (!(problem instanceof Problem) || problem.status !== 404) throw problem;
    byId("missing").hidden = false;
    byId("order").hidden = true;
    return;
  }
  const wanted = order.items
    .map(({ hold_id }) => hold_id)
    .filter((hold_id) => shown?.position !== order.position || !holds.has(hold_id));
  const [known, ...read] = await Promise.all([
    namesOf(order.items.map(({ drop_id }) => drop_id)),
    ...wanted.map((hold_id) => call(`/v1/holds/${hold_id}`).catch(() => null)),
  ]);
  names = known;
  for (const hold of read) if (hold) holds.set(hold.id, hold);
  show(order);
}

/** @param {Order} order */
function show(order) {
  shown = order;
  const status = orderStatusOf(order);
  setTitle(`Order ${shortId(order.id)}`);
  write(byId("title"), `Order ${shortId(order.id)}`);
  const state = byId("state");
  write(state, ORDER_STATUS[status]);
  mark(state, "data-status", status);
  byId("order").hidden = false;
  table.show(
    order.items.map((item) => ({ ...item, id: item.hold_id })),
    { none: "", also: ({ hold_id, drop_id }) => [holds.get(hold_id)?.status, names.get(drop_id)] },
  );
  showFacts(order, status);
  const canRefund = order.items.some((item) => item.purchase_id && refundable(item) > 0);
  enable("refund", canRefund);
  enable("fulfil", wasPaid(order) && order.fulfilment !== "delivered");
  enable("take", status === "pending");
  enable("cancel", status === "pending");
}

/**
 * Shows a button only while it applies. One that has the focus stays, disabled.
 * @param {string} name @param {boolean} isEnabled
 */
function enable(name, isEnabled) {
  const button = byId(name);
  mark(button, "aria-disabled", isEnabled ? null : "true");
  button.hidden = !isEnabled && document.activeElement !== button;
}

/** @param {Order} order @param {import("../lib/api.js").OrderStatus} status */
function showFacts(order, status) {
  const refunded = refundedOf(order);
  const net = {
    amount: order.total.amount - refunded.amount.amount,
    currency: order.total.currency,
  };
  const buyer =
    order.buyer_id === null
      ? "Erased"
      : h(
          "a",
          { href: `/admin/buyers${queryOf({ q: order.buyer_id })}` },
          h("bdi", {}, order.buyer_id),
        );
  /** @type {[string, import("../lib/dom.js").Child][]} */
  const facts = [
    ["Number", h("span", { class: "code" }, order.id)],
    ["Buyer", buyer],
    ["Placed", exact(order.placed_at)],
    status === "pending"
      ? ["Expires in", duration(until(order.expires_at))]
      : ["Deadline", exact(order.expires_at)],
    ["Paid", order.paid_at && `${exact(order.paid_at)}${order.late ? ", after the deadline" : ""}`],
    ["Cancelled", order.cancelled_at && exact(order.cancelled_at)],
    ["Payment", order.payment && paymentWords(order.payment)],
    ["Payment reference", order.payment_reference && h("bdi", {}, order.payment_reference)],
    ["Total", money(order.total)],
    [
      "Refunded",
      refunded.quantity > 0 && `${money(refunded.amount)}, ${units(refunded.quantity, "unit")}`,
    ],
    ...order.refunds.map(
      (refund) =>
        /** @type {[string, import("../lib/dom.js").Child]} */ (["Refund", refundWords(refund)]),
    ),
    ["Net", refunded.quantity > 0 && money(net)],
    ["Fulfilment", wasPaid(order) && FULFILMENT[order.fulfilment]],
    ["Tracking", order.tracking && h("bdi", {}, isolate(order.tracking))],
  ];
  const rows = facts.filter(([, value]) => value);
  const list = byId("facts");
  const text = rows.map(([name, value]) => [
    name,
    value instanceof Node ? value.textContent : value,
  ]);
  // Rewritten only after a change, so that a selection and the focus are kept.
  if (list.dataset.text === JSON.stringify(text)) return;
  list.dataset.text = JSON.stringify(text);
  list.replaceChildren(...rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

/** @param {string} name @param {(order: Order) => void} open */
function onPress(name, open) {
  byId(name).addEventListener("click", () => {
    if (shown && !byId(name).hasAttribute("aria-disabled")) open(shown);
  });
}
onPress("refund", (order) => openRefund(order, names));
onPress("fulfil", openFulfil);
onPress("take", openTakenPayment);
onPress("cancel", openCancelOrder);

startRoom();
service.follow();
const refresh = keepFresh(load, REFRESH_MS);
document.addEventListener("drops-changed", refresh);
