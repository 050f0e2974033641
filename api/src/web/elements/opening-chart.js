// The first seconds of a drop: units set aside and sold (upwards) and freed (downwards), in
// intervals of milliseconds after the first hold. An SVG that fits the available width.

import { h, svg, write } from "../lib/dom.js";
import { count, units } from "../lib/format.js";

/**
 * @typedef {import("../lib/report.js").OpeningBucket} Bucket
 * @typedef {{bucketMs: number, soldOutMs: number | null}} Scale
 */

const [HEIGHT, LEFT, TOP, BOTTOM] = [240, 44, 16, 28];
/** The fewest intervals that are shown, so that a short rush is not one wide bar. */
const FEWEST = 20;
/** The minimum distance between two labels of the time axis, in pixels. */
const LABEL_WIDTH = 64;
const LABEL_STEPS_MS = [50, 100, 250, 500, 1000, 2000, 5000];

export class OpeningChart extends HTMLElement {
  /** @type {Bucket[]} */
  #buckets = [];
  /** @type {Scale} */
  #scale = { bucketMs: 50, soldOutMs: null };
  #picked = -1;
  #svg = svg("svg", { role: "img" });
  #readout = h("span");
  #none = h("p", { class: "quiet-words", hidden: true }, "No hold has been placed yet.");
  #resized = new ResizeObserver(() => this.#draw());

  connectedCallback() {
    const key = (/** @type {string} */ kind, /** @type {string} */ words) =>
      h("span", {}, h("span", { class: `swatch ${kind}`, "aria-hidden": "true" }), words);
    this.replaceChildren(
      h(
        "div",
        { class: "legend" },
        key("held", "Units set aside"),
        key("sold", "Units sold"),
        key("freed", "Units returned"),
        this.#readout,
      ),
      this.#svg,
      this.#none,
    );
    this.#svg.addEventListener("pointermove", (event) => this.#pick(event));
    this.#svg.addEventListener("pointerleave", () => this.#pick(null));
    this.#resized.observe(this);
  }

  disconnectedCallback() {
    this.#resized.disconnect();
  }

