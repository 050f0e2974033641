// What this buyer has: holds, purchases and places in line, kept in this browser, so that a refresh brings them back.
//
// An entry is written down, with its idempotency key, before anything is asked of the server. Whatever happens then (a refresh,
// a lost answer, a restart), the same question is asked again under the same key and finds its own answer.

import { recall, remember } from "./buyer.js";
import { uuid } from "./api.js";

/**
 * @typedef {import("./api.js").Drop} Drop
 * @typedef {import("./api.js").Hold} Hold
 * @typedef {import("./api.js").Money} Money
 * @typedef {"asking" | "held" | "buying" | "releasing" | "checking" | "purchased" | "expired" | "released" | "joining" | "waiting" | "leaving"} Stage
 * @typedef {{key: string, drop_id: string, drop_name: string, price: Money, quantity: number, asked_at: number, stage: Stage, since: number,
 *   hold?: Hold, total?: Money, waiting?: {id: string, place: number | null}, dismissed?: boolean}} Entry
 */

const NAME = "holdfast.yours";
const MOST_KEPT = 40;
/** A question older than this is not asked again by itself: who comes back tomorrow does not want yesterday's click. */
export const STILL_MEANT_MS = 60_000;
/** Longer than any page goes on asking. */
const STUCK_MS = 65_000;

/** Tells `change`. */
class Yours extends EventTarget {
  /** Newest first. @type {Entry[]} */
  entries = [];

  constructor() {
    super();
    this.#load();
    addEventListener("storage", (event) => {
      if (event.key !== NAME) return;
      this.#load();
      this.dispatchEvent(new Event("change"));
    });
  }

  /** Writes down that the buyer wants something. @param {Drop} drop @param {number} quantity @param {Stage} stage @returns {Entry} */
  add(drop, quantity, stage) {
    const { id: drop_id, name: drop_name, price } = drop;
    const entry = { key: uuid(), drop_id, drop_name, price, quantity, asked_at: Date.now(), stage, since: Date.now() };
    this.entries = this.entries.filter((other) => other.drop_id !== drop_id || !isSettled(other) || other.stage === "purchased");
    this.entries.unshift(entry);
    this.#save();
    return entry;
  }

  /** Changes an entry; one that was removed meanwhile stays away. @param {Entry} entry @param {Partial<Entry>} change */
  update(entry, change) {
    Object.assign(entry, change, { since: Date.now() });
    this.entries = this.entries.map((other) => (other.key === entry.key ? entry : other));
    this.#save();
  }

  /** @param {Entry} entry */
  remove(entry) {
    this.entries = this.entries.filter((other) => other.key !== entry.key);
    this.#save();
  }

  /** What the panel of a drop shows: the newest entry, unless it was put away. @param {string} dropId @returns {Entry | undefined} */
  of(dropId) {
    return this.entries.find((entry) => entry.drop_id === dropId && !entry.dismissed);
  }

  #load() {
    try {
      const entries = JSON.parse(recall(NAME) ?? "[]");
      this.entries = Array.isArray(entries) ? entries : [];
    } catch {
      this.entries = [];
    }
  }

  #save() {
    this.entries.length = Math.min(this.entries.length, MOST_KEPT);
    remember(NAME, JSON.stringify(this.entries));
    this.dispatchEvent(new Event("change"));
  }
}

/** Whether nothing more will come of it. @param {Entry} entry */
export function isSettled(entry) {
  return entry.stage === "purchased" || entry.stage === "expired" || entry.stage === "released";
}

/** Whether whoever asked has gone: a page that was closed before its answer came. @param {Entry} entry */
export function isStuck(entry) {
  const isWaitingForAnswer = !isSettled(entry) && entry.stage !== "held" && entry.stage !== "waiting";
  return isWaitingForAnswer && Date.now() - entry.since > STUCK_MS;
}

export const yours = new Yours();
