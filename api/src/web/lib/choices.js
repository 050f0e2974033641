// The follows and reminders of this buyer: read once for each page, and changed by its buttons.

import { call } from "./api.js";
import { buyerId } from "./buyer.js";
import { session } from "./token.js";

/** The most entries of one page of a list. */
const PAGE = 100;
/** The most pages that are read: a buyer has at most 1,000 choices of a kind. */
const MOST_PAGES = 10;

/** The path of this buyer's lists. @param {string} rest */
export function ofBuyer(rest) {
  return `/v1/buyers/${encodeURIComponent(buyerId())}/${rest}`;
}

/** Dispatches `change` when a choice is known or has changed. */
class Choices extends EventTarget {
  #list;
  #member;
  /** Undefined before the list was read. @type {Set<string> | undefined} */
  #chosen;
  /** @type {Promise<void> | undefined} */
  #reading;

  /** @param {"follows" | "reminders"} list @param {"creator_id" | "drop_id"} member of its rows */
  constructor(list, member) {
    super();
    this.#list = list;
    this.#member = member;
    session.addEventListener("change", () => {
      if (!session.isOpen || !this.#reading) return;
      this.#reading = undefined;
      void this.read().catch(() => null);
    });
  }

  /** Reads the list, unless that was done before. */
  read() {
    this.#reading ??= this.#readAll();
    return this.#reading;
  }

  async #readAll() {
    const chosen = new Set();
    let after = "";
    // A guest has none; the button leads to the sign-in.
    if (!session.isOpen) {
      this.#chosen ??= chosen;
      this.dispatchEvent(new Event("change"));
      return;
    }
    try {
      for (let page = 0; page < MOST_PAGES; page += 1) {
        const { data, has_more } = await call(ofBuyer(`${this.#list}?limit=${PAGE}${after}`));
        for (const row of data) chosen.add(row[this.#member]);
        if (!has_more) break;
        after = `&starting_after=${encodeURIComponent(data.at(-1)[this.#member])}`;
      }
      this.#chosen = chosen;
      this.dispatchEvent(new Event("change"));
    } catch (error) {
      // The next caller attempts it again.
      this.#reading = undefined;
      throw error;
    }
  }

  /** Returns whether an id is chosen; undefined while that is unknown. @param {string} id */
  has(id) {
    return this.#chosen?.has(id);
  }

  /** Chooses an id, or ends the choice. @param {string} id @param {boolean} isChosen */
  async set(id, isChosen) {
    const method = isChosen ? "PUT" : "DELETE";
    await call(ofBuyer(`${this.#list}/${encodeURIComponent(id)}`), { method });
    if (isChosen) this.#chosen?.add(id);
    else this.#chosen?.delete(id);
    this.dispatchEvent(new Event("change"));
  }
}

export const follows = new Choices("follows", "creator_id");
export const reminders = new Choices("reminders", "drop_id");
