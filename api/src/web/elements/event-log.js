// The latest events of the log. The log contains no personal data, and neither does this list.

import { Problem, call, callForPage } from "../lib/api.js";
import { h } from "../lib/dom.js";
import { isolate } from "../lib/foreign.js";
import { clock, count, money, units } from "../lib/format.js";

/**
 * @typedef {import("../lib/api.js").LogEvent} LogEvent
 * @typedef {import("../lib/api.js").DropLine} DropLine
 */

const SHOWN = 40;

export class EventLog extends HTMLElement {
  #list = h("ol", {
    class: "plain events",
    tabindex: 0,
    "aria-label": "Latest events, newest first",
  });
  #last = 0;
  /** The names of drops, by id. @type {Map<string, string>} */
  #names = new Map();

  connectedCallback() {
    this.replaceChildren(this.#list);
  }

  /**
   * Fetches the events after the last one shown, at most as many as the list shows.
   * @param {number} head
   * @param {DropLine[]} drops
   */
  async follow(head, drops) {
    for (const { id, name } of drops) this.#names.set(id, name);
    if (head <= this.#last) return;
    const after = Math.max(this.#last, head - SHOWN);
    try {
      /** @type {{data: LogEvent[]}} */
      const { data } = await call(`/v1/log?after=${after}&limit=${SHOWN}`);
      await this.#learnNames(data);
      for (const event of data)
        this.#list.prepend(row(event, this.#names.get(event.aggregate_id) ?? ""));
      while (this.#list.childElementCount > SHOWN) this.#list.lastElementChild?.remove();
      this.#last = data.at(-1)?.position ?? this.#last;
    } catch (problem) {
      // The next refresh tries again.
      if (!(problem instanceof Problem) || problem.status === 401) throw problem;
    }
  }

  /** Requests all unknown names of drops with one request. @param {LogEvent[]} events */
  async #learnNames(events) {
    // Events of orders and erasures have no drop's id.
    const drops = events.filter((event) => event.aggregate_type === "Drop");
    const unknown = new Set(
      drops.map((event) => event.aggregate_id).filter((id) => !this.#names.has(id)),
    );
    if (unknown.size === 0) return;
    const { data } = await callForPage(`/v1/drops?ids=${[...unknown].join()}`);
    for (const { id, name } of data) this.#names.set(id, name);
    // A drop that is missing from the response is not requested again.
    for (const id of unknown) if (!this.#names.has(id)) this.#names.set(id, "");
  }
}
customElements.define("event-log", EventLog);

/** @param {LogEvent} event @param {string} name */
function row(event, name) {
  const words = h(
    "span",
    {},
    h("strong", {}, eventWords(event.event_type)),
    " ",
    h(
      "span",
      { class: "quiet-words" },
      [isolate(name), detail(event), by(event)].filter(Boolean).join(" · "),
    ),
  );
  return h(
    "li",
    {},
    h("span", { class: "quiet-words" }, count(event.position)),
    h("time", { datetime: event.recorded_at }, clock(event.recorded_at)),
    words,
  );
}

/** The administrator whose request recorded the event. @param {LogEvent} event */
function by({ metadata }) {
  return metadata?.admin ? `by ${metadata.admin}` : "";
}

/** Converts `HoldPlaced` to “Hold placed”. @param {string} type */
export function eventWords(type) {
  const words = type.replace(/(?<=[a-z])[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
  return words;
}

/** @param {LogEvent} event */
function detail({ event_type, payload }) {
  const fields = payload[event_type] ?? {};
  // The facts of a payment and of an order name money, those of a purchase also units.
  const sum = fields.total ?? fields.amount;
  if (typeof sum?.amount === "number")
    return [
      typeof fields.quantity === "number" && units(fields.quantity, "unit"),
      Array.isArray(fields.items) && units(fields.items.length, "item"),
      money(sum),
    ]
      .filter(Boolean)
      .join(", ");
  if (typeof fields.quantity === "number") return units(fields.quantity, "unit");
  if (typeof fields.delta === "number")
    return `${fields.delta > 0 ? "+" : "−"}${Math.abs(fields.delta)}, ${isolate(fields.reason)}`;
  if (typeof fields.total_stock === "number") return units(fields.total_stock, "unit");
  return "";
}
