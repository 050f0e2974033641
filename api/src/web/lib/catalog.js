// The drops of the shop in the order in which they are shown, read a page at a time.
//
// What can be had comes first, then what is to come, then what is gone; of each the newest first. Each status is a list of its own on
// the server: a drop that changes its status between two pages neither hides others nor makes them come twice.

import { callForPage } from "./api.js";
import { statusOf } from "./drop.js";

/**
 * @typedef {import("./api.js").Drop} Drop
 * @typedef {import("./api.js").DropStatus} DropStatus
 * @typedef {{status: DropStatus, last: Drop | undefined, hasMore: boolean}} Part `last`: the last drop that was given
 */

/** How many drops are shown at first, and how many more each time they are asked for. */
export const PAGE = 24;
/** @type {DropStatus[]} */
const IN_ORDER = ["live", "scheduled", "sold_out"];

export class Catalog {
  /** @type {Part[]} */
  #parts = IN_ORDER.map((status) => ({ status, last: undefined, hasMore: true }));
  /** Every drop that was scheduled up to this position was given, or comes with a later page. */
  position = 0;

  /** Whether there is another page. */
  get hasMore() {
    return this.#parts.some(({ hasMore }) => hasMore);
  }

  /** The next page, in order: as many requests as there are statuses left, whatever the number of drops. @returns {Promise<Drop[]>} */
  async next() {
    const parts = this.#parts.filter(({ hasMore }) => hasMore);
    const pages = await Promise.all(parts.map(({ status, last }) => {
      const after = last ? `&starting_after=${last.id}` : "";
      return callForPage(`/v1/drops?status=${status}&limit=${PAGE}&expand=top_purchasers${after}`);
    }));
    if (this.position === 0) this.position = Math.min(...pages.map(({ position }) => position));
    /** @type {Drop[]} */
    const drops = [];
    parts.forEach((part, place) => {
      const { data = [], has_more = false } = pages[place] ?? {};
      const taken = data.slice(0, PAGE - drops.length);
      drops.push(...taken);
      part.last = taken.at(-1) ?? part.last;
      part.hasMore = has_more || taken.length < data.length;
    });
    return drops;
  }

  /** Whether a drop's place is among what was given, so that no later page brings it. @param {Drop} drop */
  isPast(drop) {
    const part = this.#parts[rank(drop)];
    if (!part) return false;
    return !part.hasMore || (part.last !== undefined && isFirst(drop, part.last));
  }
}

/** Which of two drops comes first. @param {Drop} one @param {Drop} other */
export function inOrder(one, other) {
  return rank(one) - rank(other) || (isFirst(one, other) ? -1 : 1);
}

/** Of two drops of one status. @param {Drop} one @param {Drop} other */
function isFirst(one, other) {
  return one.created_at === other.created_at ? one.id > other.id : one.created_at > other.created_at;
}

/** What is over comes last. @param {Drop} drop */
function rank(drop) {
  const place = IN_ORDER.indexOf(statusOf(drop));
  return place < 0 ? IN_ORDER.length : place;
}
