// What happened within the window, as numbers.

import { h, write } from "../lib/dom.js";
import { count } from "../lib/format.js";

/** @typedef {import("../lib/api.js").Metrics} Metrics */

/** @type {[string, (metrics: Metrics) => number][]} */
const TILES = [
  ["Holds placed", (metrics) => metrics.holds_placed],
  ["Purchases", (metrics) => metrics.purchases_confirmed],
  ["Units sold", (metrics) => metrics.units_sold],
  ["Holds expired", (metrics) => metrics.holds_expired],
  ["Holds released", (metrics) => metrics.holds_released],
  ["Oversell attempts blocked", (metrics) => metrics.oversell_attempts_blocked],
  ["Throttle blocks", (metrics) => metrics.throttle_blocks],
];

export class MetricTiles extends HTMLElement {
  #figures = TILES.map(() => h("dd", {}, "–"));

  connectedCallback() {
    this.replaceChildren(h("dl", { class: "tiles" }, ...TILES.map(([words], index) => h("div", { class: "tile" }, h("dt", {}, words), this.#figures[index]))));
  }

  /** @param {Metrics} metrics */
  set metrics(metrics) {
    TILES.forEach(([, of], index) => {
      const figure = this.#figures[index];
      if (figure) write(figure, count(of(metrics)));
    });
  }
}
customElements.define("metric-tiles", MetricTiles);
