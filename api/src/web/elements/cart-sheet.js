// The lines of the cart, and the button that orders them. A line is created once and updated, so
// that it keeps the focus.

import { cart } from "../lib/cart.js";
import { checkouts, clearOrderRefusal, placeOrder, refusal, submitOrder } from "../lib/checkout.js";
import { cancelWork, percentOf } from "../lib/challenge.js";
import { everyTick } from "../lib/clock.js";
import { LEVEL, statusOf, statusWords, when } from "../lib/drop.js";
import { h, mark, write } from "../lib/dom.js";
import { isolate, nameOrUnnamed } from "../lib/foreign.js";
import { durationInWords, money } from "../lib/format.js";
import { button, disarm } from "../lib/press.js";
import { rich, text } from "../lib/text.js";

/**
 * @typedef {import("../lib/api.js").Drop} Drop
 * @typedef {import("../lib/cart.js").Line} Line
 * @typedef {{row: HTMLLIElement, show: () => void}} Row
 */

/** Dispatches `placed` (detail: the order's id). */
export class CartSheet extends HTMLElement {
  /** @type {Map<string, Row>} */
  #rows = new Map();
  /** The current states of the drops. @type {Map<string, Drop>} */
  #drops = new Map();
  #list = h("ul", { class: "plain cart-lines" });
  #none = h(
    "p",
    { class: "quiet-words" },
    ...rich("cart.empty", { link: h("a", { href: "/" }, text("cart.empty_link")) }),
  );
  #total = h("strong", { class: "price" });
  #sum = h("p", { class: "cart-sum" }, `${text("cart.total")} `, this.#total);
  #hint = h("p", { class: "hint" });
  #refused = h("p", { class: "error", role: "alert" });
  #end = h("div", { class: "actions" });
  /** What the order that is being placed waits for. */
  #placing = h("p", { class: "outcome busy", role: "status" });
  #stopWork = button(text("action.stop"), "quiet", () => {
    if (checkouts.open) cancelWork(checkouts.open.key);
  });
  #stage = "";
  #arm = () => {};
  #stop = () => {};

  connectedCallback() {
    this.replaceChildren(this.#list, this.#none, this.#sum, this.#hint, this.#refused, this.#end);
    const show = () => this.#show();
    cart.addEventListener("change", show);
    checkouts.addEventListener("change", show);
    const stop = everyTick(show);
    this.#stop = () => {
      stop();
      cart.removeEventListener("change", show);
      checkouts.removeEventListener("change", show);
    };
    show();
  }

  disconnectedCallback() {
    this.#stop();
  }

  /** Takes the state of a drop, from a response or from the stream. @param {Drop} drop */
  learn(drop) {
    this.#drops.set(drop.id, drop);
    const line = cart.of(drop.id);
    const isChanged =
      line &&
      (line.drop_name !== drop.name ||
        line.price.amount !== drop.price.amount ||
        line.price.currency !== drop.price.currency);
    if (isChanged) cart.update(drop.id, { drop_name: drop.name, price: drop.price });
    else this.#show();
  }

  #show() {
    const { lines } = cart;
    const known = this.#rows;
    this.#rows = new Map(
      lines.map(({ drop_id }) => [drop_id, known.get(drop_id) ?? this.#makeRow(drop_id)]),
    );
    for (const [id, { row }] of known)
      if (!this.#rows.has(id)) {
        const hadFocus = row.contains(document.activeElement);
        row.remove();
        const next = hadFocus && this.querySelector("input, button, a");
        if (next instanceof HTMLElement) next.focus();
      }
    [...this.#rows.values()].forEach(({ row, show }, index) => {
      if (this.#list.children[index] !== row)
        this.#list.insertBefore(row, this.#list.children[index] ?? null);
      show();
    });
    const isEmpty = lines.length === 0;
    const { open } = checkouts;
    this.#none.hidden = !isEmpty || open !== undefined;
    this.#sum.hidden = isEmpty;
    write(this.#total, totals(lines));
    const seconds = this.#holdSeconds();
    const isMixed = new Set(lines.map(({ price }) => price.currency)).size > 1;
    write(
      this.#hint,
      isEmpty
        ? ""
        : isMixed
          ? text("cart.currencies")
          : seconds
            ? text("cart.hint_for", { duration: durationInWords(seconds) })
            : text("cart.hint"),
    );
    write(this.#refused, refusal && !refusal.dropId ? refusal.words : "");
    this.#showEnd();
    this.#arm();
  }

  /** How long an order of these lines lasts; 0 if that is not known yet. */
  #holdSeconds() {
    const drops = cart.lines.map(({ drop_id }) => this.#drops.get(drop_id));
    return drops.length > 0 && drops.every((drop) => drop !== undefined)
      ? Math.min(...drops.map((drop) => drop?.hold_seconds ?? 0))
      : 0;
  }

  #showEnd() {
    const { open } = checkouts;
    const again = open?.again ? ` ${text("busy.retrying")}` : "";
    if (open?.stage === "placing") {
      write(this.#refused, "");
      const percent = percentOf(open.key);
      this.#stopWork.hidden = percent === undefined;
      const placing = `${text("cart.placing")}${again}`;
      const words = percent === undefined ? placing : text("busy.browser_percent", { percent });
      // Not read aloud at each percent.
      mark(this.#placing, "role", percent === undefined ? "status" : null);
      write(this.#placing, words);
    }
    const stage = open ? `${open.key} ${open.stage}${again}` : `${cart.lines.length > 0}`;
    if (stage === this.#stage) return;
    const isStep = this.#stage !== "";
    this.#stage = stage;
    const hadFocus = this.#end.contains(document.activeElement);
    this.#end.replaceChildren(...this.#choices());
    this.#arm = isStep
      ? disarm(this.#end.querySelectorAll("button"), () => {
          if (hadFocus) this.#end.querySelector("button")?.focus();
        })
      : () => {};
  }

  /** @returns {Node[]} */
  #choices() {
    const { open } = checkouts;
    if (open?.stage === "placing") return [this.#placing, this.#stopWork];
    if (open?.stage === "unanswered")
      return [
        h(
          "p",
          { class: "outcome" },
          h("strong", {}, text("unanswered.title")),
          ` ${text("unanswered.order")}`,
        ),
        button(text("action.retry"), "primary", () => this.#send(() => submitOrder(open))),
        button(text("action.discard"), "quiet", () => checkouts.remove(open.key)),
      ];
    if (cart.lines.length === 0) return [];
    return [button(text("cart.place"), "primary", () => this.#order())];
  }

  #order() {
    const wrong = this.querySelector('input[aria-invalid="true"]');
    if (wrong instanceof HTMLElement) return wrong.focus();
    return this.#send(placeOrder);
  }

  /** @param {() => Promise<string | undefined>} send */
  async #send(send) {
    const placed = await send();
    if (placed) this.dispatchEvent(new CustomEvent("placed", { detail: placed }));
    this.#show();
  }

  /** @param {string} dropId @returns {Row} */
  #makeRow(dropId) {
    const line = cart.of(dropId);
    const id = `quantity-${dropId}`;
    const link = h("a", { href: `/drops/${dropId}`, dir: "auto" });
    const quantity = h("input", {
      id,
      type: "number",
      min: 1,
      step: 1,
      inputmode: "numeric",
      value: line?.quantity ?? 1,
      "aria-describedby": `note-${dropId}`,
    });
    const name = h("span", { class: "visually-hidden" });
    const price = h("span", { class: "quiet-words tabular" });
    const sum = h("span", { class: "price" });
    const note = h("p", { class: "note", id: `note-${dropId}` });
    const remove = button(text("cart.remove"), "quiet small", () => {
      clearOrderRefusal();
      cart.remove(dropId);
    });
    const removed = h("span", { class: "visually-hidden" });
    remove.append(removed);
    quantity.addEventListener("input", () => {
      clearOrderRefusal();
      const isValid = isQuantity(quantity);
      mark(quantity, "aria-invalid", isValid ? null : "true");
      if (isValid) cart.update(dropId, { quantity: quantity.valueAsNumber });
      else this.#show();
    });
    const row = h(
      "li",
      { "data-drop-id": dropId },
      h("span", { class: "cart-name" }, link, price),
      h("label", { class: "cart-quantity", for: id }, text("quantity.label"), name, quantity),
      sum,
      remove,
      note,
    );
    const show = () => {
      const now = cart.of(dropId);
      if (!now) return;
      const drop = this.#drops.get(dropId);
      write(link, nameOrUnnamed(now.drop_name));
      write(name, ` ${text("quantity.of", { name: isolate(now.drop_name) })}`);
      write(removed, ` ${isolate(now.drop_name)}`);
      write(price, text("cart.each", { price: money(now.price) }));
      write(sum, money(now.price, now.quantity));
      if (drop) quantity.max = String(drop.max_per_hold);
      // Another tab has changed the quantity.
      if (isQuantity(quantity) && quantity.valueAsNumber !== now.quantity)
        quantity.value = String(now.quantity);
      const isRefused = refusal?.dropId === dropId;
      const fault = isQuantity(quantity)
        ? isRefused && refusal
          ? refusal.words
          : ""
        : drop
          ? text("quantity.range", { most: drop.max_per_hold })
          : text("quantity.least");
      write(note, fault || (drop ? stateOf(drop, now) : ""));
      note.classList.toggle("refusal", fault !== "");
    };
    return { row, show };
  }
}
customElements.define("cart-sheet", CartSheet);

/** @param {HTMLInputElement} input */
function isQuantity({ valueAsNumber, max }) {
  const most = max === "" ? Infinity : Number(max);
  return Number.isInteger(valueAsNumber) && valueAsNumber >= 1 && valueAsNumber <= most;
}

/** Whether a line can be ordered now. @param {Drop} drop @param {Line} line */
function stateOf(drop, { quantity }) {
  const status = statusOf(drop);
  if (status === "live") {
    const { available, level } = drop.stock;
    if (level) return LEVEL[level];
    return text(available >= quantity ? "cart.left" : "cart.only_left", { count: available });
  }
  return status === "scheduled" ? when(drop) : statusWords(drop);
}

/** The total of each currency. @param {Line[]} lines */
function totals(lines) {
  /** @type {Map<string, number>} */
  const sums = new Map();
  for (const { price, quantity } of lines)
    sums.set(price.currency, (sums.get(price.currency) ?? 0) + price.amount * quantity);
  return [...sums].map(([currency, amount]) => money({ amount, currency })).join(" + ");
}
