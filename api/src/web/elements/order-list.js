// The orders that this browser has placed, newest first, with their current status.

import { call } from "../lib/api.js";
import { checkouts } from "../lib/checkout.js";
import { h, write } from "../lib/dom.js";
import { isolate, nameOrUnnamed } from "../lib/foreign.js";
import { money } from "../lib/format.js";
import { ORDER_STATUS, orderStatusOf } from "../lib/order.js";
import { text } from "../lib/text.js";
import { session } from "../lib/token.js";

/**
 * @typedef {import("../lib/api.js").Order} Order
 * @typedef {import("../lib/checkout.js").Checkout} Checkout
 */

/** The most orders that are shown. */
const MAX_SHOWN = 10;

export class OrderList extends HTMLElement {
  #list = h("ul", { class: "plain rows" });
  #none = h("p", { class: "quiet-words" }, text("orders.none"));
  /** The orders that were read, by id. @type {Map<string, Order>} */
  #orders = new Map();

  connectedCallback() {
    this.replaceChildren(this.#list, this.#none);
    checkouts.addEventListener("change", this.#show);
    session.addEventListener("change", this.#read);
    this.#show();
    void this.#read();
  }

  disconnectedCallback() {
    checkouts.removeEventListener("change", this.#show);
    session.removeEventListener("change", this.#read);
  }

  #read = async () => {
    if (!session.isOpen) return;
    await Promise.all(
      placed().map(async ({ order_id: id = "" }) => {
        const order = await call(`/v1/orders/${id}`).catch(() => null);
        if (order) this.#orders.set(id, order);
      }),
    );
    this.#show();
  };

  #show = () => {
    const rows = placed();
    this.#none.hidden = rows.length > 0;
    const known = new Map(
      [...this.#list.children].map((row) => [row.getAttribute("data-order-id"), row]),
    );
    const shown = rows.map((checkout) => {
      const id = checkout.order_id ?? "";
      const row = known.get(id) ?? makeRow(checkout);
      const words = row.querySelector(".tabular");
      if (words) write(words, describe(checkout, this.#orders.get(id)));
      return row;
    });
    for (const row of known.values()) if (!shown.includes(row)) row.remove();
    shown.forEach((row, index) => {
      const present = this.#list.children[index] ?? null;
      if (present !== row) this.#list.insertBefore(row, present);
    });
  };
}
customElements.define("order-list", OrderList);

function placed() {
  return checkouts.all.filter(({ order_id }) => order_id !== undefined).slice(0, MAX_SHOWN);
}

/** @param {Checkout} checkout */
function makeRow({ order_id = "", lines }) {
  const [first, ...others] = lines.map(({ drop_name }) => isolate(nameOrUnnamed(drop_name)));
  const words =
    others.length > 0
      ? text("orders.and_more", { name: first ?? "", count: others.length })
      : (first ?? "");
  return h(
    "li",
    { "data-order-id": order_id },
    h("a", { href: `/orders/${order_id}` }, words),
    h("span", { class: "tabular" }),
  );
}

/** @param {Checkout} checkout @param {Order | undefined} order */
function describe({ total }, order) {
  const status = order ? ORDER_STATUS[orderStatusOf(order)] : "…";
  const sum = order?.total ?? total;
  return sum ? `${status} · ${money(sum)}` : status;
}
