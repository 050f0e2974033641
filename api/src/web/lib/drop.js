// Texts that describe a drop.

import { until } from "./clock.js";
import { day, duration, zoneAt } from "./format.js";
import { text, texts } from "./text.js";

/** @typedef {import("./api.js").Drop} Drop */

/** @type {Readonly<Record<import("./api.js").DropStatus, string>>} */
export const STATUS = texts({
  scheduled: "status.scheduled",
  live: "status.live",
  sold_out: "status.sold_out",
  ended: "status.ended",
  cancelled: "status.cancelled",
  paused: "status.paused",
  draft: "status.draft",
});

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
export const LEVEL = texts({
  in_stock: "stock.in_stock",
  low: "stock.low",
  sold_out: "stock.none",
});

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
      return text("drop.starts", { time: dayAndZone(drop.starts_at) });
    case "live":
    case "sold_out":
      return drop.ends_at
        ? text("drop.ends_in", { time: duration(until(drop.ends_at)) })
        : withoutEnd(drop);
    case "ended":
      return text("drop.ended_at", { time: dayAndZone(drop.ends_at ?? drop.server_time) });
    case "paused":
      return text("drop.will_resume");
    case "draft":
      return text("drop.not_published");
    case "cancelled":
      return text("drop.no_sales");
  }
}

/** @param {string} time */
function dayAndZone(time) {
  return `${day(time)} ${zoneAt(time)}`;
}

/** @param {Drop} drop */
function withoutEnd({ stock, waitlist_length }) {
  if (!isSoldOut(stock)) return text("drop.while_stock");
  if (stock.held === 0) return text("drop.all_sold");
  return text(waitlist_length > 0 ? "drop.returned_waitlist" : "drop.returned_sold");
}

/**
 * The reason why no number of returned units can serve a waitlist entry, with numbers if the drop
 * is known.
 * @param {import("./api.js").Block} block @param {number} requested units @param {Drop} [drop]
 */
export function blockReason(block, requested, drop) {
  const units = text("unit.count", { count: requested });
  switch (block) {
    case "max_per_hold":
      return drop
        ? text("block.hold_limit", {
            limit: text("unit.count", { count: drop.max_per_hold }),
            units,
          })
        : text("block.hold", { units });
    case "max_per_buyer":
      return text("block.buyer", { count: requested });
    case "total_stock": {
      const left = drop && drop.stock.total - drop.stock.sold;
      if (!left) return text(left === 0 ? "block.sold" : "block.fewer");
      return text("block.unsold", { count: left, units });
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
  if (status === "sold_out" && drop.stock.held > 0) return text("status.all_held");
  return STATUS[status];
}
