// The administrator's actions for one order, each in a dialog that describes the effect: refund,
// fulfilment, payment that the shop took itself, cancellation.

import { call, callUntilDecided, uuid } from "../lib/api.js";
import { h, write } from "../lib/dom.js";
import { isolate, nameOrUnnamed } from "../lib/foreign.js";
import { money, units } from "../lib/format.js";
import { FULFILMENT, shortId } from "../lib/order.js";
import { control, fieldProblem, openDialog } from "./form-dialog.js";

/**
 * @typedef {import("../lib/api.js").Order} Order
 * @typedef {import("../lib/api.js").OrderItem} OrderItem
 * @typedef {import("../lib/api.js").Fulfilment} Fulfilment
 */

/** @type {Fulfilment[]} */
const STEPS = ["processing", "shipped", "delivered"];

/** @param {HTMLFormElement} form @param {string} name */
function textOf(form, name) {
  return String(new FormData(form).get(name) ?? "").trim();
}

/** The units of an item that are left to refund. @param {OrderItem} item */
export function refundable({ quantity, refunded }) {
  return quantity - refunded.quantity;
}

/** The fields that every refund has. */
const REFUND_FIELDS = () => [
  control({
    name: "restock",
    words: "Offer the units again",
    type: "checkbox",
    hint: "To the waitlist first. Otherwise they leave the total of their drop, as broken goods do.",
    attributes: { checked: true },
  }),
  control({
    name: "reason",
    words: "Reason",
    whole: true,
    hint: "Stored in the log permanently: no personal data.",
    attributes: { required: true, maxlength: 500, autocomplete: "off" },
  }),
];

/**
 * Refunds units of an order by item. A retry of the dialog repeats the key of its request.
 * @param {Order} order @param {Map<string, string>} names of the drops
 */
export function openRefund(order, names) {
  const items = order.items.filter((item) => item.purchase_id && refundable(item) > 0);
  const key = uuid();
  const fields = items.map((item, index) =>
    control(
      {
        name: `item-${index}`,
        words: `Units of ${isolate(nameOrUnnamed(names.get(item.drop_id) ?? shortId(item.drop_id)))}`,
        type: "number",
        hint: `${units(refundable(item), "unit")} at ${money(item.price)}.`,
        attributes: { min: 0, max: refundable(item), step: 1, required: true },
      },
      String(refundable(item)),
    ),
  );
  const sum = h("output", { class: "hint" });
  const content = [h("div", { class: "fields" }, ...fields), sum, ...REFUND_FIELDS()];
  const dialog = openDialog(
    `Refund order ${shortId(order.id)}`,
    content,
    { words: "Refund", kind: "danger", keep: "Keep the order" },
    async (form) => {
      const refunds = items
        .map((item, index) => ({ item, quantity: Number(textOf(form, `item-${index}`)) }))
        .filter(({ quantity }) => quantity > 0);
      if (refunds.length === 0) throw fieldProblem("item-0", "Enter at least one unit.");
      const restock = new FormData(form).has("restock");
      const reason = textOf(form, "reason");
      const refund = await callUntilDecided(`/v1/orders/${order.id}/refunds`, {
        method: "POST",
        key,
        body: {
          items: refunds.map(({ item, quantity }) => ({ drop_id: item.drop_id, quantity })),
          restock,
          reason,
        },
      });
      const state = refund.status === "pending" ? "are being refunded" : "refunded";
      return `${units(refund.quantity, "unit")} ${state}: ${money(refund.amount)}.`;
    },
  );
  const show = () => {
    const amount = items.reduce((total, { price }, index) => {
      const quantity = Number(textOf(form, `item-${index}`));
      return total + (Number.isFinite(quantity) ? quantity * price.amount : 0);
    }, 0);
    write(sum, `Amount: ${money({ amount, currency: order.total.currency })}.`);
  };
  const form = /** @type {HTMLFormElement} */ (dialog.querySelector("form"));
  form.addEventListener("input", show);
  show();
}

/** @param {Order} order */
export function openFulfil(order) {
  const at = STEPS.indexOf(order.fulfilment);
  // The present step can be set again, with other tracking.
  const open = STEPS.slice(Math.max(0, at));
  const next = open[at < 0 ? 0 : 1] ?? open[0];
  openDialog(
    `Fulfilment of order ${shortId(order.id)}`,
    [
      control(
        {
          name: "fulfilment",
          words: "Step",
          whole: true,
          hint: "Fulfilment only goes forward.",
          choices: open.map((step) => [step, FULFILMENT[step]]),
        },
        next,
      ),
      control(
        {
          name: "tracking",
          words: "Tracking",
          whole: true,
          hint: "The number of the parcel, or the address where it is followed. Empty: unchanged.",
          attributes: { maxlength: 500, autocomplete: "off" },
        },
        "",
      ),
    ],
    { words: "Set the step", kind: "primary", keep: "Keep as it is" },
    async (form) => {
      const tracking = textOf(form, "tracking");
      const fulfilment = /** @type {Fulfilment} */ (textOf(form, "fulfilment"));
      await callUntilDecided(`/v1/orders/${order.id}`, {
        method: "PATCH",
        body: { fulfilment, ...(tracking ? { tracking } : {}) },
      });
      return `Fulfilment: ${FULFILMENT[fulfilment].toLowerCase()}.`;
    },
  );
}

/** @param {Order} order */
export function openTakenPayment(order) {
  openDialog(
    `Payment of order ${shortId(order.id)}`,
    [
      h(
        "p",
        {},
        `Records that the shop took ${money(order.total)} itself. All items are sold together.`,
      ),
      control({
        name: "payment_reference",
        words: "Payment reference",
        whole: true,
        hint: "Your identifier of the payment. Optional.",
        attributes: { maxlength: 200, autocomplete: "off" },
      }),
    ],
    { words: "Record the payment", kind: "primary", keep: "Not yet" },
    async (form) => {
      const reference = textOf(form, "payment_reference");
      await callUntilDecided(`/v1/orders/${order.id}/purchase`, {
        method: "POST",
        ...(reference ? { body: { payment_reference: reference } } : {}),
      });
      return "The payment is recorded.";
    },
  );
}

/** @param {Order} order */
export function openCancelOrder(order) {
  openDialog(
    `Cancel order ${shortId(order.id)}`,
    [h("p", {}, "Its holds are released, and it cannot be paid any more. This cannot be undone.")],
    { words: "Cancel the order", kind: "danger", keep: "Keep the order" },
    async () => {
      await call(`/v1/orders/${order.id}/cancel`, { method: "POST" });
      return "The order is cancelled.";
    },
  );
}
