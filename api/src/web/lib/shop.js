// The actions of a buyer: hold, buy, release, join and leave the waitlist. A request is shown
// immediately as pending, and its result only after the response. A refusal is explained.

import { Problem, call, callUntilDecided } from "./api.js";
import { buyerId, displayName } from "./buyer.js";
import { until } from "./clock.js";
import { blockReason } from "./drop.js";
import { isolate } from "./foreign.js";
import { clock, money } from "./format.js";
import { about, clearRefusal, refuse } from "./refusals.js";
import { service } from "./service.js";
import { text } from "./text.js";
import { isSignedOut, session } from "./token.js";
import { toast } from "../elements/toast-list.js";
import { MAX_HOLD_MS, RETRY_WINDOW_MS, isSettled, store } from "./yours.js";

/**
 * @typedef {import("./api.js").Drop} Drop
 * @typedef {import("./api.js").Hold} Hold
 * @typedef {import("./yours.js").Entry} Entry
 */

/** Places a hold. @param {Drop} drop @param {number} quantity @param {string} [code] */
export async function place(drop, quantity, code) {
  await request(store.add(drop, quantity, "asking"), code);
}

/** Joins the waitlist. @param {Drop} drop @param {number} quantity @param {string} [code] */
export async function join(drop, quantity, code) {
  await request(store.add(drop, quantity, "joining"), code);
}

/** @param {Entry} entry @param {string} [code] kept for retries */
async function request(entry, code) {
  if (code) store.update(entry, { code });
  await submit(entry, true);
}

/**
 * Requests a hold or a waitlist entry, or repeats the request with the same key. Without a response
 * the entry is kept: the server may have placed a hold, which only the key can find.
 * @param {Entry} entry @param {boolean} [isFirst] it was not requested before
 */
export async function submit(entry, isFirst = false) {
  clearRefusal(entry.drop_id);
  store.update(entry, { stage: entry.asks === "waitlist" ? "joining" : "asking", again: false });
  const name = displayName();
  const body = {
    buyer_id: buyerId(),
    quantity: entry.quantity,
    ...(name ? { display_name: name } : {}),
    ...(entry.code ? { code: entry.code } : {}),
  };
  const path = `/v1/drops/${entry.drop_id}/${entry.asks}`;
  try {
    const response = await callUntilDecided(
      path,
      { method: "POST", key: entry.key, body },
      { timeout: RETRY_WINDOW_MS, onRetry: markRetry(entry) },
    );
    await (entry.asks === "waitlist" ? joined(entry, response) : placed(entry, response));
  } catch (problem) {
    // A repeated request that needs a sign-in says nothing about the first one.
    const isUnknown = isSignedOut(problem) && (!isFirst || entry.again);
    if (isUnknown) refuse(entry, problem);
    if (isUnknown || (problem instanceof Problem && problem.isUndecided))
      return store.update(entry, { stage: "unanswered" });
    refuse(entry, problem);
    store.remove(entry);
  }
}

/** Returns a function that marks an entry as retried. @param {Entry} entry */
function markRetry(entry) {
  return () => {
    store.update(entry, { again: true });
    service.suspect();
  };
}

/** @param {Entry} entry @param {Hold} hold */
async function placed(entry, hold) {
  await applyHold(entry, hold);
  if (hold.status === "held")
    toast(
      about(
        entry.drop_name,
        text("toast.held", { count: hold.quantity, time: clock(hold.expires_at) }),
      ),
    );
}

/** @param {Entry} entry @param {import("./api.js").Waiting} response */
async function joined(entry, response) {
  const { id, place, blocked_by, status } = response;
  store.update(entry, { stage: "waiting", waiting: { id, place, blocked_by } });
  if (status !== "waiting") return applyNews(entry, response);
  if (blocked_by)
    toast(
      about(
        entry.drop_name,
        text("toast.blocked", { reason: blockReason(blocked_by, entry.quantity) }),
      ),
    );
  else if (place) toast(about(entry.drop_name, text("toast.rank", { count: place })));
}

