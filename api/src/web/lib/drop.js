// Texts that describe a drop.

import { until } from "./clock.js";
import { count, day, duration, units, zoneAt } from "./format.js";

/** @typedef {import("./api.js").Drop} Drop */

/** @type {Record<import("./api.js").DropStatus, string>} */
export const STATUS = {
  scheduled: "Upcoming",
  live: "On sale",
  sold_out: "Sold out",
  ended: "Ended",
  cancelled: "Cancelled",
  paused: "Paused",
  draft: "Draft",
};

/**
 * The current status, which may have changed with the server's clock since the drop was received.
 * @param {Drop} drop
 * @returns {import("./api.js").DropStatus}
 */
export function statusOf(drop) {
  if (drop.status === "cancelled" || drop.status === "draft") return drop.status;
  if (drop.ends_at && until(drop.ends_at) <= 0) return "ended";
  if (drop.status === "paused") return "paused";
  if (until(drop.starts_at) > 0) return "scheduled";
  return isSoldOut(drop.stock) ? "sold_out" : "live";
}

/** The words for a stock without numbers. */
export const LEVEL = { in_stock: "In stock", low: "Only a few left", sold_out: "None left" };

/** Returns whether no unit is available. @param {import("./api.js").Stock} stock */
function isSoldOut({ level, available }) {
  return level ? level === "sold_out" : available === 0;
}

/**
 * Returns whether so many units are available, as far as the stock shows it.
 * @param {import("./api.js").Stock} stock @param {number} requested
 */
export function has({ level, available }, requested) {
  return level ? level !== "sold_out" : available >= requested;
}

/**
 * Returns whether one state of a drop is at least as new as another.
 * @param {Drop} drop
 * @param {Drop} than
 */
export function isNewer(drop, than) {
  return (
    drop.position > than.position ||
    (drop.position === than.position && drop.server_time >= than.server_time)
  );
}

/** Returns whether the drop accepts no more holds. @param {import("./api.js").DropStatus} status */
export function isOver(status) {
  return status === "ended" || status === "cancelled";
}

/** The start, the remaining time, or the end of a drop. @param {Drop} drop */
export function when(drop) {
  switch (statusOf(drop)) {
    case "scheduled":
      return `Starts ${day(drop.starts_at)} ${zoneAt(drop.starts_at)}`;
    case "live":
    case "sold_out":
      return drop.ends_at ? `Ends in ${duration(until(drop.ends_at))}` : withoutEnd(drop);
    case "ended": {
      const at = drop.ends_at ?? drop.server_time;
      return `Ended ${day(at)} ${zoneAt(at)}`;
    }
    case "paused":
      return "Sales will resume";
    case "draft":
      return "Not published";
    case "cancelled":
      return "No further sales";
  }
}

/** @param {Drop} drop */
function withoutEnd({ stock, waitlist_length }) {
  if (!isSoldOut(stock)) return "While stock lasts";
  if (stock.held === 0) return "All units are sold";
  return waitlist_length > 0 ? "Returned units go to the waitlist" : "Returned units are sold here";
}

/**
 * The reason why no number of returned units can serve a waitlist entry, with numbers if the drop
 * is known.
 * @param {import("./api.js").Block} block @param {number} requested units @param {Drop} [drop]
 */
export function blockReason(block, requested, drop) {
  const request = `you requested ${units(requested, "unit")}`;
  switch (block) {
    case "max_per_hold":
      return drop
        ? `the limit per hold is ${units(drop.max_per_hold, "unit")}, and ${request}.`
        : `${request}, which exceeds the limit per hold.`;
    case "max_per_buyer":
      return `with the units that you hold and have bought, ${count(requested)} more would exceed the limit per buyer.`;
    case "total_stock": {
      const left = drop && drop.stock.total - drop.stock.sold;
      if (!left)
        return `${left === 0 ? "all units are sold" : "fewer units are unsold than you requested"}; you can be served only if stock is added.`;
      return `only ${units(left, "unit is", "units are")} unsold, and ${request}; you can be served only if stock is added.`;
    }
  }
}

/** The most units of one hold of a new buyer. @param {Drop} drop */
export function allowedUnits({ max_per_hold, max_per_buyer }) {
  return Math.min(max_per_hold, max_per_buyer ?? max_per_hold);
}

/** How long an offer to a waitlist entry lasts, in seconds. @param {Drop} drop */
export function offerSeconds({ offer_seconds, hold_seconds }) {
  return offer_seconds ?? hold_seconds;
}

/** The label of the status. @param {Drop} drop */
export function statusWords(drop) {
  const status = statusOf(drop);
  // Units on hold may become available again, so the drop is not sold out for good.
  if (status === "sold_out" && drop.stock.held > 0) return "All units on hold";
  return STATUS[status];
}
