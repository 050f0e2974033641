// The revenue of drops, as the server adds it up: by drop and by time, with the units next to the
// money.
//
// The amounts are those of the purchases: a price that changed since does not count. A refund
// counts at the time of its purchase, as in the metrics.

import { call } from "./api.js";
import { queryOf } from "./room.js";

/**
 * @typedef {import("./api.js").Money} Money
 * @typedef {{purchases: number, units_sold: number, units_refunded: number, gross: Money,
 *   refunded: Money, net: Money}} Sum `units_sold`: without refunded ones
 * @typedef {{id: string, name: string, sums: Sum[]}} DropRevenue
 * @typedef {{starts_at: string, bucket_seconds: number, totals: Sum[],
 *   buckets: {start: string, sums: Sum[]}[], drops: DropRevenue[], has_more: boolean}} Revenue
 */

/** The number of drops that one page of the list has. */
const PAGE = 100;
const [HOUR, DAY] = [3600, 86_400];

/**
 * Reads the revenue of a window, with up to `pages` pages of drops.
 * @param {{window: string, bucket: string, drop: string, pages: number}} choice `bucket`, `drop`:
 *   may be empty
 * @returns {Promise<Revenue>}
 */
export async function readRevenue({ window, bucket, drop, pages }) {
  /** @param {string} after */
  const read = (after) =>
    call(
      `/v1/admin/revenue${queryOf({
        window,
        bucket,
        drop_id: drop,
        limit: String(PAGE),
        starting_after: after,
      })}`,
    );
  /** @type {Revenue} */
  const revenue = await read("");
  for (let page = 1; page < pages && revenue.has_more; page += 1) {
    const next = await read(revenue.drops.at(-1)?.id ?? "");
    revenue.drops.push(...next.drops);
    revenue.has_more = next.has_more;
  }
  return revenue;
}

/** The length of a bucket, in a heading. @param {number} seconds */
export function bucketWords(seconds) {
  if (seconds === HOUR) return "By hour";
  if (seconds === DAY) return "By day";
  if (seconds % DAY === 0) return `By ${seconds / DAY} days`;
  return seconds % HOUR === 0 ? `By ${seconds / HOUR} hours` : `By ${seconds / 60} minutes`;
}
