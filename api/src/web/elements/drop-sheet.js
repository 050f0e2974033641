// Everything about one drop: picture, terms, stock, who bought, and what this buyer can do.

import { call } from "../lib/api.js";
import { buyerId } from "../lib/buyer.js";
import { everyBeat } from "../lib/clock.js";
import { isOver, statusOf, statusWords, when } from "../lib/drop.js";
import { h, mark, write } from "../lib/dom.js";
import { named } from "../lib/foreign.js";
import { clock, count, money, spoken, units } from "../lib/format.js";
import { yours } from "../lib/yours.js";
import { DropPicture } from "./drop-picture.js";
import { HoldPanel } from "./hold-panel.js";
import { StockBar } from "./stock-bar.js";

/**
 * @typedef {import("../lib/api.js").Drop} Drop
 * @typedef {import("../lib/api.js").Purchaser} Purchaser
 */

const FIGURES = /** @type {const} */ ([["available", "Available"], ["held", "Held"], ["sold", "Sold"], ["total", "In all"]]);
const ASK_AFTER_MS = 500;
/** Between an answer that failed and the next question. */
const RETRY_MS = 5000;

export class DropSheet extends HTMLElement {
  /** @type {Drop | undefined} */
  #drop;
  #picture = new DropPicture();
  #status = h("span", { class: "status" });
  #name = h("h1", { dir: "auto" });
  #description = h("p", { class: "description", dir: "auto" });
  #price = h("p", { class: "price large" });
  #stock = new StockBar();
  #when = h("p", { class: "when" });
  #panel = new HoldPanel();
  #figures = new Map(FIGURES.map(([name]) => [name, h("dd")]));
  #names = new Map(FIGURES.map(([name, words]) => [name, h("dt", {}, words)]));
  #rules = h("ul", { class: "plain rules" });
  #standing = h("p", { class: "standing" });
  #top = h("ol", { class: "plain rows" });
  #latest = h("ol", { class: "plain rows" });
  #asking = 0;

