// One order for its buyer: payment with a countdown while it waits, then the receipt.
//
// As in a hold's panel, each stage has a view that is built when the stage begins; after that only
// its texts change, so that it keeps the focus.

import { cart } from "../lib/cart.js";
import { cancelOrder, checkouts, pay, submitPayment } from "../lib/checkout.js";
import { everyTick, until } from "../lib/clock.js";
import { h, mark, write } from "../lib/dom.js";
import { nameOrUnnamed } from "../lib/foreign.js";
import { clock, count, duration, exact, money, units } from "../lib/format.js";
import {
  FULFILMENT,
  ORDER_STATUS,
  orderStatusOf,
  refundWords,
  refundedOf,
  shortId,
} from "../lib/order.js";
import { isOpen, paymentWords } from "../lib/payment.js";
import { button, disarm } from "../lib/press.js";

/**
 * @typedef {import("../lib/api.js").Order} Order
 * @typedef {import("../lib/api.js").Drop} Drop
 * @typedef {{nodes: Node[], tick?: () => void}} View
 */

/** The outcomes of a demo payment: value, label, explanation. @type {[string, string, string][]} */
const SCENARIOS = [
  ["pays", "Pays", "The money arrives at once."],
  ["declines", "Is declined", "No money; the order can be paid again."],
  ["pays_late", "Pays late", "The money arrives a few seconds after the order has expired."],
  ["pays_twice", "Pays twice", "The money arrives two times; the second time is refunded."],
];
/** How long after the deadline a late payment arrives, in seconds. */
const LATE_SECONDS = 3;

/** Dispatches `changed` after an action that may have changed the order. */
export class OrderSheet extends HTMLElement {
  /** @type {Order | undefined} */
  #order;
  /** The drops of the items, by id. @type {Map<string, Drop>} */
  #drops = new Map();
  #kind = "";
  /** @type {(() => void) | undefined} */
  #tick;
  #arm = () => {};
  /** True after the buyer has asked for another payment. */
  #isChoosing = false;
  #title = h("h1");
  #panel = h("section", { class: "panel pay", "aria-label": "Payment", tabindex: -1 });
  #items = h("ul", { class: "plain rows" });
  #facts = h("dl", { class: "pairs" });
  #stop = () => {};

