// A drop in words.

import { until } from "./clock.js";
import { count, day, duration, units } from "./format.js";

/** @typedef {import("./api.js").Drop} Drop */

/** @type {Record<import("./api.js").DropStatus, string>} */
export const STATUS = { scheduled: "Coming up", live: "On now", sold_out: "Sold out", ended: "Over", cancelled: "Called off" };

/** The status, which the server's clock may have moved on since it was told. @param {Drop} drop @returns {import("./api.js").DropStatus} */
export function statusOf(drop) {
  if (drop.status === "cancelled") return "cancelled";
  if (drop.ends_at && until(drop.ends_at) <= 0) return "ended";
  if (until(drop.starts_at) > 0) return "scheduled";
  return drop.stock.available === 0 ? "sold_out" : "live";
}

/** Whether one is not older than another that was told of the same drop. @param {Drop} drop @param {Drop} than */
export function isNewer(drop, than) {
  return drop.position > than.position || (drop.position === than.position && drop.server_time >= than.server_time);
}

/** Whether nothing can be held any more. @param {import("./api.js").DropStatus} status */
export function isOver(status) {
  return status === "ended" || status === "cancelled";
}

/** When it starts, how long it still lasts, or since when it is over. @param {Drop} drop */
export function when(drop) {
  switch (statusOf(drop)) {
    case "scheduled":
      return `Starts ${day(drop.starts_at)}`;
    case "live":
    case "sold_out":
      return drop.ends_at ? `Ends in ${duration(until(drop.ends_at))}` : withoutEnd(drop);
    case "ended":
      return `Ended ${day(drop.ends_at ?? drop.server_time)}`;
    case "cancelled":
      return "Nothing more is sold";
  }
}

/** @param {Drop} drop */
function withoutEnd({ stock, waitlist_length }) {
  if (stock.available > 0) return "While stock lasts";
  if (stock.held === 0) return "Every unit is sold";
  return waitlist_length > 0 ? "What comes back goes to the waitlist" : "What comes back is sold here";
}

/**
 * Why nothing that comes back can serve a waitlist entry: with the numbers, where the drop is known.
 * @param {import("./api.js").Block} block @param {number} wanted units @param {Drop} [drop]
 */
export function passedOver(block, wanted, drop) {
  const waits = `you wait for ${units(wanted, "unit")}`;
  switch (block) {
    case "max_per_hold":
      return drop ? `one hold may have ${units(drop.max_per_hold, "unit")} now, and ${waits}.` : `${waits}, and one hold may no longer have so many.`;
    case "max_per_buyer":
      return `with what you hold and have bought, ${count(wanted)} more would be above what one buyer may have.`;
    case "total_stock": {
      const left = drop && drop.stock.total - drop.stock.sold;
      if (!left) return `${left === 0 ? "every unit is sold" : "fewer units are unsold than you wait for"}; only more stock can reach you.`;
      return `only ${units(left, "unit is", "units are")} not sold yet, and ${waits}; only more stock can reach you.`;
    }
  }
}

/** The status in words. @param {Drop} drop */
export function statusWords(drop) {
  const status = statusOf(drop);
  // Nothing available is not nothing left: what is only held may come back.
  if (status === "sold_out" && drop.stock.held > 0) return "All held right now";
  return STATUS[status];
}