/** Applies the state of a hold to its entry. @param {Entry} entry @param {Hold} hold */
async function applyHold(entry, hold) {
  // Released, but not by this browser: the drop may have been cancelled.
  const isSurprise =
    hold.status === "released" && entry.stage !== "releasing" && entry.stage !== "released";
  const called_off = isSurprise ? await isCancelled(entry) : entry.called_off;
  if (called_off) clearRefusal(entry.drop_id);
  store.update(entry, { hold, stage: hold.status, quantity: hold.quantity, called_off });
}

/** @param {Entry} entry */
async function isCancelled(entry) {
  const drop = await call(`/v1/drops/${entry.drop_id}`).catch(() => null);
  return drop?.status === "cancelled";
}

/** Purchases a hold. @param {Entry} entry */
export async function buy(entry) {
  const { hold } = entry;
  if (!hold || entry.stage !== "held") return;
  clearRefusal(entry.drop_id);
  store.update(entry, { stage: "buying", again: false });
  try {
    const purchase = await callUntilDecided(
      `/v1/holds/${hold.id}/purchase`,
      { method: "POST" },
      { onRetry: markRetry(entry) },
    );
    store.update(entry, {
      stage: "purchased",
      total: purchase.total,
      hold: { ...hold, status: "purchased", purchased_at: purchase.purchased_at },
    });
    toast(text("toast.bought", { name: isolate(entry.drop_name), price: money(purchase.total) }));
  } catch (problem) {
    refuse(entry, problem);
    if (isSignedOut(problem)) return store.update(entry, { stage: "held" });
    await check(entry);
  }
}

/** Releases a hold. @param {Entry} entry */
export async function release(entry) {
  const { hold } = entry;
  if (!hold || entry.stage !== "held") return;
  clearRefusal(entry.drop_id);
  store.update(entry, { stage: "releasing", again: false });
  try {
    await callUntilDecided(
      `/v1/holds/${hold.id}`,
      { method: "DELETE" },
      { onRetry: markRetry(entry) },
    );
    store.update(entry, { stage: "released", hold: { ...hold, status: "released" } });
    toast(about(entry.drop_name, text("toast.released", { count: hold.quantity })));
  } catch (problem) {
    refuse(entry, problem);
    if (isSignedOut(problem)) return store.update(entry, { stage: "held" });
    await check(entry);
  }
}

/** Reads the status of a hold from the server, if that is possible. @param {Entry} entry */
export async function check(entry) {
  if (!entry.hold || !session.isOpen) return;
  if (entry.stage === "held" && until(entry.hold.expires_at) > 0)
    return refreshHold(entry, entry.hold);
  store.update(entry, { stage: "checking", again: false });
  try {
    await applyHold(
      entry,
      await callUntilDecided(
        `/v1/holds/${entry.hold.id}`,
        {},
        { timeout: 60_000, onRetry: markRetry(entry) },
      ),
    );
  } catch (problem) {
    if (problem instanceof Problem && problem.status === 404) store.remove(entry);
    else refuse(entry, problem);
    if (isSignedOut(problem)) store.update(entry, { stage: entry.hold.status });
  }
}

/**
 * Reads the status of a hold in the background; its timer and buttons stay. Without a response
 * nothing changes.
 * @param {Entry} entry
 * @param {Hold} hold
 */
async function refreshHold(entry, hold) {
  const current = await call(`/v1/holds/${hold.id}`).catch(() => null);
  if (current && entry.stage === "held") await applyHold(entry, current);
}

/** Reads the status of a waitlist entry. @param {Entry} entry */
export async function refresh(entry) {
  const { stage, waiting } = entry;
  if (!session.isOpen || !waiting || (stage !== "waiting" && stage !== "closed")) return;
  try {
    await applyNews(entry, await call(`/v1/waitlist/${waiting.id}`));
  } catch (problem) {
    if (problem instanceof Problem && (problem.status === 404 || problem.status === 410))
      store.remove(entry);
  }
}

