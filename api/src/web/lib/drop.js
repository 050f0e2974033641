// A drop in words.

import { until } from "./clock.js";
import { day, duration } from "./format.js";

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
function withoutEnd({ stock }) {
  if (stock.available > 0) return "While stock lasts";
  return stock.held > 0 ? "What comes back is sold here" : "Every unit is sold";
}

/** The status in words. @param {Drop} drop */
export function statusWords(drop) {
  const status = statusOf(drop);
  // Nothing available is not nothing left: what is only held may come back.
  if (status === "sold_out" && drop.stock.held > 0) return "All held right now";
  return STATUS[status];
}