  connectedCallback() {
    const figures = h("dl", { class: "figures" }, ...FIGURES.map(([name]) => h("div", {}, this.#names.get(name), this.#figures.get(name))));
    const facts = h("div", { class: "sheet-facts" }, this.#name, this.#price, this.#description,
      h("div", { class: "buy-box" }, this.#stock, this.#when, this.#panel, this.#standing), document.createElement("name-field"));
    const buyers = h("div", { class: "columns" },
      h("section", { class: "panel", "aria-labelledby": "top-title" }, h("h2", { id: "top-title" }, "Top purchasers"), this.#top),
      h("section", { class: "panel", "aria-labelledby": "latest-title" }, h("h2", { id: "latest-title" }, "Latest purchases"), this.#latest));
    this.replaceChildren(h("div", { class: "sheet" }, h("div", { class: "frame large" }, this.#picture, this.#status), facts, h("div", { class: "sheet-more" }, figures, this.#rules)), buyers);
    everyBeat(() => this.#tick());
    yours.addEventListener("change", () => this.#askSoon());
  }

  /** @param {Drop} drop */
  set drop(drop) {
    const before = this.#drop;
    this.#drop = drop;
    write(this.#name, named(drop.name));
    write(this.#description, drop.description ?? "");
    write(this.#price, money(drop.price));
    this.#picture.drop = drop;
    this.#panel.drop = drop;
    for (const [name, figure] of this.#figures) write(figure, count(drop.stock[name]));
    this.#showRules(drop);
    this.#tick();
    if (!before || before.stock.sold !== drop.stock.sold) this.#askSoon();
  }

  #tick() {
    const drop = this.#drop;
    if (!drop) return;
    mark(this, "data-status", statusOf(drop));
    write(this.#status, statusWords(drop));
    write(this.#when, when(drop));
    const over = isOver(statusOf(drop));
    this.#stock.show(drop.stock, over);
    const available = this.#names.get("available");
    if (available) write(available, over ? "Not sold" : "Available");
  }

  /** @param {Drop} drop */
  #showRules({ hold_seconds, max_per_hold, max_per_buyer, throttle }) {
    const rules = [
      `A hold lasts ${spoken(hold_seconds)}.`,
      `At most ${units(max_per_hold, "unit")} in one hold.`,
      max_per_buyer === null ? "" : `At most ${units(max_per_buyer, "unit")} for one buyer.`,
      throttle === null ? "" : `At most ${units(throttle.holds, "hold")} for one buyer in ${spoken(throttle.window_seconds)}.`,
    ].filter(Boolean);
    if (this.#rules.childElementCount === rules.length && [...this.#rules.children].every((item, index) => item.textContent === rules[index])) return;
    this.#rules.replaceChildren(...rules.map((rule) => h("li", {}, rule)));
  }

  /** Asks for what the stream does not tell, once things are quiet for a moment. @param {number} [pause] */
  #askSoon(pause = ASK_AFTER_MS) {
    if (this.#asking) return;
    this.#asking = window.setTimeout(() => {
      this.#asking = 0;
      void this.#ask();
    }, pause);
  }

  /** Asks at once, instead of after the pause. */
  #askNow() {
    clearTimeout(this.#asking);
    this.#asking = 0;
    void this.#ask();
  }

  async #ask() {
    const drop = this.#drop;
    if (!drop) return;
    // At least as new as what the page shows, whichever server answers.
    const [path, fresh] = [`/v1/drops/${drop.id}`, `at_least=${drop.position}`];
    const [top, latest, standing] = await Promise.all([
      call(`${path}/purchasers?limit=5&order=units&${fresh}`).catch(() => null),
      call(`${path}/purchasers?limit=5&order=recent&${fresh}`).catch(() => null),
      call(`${path}/buyers/${encodeURIComponent(buyerId())}?${fresh}`).catch(() => null),
    ]);
    const again = () => this.#askNow();
    if (top) fill(this.#top, top.data, ({ quantity }) => units(quantity, "unit"));
    else admit(this.#top, again);
    if (latest) fill(this.#latest, latest.data, ({ last_purchased_at }) => clock(last_purchased_at));
    else admit(this.#latest, again);
    write(this.#standing, standing ? describe(standing, yours.of(drop.id) === undefined) : "");
    if (!top || !latest || !standing) this.#askSoon(RETRY_MS);
  }
}
customElements.define("drop-sheet", DropSheet);

/** @param {Element} list @param {Purchaser[]} purchasers @param {(purchaser: Purchaser) => string} figure */
function fill(list, purchasers, figure) {
  const rows = purchasers.map((purchaser) => h("li", {}, h("bdi", {}, named(purchaser.buyer)), h("span", { class: "tabular" }, figure(purchaser))));
  list.replaceChildren(...(rows.length > 0 ? rows : [h("li", { class: "quiet-words" }, "No purchases yet.")]));
}

/** Says that a list could not be read, instead of what it said before, which may no longer be true. @param {Element} list @param {() => void} again */
function admit(list, again) {
  if (list.querySelector(".unread")) return;
  const retry = h("button", { type: "button", class: "quiet small", onclick: again }, "Try again");
  list.replaceChildren(h("li", { class: "unread" }, h("span", {}, "This could not be read."), retry));
}

/** What the buyer has, and what more they may have, where that can be had right now. @param {import("../lib/api.js").Standing} standing @param {boolean} canHold */
function describe({ held, purchased, allowance }, canHold) {
  if (held === 0 && purchased === 0) return "";
  const have = [held > 0 && `${count(held)} held`, purchased > 0 && `${count(purchased)} bought`].filter(Boolean).join(", ");
  if (allowance === 0) return `You: ${have}. That is all that one buyer may have.`;
  return canHold ? `You: ${have}. You may hold ${count(allowance)} more.` : `You: ${have}.`;
}