  /** @param {Bucket[]} buckets of equal length, the first at 0 @param {Scale} scale */
  show(buckets, scale) {
    [this.#buckets, this.#scale] = [buckets, scale];
    this.#draw();
  }

  get #slots() {
    return Math.max(FEWEST, this.#buckets.length);
  }

  #draw() {
    const [buckets, width] = [this.#buckets, this.clientWidth];
    this.#none.hidden = buckets.length > 0;
    this.#svg.toggleAttribute("hidden", buckets.length === 0);
    if (buckets.length === 0 || width === 0) return;
    const most = Math.max(1, ...buckets.map(({ held, sold }) => Math.max(held, sold)));
    const down = Math.max(0, ...buckets.map(({ freed }) => freed));
    const unit = (HEIGHT - TOP - BOTTOM) / (most + down);
    const zero = TOP + most * unit;
    const slot = (width - LEFT) / this.#slots;
    /** @type {SVGElement[]} */
    const parts = [...this.#axes(width, most, zero, unit), ...this.#times(slot)];
    if (this.#picked >= 0)
      parts.push(
        svg("rect", {
          x: LEFT + this.#picked * slot,
          y: TOP,
          width: slot,
          height: HEIGHT - TOP - BOTTOM,
          class: "picked",
        }),
      );
    buckets.forEach((bucket, index) => {
      const half = slot / 2;
      const bar = (
        /** @type {"held" | "sold" | "freed"} */ kind,
        /** @type {number} */ x,
        /** @type {number} */ y,
        /** @type {number} */ wide,
      ) =>
        bucket[kind] > 0 &&
        parts.push(
          svg("rect", {
            x,
            y,
            width: Math.max(1, wide - 1),
            height: bucket[kind] * unit,
            class: kind,
          }),
        );
      const x = LEFT + index * slot;
      bar("held", x, zero - bucket.held * unit, half);
      bar("sold", x + half, zero - bucket.sold * unit, half);
      bar("freed", x, zero, slot);
    });
    parts.push(...this.#soldOut(slot));
    this.#svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.#svg.setAttribute("aria-label", this.#summary());
    this.#svg.replaceChildren(...parts);
    this.#showReadout();
  }

  /**
   * @param {number} width @param {number} most @param {number} zero @param {number} unit
   */
  #axes(width, most, zero, unit) {
    const lines = [most, Math.round(most / 2)].filter(
      (at, index, all) => all.indexOf(at) === index,
    );
    return [0, ...lines.filter((at) => at > 0)].flatMap((at) => {
      const y = zero - at * unit;
      return [
        svg("line", { x1: LEFT, x2: width, y1: y, y2: y, class: at === 0 ? "zero" : "grid-line" }),
        svg("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, count(at)),
      ];
    });
  }

  /** @param {number} slot */
  #times(slot) {
    const { bucketMs } = this.#scale;
    const step = LABEL_STEPS_MS.find((ms) => (ms / bucketMs) * slot >= LABEL_WIDTH) ?? 10_000;
    const labels = [];
    for (let ms = 0; ms <= this.#slots * bucketMs - step / 2; ms += step)
      labels.push(
        svg(
          "text",
          {
            x: LEFT + (ms / bucketMs) * slot,
            y: HEIGHT - 6,
            "text-anchor": ms === 0 ? "start" : "middle",
          },
          elapsed(ms),
        ),
      );
    return labels;
  }

  /** The moment without available units, if the chart contains it. @param {number} slot */
  #soldOut(slot) {
    const { soldOutMs, bucketMs } = this.#scale;
    if (soldOutMs === null || soldOutMs > this.#slots * bucketMs) return [];
    const x = LEFT + (soldOutMs / bucketMs) * slot;
    const isLeft = x < LEFT + (slot * this.#slots) / 2;
    return [
      svg("line", { x1: x, x2: x, y1: TOP - 4, y2: HEIGHT - BOTTOM, class: "mark" }),
      svg(
        "text",
        {
          x: x + (isLeft ? 6 : -6),
          y: TOP + 6,
          "text-anchor": isLeft ? "start" : "end",
          class: "marked",
        },
        `Sold out after ${elapsed(soldOutMs)}`,
      ),
    ];
  }

  /** @param {PointerEvent | null} event */
  #pick(event) {
    const slot = (this.clientWidth - LEFT) / this.#slots;
    const x = event ? event.clientX - this.#svg.getBoundingClientRect().left - LEFT : -1;
    const index = x >= 0 ? Math.floor(x / slot) : -1;
    const picked = index < this.#buckets.length ? index : -1;
    if (picked === this.#picked) return;
    this.#picked = picked;
    this.#draw();
  }

  #showReadout() {
    const bucket = this.#buckets[this.#picked];
    write(
      this.#readout,
      bucket
        ? `${elapsed(bucket.after_ms)}: ${units(bucket.holds, "hold")} of ${units(bucket.held, "unit")}, ${count(bucket.sold)} sold, ${count(bucket.freed)} returned`
        : "",
    );
  }

  #summary() {
    const sum = (/** @type {"holds" | "held" | "sold" | "freed"} */ name) =>
      this.#buckets.reduce((total, bucket) => total + bucket[name], 0);
    const { bucketMs, soldOutMs } = this.#scale;
    const end = soldOutMs === null ? "" : ` Sold out after ${elapsed(soldOutMs)}.`;
    return `${units(sum("holds"), "hold")} of ${units(sum("held"), "unit")} within ${elapsed(this.#buckets.length * bucketMs)}, ${count(sum("sold"))} units sold, ${count(sum("freed"))} returned.${end}`;
  }
}
customElements.define("opening-chart", OpeningChart);

/** A short time, as `0.25 s`. @param {number} ms */
export function elapsed(ms) {
  return `${(ms / 1000).toLocaleString("en", { maximumFractionDigits: ms < 10_000 ? 2 : 1 })} s`;
}
