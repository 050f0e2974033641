// The state of the server: the engine, the lag of projections, and the delay of expiries.

import { h } from "../lib/dom.js";
import { count } from "../lib/format.js";

/** @typedef {import("../lib/api.js").Metrics} Metrics */

const ENGINE = {
  live: "accepting requests",
  away: "event log unreachable",
  refused: "event log failed a consistency check",
  clock_fault: "paused: the clock differs from the database's",
  stopped: "stopped",
};

/** The defect of the event that put a drop into quarantine. @type {Record<string, string>} */
const DEFECTS = {
  unknown_type: "unknown event type",
  unknown_version: "unknown version of an event type",
  unreadable: "event cannot be decoded",
  wrong_sequence: "event out of sequence",
  contradiction: "event contradicts earlier events",
};

export class HealthList extends HTMLElement {
  #list = h("dl", { class: "pairs" });

  connectedCallback() {
    this.replaceChildren(this.#list);
  }

  /** @param {Metrics} metrics */
  set metrics({ engine, projections, quarantined, release_lateness: late, watchers, position }) {
    /** @type {[string, string, boolean?][]} */
    const pairs = [
      ["Engine", ENGINE[engine.state], engine.state !== "live"],
      ["Queued requests", count(engine.queued)],
      ["Events in the log", count(position)],
      ["Watchers", count(watchers)],
      [
        "Expiry delay",
        late
          ? `median ${late.p50_ms} ms, p99 ${late.p99_ms} ms, max ${late.max_ms} ms`
          : "no hold expired",
      ],
    ];
    for (const { name, lag, stopped } of projections) {
      const words = stopped
        ? `stopped: ${stopped}`
        : lag === 0
          ? "up to date"
          : `${count(lag)} events behind`;
      pairs.push([`Projection ${name}`, words, stopped !== null]);
    }
    for (const { drop_id: drop, position: at, reason } of quarantined) {
      pairs.push([
        `Drop ${drop}`,
        `in quarantine since position ${count(at)}: ${DEFECTS[reason] ?? reason}`,
        true,
      ]);
    }
    this.#list.replaceChildren(
      ...pairs.flatMap(([words, value, alarm]) => [
        h("dt", {}, words),
        h("dd", { class: alarm && "alarm" }, value),
      ]),
    );
  }
}
customElements.define("health-list", HealthList);
