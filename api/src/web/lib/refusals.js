// The reason why the last request for a drop was rejected, shown as long as it applies.

import { Problem } from "./api.js";
import { now } from "./clock.js";
import { has, isOver, statusOf } from "./drop.js";
import { isolate } from "./foreign.js";
import { clock, count, duration, units } from "./format.js";
import { service } from "./service.js";
import { session, signInLink } from "./token.js";
import { store } from "./yours.js";
import { toast } from "../elements/toast-list.js";

/**
 * @typedef {import("./api.js").Drop} Drop
 * @typedef {import("./yours.js").Entry} Entry
 */

/**
 * The minimum display time: long enough to read, and for the page to receive the state that the
 * refusal was based on.
 */
const READ_MS = 5000;
/** The display time of refusals that do not depend on the drop's state. */
const SHOWN_MS = 20_000;

/** Refusals with a time for the next attempt. */
const WAITS = new Set(["throttled", "cooling_down", "address_limit_reached", "too_many_attempts"]);

/**
 * By drop: the problem, its time, and the buyer's units at that time.
 * @type {Map<string, {problem: Problem, since: number, had: number}>}
 */
const refusals = new Map();

/** @param {Drop} drop */
export function refusalOf(drop) {
  const refusal = refusals.get(drop.id);
  if (!refusal) return "";
  const { problem, since, had } = refusal;
  const age = Date.now() - since;
  if (age < READ_MS || (isStillTrue(problem, drop, age) && had === unitsOf(drop.id)))
    return explain(problem);
  refusals.delete(drop.id);
  return "";
}

/**
 * Removes a refusal, because the buyer dismissed it or sent another request.
 * @param {string} dropId
 */
export function clearRefusal(dropId) {
  refusals.delete(dropId);
}

/** Records a refusal and shows it as a message. @param {Entry} entry @param {unknown} problem */
export function refuse(entry, problem) {
  if (!(problem instanceof Problem)) throw problem;
  if (problem.isUndecided) service.suspect();
  const { numbers } = problem;
  if (WAITS.has(problem.code))
    numbers.retry_at ??= new Date(now() + 1000 * (numbers.retry_after ?? 1)).toISOString();
  refusals.set(entry.drop_id, { problem, since: Date.now(), had: unitsOf(entry.drop_id) });
  const manner = { kind: /** @type {const} */ ("refusal"), ...signInLink(problem) };
  toast(`${isolate(entry.drop_name)}: ${explain(problem)}`, manner);
}

/**
 * The units of a drop that this buyer holds or has bought, as far as this browser knows.
 * @param {string} dropId
 */
function unitsOf(dropId) {
  const has = store.entries.filter(
    ({ drop_id, hold }) =>
      drop_id === dropId && (hold?.status === "held" || hold?.status === "purchased"),
  );
  return has.reduce((sum, { quantity }) => sum + quantity, 0);
}

/** @param {Problem} problem @param {Drop} drop @param {number} age */
function isStillTrue({ code, numbers }, drop, age) {
  switch (code) {
    case "sold_out":
      return !has(drop.stock, numbers.requested ?? 1);
    case "not_sold_out":
      return has(drop.stock, numbers.requested ?? 1);
    case "throttled":
    case "cooling_down":
    case "address_limit_reached":
    case "too_many_attempts":
      return Date.parse(numbers.retry_at) > now();
    case "not_live":
      return Date.parse(drop.starts_at) > now();
    case "ended":
      return isOver(statusOf(drop));
    case "unauthorized":
      return !session.isOpen;
    case "limit_reached":
      return (
        numbers.limit ===
        (numbers.limit_name === "max_per_hold" ? drop.max_per_hold : drop.max_per_buyer)
      );
    default:
      return age < SHOWN_MS;
  }
}

/** Describes a refusal and the next step. @param {Problem} problem */
export function explain(problem) {
  const { numbers } = problem;
  switch (problem.code) {
    case "sold_out":
      return numbers.available > 0
        ? `Only ${units(numbers.available, "unit is", "units are")} available right now.`
        : "No units are available right now. Returned units are offered to the waitlist first.";
    case "limit_reached":
      return numbers.allowance > 0
        ? `You can hold at most ${count(numbers.allowance)} more.`
        : `You have reached the limit of ${units(numbers.limit, "unit")} per buyer.`;
    case "throttled":
      return tooSoon(Date.parse(numbers.retry_at));
    case "cooling_down":
      return `Too many holds from your network expired without a purchase. Try again at ${clock(numbers.retry_at)}.`;
    case "address_limit_reached":
      return numbers.limit_name === "holds"
        ? `The limit of open holds for your network is reached. Try again at ${clock(numbers.retry_at)}.`
        : "The limit of waitlist entries for your network is reached. Try again later.";
    case "not_live":
      return `The drop has not started. It starts at ${clock(numbers.starts_at)}.`;
    case "unauthorized":
      return "Sign in to continue.";
    case "code_required":
      return "This drop requires an access code.";
    case "code_invalid":
      return numbers.expired_at
        ? `The access code expired at ${clock(numbers.expired_at)}.`
        : "This drop has no such access code. Compare it with the one that you received.";
    case "code_spent":
      return "The access code has been used.";
    case "ended":
      return numbers.cancelled ? "The drop was cancelled." : "The drop has ended.";
    case "hold_expired":
      return `The hold expired at ${clock(numbers.expired_at)}. It was not purchased, and you were not charged.`;
    case "hold_released":
      return "The hold was already released.";
    case "hold_purchased":
      return "The hold was already purchased and cannot be released.";
    case "not_sold_out":
      return "Units are available again. Place a hold now.";
    case "already_waiting":
      return "You are already on the waitlist, possibly from another page.";
    case "waitlist_full":
      return "The waitlist is full. Try again later.";
    case "already_offered":
      return "It is your turn: your waitlist entry has already received a hold.";
    case "unavailable":
    case "unreachable":
      return "The shop did not respond in time, so the outcome is unknown. Try again.";
    case "drop_quarantined":
    case "log_refused":
      return "This drop is temporarily unavailable. This attempt was not recorded; try again later.";
    default:
      return problem.message;
  }
}

/** @param {number} retryAt milliseconds since the Unix epoch */
function tooSoon(retryAt) {
  const left = retryAt - now();
  return left > 0
    ? `Too many holds in a short time. The next hold is possible in ${duration(left)}, at ${clock(retryAt)}.`
    : "Too many holds in a short time. A new hold is possible now.";
}
