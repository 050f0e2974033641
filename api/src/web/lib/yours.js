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
 * @typedef {"asking" | "unanswered" | "held" | "buying" | "releasing" | "checking" | "purchased" | "expired" | "released"
 *   | "joining" | "waiting" | "leaving" | "closed"} Stage `unanswered`: nobody knows what came of asking; `closed`: the line is no more
 * @typedef {{key: string, drop_id: string, drop_name: string, price: Money, quantity: number, asked_at: number, stage: Stage, since: number,
 *   asks: "holds" | "waitlist", again?: boolean, hold?: Hold, total?: Money, waiting?: {id: string, place: number | null, blocked_by?: import("./api.js").Block | null},
 *   called_off?: boolean, dismissed?: boolean}} Entry `again`: the first time was not answered; `called_off`: it ended because its drop was
 */

const NAME = "holdfast.yours";
const MOST_KEPT = 40;
/** A question older than this is not asked again by itself: who comes back tomorrow does not want yesterday's click. */
export const STILL_MEANT_MS = 60_000;
/** The longest that a hold lasts: after it, whatever came of an unanswered question is over. */
export const OVER_MS = 3_600_000;
/** Longer than any page goes on asking. */
const STUCK_MS = 75_000;

/** Tells `change`. */
class Yours extends EventTarget {
  /** Newest first. @type {Entry[]} */
  entries = [];

  constructor() {
    super();
    this.#load();
    const reload = () => {
      this.#load();
      this.dispatchEvent(new Event("change"));
    };
    addEventListener("storage", (event) => event.key === NAME && reload());
    // A page that was kept for the way back was not told what other tabs wrote meanwhile.
    addEventListener("pageshow", (event) => event.persisted && reload());
  }

  /** Writes down that the buyer wants something. @param {Drop} drop @param {number} quantity @param {"asking" | "joining"} stage @returns {Entry} */
  add(drop, quantity, stage) {
    const { id: drop_id, name: drop_name, price } = drop;
    /** @type {Entry} */
    const entry = { key: uuid(), drop_id, drop_name, price, quantity, asked_at: Date.now(), stage, since: Date.now(), asks: stage === "asking" ? "holds" : "waitlist" };
    this.#change(() => {
      this.entries = this.entries.filter((other) => other.drop_id !== drop_id || !isSettled(other) || other.stage === "purchased");
      this.entries.unshift(entry);
    });
    return entry;
  }

  /** Changes an entry; one that was removed meanwhile stays away. @param {Entry} entry @param {Partial<Entry>} change */
  update(entry, change) {
    this.#change(() => {
      const known = this.entries.find((other) => other.key === entry.key) ?? entry;
      Object.assign(known, change, { since: Date.now() });
    });
  }

  /** @param {Entry} entry */
  remove(entry) {
    this.#change(() => {
      this.entries = this.entries.filter((other) => other.key !== entry.key);
    });
  }

  /** What the panel of a drop shows: the newest entry, unless it was put away. @param {string} dropId @returns {Entry | undefined} */
  of(dropId) {
    return this.entries.find((entry) => entry.drop_id === dropId && !entry.dismissed);
  }

  /** Another tab may have written a moment ago: its entries are not to be overwritten by what this one remembers. @param {() => void} change */
  #change(change) {
    this.#load();
    change();
    while (this.entries.length > MOST_KEPT) this.#forgetOne();
    remember(NAME, JSON.stringify(this.entries));
    this.dispatchEvent(new Event("change"));
  }

  /** The oldest of which nothing more will come. */
  #forgetOne() {
    const oldest = this.entries.findLastIndex(isSettled);
    this.entries.splice(oldest >= 0 ? oldest : this.entries.length - 1, 1);
  }

  /** Reads what is kept. An entry stays the same object, for whoever holds on to it. */
  #load() {
    const known = new Map(this.entries.map((entry) => [entry.key, entry]));
    this.entries = read().map((entry) => Object.assign(known.get(entry.key) ?? entry, entry));
  }
}

/** @returns {Entry[]} */
function read() {
  try {
    const entries = JSON.parse(recall(NAME) ?? "[]");
    return Array.isArray(entries) ? entries : [];
  } catch {
    return [];
  }
}

/** Whether nothing more will come of it. @param {Entry} entry */
export function isSettled({ stage }) {
  return stage === "purchased" || stage === "expired" || stage === "released" || stage === "closed";
}

/** Whether whoever asked has gone: a page that was closed before its answer came. @param {Entry} entry */
export function isStuck(entry) {
  const isAsked = !isSettled(entry) && entry.stage !== "held" && entry.stage !== "waiting" && entry.stage !== "unanswered";
  return isAsked && Date.now() - entry.since > STUCK_MS;
}

/** What one unit costs: as the hold says, for the drop may have cost something else when the buyer clicked, and may now. @param {Entry} entry */
export function unitPrice(entry) {
  return entry.hold?.price ?? entry.price;
}

export const yours = new Yours();