  connectedCallback() {
    const show = () => this.#show();
    checkouts.addEventListener("change", show);
    const stop = everyTick(show);
    this.#stop = () => {
      stop();
      checkouts.removeEventListener("change", show);
    };
  }

  disconnectedCallback() {
    this.#stop();
  }

  /** @param {Drop[]} drops */
  set drops(drops) {
    for (const drop of drops) this.#drops.set(drop.id, drop);
    if (this.#order) this.order = this.#order;
  }

  /** @param {Order} order */
  set order(order) {
    this.#order = order;
    if (!this.firstChild)
      this.append(
        h("div", { class: "head" }, this.#title),
        this.#panel,
        h(
          "div",
          { class: "columns" },
          h(
            "section",
            { class: "panel", "aria-labelledby": "items-title" },
            h("h2", { id: "items-title" }, "Items"),
            this.#items,
          ),
          h(
            "section",
            { class: "panel", "aria-labelledby": "receipt-title" },
            h("h2", { id: "receipt-title" }, "Receipt"),
            this.#facts,
          ),
        ),
      );
    if (order.payment?.status !== "failed") this.#isChoosing &&= orderStatusOf(order) === "pending";
    this.#showItems(order);
    this.#show();
  }

  #show() {
    const order = this.#order;
    if (!order) return;
    const status = orderStatusOf(order);
    mark(this, "data-status", status);
    write(this.#title, TITLES[status](order));
    const attempt = checkouts.paymentOf(order.id);
    const kind = [
      status,
      attempt && `${attempt.key} ${attempt.stage} ${attempt.again}`,
      order.payment && `${order.payment.id} ${order.payment.status}`,
      order.late,
      this.#isChoosing,
    ].join();
    if (kind !== this.#kind) this.#build(kind, order);
    this.#tick?.();
    this.#arm();
    this.#showFacts(order);
  }

  /** @param {string} kind @param {Order} order */
  #build(kind, order) {
    const focused = this.#panel.contains(document.activeElement);
    const isStep = this.#kind !== "";
    this.#kind = kind;
    const { nodes, tick } = this.#view(order);
    this.#tick = tick;
    this.#panel.replaceChildren(...nodes);
    if (focused) this.#panel.focus();
    this.#arm = isStep
      ? disarm(this.#panel.querySelectorAll("button"), () => {
          if (document.activeElement === this.#panel) this.#panel.querySelector("button")?.focus();
        })
      : () => {};
  }

  /** @param {Order} order @returns {View} */
  #view(order) {
    const status = orderStatusOf(order);
    if (status === "pending") return this.#pending(order);
    if (status === "expired" || status === "cancelled") return over(order, status);
    return { nodes: paid(order) };
  }

  /** @param {Order} order @returns {View} */
  #pending(order) {
    const { nodes: head, tick } = countdown(order);
    const attempt = checkouts.paymentOf(order.id);
    const cancel = button("Cancel the order", "quiet", async () => {
      const cancelled = await cancelOrder(order);
      if (cancelled) this.order = cancelled;
      this.#changed();
    });
    if (attempt?.stage === "starting") {
      const again = attempt.again ? " No response yet, retrying." : "";
      const words = `Starting the payment…${again}`;
      return { nodes: [...head, h("p", { class: "outcome busy", role: "status" }, words)], tick };
    }
    if (attempt?.stage === "unanswered")
      return {
        nodes: [
          ...head,
          h(
            "p",
            { class: "outcome" },
            h("strong", {}, "No response."),
            " It is unknown whether the payment was started. Retry to find out; a retry never pays twice.",
          ),
          h(
            "div",
            { class: "actions" },
            button("Retry", "primary", () => this.#send(() => submitPayment(attempt))),
            button("Discard", "quiet", () => checkouts.removePayment(attempt.key)),
          ),
        ],
        tick,
      };
    const { payment } = order;
    if (payment && isOpen(payment) && !this.#isChoosing)
      return {
        nodes: [
          ...head,
          h(
            "p",
            { class: "outcome", role: "status" },
            h("strong", {}, "Payment in progress."),
            ` ${money(payment.amount)}. This page shows the result.`,
          ),
          h(
            "div",
            { class: "actions" },
            button("Pay in another way", "quiet", () => {
              this.#isChoosing = true;
              this.#show();
            }),
            cancel,
          ),
        ],
        tick,
      };
    return { nodes: [...head, ...this.#choices(order, cancel)], tick };
  }

  /** The outcomes of a demo payment. @param {Order} order @param {Node} cancel @returns {Node[]} */
  #choices(order, cancel) {
    const radios = SCENARIOS.map(([value, words, hint], index) =>
      h(
        "label",
        { class: "check" },
        h("input", { type: "radio", name: "scenario", value, checked: index === 0 }),
        h("span", {}, `${words} `, h("span", { class: "hint line" }, hint)),
      ),
    );
    const choice = h("fieldset", { class: "checks" }, h("legend", {}, "Demo payment"), ...radios);
    const chosen = () => {
      const checked = choice.querySelector("input:checked");
      return checked instanceof HTMLInputElement ? checked.value : "pays";
    };
    const declined =
      order.payment?.status === "failed" &&
      h(
        "p",
        { class: "outcome", role: "status" },
        h("strong", {}, "The payment was declined."),
        " You were not charged. You can try again.",
      );
    const press = () => {
      this.#isChoosing = false;
      return this.#send(() => pay(order.id, this.#scenario(chosen())));
    };
    return [
      ...(declined ? [declined] : []),
      choice,
      h("div", { class: "actions" }, button(`Pay ${money(order.total)}`, "primary", press), cancel),
    ];
  }

  /**
   * A late payment arrives after the deadline that the order has when the payment was started: the
   * start extends its holds as far as each drop allows.
   * @param {string} name
   */
  #scenario(name) {
    const order = this.#order;
    if (name !== "pays_late" || !order) return name;
    const placed = Date.parse(order.placed_at);
    const longest = order.items.map(({ drop_id }) => {
      const drop = this.#drops.get(drop_id);
      return placed + 1000 * (drop?.max_hold_seconds ?? drop?.hold_seconds ?? 0);
    });
    const deadline = Math.max(Date.parse(order.expires_at), Math.min(...longest));
    const left = Math.ceil(until(new Date(deadline).toISOString()) / 1000);
    return `pays_late=${Math.max(1, left + LATE_SECONDS)}`;
  }

  /** @param {() => Promise<unknown>} send */
  async #send(send) {
    await send();
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("changed"));
  }

  /** @param {Order} order */
  #showItems({ items }) {
    const rows = items.map((item) => {
      const name = this.#drops.get(item.drop_id)?.name;
      const refunded = item.refunded.quantity > 0 && ` · ${count(item.refunded.quantity)} refunded`;
      return h(
        "li",
        {},
        h(
          "a",
          { href: `/drops/${item.drop_id}`, dir: "auto" },
          name === undefined ? `Drop ${shortId(item.drop_id)}` : nameOrUnnamed(name),
        ),
        h(
          "span",
          { class: "tabular" },
          `${count(item.quantity)} × ${money(item.price)} = ${money(item.total)}`,
          refunded,
        ),
      );
    });
    const text = rows.map((row) => row.textContent).join("\n");
    if (this.#items.dataset.text === text) return;
    this.#items.dataset.text = text;
    this.#items.replaceChildren(...rows);
  }

  /** @param {Order} order */
  #showFacts(order) {
    const status = orderStatusOf(order);
    const refunded = refundedOf(order);
    const currency = order.total.currency;
    const kept = { amount: order.total.amount - refunded.amount.amount, currency };
    /** @type {[string, string | null | false | undefined][]} */
    const facts = [
      ["Order", order.id],
      ["Status", order.late ? `${ORDER_STATUS[status]}, late` : ORDER_STATUS[status]],
      ["Placed", exact(order.placed_at)],
      ["Paid", order.paid_at && exact(order.paid_at)],
      ["Cancelled", order.cancelled_at && exact(order.cancelled_at)],
      ["Payment", order.payment && paymentWords(order.payment)],
      ["Total", money(order.total)],
      [
        "Refunded",
        refunded.quantity > 0 &&
          `${money(refunded.amount)} for ${units(refunded.quantity, "unit")}`,
      ],
      ...order.refunds.map(
        (refund) => /** @type {[string, string]} */ (["Refund", refundWords(refund)]),
      ),
      ["You paid", refunded.quantity > 0 && money(kept)],
      ["Delivery", order.paid_at !== null && FULFILMENT[order.fulfilment]],
      ["Tracking", order.tracking],
    ];
    const shown = facts.filter(([, value]) => value);
    const text = JSON.stringify(shown);
    if (this.#facts.dataset.text === text) return;
    this.#facts.dataset.text = text;
    this.#facts.replaceChildren(
      ...shown.flatMap(([name, value]) => [
        h("dt", {}, name),
        h("dd", { dir: name === "Tracking" ? "auto" : null }, value),
      ]),
    );
  }
}
customElements.define("order-sheet", OrderSheet);

