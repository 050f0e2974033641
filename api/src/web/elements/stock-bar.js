// The stock of a drop as a bar and as text. Both show how much is left: available units, then those
// on hold, whose part of the bar lies behind; the empty rest is sold. A drop that has ended has
// nothing left, and shows the sold units.

import { h, mark, write } from "../lib/dom.js";
import { LEVEL } from "../lib/drop.js";
import { count } from "../lib/format.js";
import { text } from "../lib/text.js";

/** @typedef {import("../lib/api.js").Stock} Stock */

export class StockBar extends HTMLElement {
  #main = h("span", { class: "available" });
  #held = h("span", { class: "held" });
  #bar = h("div", { class: "bar", role: "img" }, this.#held, this.#main);
  #left = h("strong", { class: "left" });
  #rest = h("span");

  connectedCallback() {
    // The server's first state stays until the stock is known.
    if (!this.firstChild) this.#build();
  }

  #build() {
    this.replaceChildren(this.#bar, h("p", { class: "units" }, this.#left, this.#rest));
  }

  /** @param {Stock} stock @param {boolean} isOver */
  show({ total, available, held, sold, level }, isOver) {
    if (!this.contains(this.#bar)) this.#build();
    this.#bar.hidden = level !== undefined;
    if (level) {
      write(this.#left, isOver ? "" : LEVEL[level]);
      write(this.#rest, "");
      return mark(this, "data-low", !isOver && level === "low" ? "" : null);
    }
    const share = (/** @type {number} */ units) => `${(100 * units) / Math.max(1, total)}%`;
    this.#main.className = isOver ? "sold" : "available";
    this.#main.style.width = share(isOver ? sold : available);
    this.#held.style.width = share((isOver ? sold : available) + held);
    // The width of the largest number, so that the text after it does not move when the number
    // falls.
    this.#left.style.minWidth = `${count(total).length + 3.3}ch`;
    write(
      this.#left,
      isOver ? text("stock.sold", { number: sold }) : text("stock.left", { number: available }),
    );
    write(this.#rest, text(held > 0 ? "stock.of_held" : "stock.of", { total, held }));
    const label = isOver ? "stock.label_over" : "stock.label";
    mark(this.#bar, "aria-label", text(label, { available, total, held, sold }));
    const isLow = !isOver && available > 0 && available <= Math.max(3, total / 10);
    this.toggleAttribute("data-low", isLow);
    this.toggleAttribute("data-over", isOver);
  }
}
customElements.define("stock-bar", StockBar);
