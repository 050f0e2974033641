// One order for its buyer: payment with a countdown while it waits, then the receipt.
//
// As in a hold's panel, each stage has a view that is built when the stage begins; after that only
// its texts change, so that it keeps the focus.

import { at } from "../lib/base.js";
import { cart } from "../lib/cart.js";
import { cancelOrder, checkouts, pay, submitPayment } from "../lib/checkout.js";
import { everyTick, until } from "../lib/clock.js";
import { h, mark, write } from "../lib/dom.js";
import { nameOrUnnamed } from "../lib/foreign.js";
import { clock, count, duration, exact, money } from "../lib/format.js";
import {
  FULFILMENT,
  ORDER_STATUS,
  orderStatusOf,
  refundSum,
  refundWords,
  refundedOf,
  shortId,
} from "../lib/order.js";
import { isOpen, paymentWords } from "../lib/payment.js";
import { button, disarm } from "../lib/press.js";
import { text } from "../lib/text.js";

/**
 * @typedef {import("../lib/api.js").Order} Order
 * @typedef {import("../lib/api.js").Drop} Drop
 * @typedef {{nodes: Node[], tick?: () => void}} View
 */

/** The outcomes of a demo payment. */
const SCENARIOS = ["pays", "declines", "pays_late", "pays_twice"];
/** How long after the deadline a late payment arrives, in seconds. */
const LATE_SECONDS = 3;

