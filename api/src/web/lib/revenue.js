// The revenue of drops, computed from their purchases: by drop and by hour, with the units next to
// the money.
//
// Each drop's list of purchases is read once per refresh as a CSV file, while it arrives. The
// amounts are those of the purchases: a price that changed since does not count. A refund counts at
// the time of its purchase, as in the metrics, because the list has no times of refunds.

import { readCsv } from "./csv.js";

const HOUR_MS = 3_600_000;
/** The number of lists that are read at the same time. */
const AT_ONCE = 3;

/**
 * @typedef {{purchases: number, units: number, refundedUnits: number, gross: number,
 *   refunded: number}} Sum amounts in minor units; `units`: sold, refunded ones included
 * @typedef {Map<string, Sum>} Sums by currency
 * @typedef {{drop: import("./api.js").DropLine, sums: Sums}} DropRevenue
 * @typedef {{start: number, currency: string, sum: Sum}} HourRevenue `start`: milliseconds
 */

/** @returns {Sum} */
export function nothing() {
  return { purchases: 0, units: 0, refundedUnits: 0, gross: 0, refunded: 0 };
}

/** The money that was kept. @param {Sum} sum */
export function net({ gross, refunded }) {
  return gross - refunded;
}

/** @param {Sum} sum @param {Sum} more */
export function add(sum, more) {
  sum.purchases += more.purchases;
  sum.units += more.units;
  sum.refundedUnits += more.refundedUnits;
  sum.gross += more.gross;
  sum.refunded += more.refunded;
}

/**
 * The sum of a key, which is created on first use.
 * @template K @param {Map<K, Sum>} sums @param {K} key
 */
function of(sums, key) {
  const sum = sums.get(key) ?? nothing();
  sums.set(key, sum);
  return sum;
}

/** The start of the local hour. @param {number} time milliseconds */
function hourOf(time) {
  const date = new Date(time);
  date.setMinutes(0, 0, 0);
  return date.getTime();
}

/**
 * Reads the revenue of drops since `since` (milliseconds).
 * @param {import("./api.js").DropLine[]} drops @param {number} since
 * @returns {Promise<{drops: DropRevenue[], hours: HourRevenue[]}>} hours: latest first, without
 *   empty ones
 */
export async function revenueOf(drops, since) {
  /** @type {Map<string, Sums>} */
  const byDrop = new Map();
  /** By currency and hour. @type {Map<string, Map<number, Sum>>} */
  const byHour = new Map();
  const left = drops.filter(({ sold, refunded }) => sold + refunded > 0);
  const read = async () => {
    for (let drop = left.shift(); drop; drop = left.shift()) {
      /** @type {Sums} */
      const sums = new Map();
      await readCsv(`/v1/drops/${drop.id}/purchases`, (line) => {
        const time = Date.parse(line.purchased_at ?? "");
        if (time < since) return;
        const currency = line.currency ?? "";
        /** @type {Sum} */
        const one = {
          purchases: 1,
          units: Number(line.quantity),
          refundedUnits: Number(line.refunded_quantity),
          gross: Number(line.amount),
          refunded: Number(line.refunded_amount),
        };
        add(of(sums, currency), one);
        const hours = byHour.get(currency) ?? new Map();
        byHour.set(currency, hours);
        add(of(hours, hourOf(time)), one);
      });
      byDrop.set(drop.id, sums);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, read));
  const hours = [...byHour].flatMap(([currency, sums]) =>
    [...sums].map(([start, sum]) => ({ start, currency, sum })),
  );
  return {
    drops: drops.flatMap((drop) => {
      const sums = byDrop.get(drop.id);
      return sums && sums.size > 0 ? [{ drop, sums }] : [];
    }),
    hours: hours.sort(
      (one, other) => other.start - one.start || (one.currency < other.currency ? -1 : 1),
    ),
  };
}

export { HOUR_MS };
