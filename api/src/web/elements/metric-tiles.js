// The counts of the selected window.

import { h, write } from "../lib/dom.js";
import { count, units } from "../lib/format.js";

/** @typedef {import("../lib/api.js").Metrics} Metrics */

/**
 * The label, the number, and its unit. Stock is counted in units, as in the table and the chart.
 * @type {[string, (metrics: Metrics) => number, (metrics: Metrics) => string][]}
 */
const TILES = [
  [
    "Held",
    (metrics) => metrics.units_held,
    (metrics) => within(metrics.units_held, units(metrics.holds_placed, "hold")),
  ],
  [
    "Sold",
    (metrics) => metrics.units_sold,
    (metrics) => within(metrics.units_sold, units(metrics.purchases_confirmed, "purchase")),
  ],
  [
    "Expired",
    (metrics) => metrics.units_expired,
    (metrics) => within(metrics.units_expired, units(metrics.holds_expired, "hold")),
  ],
  [
    "Released",
    (metrics) => metrics.units_released,
    (metrics) => within(metrics.units_released, units(metrics.holds_released, "hold")),
  ],
  ["Oversell attempts blocked", (metrics) => metrics.oversell_attempts_blocked, () => "requests"],
  ["Throttle blocks", (metrics) => metrics.throttle_blocks, () => "requests"],
];

export class MetricTiles extends HTMLElement {
  #figures = TILES.map(() => h("dd", {}, "–"));
  #counted = TILES.map(() => h("dd", { class: "counted" }, "\u00a0"));

  connectedCallback() {
    const tile = (/** @type {string} */ words, /** @type {number} */ index) =>
      h("div", { class: "tile" }, h("dt", {}, words), this.#figures[index], this.#counted[index]);
    this.replaceChildren(
      h("dl", { class: "tiles" }, ...TILES.map(([words], index) => tile(words, index))),
    );
  }

  /** @param {Metrics} metrics */
  set metrics(metrics) {
    TILES.forEach(([, of, caption], index) => {
      const [figure, counted] = [this.#figures[index], this.#counted[index]];
      if (figure) write(figure, count(of(metrics)));
      if (counted) write(counted, caption(metrics));
    });
  }
}
customElements.define("metric-tiles", MetricTiles);

/**
 * @param {number} number of units, which the tile shows
 * @param {string} parts the holds or purchases of these units
 */
function within(number, parts) {
  return `${number === 1 ? "unit" : "units"}, in ${parts}`;
}
