// The holds, purchases and waitlist entries of this buyer, stored in the browser so that a page
// load restores them.
//
// An entry is stored with its idempotency key before the request is sent. After a page load, a lost
// response or a restart, the same request is sent again with the same key and returns the recorded
// result.

import { hasChanged, recall, remember } from "./buyer.js";
import { uuid } from "./api.js";
import { ofThisBuyer } from "./token.js";

/**
 * @typedef {import("./api.js").Drop} Drop
 * @typedef {import("./api.js").Hold} Hold
 * @typedef {import("./api.js").Money} Money
 * @typedef
 *   {"asking" | "unanswered" | "held" | "buying" | "releasing" | "checking" | "purchased" |
 *   "expired" | "released" | "joining" | "waiting" | "leaving" | "closed"}
 *   Stage `unanswered`: the outcome of the request is unknown; `closed`: the waitlist is closed
 * @typedef {{key: string, drop_id: string, drop_name: string, price: Money, quantity: number,
 *   asked_at: number, stage: Stage, since: number, asks: "holds" | "waitlist", again?: boolean,
 *   hold?: Hold, total?: Money,
 *   waiting?: {id: string, place: number | null, blocked_by?: import("./api.js").Block | null},
 *   called_off?: boolean, dismissed?: boolean, code?: string}} Entry `again`: the request is being
 *   retried; `code`: the access code;
 *   `called_off`: the drop was cancelled
 */

const NAME = ofThisBuyer("holdfast.yours");
const MAX_KEPT = 40;
/**
 * An older request is not retried automatically: a buyer who returns the next day may not want it
 * any more.
 */
export const RETRY_WINDOW_MS = 60_000;
/**
 * The longest duration of a hold. After it, a hold that an unanswered request placed has expired.
 */
export const MAX_HOLD_MS = 3_600_000;
/** Longer than any page retries a request. */
const ABANDONED_MS = 75_000;

/** Dispatches `change`. */
class EntryStore extends EventTarget {
  /** Newest first. @type {Entry[]} */
  entries = [];

  constructor() {
    super();
    this.#load();
    const reload = () => {
      this.#load();
      this.dispatchEvent(new Event("change"));
    };
    addEventListener("storage", (event) => hasChanged(event, NAME) && reload());
    // A page that is restored from the back/forward cache has missed the changes of other tabs.
    addEventListener("pageshow", (event) => event.persisted && reload());
  }

  /**
   * Stores a new request of the buyer.
   * @param {Drop} drop
   * @param {number} quantity
   * @param {"asking" | "joining"} stage
   * @returns {Entry}
   */
  add(drop, quantity, stage) {
    const { id: drop_id, name: drop_name, price } = drop;
    /** @type {Entry} */
    const entry = {
      key: uuid(),
      drop_id,
      drop_name,
      price,
      quantity,
      asked_at: Date.now(),
      stage,
      since: Date.now(),
      asks: stage === "asking" ? "holds" : "waitlist",
    };
    this.#change(() => {
      this.entries = this.entries.filter(
        (other) => other.drop_id !== drop_id || !isSettled(other) || other.stage === "purchased",
      );
      this.entries.unshift(entry);
    });
    return entry;
  }

  /**
   * Changes an entry; an entry that was removed in the meantime is not restored.
   * @param {Entry} entry
   * @param {Partial<Entry>} change
   */
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

  /**
   * The newest entry of a drop that was not dismissed.
   * @param {string} dropId
   * @returns {Entry | undefined}
   */
  of(dropId) {
    return this.entries.find((entry) => entry.drop_id === dropId && !entry.dismissed);
  }

  /**
   * Reads before it writes, so that the changes of other tabs are not overwritten.
   * @param {() => void} change
   */
  #change(change) {
    this.#load();
    change();
    while (this.entries.length > MAX_KEPT) this.#removeOldest();
    remember(NAME, JSON.stringify(this.entries));
    this.dispatchEvent(new Event("change"));
  }

  /** Removes the oldest settled entry, or the oldest entry if none is settled. */
  #removeOldest() {
    const oldest = this.entries.findLastIndex(isSettled);
    this.entries.splice(oldest >= 0 ? oldest : this.entries.length - 1, 1);
  }

  /**
   * Reads the stored entries. Existing entry objects are updated, because other modules refer to
   * them.
   */
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

/** Returns whether the entry has reached a final state. @param {Entry} entry */
export function isSettled({ stage }) {
  return stage === "purchased" || stage === "expired" || stage === "released" || stage === "closed";
}

/**
 * Returns whether a pending request was abandoned: its page was closed before the response.
 * @param {Entry} entry
 */
export function isAbandoned(entry) {
  const isPending =
    !isSettled(entry) &&
    entry.stage !== "held" &&
    entry.stage !== "waiting" &&
    entry.stage !== "unanswered";
  return isPending && Date.now() - entry.since > ABANDONED_MS;
}

/**
 * The price of one unit. The price of the hold takes precedence, because the price of the drop can
 * change.
 * @param {Entry} entry
 */
export function unitPrice(entry) {
  return entry.hold?.price ?? entry.price;
}

export const store = new EntryStore();
