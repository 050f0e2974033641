// All holds, purchases and waitlist entries of this buyer, newest first, including those of ended
// drops. A row is created once and updated, so that it keeps the focus. Holds can be purchased
// here.

import { everyTick, until } from "../lib/clock.js";
import { h, mark, write } from "../lib/dom.js";
import { isolate, nameOrUnnamed } from "../lib/foreign.js";
import { clock, duration, money } from "../lib/format.js";
import { button, disarm } from "../lib/press.js";
import { buy } from "../lib/shop.js";
import { text } from "../lib/text.js";
import { isSettled, store, unitPrice } from "../lib/yours.js";

/** @typedef {import("../lib/yours.js").Entry} Entry */
/** @typedef {{row: HTMLLIElement, show: () => void}} Row */

/** The maximum number of settled entries shown. Entries in progress are always shown. */
const MAX_SETTLED = 8;

export class YourList extends HTMLElement {
  /** @type {Map<string, Row>} */
  #rows = new Map();
  #list = h("ul", { class: "plain rows" });
  #none = h("p", { class: "quiet-words" }, text("yours.none"));
  #stop = () => {};

  connectedCallback() {
    this.replaceChildren(this.#list, this.#none);
    const show = () => this.#show();
    store.addEventListener("change", show);
    const stop = everyTick(() => this.#rows.forEach((row) => row.show()));
    this.#stop = () => {
      stop();
      store.removeEventListener("change", show);
    };
    show();
  }

  disconnectedCallback() {
    this.#stop();
  }

  #show() {
    const shown = worthShowing(store.entries);
    this.#none.hidden = shown.length > 0;
    const known = this.#rows;
    this.#rows = new Map(shown.map((entry) => [entry.key, known.get(entry.key) ?? makeRow(entry)]));
    for (const [key, { row }] of known) if (!this.#rows.has(key)) row.remove();
    [...this.#rows.values()].forEach(({ row, show }, index) => {
      if (this.#list.children[index] !== row)
        this.#list.insertBefore(row, this.#list.children[index] ?? null);
      show();
    });
  }
}
customElements.define("your-list", YourList);

/** @param {Entry[]} entries */
function worthShowing(entries) {
  const over = entries.filter(isSettled).slice(0, MAX_SETTLED);
  return entries.filter((entry) => !isSettled(entry) || over.includes(entry));
}

/** @param {Entry} entry @returns {Row} */
function makeRow(entry) {
  const [words, end] = [h("span", { class: "tabular" }), h("span", { class: "row-end" })];
  const row = h(
    "li",
    { "data-key": entry.key },
    h("a", { href: `/drops/${entry.drop_id}`, dir: "auto" }, nameOrUnnamed(entry.drop_name)),
    end,
  );
  end.append(words);
  let arm = () => {};
  let stage = "";
  const show = () => {
    write(words, describe(entry));
    arm();
    if (stage === entry.stage) return;
    const hadFocus = end.contains(document.activeElement);
    stage = entry.stage;
    mark(row, "data-stage", stage);
    const buying = stage === "held" ? [buyButton(entry)] : [];
    end.replaceChildren(words, ...buying);
    arm = disarm(buying);
    if (hadFocus) row.querySelector("a")?.focus();
  };
  show();
  return { row, show };
}

/** @param {Entry} entry */
function buyButton(entry) {
  const words = text("action.buy", { price: money(unitPrice(entry), entry.quantity) });
  const made = button(words, "secondary small", () => buy(entry));
  made.append(h("span", { class: "visually-hidden" }, `: ${isolate(entry.drop_name)}`));
  return made;
}

/** @param {Entry} entry */
function describe(entry) {
  const { quantity } = entry;
  switch (entry.stage) {
    case "held":
      return `${text("yours.held", { count: quantity })} · ${duration(until(entry.hold?.expires_at ?? ""))}`;
    case "purchased":
      return `${text("yours.bought", { count: quantity })} · ${money(entry.total ?? unitPrice(entry), entry.total ? 1 : quantity)}`;
    case "expired":
      return text("yours.expired", { time: clock(entry.hold?.expires_at ?? 0) });
    case "released":
      return text(entry.called_off ? "yours.cancelled" : "yours.released");
    case "waiting":
    case "leaving":
      if (entry.waiting?.blocked_by) return text("yours.blocked");
      return entry.waiting?.place
        ? text("yours.rank", { count: entry.waiting.place })
        : text("yours.waiting");
    case "closed":
      return text(entry.called_off ? "yours.closed_cancelled" : "yours.closed");
    case "unanswered":
      return text("yours.unanswered");
    case "asking":
    case "joining":
    case "buying":
    case "releasing":
    case "checking":
      return text(entry.again ? "yours.retrying" : "yours.sending");
  }
}
