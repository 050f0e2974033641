// What a buyer can do: hold, buy, release, stand in line. Shows at once what was asked, and never more than was answered: "asking"
// is not "held", and a refusal says why.

import { Problem, call, callUntilDecided } from "./api.js";
import { buyerId, displayName } from "./buyer.js";
import { until } from "./clock.js";
import { passedOver } from "./drop.js";
import { foreign } from "./foreign.js";
import { clock, money, ordinal, units } from "./format.js";
import { forgive, refuse } from "./refusals.js";
import { service } from "./service.js";
import { toast } from "../elements/toast-list.js";
import { OVER_MS, STILL_MEANT_MS, isSettled, yours } from "./yours.js";

/**
 * @typedef {import("./api.js").Drop} Drop
 * @typedef {import("./api.js").Hold} Hold
 * @typedef {import("./yours.js").Entry} Entry
 */

/** Asks for a hold. @param {Drop} drop @param {number} quantity */
export async function place(drop, quantity) {
  await ask(yours.add(drop, quantity, "asking"));
}

/** Gets in line for what is sold out. @param {Drop} drop @param {number} quantity */
export async function join(drop, quantity) {
  await ask(yours.add(drop, quantity, "joining"));
}

/**
 * Asks for a hold or a place in line, or asks again under the same key. An entry that nobody answers for stays: there may be a
 * hold behind it, and only its key finds it.
 * @param {Entry} entry
 */
export async function ask(entry) {
  forgive(entry.drop_id);
  yours.update(entry, { stage: entry.asks === "waitlist" ? "joining" : "asking", again: false });
  const name = displayName();
  const body = { buyer_id: buyerId(), quantity: entry.quantity, ...(name ? { display_name: name } : {}) };
  const path = `/v1/drops/${entry.drop_id}/${entry.asks}`;
  try {
    const answer = await callUntilDecided(path, { method: "POST", key: entry.key, body }, { patience: STILL_MEANT_MS, onAgain: again(entry) });
    await (entry.asks === "waitlist" ? queued(entry, answer) : placed(entry, answer));
  } catch (problem) {
    if (problem instanceof Problem && problem.isUndecided) return yours.update(entry, { stage: "unanswered" });
    refuse(entry, problem);
    yours.remove(entry);
  }
}

/** What to do when a question is asked again. @param {Entry} entry */
function again(entry) {
  return () => {
    yours.update(entry, { again: true });
    service.suspect();
  };
}

/** @param {Entry} entry @param {Hold} hold */
async function placed(entry, hold) {
  await take(entry, hold);
  if (hold.status === "held") toast(`${foreign(entry.drop_name)}: ${units(hold.quantity, "unit")} held for you until ${clock(hold.expires_at)}.`);
}

/** @param {Entry} entry @param {import("./api.js").Waiting} answer */
async function queued(entry, answer) {
  const { id, place, blocked_by, status } = answer;
  const name = foreign(entry.drop_name);
  yours.update(entry, { stage: "waiting", waiting: { id, place, blocked_by } });
  if (status !== "waiting") return hear(entry, answer);
  if (blocked_by) toast(`${name}: you are in line, but ${passedOver(blocked_by, entry.quantity)}`);
  else if (place) toast(`${name}: you are ${ordinal(place)} in line.`);
}

/** Takes in what the server says about a hold. @param {Entry} entry @param {Hold} hold */
async function take(entry, hold) {
  // Released, and not by this buyer as far as this browser knows: the drop may have been called off.
  const isSurprise = hold.status === "released" && entry.stage !== "releasing" && entry.stage !== "released";
  const called_off = isSurprise ? await isCalledOff(entry) : entry.called_off;
  if (called_off) forgive(entry.drop_id);
  yours.update(entry, { hold, stage: hold.status, quantity: hold.quantity, called_off });
}

/** @param {Entry} entry */
async function isCalledOff(entry) {
  const drop = await call(`/v1/drops/${entry.drop_id}`).catch(() => null);
  return drop?.status === "cancelled";
}

/** Pays for a hold. @param {Entry} entry */
export async function buy(entry) {
  const { hold } = entry;
  if (!hold || entry.stage !== "held") return;
  forgive(entry.drop_id);
  yours.update(entry, { stage: "buying", again: false });
  try {
    const purchase = await callUntilDecided(`/v1/holds/${hold.id}/purchase`, { method: "POST" }, { onAgain: again(entry) });
    yours.update(entry, { stage: "purchased", total: purchase.total, hold: { ...hold, status: "purchased", purchased_at: purchase.purchased_at } });
    toast(`Bought: ${foreign(entry.drop_name)} for ${money(purchase.total)}.`);
  } catch (problem) {
    refuse(entry, problem);
    await check(entry);
  }
}

