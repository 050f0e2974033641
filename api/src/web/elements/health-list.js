// How the machine is doing: the engine, the tables behind the log, and how late units came back.

import { h } from "../lib/dom.js";
import { count } from "../lib/format.js";

/** @typedef {import("../lib/api.js").Metrics} Metrics */

const ENGINE = {
  live: "recording", away: "cannot reach its log", refused: "refuses its log",
  clock_fault: "waits: its clock differs from the database's", stopped: "stopped",
};

/** What is wrong with the event that put a drop into quarantine. @type {Record<string, string>} */
const WRONG = {
  unknown_type: "unknown event type",
  unknown_version: "unknown version of an event type",
  unreadable: "an event that cannot be decoded",
  wrong_sequence: "an event out of sequence",
  contradiction: "an event that contradicts its history",
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
      ["Requests waiting for it", count(engine.queued)],
      ["Events in the log", count(position)],
      ["Watchers", count(watchers)],
      ["Units come back after", late ? `median ${late.p50_ms} ms, p99 ${late.p99_ms} ms, at most ${late.max_ms} ms` : "no hold ran out"],
    ];
    for (const { name, lag, stopped } of projections) {
      const words = stopped ? `stopped: ${stopped}` : lag === 0 ? "up to date" : `${count(lag)} events behind`;
      pairs.push([`Table ${name}`, words, stopped !== null]);
    }
    for (const { drop_id: drop, position: at, reason } of quarantined) {
      pairs.push([`Drop ${drop}`, `in quarantine since position ${count(at)}: ${WRONG[reason] ?? reason}`, true]);
    }
    this.#list.replaceChildren(...pairs.flatMap(([words, value, alarm]) => [h("dt", {}, words), h("dd", { class: alarm && "alarm" }, value)]));
  }
}
customElements.define("health-list", HealthList);