/**
 * Applies the state of a waitlist entry, from the stream or from a response: its rank changed, the
 * waitlist was closed, or the entry received a hold. An offer is shown without a further request,
 * because it may be short.
 * @param {Entry} entry @param {import("./api.js").Waiting} news
 */
export async function applyNews(entry, news) {
  const { stage } = entry;
  // The offered hold was resolved, but not on this page: read its status.
  if (stage === "held" && news.hold_id === entry.hold?.id && news.status !== "offered")
    return check(entry);
  // The buyer may have left the waitlist in the meantime.
  if (stage !== "waiting" && stage !== "closed") return;
  switch (news.status) {
    case "waiting":
      return applyWaiting(entry, news);
    case "offered":
      return applyHold(entry, offeredHold(news));
    case "purchased":
    case "expired":
    case "released": {
      const hold = await call(`/v1/holds/${news.hold_id}`);
      if (entry.stage === stage) await applyHold(entry, hold);
      return;
    }
    case "left":
      return store.remove(entry);
    case "closed": {
      const called_off = stage !== "closed" && (await isCancelled(entry));
      if (stage !== "closed" && entry.stage === stage)
        store.update(entry, { stage: "closed", called_off });
    }
  }
}

/** The hold that an entry received. @param {import("./api.js").Waiting} news @returns {Hold} */
function offeredHold({ drop_id, quantity, hold_id, offered_at, price, expires_at, position }) {
  const [id, placed, expires] = [hold_id ?? "", offered_at ?? "", expires_at ?? ""];
  const made = {
    id,
    drop_id,
    buyer_id: null,
    quantity,
    placed_at: placed,
    expires_at: expires,
    purchased_at: null,
    position,
    server_time: placed,
  };
  return { ...made, status: "held", ...(price ? { price } : {}) };
}

/** @param {Entry} entry @param {import("./api.js").Waiting} news */
function applyWaiting(entry, { id, place, blocked_by }) {
  const { stage, waiting } = entry;
  const isNews =
    stage !== "waiting" || waiting?.place !== place || (waiting.blocked_by ?? null) !== blocked_by;
  if (isNews) store.update(entry, { stage: "waiting", waiting: { id, place, blocked_by } });
}

/** Leaves the waitlist. @param {Entry} entry */
export async function leave(entry) {
  if (!entry.waiting) return;
  store.update(entry, { stage: "leaving", again: false });
  try {
    await callUntilDecided(
      `/v1/waitlist/${entry.waiting.id}`,
      { method: "DELETE" },
      { onRetry: markRetry(entry) },
    );
    store.remove(entry);
    toast(about(entry.drop_name, text("toast.left")));
  } catch (problem) {
    refuse(entry, problem);
    store.update(entry, { stage: "waiting" });
    await refresh(entry);
  }
}

/** Hides the result of an entry, so that the drop can be held again. @param {Entry} entry */
export function dismiss(entry) {
  clearRefusal(entry.drop_id);
  store.update(entry, { dismissed: true });
}

/** Gives up a request without a response. @param {Entry} entry */
export function discard(entry) {
  store.remove(entry);
}

/**
 * After a page load: repeats requests without a response, and reads the status of all other
 * entries.
 */
export async function resume() {
  if (!session.isOpen) return;
  await Promise.all(store.entries.filter((entry) => !isSettled(entry)).map(settle));
}

/**
 * Determines the state of an entry whose page may have been closed before the response.
 * @param {Entry} entry
 */
export async function settle(entry) {
  if (entry.hold) return check(entry);
  if (entry.waiting) {
    store.update(entry, { stage: "waiting" });
    return refresh(entry);
  }
  const age = Date.now() - entry.asked_at;
  if (age > MAX_HOLD_MS) return store.remove(entry);
  if (entry.stage === "unanswered") return undefined;
  return age > RETRY_WINDOW_MS ? store.update(entry, { stage: "unanswered" }) : submit(entry);
}
