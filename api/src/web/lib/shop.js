// What a buyer can do: hold, buy, release, stand in line. Shows at once what was asked, and never more than was answered: "asking"
// is not "held", and a refusal says why.

import { Problem, call, callUntilDecided } from "./api.js";
import { buyerId, displayName } from "./buyer.js";
import { now, until } from "./clock.js";
import { clock, count, duration, money, ordinal, units } from "./format.js";
import { toast } from "../elements/toast-list.js";
import { STILL_MEANT_MS, isSettled, yours } from "./yours.js";

/**
 * @typedef {import("./api.js").Drop} Drop
 * @typedef {import("./api.js").Hold} Hold
 * @typedef {import("./yours.js").Entry} Entry
 */

/** Why the last request about a drop was refused, until the next one. @type {Map<string, string>} */
const refusals = new Map();

/** @param {string} dropId */
export function refusalOf(dropId) {
  return refusals.get(dropId) ?? "";
}

/** Asks for a hold. @param {Drop} drop @param {number} quantity */
export async function place(drop, quantity) {
  const entry = yours.add(drop, quantity, "asking");
  await ask(entry);
}

/** Asks, or asks again under the same key. @param {Entry} entry */
async function ask(entry) {
  refusals.delete(entry.drop_id);
  const name = displayName();
  const body = { buyer_id: buyerId(), quantity: entry.quantity, ...(name ? { display_name: name } : {}) };
  try {
    const hold = await callUntilDecided(`/v1/drops/${entry.drop_id}/holds`, { method: "POST", key: entry.key, body });
    take(entry, hold);
    if (hold.status === "held") toast(`${entry.drop_name}: ${units(hold.quantity, "unit")} held for you until ${clock(hold.expires_at)}.`);
  } catch (problem) {
    refuse(entry, problem);
    yours.remove(entry);
  }
}

/** Takes in what the server says about a hold. @param {Entry} entry @param {Hold} hold */
function take(entry, hold) {
  yours.update(entry, { hold, stage: hold.status, quantity: hold.quantity });
}

/** Pays for a hold. @param {Entry} entry */
export async function buy(entry) {
  const { hold } = entry;
  if (!hold || entry.stage !== "held") return;
  refusals.delete(entry.drop_id);
  yours.update(entry, { stage: "buying" });
  try {
    const purchase = await callUntilDecided(`/v1/holds/${hold.id}/purchase`, { method: "POST" });
    yours.update(entry, { stage: "purchased", total: purchase.total, hold: { ...hold, status: "purchased", purchased_at: purchase.purchased_at } });
    toast(`Bought: ${entry.drop_name} for ${money(purchase.total)}.`);
  } catch (problem) {
    refuse(entry, problem);
    await check(entry);
  }
}

/** Gives a hold up. @param {Entry} entry */
export async function release(entry) {
  const { hold } = entry;
  if (!hold || entry.stage !== "held") return;
  refusals.delete(entry.drop_id);
  yours.update(entry, { stage: "releasing" });
  try {
    await callUntilDecided(`/v1/holds/${hold.id}`, { method: "DELETE" });
    yours.update(entry, { stage: "released", hold: { ...hold, status: "released" } });
    toast(`${entry.drop_name}: released. ${units(hold.quantity, "unit is", "units are")} for others again.`);
  } catch (problem) {
    refuse(entry, problem);
    await check(entry);
  }
}

/** Asks the server how a hold stands; it alone knows. @param {Entry} entry */
export async function check(entry) {
  if (!entry.hold) return;
  // One that is held keeps its clock and its buttons while the question is on its way.
  if (entry.stage !== "held" || until(entry.hold.expires_at) <= 0) yours.update(entry, { stage: "checking" });
  try {
    const hold = await callUntilDecided(`/v1/holds/${entry.hold.id}`, {}, { patience: 60_000 });
    take(entry, hold);
    if (hold.status === "expired") toast(`${entry.drop_name}: your hold ran out at ${clock(hold.expires_at)}, and the stock went back on sale.`);
  } catch (problem) {
    if (problem instanceof Problem && problem.status === 404) yours.remove(entry);
    else refuse(entry, problem);
  }
}

/** Gets in line for what is sold out. @param {Drop} drop @param {number} quantity */
export async function join(drop, quantity) {
  const entry = yours.add(drop, quantity, "joining");
  await askForPlace(entry);
}

