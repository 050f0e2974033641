// Everything that this buyer has or had, newest first, whether its drop is still on or not. A row is made once and changes, so that
// focus stays; what is held can be bought here.

import { everyBeat, until } from "../lib/clock.js";
import { h, mark, write } from "../lib/dom.js";
import { foreign, named } from "../lib/foreign.js";
import { clock, duration, money, ordinal, units } from "../lib/format.js";
import { button, disarm } from "../lib/press.js";
import { buy } from "../lib/shop.js";
import { isSettled, unitPrice, yours } from "../lib/yours.js";

/** @typedef {import("../lib/yours.js").Entry} Entry */
/** @typedef {{row: HTMLLIElement, show: () => void}} Row */

/** Of what is over; what is under way is shown whatever there is of it. */
const MOST_OVER = 8;

export class YourList extends HTMLElement {
  /** @type {Map<string, Row>} */
  #rows = new Map();
  #list = h("ul", { class: "plain rows" });
  #none = h("p", { class: "quiet-words" }, "Nothing yet. What you hold or buy is listed here, and is still here after a refresh.");
  #stop = () => {};

  connectedCallback() {
    this.replaceChildren(this.#list, this.#none);
    const show = () => this.#show();
    yours.addEventListener("change", show);
    const stop = everyBeat(() => this.#rows.forEach((row) => row.show()));
    this.#stop = () => {
      stop();
      yours.removeEventListener("change", show);
    };
    show();
  }

  disconnectedCallback() {
    this.#stop();
  }

  #show() {
    const shown = worthShowing(yours.entries);
    this.#none.hidden = shown.length > 0;
    const known = this.#rows;
    this.#rows = new Map(shown.map((entry) => [entry.key, known.get(entry.key) ?? makeRow(entry)]));
    for (const [key, { row }] of known) if (!this.#rows.has(key)) row.remove();
    [...this.#rows.values()].forEach(({ row, show }, place) => {
      if (this.#list.children[place] !== row) this.#list.insertBefore(row, this.#list.children[place] ?? null);
      show();
    });
  }
}
customElements.define("your-list", YourList);

/** @param {Entry[]} entries */
function worthShowing(entries) {
  const over = entries.filter(isSettled).slice(0, MOST_OVER);
  return entries.filter((entry) => !isSettled(entry) || over.includes(entry));
}

/** @param {Entry} entry @returns {Row} */
function makeRow(entry) {
  const [words, end] = [h("span", { class: "tabular" }), h("span", { class: "row-end" })];
  const row = h("li", { "data-key": entry.key }, h("a", { href: `/drops/${entry.drop_id}`, dir: "auto" }, named(entry.drop_name)), end);
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
  const made = button(`Buy for ${money(unitPrice(entry), entry.quantity)}`, "secondary small", () => buy(entry));
  made.append(h("span", { class: "visually-hidden" }, `: ${foreign(entry.drop_name)}`));
  return made;
}

/** @param {Entry} entry */
function describe(entry) {
  const quantity = units(entry.quantity, "unit");
  switch (entry.stage) {
    case "held":
      return `${quantity} held · ${duration(until(entry.hold?.expires_at ?? ""))}`;
    case "purchased":
      return `${quantity} bought · ${money(entry.total ?? unitPrice(entry), entry.total ? 1 : entry.quantity)}`;
    case "expired":
      return `ran out at ${clock(entry.hold?.expires_at ?? 0)}`;
    case "released":
      return entry.called_off ? "called off, not bought" : "released";
    case "waiting":
    case "leaving":
      if (entry.waiting?.blocked_by) return "in line, passed over";
      return entry.waiting?.place ? `${ordinal(entry.waiting.place)} in line` : "in line";
    case "closed":
      return entry.called_off ? "called off, the line is closed" : "over, the line is closed";
    case "unanswered":
      return "no answer";
    case "asking":
    case "joining":
    case "buying":
    case "releasing":
    case "checking":
      return entry.again ? "asking again…" : "asking…";
  }
}
