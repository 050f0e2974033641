// The report of one drop, and the numbers that the page derives from it.

/**
 * @typedef {{count: number, units: number}} Counted
 * @typedef {{after_ms: number, holds: number, held: number, sold: number, freed: number}}
 *   OpeningBucket
 * @typedef {{position: number, recorded_at: string, event_type: string, units: number | null,
 *   admin: string | null}} ReportedEvent
 * @typedef {{id: string, name: string, status: import("./api.js").DropStatus, starts_at: string,
 *   ends_at: string | null, stock: import("./api.js").Stock, waitlist_length: number,
 *   waitlist_joined: number, funnel: Record<"placed" | "offered" | "open" | "purchased" |
 *   "expired" | "released" | "refunded", Counted>, refusals: Record<"sold_out" | "limit_reached" |
 *   "throttled", number>, first_hold_at: string | null, sold_out_at: string | null,
 *   all_sold_at: string | null,
 *   opening: {bucket_ms: number, buckets: OpeningBucket[]}, latest: ReportedEvent[],
 *   position: number}} Report
 */

/**
 * Adds buckets up to longer ones.
 * @param {Report["opening"]} opening
 * @param {number} length in milliseconds, a multiple of the present length
 * @returns {OpeningBucket[]}
 */
export function merged({ bucket_ms, buckets }, length) {
  const each = Math.max(1, Math.round(length / bucket_ms));
  /** @type {OpeningBucket[]} */
  const sums = [];
  buckets.forEach(({ holds, held, sold, freed }, index) => {
    const at = Math.floor(index / each);
    const sum = sums[at] ?? { after_ms: at * length, holds: 0, held: 0, sold: 0, freed: 0 };
    sum.holds += holds;
    sum.held += held;
    sum.sold += sold;
    sum.freed += freed;
    sums[at] = sum;
  });
  return sums;
}

/**
 * The milliseconds between two times; null if one of them is not known.
 * @param {string | null} from @param {string | null} to
 */
export function between(from, to) {
  return from === null || to === null ? null : Date.parse(to) - Date.parse(from);
}

/** The part of the stock that is sold, from 0 to 1. @param {import("./api.js").Stock} stock */
export function sellThrough({ sold, total }) {
  return total === 0 ? 0 : sold / total;
}