/** Gives a hold up. @param {Entry} entry */
export async function release(entry) {
  const { hold } = entry;
  if (!hold || entry.stage !== "held") return;
  forgive(entry.drop_id);
  yours.update(entry, { stage: "releasing", again: false });
  try {
    await callUntilDecided(`/v1/holds/${hold.id}`, { method: "DELETE" }, { onAgain: again(entry) });
    yours.update(entry, { stage: "released", hold: { ...hold, status: "released" } });
    toast(`${foreign(entry.drop_name)}: released. ${units(hold.quantity, "unit is", "units are")} for others again.`);
  } catch (problem) {
    refuse(entry, problem);
    await check(entry);
  }
}

/** Asks the server how a hold stands; it alone knows. @param {Entry} entry */
export async function check(entry) {
  if (!entry.hold) return;
  if (entry.stage === "held" && until(entry.hold.expires_at) > 0) return glance(entry, entry.hold);
  yours.update(entry, { stage: "checking", again: false });
  try {
    await take(entry, await callUntilDecided(`/v1/holds/${entry.hold.id}`, {}, { patience: 60_000, onAgain: again(entry) }));
  } catch (problem) {
    if (problem instanceof Problem && problem.status === 404) yours.remove(entry);
    else refuse(entry, problem);
  }
}

/** Asks about a hold that keeps its clock and its buttons meanwhile. Without an answer it stays as it is. @param {Entry} entry @param {Hold} hold */
async function glance(entry, hold) {
  const seen = await call(`/v1/holds/${hold.id}`).catch(() => null);
  if (seen && entry.stage === "held") await take(entry, seen);
}

/** Asks how a waitlist entry stands. @param {Entry} entry */
export async function look(entry) {
  const { stage, waiting } = entry;
  if (!waiting || (stage !== "waiting" && stage !== "closed")) return;
  try {
    await hear(entry, await call(`/v1/waitlist/${waiting.id}`));
  } catch (problem) {
    if (problem instanceof Problem && (problem.status === 404 || problem.status === 410)) yours.remove(entry);
  }
}

/**
 * Takes in what the server says of a waitlist entry, on the stream or asked: the line has moved or was closed, or the entry has
 * become a hold. An offer is shown as it is told, without a further question: it may be short.
 * @param {Entry} entry @param {import("./api.js").Waiting} news
 */
export async function hear(entry, news) {
  const { stage } = entry;
  // What was offered has ended, and not on this page: only the server knows how.
  if (stage === "held" && news.hold_id === entry.hold?.id && news.status !== "offered") return check(entry);
  // The buyer may have left the line meanwhile.
  if (stage !== "waiting" && stage !== "closed") return;
  switch (news.status) {
    case "waiting":
      return wait(entry, news);
    case "offered":
      return take(entry, offerOf(news));
    case "purchased":
    case "expired":
    case "released": {
      const hold = await call(`/v1/holds/${news.hold_id}`);
      if (entry.stage === stage) await take(entry, hold);
      return;
    }
    case "left":
      return yours.remove(entry);
    case "closed": {
      const called_off = stage !== "closed" && (await isCalledOff(entry));
      if (stage !== "closed" && entry.stage === stage) yours.update(entry, { stage: "closed", called_off });
    }
  }
}

/** The hold that an entry has become. @param {import("./api.js").Waiting} news @returns {Hold} */
function offerOf({ drop_id, quantity, hold_id, offered_at, price, expires_at, position }) {
  const [id, placed, expires] = [hold_id ?? "", offered_at ?? "", expires_at ?? ""];
  const made = { id, drop_id, buyer_id: null, quantity, placed_at: placed, expires_at: expires, purchased_at: null, position, server_time: placed };
  return { ...made, status: "held", ...(price ? { price } : {}) };
}

/** @param {Entry} entry @param {import("./api.js").Waiting} news */
function wait(entry, { id, place, blocked_by }) {
  const { stage, waiting } = entry;
  const isNews = stage !== "waiting" || waiting?.place !== place || (waiting.blocked_by ?? null) !== blocked_by;
  if (isNews) yours.update(entry, { stage: "waiting", waiting: { id, place, blocked_by } });
}

/** Leaves the line. @param {Entry} entry */
export async function leave(entry) {
  if (!entry.waiting) return;
  yours.update(entry, { stage: "leaving", again: false });
  try {
    await callUntilDecided(`/v1/waitlist/${entry.waiting.id}`, { method: "DELETE" }, { onAgain: again(entry) });
    yours.remove(entry);
    toast(`${foreign(entry.drop_name)}: you left the line.`);
  } catch (problem) {
    refuse(entry, problem);
    yours.update(entry, { stage: "waiting" });
    await look(entry);
  }
}

/** Puts an outcome away, so that the drop can be held again. @param {Entry} entry */
export function dismiss(entry) {
  forgive(entry.drop_id);
  yours.update(entry, { dismissed: true });
}

/** Lets a question be that nobody answered. @param {Entry} entry */
export function letBe(entry) {
  yours.remove(entry);
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
  const age = Date.now() - entry.asked_at;
  if (age > OVER_MS) return yours.remove(entry);
  if (entry.stage === "unanswered") return undefined;
  return age > STILL_MEANT_MS ? yours.update(entry, { stage: "unanswered" }) : ask(entry);
}
