// A chart of units sold (upwards) and units expired (downwards) over time. An SVG that fits the
// available width.

import { h, svg, write } from "../lib/dom.js";
import { clock, count, day } from "../lib/format.js";

/** @typedef {import("../lib/api.js").Bucket} Bucket */

const [HEIGHT, LEFT, TOP, BOTTOM] = [272, 40, 8, 24];
/** The minimum distance between two labels of the time axis, in pixels. */
const LABEL_WIDTH = 90;
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
/** The possible distances between labels of the time axis, in milliseconds. */
const LABEL_STEPS = [
  MINUTE_MS,
  2 * MINUTE_MS,
  5 * MINUTE_MS,
  10 * MINUTE_MS,
  15 * MINUTE_MS,
  30 * MINUTE_MS,
  HOUR_MS,
  2 * HOUR_MS,
  3 * HOUR_MS,
  6 * HOUR_MS,
  12 * HOUR_MS,
  24 * HOUR_MS,
  48 * HOUR_MS,
];

export class SalesChart extends HTMLElement {
  /** @type {Bucket[]} */
  #buckets = [];
  #picked = -1;
  #svg = svg("svg", { role: "img" });
  #readout = h("span");
  #resized = new ResizeObserver(() => this.#draw());

  connectedCallback() {
    const key = (/** @type {string} */ kind, /** @type {string} */ words) =>
      h("span", {}, h("span", { class: `swatch ${kind}`, "aria-hidden": "true" }), words);
    this.replaceChildren(
      h("div", { class: "legend" }, key("sold", "Sold"), key("expired", "Expired"), this.#readout),
      this.#svg,
    );
    this.#svg.addEventListener("pointermove", (event) => this.#pick(event));
    this.#svg.addEventListener("pointerleave", () => this.#pick(null));
    this.#resized.observe(this);
  }

  disconnectedCallback() {
    this.#resized.disconnect();
  }

  /** @param {Bucket[]} buckets */
  set buckets(buckets) {
    this.#buckets = buckets;
    this.#draw();
  }

  #draw() {
    const [buckets, width] = [this.#buckets, this.clientWidth];
    if (buckets.length === 0 || width === 0) return;
    const most = {
      sold: Math.max(...buckets.map(({ sold }) => sold)),
      expired: Math.max(...buckets.map(({ expired }) => expired)),
    };
    const step = niceStep((most.sold + most.expired || 4) / 5);
    const [up, down] = [Math.max(1, Math.ceil(most.sold / step)), Math.ceil(most.expired / step)];
    const unit = (HEIGHT - TOP - BOTTOM) / ((up + down) * step);
    const zero = TOP + up * step * unit;
    const slot = (width - LEFT) / buckets.length;
    const parts = [];
    for (let line = -down; line <= up; line += 1) {
      const y = zero - line * step * unit;
      parts.push(
        svg("line", {
          x1: LEFT,
          x2: width,
          y1: y,
          y2: y,
          class: line === 0 ? "zero" : "grid-line",
        }),
      );
      parts.push(
        svg("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, count(Math.abs(line * step))),
      );
    }
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
    const gap = Math.min(3, slot / 5);
    buckets.forEach(({ sold, expired }, index) => {
      const x = LEFT + index * slot + gap / 2;
      if (sold > 0)
        parts.push(
          svg("rect", {
            x,
            y: zero - sold * unit,
            width: slot - gap,
            height: sold * unit,
            rx: Math.min(2, slot / 4),
            class: "sold",
          }),
        );
      if (expired > 0)
        parts.push(
          svg("rect", {
            x,
            y: zero,
            width: slot - gap,
            height: expired * unit,
            rx: Math.min(2, slot / 4),
            class: "expired",
          }),
        );
    });
    parts.push(...timeLabels(buckets, slot));
    this.#svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.#svg.setAttribute("aria-label", this.#summary());
    this.#svg.replaceChildren(...parts);
    this.#showReadout();
  }

  /** @param {PointerEvent | null} event */
  #pick(event) {
    const slot = (this.clientWidth - LEFT) / this.#buckets.length;
    const index = event
      ? Math.floor((event.clientX - this.#svg.getBoundingClientRect().left - LEFT) / slot)
      : -1;
    const picked = index >= 0 && index < this.#buckets.length ? index : -1;
    if (picked === this.#picked) return;
    this.#picked = picked;
    this.#draw();
  }

  #showReadout() {
    const bucket = this.#buckets[this.#picked];
    write(
      this.#readout,
      bucket
        ? `${day(bucket.start)}: ${count(bucket.sold)} sold, ${count(bucket.expired)} expired, ${count(bucket.held)} held`
        : "",
    );
  }

  #summary() {
    const sum = (/** @type {"sold" | "expired"} */ name) =>
      count(this.#buckets.reduce((total, bucket) => total + bucket[name], 0));
    const [first, last] = [this.#buckets[0], this.#buckets.at(-1)];
    return `${sum("sold")} units sold and ${sum("expired")} expired from ${day(first?.start ?? 0)} to ${day(last?.start ?? 0)}. The table has every number.`;
  }
}
customElements.define("sales-chart", SalesChart);

/**
 * Returns the smallest number of the form 1, 2 or 5 times a power of ten that is at least `least`.
 * @param {number} least
 */
function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, least)));
  return [1, 2, 5, 10].map((digit) => digit * power).find((step) => step >= least) ?? 10 * power;
}