/** @type {Record<import("../lib/api.js").OrderStatus, (order: Order) => string>} */
const TITLES = {
  pending: () => "Reserved for you",
  paid: ({ late }) => (late ? "Paid, after the deadline" : "Thank you"),
  cancelled: () => "Order cancelled",
  expired: () => "Order expired",
  partially_refunded: () => "Partly refunded",
  refunded: () => "Refunded",
};

/** @param {Order} order @returns {{nodes: Node[], tick: () => void}} */
function countdown(order) {
  const [left, fuse] = [
    h("span", { class: "time", role: "timer", "aria-label": "Time left to pay" }),
    h("span"),
  ];
  const quantity = order.items.reduce((sum, item) => sum + item.quantity, 0);
  const hint = h("p", { class: "hint" });
  const whole = Date.parse(order.expires_at) - Date.parse(order.placed_at);
  const tick = () => {
    const remaining = until(order.expires_at);
    write(left, duration(remaining));
    left.toggleAttribute("data-soon", remaining < 10_000);
    fuse.style.transform = `scaleX(${Math.min(1, Math.max(0, remaining / whole)).toFixed(3)})`;
    write(hint, `Reserved until ${clock(order.expires_at)}. Unpaid units are released then.`);
  };
  const line = h(
    "p",
    { class: "held-line" },
    h("span", {}, `${units(quantity, "unit")} for ${money(order.total)}`),
    left,
  );
  return {
    nodes: [line, h("div", { class: "fuse", "aria-hidden": "true" }, fuse), hint],
    tick,
  };
}

/** @param {Order} order @param {"expired" | "cancelled"} status @returns {View} */
function over(order, status) {
  const { payment } = order;
  const ended =
    status === "expired"
      ? `The order expired at ${clock(order.expires_at)}, and its units were released.`
      : "The order was cancelled, and its units were released.";
  const back = h(
    "div",
    { class: "actions" },
    button("Back to the cart with these items", "secondary", () => {
      cart.restore(
        checkouts.all.find(({ order_id }) => order_id === order.id)?.lines ??
          order.items.map(({ drop_id, price, quantity }) => ({
            drop_id,
            drop_name: `Drop ${shortId(drop_id)}`,
            price,
            quantity,
          })),
      );
      location.assign("/cart");
    }),
  );
  return {
    nodes: [h("p", { class: "outcome", role: "status" }, `${ended} ${fate(payment)}`), back],
  };
}

/** The outcome of the money of an order that is over. @param {Order["payment"]} payment */
function fate(payment) {
  if (!payment || payment.status === "failed") return "You were not charged.";
  if (isOpen(payment))
    return "Your payment is still in progress. If it arrives, you get the units if they are free, and your money back otherwise.";
  return "Your payment arrived too late, and its money is returned to you.";
}

/** @param {Order} order @returns {Node[]} */
function paid(order) {
  const refunded = refundedOf(order);
  const late = order.late
    ? "Your payment arrived after the deadline. The units were still free, so they are yours."
    : "The order is paid, and the units are yours.";
  const words = order.status === "paid" ? late : "The shop has returned money to you.";
  return [
    h("p", { class: "outcome", role: "status" }, words),
    h(
      "p",
      { class: "held-line" },
      h("span", {}, refunded.quantity > 0 ? "Refunded" : "Paid"),
      h(
        "strong",
        { class: "price" },
        refunded.quantity > 0
          ? `${money(refunded.amount)} of ${money(order.total)}`
          : money(order.total),
      ),
    ),
  ];
}
