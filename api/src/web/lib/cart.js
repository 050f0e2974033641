// The cart of this browser: units of several drops, which one order takes together. Units in the
// cart are not reserved; an order holds all of them, or none.

import { hasChanged, recall, remember } from "./buyer.js";

/**
 * @typedef {import("./api.js").Drop} Drop
 * @typedef {import("./api.js").Money} Money
 * @typedef {{drop_id: string, drop_name: string, price: Money, quantity: number}} Line
 */

const NAME = "holdfast.cart";
/** The most items of an order. */
export const MOST_LINES = 20;

/** Dispatches `change`. */
class Cart extends EventTarget {
  /** In the order in which they were added. @type {Line[]} */
  lines = read();

  constructor() {
    super();
    const reload = () => {
      this.lines = read();
      this.dispatchEvent(new Event("change"));
    };
    addEventListener("storage", (event) => hasChanged(event, NAME) && reload());
    // A page that is restored from the back/forward cache has missed the changes of other tabs.
    addEventListener("pageshow", (event) => event.persisted && reload());
  }

  /** The number of units. */
  get units() {
    return this.lines.reduce((sum, { quantity }) => sum + quantity, 0);
  }

  /** @param {string} dropId */
  of(dropId) {
    return this.lines.find(({ drop_id }) => drop_id === dropId);
  }

  /**
   * Adds units of a drop, at most as many as one hold may have. Returns false if the cart is full.
   * @param {Drop} drop @param {number} quantity
   */
  add({ id: drop_id, name: drop_name, price, max_per_hold }, quantity) {
    let isAdded = true;
    this.#change((lines) => {
      const line = lines.find((line) => line.drop_id === drop_id);
      if (line) line.quantity = Math.min(line.quantity + quantity, max_per_hold);
      else if (lines.length < MOST_LINES) lines.push({ drop_id, drop_name, price, quantity });
      else isAdded = false;
      return lines;
    });
    return isAdded;
  }

  /** Adds the lines of an earlier order that the cart does not have. @param {Line[]} more */
  restore(more) {
    this.#change((lines) => [
      ...lines,
      ...more
        .filter((line) => !lines.some(({ drop_id }) => drop_id === line.drop_id))
        .slice(0, MOST_LINES - lines.length),
    ]);
  }

  /** @param {string} dropId @param {Partial<Line>} change */
  update(dropId, change) {
    this.#change((lines) => {
      const line = lines.find(({ drop_id }) => drop_id === dropId);
      if (line) Object.assign(line, change);
      return lines;
    });
  }

  /** @param {string[]} dropIds */
  remove(...dropIds) {
    this.#change((lines) => lines.filter(({ drop_id }) => !dropIds.includes(drop_id)));
  }

  /**
   * Reads before it writes, so that the changes of other tabs are not overwritten.
   * @param {(lines: Line[]) => Line[]} change
   */
  #change(change) {
    this.lines = change(read());
    remember(NAME, JSON.stringify(this.lines));
    this.dispatchEvent(new Event("change"));
  }
}

/** @returns {Line[]} */
function read() {
  try {
    const lines = JSON.parse(recall(NAME) ?? "[]");
    return Array.isArray(lines) ? lines : [];
  } catch {
    return [];
  }
}

export const cart = new Cart();
