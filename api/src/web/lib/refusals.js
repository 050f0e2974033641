// The reason why the last request for a drop was rejected, shown as long as it applies.

import { Problem } from "./api.js";
import { now } from "./clock.js";
import { has, isOver, statusOf } from "./drop.js";
import { isolate } from "./foreign.js";
import { clock, duration } from "./format.js";
import { service } from "./service.js";
import { hasText, text } from "./text.js";
import { isSignedOut, session, signInHref } from "./token.js";
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
  toast(about(entry.drop_name, explain(problem)), manner);
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
    case "paused":
      return statusOf(drop) === "paused";
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

/** The link of a message about a refusal, if signing in helps. @param {unknown} problem */
export function signInLink(problem) {
  const href = isSignedOut(problem) ? signInHref() : "";
  return href ? { link: { href, words: text("sign_in.link") } } : {};
}

/** A sentence about a drop. @param {string} name @param {string} words */
export function about(name, words) {
  return text("drop.about", { name: isolate(name), words });
}

/** Describes a refusal and the next step. @param {Problem} problem */
export function explain(problem) {
  const { numbers } = problem;
  switch (problem.code) {
    case "sold_out":
      return numbers.available > 0
        ? text("refusal.few_left", { count: numbers.available })
        : text("refusal.sold_out");
    case "limit_reached":
      return numbers.allowance > 0
        ? text("refusal.allowance", { count: numbers.allowance })
        : text("refusal.limit", { count: numbers.limit });
    case "throttled":
      return tooSoon(Date.parse(numbers.retry_at));
    case "cooling_down":
      return text("refusal.cooling_down", { time: clock(numbers.retry_at) });
    case "address_limit_reached":
      return numbers.limit_name === "holds"
        ? text("refusal.network_holds", { time: clock(numbers.retry_at) })
        : text("refusal.network_waitlist");
    case "not_live":
      return text("refusal.not_live", { time: clock(numbers.starts_at) });
    case "code_invalid":
      return numbers.expired_at
        ? text("refusal.code_expired", { time: clock(numbers.expired_at) })
        : text("refusal.code_invalid");
    case "ended":
      return text(numbers.cancelled ? "refusal.cancelled" : "refusal.ended");
    case "hold_expired":
      return text("refusal.hold_expired", { time: clock(numbers.expired_at) });
    default:
      return worded(problem);
  }
}

/**
 * The text of a problem: that of its code, or the server's, which is in English.
 * @param {Problem} problem
 */
export function worded({ code, message }) {
  return hasText(`problem.${code}`) ? text(`problem.${code}`) : isolate(message);
}

/** @param {number} retryAt milliseconds since the Unix epoch */
function tooSoon(retryAt) {
  const left = retryAt - now();
  return left > 0
    ? text("refusal.throttled", { left: duration(left), time: clock(retryAt) })
    : text("refusal.throttled_over");
}