/** @param {Bucket[]} buckets */
function span(buckets) {
  return Date.parse(buckets.at(-1)?.start ?? "") - Date.parse(buckets[0]?.start ?? "");
}

/**
 * Labels at round local times, as many as fit.
 * @param {Bucket[]} buckets
 * @param {number} slot pixels per bucket
 */
function timeLabels(buckets, slot) {
  const length = buckets.length > 1 ? span(buckets) / (buckets.length - 1) : MINUTE_MS;
  const step = LABEL_STEPS.find((apart) => (apart / length) * slot >= LABEL_WIDTH) ?? 48 * HOUR_MS;
  const label = (/** @type {number} */ time) =>
    step >= 24 * HOUR_MS ? date(time) : clock(time).slice(0, 5);
  return buckets.flatMap(({ start }, index) => {
    const time = Date.parse(start);
    const isRound = (time - MINUTE_MS * new Date(time).getTimezoneOffset()) % step < length;
    const x = LEFT + (index + 0.5) * slot;
    const fits = x > LEFT + 16 && x < LEFT + buckets.length * slot - 16;
    return isRound && fits
      ? [svg("text", { x, y: HEIGHT - 4, "text-anchor": "middle" }, label(time))]
      : [];
  });
}

/** @param {number} time */
function date(time) {
  return new Date(time).toLocaleDateString("en-GB", { day: "numeric", month: "short" });
}

/** The same numbers as a table, latest first, without empty buckets. @param {Bucket[]} buckets */
export function chartTable(buckets) {
  const isWithinADay = span(buckets) < 24 * HOUR_MS;
  const names = /** @type {const} */ (["held", "sold", "expired", "released"]);
  const busy = buckets.filter((bucket) => names.some((name) => (bucket[name] ?? 0) > 0)).reverse();
  const head = h(
    "tr",
    {},
    h("th", { scope: "col" }, "From"),
    ...["Held", "Sold", "Expired", "Released"].map((words) => h("th", { scope: "col" }, words)),
  );
  const rows = busy.map((bucket) =>
    h(
      "tr",
      {},
      h("td", {}, isWithinADay ? clock(bucket.start).slice(0, 5) : day(bucket.start)),
      ...names.map((name) => h("td", {}, count(bucket[name] ?? 0))),
    ),
  );
  const none = h("tr", {}, h("td", { colspan: 5 }, "No activity in this window."));
  return h(
    "table",
    {},
    h(
      "caption",
      { class: "visually-hidden" },
      "Units by time, latest first, without empty intervals",
    ),
    h("thead", {}, head),
    h("tbody", {}, ...(rows.length > 0 ? rows : [none])),
  );
}
