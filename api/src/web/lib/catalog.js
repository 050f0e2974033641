// The drops of the shop in display order, read page by page.
//
// Drops on sale come first, then upcoming ones, then sold-out and paused ones; each group is
// ordered newest first. Each status is a separate list on the server, so a drop that changes its
// status between two pages neither hides nor repeats others.

import { callForPage } from "./api.js";
import { statusOf } from "./drop.js";

/**
 * @typedef {import("./api.js").Drop} Drop
 * @typedef {import("./api.js").DropStatus} DropStatus
 * @typedef {{status: DropStatus, last: Drop | undefined, hasMore: boolean}} Part `last`: the last
 *   drop that was returned
 */

/** The number of drops on one page. */
export const PAGE = 24;
/** @type {DropStatus[]} */
const IN_ORDER = ["live", "scheduled", "sold_out", "paused"];

export class Catalog {
  /** @type {Part[]} */
  #parts = IN_ORDER.map((status) => ({ status, last: undefined, hasMore: true }));
  /** Every drop that was scheduled up to this position was returned, or is on a later page. */
  position = 0;

  /** Returns whether there is another page. */
  get hasMore() {
    return this.#parts.some(({ hasMore }) => hasMore);
  }

  /**
   * Returns the next page, in order. It takes one request per remaining status, independent of the
   * number of drops.
   * @returns {Promise<Drop[]>}
   */
  async next() {
    const parts = this.#parts.filter(({ hasMore }) => hasMore);
    const pages = await Promise.all(
      parts.map(({ status, last }) => {
        const after = last ? `&starting_after=${last.id}` : "";
        return callForPage(`/v1/drops?status=${status}&limit=${PAGE}${after}`);
      }),
    );
    if (this.position === 0) this.position = Math.min(...pages.map(({ position }) => position));
    /** @type {Drop[]} */
    const drops = [];
    parts.forEach((part, index) => {
      const { data = [], has_more = false } = pages[index] ?? {};
      const taken = data.slice(0, PAGE - drops.length);
      drops.push(...taken);
      part.last = taken.at(-1) ?? part.last;
      part.hasMore = has_more || taken.length < data.length;
    });
    return drops;
  }

  /**
   * Returns whether a drop belongs before the end of the returned pages, so that no later page
   * contains it.
   * @param {Drop} drop
   */
  isPast(drop) {
    const part = this.#parts[rank(drop)];
    if (!part) return false;
    return !part.hasMore || (part.last !== undefined && isFirst(drop, part.last));
  }
}

/** Compares two drops by display order. @param {Drop} one @param {Drop} other */
export function inOrder(one, other) {
  return rank(one) - rank(other) || (isFirst(one, other) ? -1 : 1);
}

/**
 * Returns whether the first of two drops with the same status comes first.
 * @param {Drop} one
 * @param {Drop} other
 */
function isFirst(one, other) {
  return one.created_at === other.created_at
    ? one.id > other.id
    : one.created_at > other.created_at;
}

/** The rank of a drop's status; ended drops come last. @param {Drop} drop */
function rank(drop) {
  const index = IN_ORDER.indexOf(statusOf(drop));
  return index < 0 ? IN_ORDER.length : index;
}