/** The facts of a receipt that are not in the language of the page. */
const FOREIGN = new Set(["order", "tracking"]);

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
  #panel = h("section", { class: "panel pay", "aria-label": text("order.payment"), tabindex: -1 });
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
            h("h2", { id: "items-title" }, text("order.items")),
            this.#items,
          ),
          h(
            "section",
            { class: "panel", "aria-labelledby": "receipt-title" },
            h("h2", { id: "receipt-title" }, text("order.receipt")),
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
    const cancel = button(text("order.cancel"), "quiet", async () => {
      const cancelled = await cancelOrder(order);
      if (cancelled) this.order = cancelled;
      this.#changed();
    });
    if (attempt?.stage === "starting") {
      const again = attempt.again ? ` ${text("busy.retrying")}` : "";
      const words = `${text("order.starting")}${again}`;
      return { nodes: [...head, h("p", { class: "outcome busy", role: "status" }, words)], tick };
    }
    if (attempt?.stage === "unanswered")
      return {
        nodes: [
          ...head,
          h(
            "p",
            { class: "outcome" },
            h("strong", {}, text("unanswered.title")),
            ` ${text("unanswered.payment")}`,
          ),
          h(
            "div",
            { class: "actions" },
            button(text("action.retry"), "primary", () => this.#send(() => submitPayment(attempt))),
            button(text("action.discard"), "quiet", () => checkouts.removePayment(attempt.key)),
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
            h("strong", {}, text("order.in_progress")),
            ` ${text("order.in_progress_words", { amount: money(payment.amount) })}`,
          ),
          h(
            "div",
            { class: "actions" },
            button(text("order.pay_otherwise"), "quiet", () => {
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
    const radios = SCENARIOS.map((value, index) =>
      h(
        "label",
        { class: "check" },
        h("input", { type: "radio", name: "scenario", value, checked: index === 0 }),
        h(
          "span",
          {},
          `${text(`scenario.${value}`)} `,
          h("span", { class: "hint line" }, text(`scenario.${value}_hint`)),
        ),
      ),
    );
    const choice = h(
      "fieldset",
      { class: "checks" },
      h("legend", {}, text("payment.provider.demo")),
      ...radios,
    );
    const chosen = () => {
      const checked = choice.querySelector("input:checked");
      return checked instanceof HTMLInputElement ? checked.value : "pays";
    };
    const declined =
      order.payment?.status === "failed" &&
      h(
        "p",
        { class: "outcome", role: "status" },
        h("strong", {}, text("order.declined")),
        ` ${text("order.declined_words")}`,
      );
    const press = () => {
      this.#isChoosing = false;
      return this.#send(() => pay(order.id, this.#scenario(chosen())));
    };
    return [
      ...(declined ? [declined] : []),
      choice,
      h(
        "div",
        { class: "actions" },
        button(text("order.pay", { amount: money(order.total) }), "primary", press),
        cancel,
      ),
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
      const refunded =
        item.refunded.quantity > 0 &&
        ` · ${text("order.item_refunded", { count: item.refunded.quantity })}`;
      return h(
        "li",
        {},
        h(
          "a",
          { href: `/drops/${item.drop_id}`, dir: "auto" },
          name === undefined
            ? text("drop.with_id", { id: shortId(item.drop_id) })
            : nameOrUnnamed(name),
        ),
        h(
          "span",
          { class: "tabular" },
          `${count(item.quantity)} × ${money(item.price)} = ${money(item.total)}`,
          refunded,
        ),
      );
    });
    const words = rows.map((row) => row.textContent).join("\n");
    if (this.#items.dataset.text === words) return;
    this.#items.dataset.text = words;
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
      ["order", order.id],
      [
        "status",
        order.late ? text("order.late", { status: ORDER_STATUS[status] }) : ORDER_STATUS[status],
      ],
      ["placed", exact(order.placed_at)],
      ["paid", order.paid_at && exact(order.paid_at)],
      ["cancelled", order.cancelled_at && exact(order.cancelled_at)],
      ["payment", order.payment && paymentWords(order.payment)],
      ["total", money(order.total)],
      ["refunded", refunded.quantity > 0 && refundSum(refunded)],
      ...order.refunds.map(
        (refund) => /** @type {[string, string]} */ (["refund", refundWords(refund)]),
      ),
      ["kept", refunded.quantity > 0 && money(kept)],
      ["delivery", order.paid_at !== null && FULFILMENT[order.fulfilment]],
      ["tracking", order.tracking],
    ];
    const shown = facts.filter(([, value]) => value);
    const words = JSON.stringify(shown);
    if (this.#facts.dataset.text === words) return;
    this.#facts.dataset.text = words;
    this.#facts.replaceChildren(
      ...shown.flatMap(([name, value]) => [
        h("dt", {}, text(`receipt.${name}`)),
        h("dd", { dir: FOREIGN.has(name) ? "auto" : null }, value),
      ]),
    );
  }
}
customElements.define("order-sheet", OrderSheet);

/** @type {Record<import("../lib/api.js").OrderStatus, (order: Order) => string>} */
const TITLES = {
  pending: () => text("order.title.pending"),
  paid: ({ late }) => text(late ? "order.title.late" : "order.title.paid"),
  cancelled: () => text("order.title.cancelled"),
  expired: () => text("order.title.expired"),
  partially_refunded: () => text("order.title.partially_refunded"),
  refunded: () => text("order.title.refunded"),
};

/** @param {Order} order @returns {{nodes: Node[], tick: () => void}} */
function countdown(order) {
  const [left, fuse] = [
    h("span", { class: "time", role: "timer", "aria-label": text("order.time_left") }),
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
    write(hint, text("order.until", { time: clock(order.expires_at) }));
  };
  const line = h(
    "p",
    { class: "held-line" },
    h("span", {}, refundSum({ quantity, amount: order.total })),
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
      ? text("order.expired_words", { time: clock(order.expires_at) })
      : text("order.cancelled_words");
  const back = h(
    "div",
    { class: "actions" },
    button(text("order.back_to_cart"), "secondary", () => {
      cart.restore(
        checkouts.all.find(({ order_id }) => order_id === order.id)?.lines ??
          order.items.map(({ drop_id, price, quantity }) => ({
            drop_id,
            drop_name: text("drop.with_id", { id: shortId(drop_id) }),
            price,
            quantity,
          })),
      );
      location.assign(at("/cart"));
    }),
  );
  return {
    nodes: [h("p", { class: "outcome", role: "status" }, `${ended} ${fate(payment)}`), back],
  };
}

/** The outcome of the money of an order that is over. @param {Order["payment"]} payment */
function fate(payment) {
  if (!payment || payment.status === "failed") return text("order.not_charged");
  return text(isOpen(payment) ? "order.still_open" : "order.too_late");
}

/** @param {Order} order @returns {Node[]} */
function paid(order) {
  const refunded = refundedOf(order);
  const done = order.late ? "order.paid_late_words" : "order.paid_words";
  const words = text(order.status === "paid" ? done : "order.refunded_words");
  return [
    h("p", { class: "outcome", role: "status" }, words),
    h(
      "p",
      { class: "held-line" },
      h("span", {}, text(refunded.quantity > 0 ? "receipt.refunded" : "receipt.paid")),
      h(
        "strong",
        { class: "price" },
        refunded.quantity > 0
          ? text("order.refunded_of", {
              refunded: money(refunded.amount),
              total: money(order.total),
            })
          : money(order.total),
      ),
    ),
  ];
}