/** @param {Entry} entry */
async function askForPlace(entry) {
  refusals.delete(entry.drop_id);
  const name = displayName();
  const body = { buyer_id: buyerId(), quantity: entry.quantity, ...(name ? { display_name: name } : {}) };
  try {
    const waiting = await callUntilDecided(`/v1/drops/${entry.drop_id}/waitlist`, { method: "POST", key: entry.key, body });
    yours.update(entry, { stage: "waiting", waiting: { id: waiting.id, place: waiting.place ?? null } });
    toast(`${entry.drop_name}: you are ${ordinal(waiting.place ?? 1)} in line.`);
    await look(entry);
  } catch (problem) {
    refuse(entry, problem);
    yours.remove(entry);
  }
}

/** Looks how far the line has moved; a place may have become a hold. @param {Entry} entry */
export async function look(entry) {
  if (!entry.waiting || entry.stage !== "waiting") return;
  try {
    /** @type {import("./api.js").Waiting} */
    const waiting = await call(`/v1/waitlist/${entry.waiting.id}`);
    if (waiting.hold_id) {
      const hold = await call(`/v1/holds/${waiting.hold_id}`);
      take(entry, hold);
      if (hold.status === "held") toast(`${entry.drop_name}: it is your turn. Held for you until ${clock(hold.expires_at)}.`);
    } else if (typeof waiting.place === "number") {
      if (waiting.place !== entry.waiting.place) yours.update(entry, { waiting: { id: waiting.id, place: waiting.place } });
    } else {
      yours.remove(entry);
    }
  } catch (problem) {
    if (problem instanceof Problem && (problem.status === 404 || problem.status === 410)) yours.remove(entry);
  }
}

/** Leaves the line. @param {Entry} entry */
export async function leave(entry) {
  if (!entry.waiting) return;
  yours.update(entry, { stage: "leaving" });
  try {
    await callUntilDecided(`/v1/waitlist/${entry.waiting.id}`, { method: "DELETE" });
    yours.remove(entry);
    toast(`${entry.drop_name}: you left the line.`);
  } catch (problem) {
    refuse(entry, problem);
    yours.update(entry, { stage: "waiting" });
    await look(entry);
  }
}

/** Puts an outcome away, so that the drop can be held again. @param {Entry} entry */
export function dismiss(entry) {
  refusals.delete(entry.drop_id);
  yours.update(entry, { dismissed: true });
}

/** After a refresh: asks again what was not answered, and how everything stands. */
export async function resume() {
  await Promise.all(yours.entries.filter((entry) => !isSettled(entry)).map(settle));
}

/** Finds out about an entry whose page may have gone before it was answered. @param {Entry} entry */
export async function settle(entry) {
  if (entry.hold) return check(entry);
  if (entry.waiting) {
    yours.update(entry, { stage: "waiting" });
    return look(entry);
  }
  if (Date.now() - entry.asked_at > STILL_MEANT_MS) return yours.remove(entry);
  return entry.stage === "joining" ? askForPlace(entry) : ask(entry);
}

/** @param {Entry} entry @param {unknown} problem */
function refuse(entry, problem) {
  if (!(problem instanceof Problem)) throw problem;
  const words = explain(problem);
  refusals.set(entry.drop_id, words);
  toast(`${entry.drop_name}: ${words}`, "refusal");
}

/** A refusal as something to act on. @param {Problem} problem */
export function explain(problem) {
  const { numbers } = problem;
  switch (problem.code) {
    case "sold_out":
      return numbers.available > 0
        ? `Only ${units(numbers.available, "unit is", "units are")} available right now.`
        : "Somebody was faster: nothing is available right now. Units of holds that run out come back.";
    case "limit_reached":
      return numbers.allowance > 0
        ? `You may hold ${count(numbers.allowance)} more, and no more than that.`
        : `That is all that one buyer may have here: ${units(numbers.limit, "unit")}.`;
    case "throttled":
      return `Not so fast: the next hold is possible in ${duration(1000 * (numbers.retry_after ?? 1))}, at ${clock(Date.parse(numbers.retry_at) || now() + 1000 * numbers.retry_after)}.`;
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
    case "already_offered":
      return "It is your turn already: the place in line has become a hold.";
    case "unavailable":
    case "unreachable":
      return "The shop did not answer in time. Nothing is known to be held; try again.";
    default:
      return problem.message;
  }
}
