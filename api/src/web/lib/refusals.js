// Why the last request about a drop was refused: in words, and for as long as it is true.

import { Problem } from "./api.js";
import { now } from "./clock.js";
import { isOver, statusOf } from "./drop.js";
import { foreign } from "./foreign.js";
import { clock, count, duration, units } from "./format.js";
import { service } from "./service.js";
import { yours } from "./yours.js";
import { toast } from "../elements/toast-list.js";

/**
 * @typedef {import("./api.js").Drop} Drop
 * @typedef {import("./yours.js").Entry} Entry
 */

/** A refusal stands so long at least, to be read, and because the page may hear of what it was about later than the server said it. */
const READ_MS = 5000;
/** What says nothing about the drop is let go after this. */
const STANDS_MS = 20_000;

/** Refusals that tell when to ask again. */
const WAITS = new Set(["throttled", "cooling_down", "address_limit_reached", "too_many_attempts"]);

/** By drop: why, since when, and what the buyer had then. @type {Map<string, {problem: Problem, since: number, had: number}>} */
const refusals = new Map();

/** @param {Drop} drop */
export function refusalOf(drop) {
  const refusal = refusals.get(drop.id);
  if (!refusal) return "";
  const { problem, since, had } = refusal;
  const age = Date.now() - since;
  if (age < READ_MS || (isStillTrue(problem, drop, age) && had === unitsOf(drop.id))) return explain(problem);
  refusals.delete(drop.id);
  return "";
}

/** Something else is asked now, or the buyer has read it. @param {string} dropId */
export function forgive(dropId) {
  refusals.delete(dropId);
}

/** Takes in why something was refused, and says so. @param {Entry} entry @param {unknown} problem */
export function refuse(entry, problem) {
  if (!(problem instanceof Problem)) throw problem;
  if (problem.isUndecided) service.suspect();
  const { numbers } = problem;
  if (WAITS.has(problem.code)) numbers.retry_at ??= new Date(now() + 1000 * (numbers.retry_after ?? 1)).toISOString();
  refusals.set(entry.drop_id, { problem, since: Date.now(), had: unitsOf(entry.drop_id) });
  toast(`${foreign(entry.drop_name)}: ${explain(problem)}`, { kind: "refusal" });
}

/** Units that this buyer holds or has bought of a drop, as far as this browser knows. @param {string} dropId */
function unitsOf(dropId) {
  const has = yours.entries.filter(({ drop_id, hold }) => drop_id === dropId && (hold?.status === "held" || hold?.status === "purchased"));
  return has.reduce((sum, { quantity }) => sum + quantity, 0);
}

/** @param {Problem} problem @param {Drop} drop @param {number} age */
function isStillTrue({ code, numbers }, drop, age) {
  switch (code) {
    case "sold_out":
      return drop.stock.available < (numbers.requested ?? 1);
    case "not_sold_out":
      return drop.stock.available >= (numbers.requested ?? 1);
    case "throttled":
    case "cooling_down":
    case "address_limit_reached":
    case "too_many_attempts":
      return Date.parse(numbers.retry_at) > now();
    case "not_live":
      return Date.parse(drop.starts_at) > now();
    case "ended":
      return isOver(statusOf(drop));
    case "limit_reached":
      return numbers.limit === (numbers.limit_name === "max_per_hold" ? drop.max_per_hold : drop.max_per_buyer);
    default:
      return age < STANDS_MS;
  }
}

/** A refusal as something to act on. @param {Problem} problem */
export function explain(problem) {
  const { numbers } = problem;
  switch (problem.code) {
    case "sold_out":
      return numbers.available > 0
        ? `Only ${units(numbers.available, "unit is", "units are")} available right now.`
        : "Other buyers were faster: nothing is available right now. The waitlist gets first what comes back.";
    case "limit_reached":
      return numbers.allowance > 0
        ? `You may hold ${count(numbers.allowance)} more, and no more than that.`
        : `That is all that one buyer may have here: ${units(numbers.limit, "unit")}.`;
    case "throttled":
      return tooSoon(Date.parse(numbers.retry_at));
    case "cooling_down":
      return `Too many holds from your network were left to expire. Try again at ${clock(numbers.retry_at)}.`;
    case "address_limit_reached":
      return numbers.limit_name === "holds"
        ? `Your network has as many open holds as one may have. Try again at ${clock(numbers.retry_at)}.`
        : "Your network has as many waitlist entries as one may have. Try again later.";
    case "not_live":
      return `It has not started: it does at ${clock(numbers.starts_at)}.`;
    case "ended":
      return numbers.cancelled ? "The drop was called off." : "The drop is over.";
    case "hold_expired":
      return `The hold ran out at ${clock(numbers.expired_at)}; it was not bought, and nothing is owed.`;
    case "hold_released":
      return "The hold had been released already.";
    case "hold_purchased":
      return "It is bought already, so there is nothing to release.";
    case "not_sold_out":
      return "It is available again: there is no line, hold it now.";
    case "already_waiting":
      return "You are in line already, perhaps on another page.";
    case "waitlist_full":
      return "The waitlist is full. Entries come free when holds are offered or buyers leave; try again later.";
    case "already_offered":
      return "It is your turn already: the place in line has become a hold.";
    case "unavailable":
    case "unreachable":
      return "The shop did not answer in time. Nothing is known to be held; try again.";
    case "drop_quarantined":
    case "log_refused":
      return "This cannot be sold at the moment. Nothing was recorded; try again later.";
    default:
      return problem.message;
  }
}

/** @param {number} retryAt milliseconds since the Unix epoch */
function tooSoon(retryAt) {
  const left = retryAt - now();
  return left > 0 ? `Not so fast: the next hold is possible in ${duration(left)}, at ${clock(retryAt)}.` : "Not so fast: but now it is possible again.";
}
