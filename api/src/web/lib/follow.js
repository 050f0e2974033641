// Follows all entries of this buyer on every page of the shop: expiring holds, waitlist entries
// that receive a hold, cancelled drops. Changes are reported on whichever page is open, with a
// link, and in the page title.

import { everyTick, until } from "./clock.js";
import { blockReason } from "./drop.js";
import { isolate } from "./foreign.js";
import { clock } from "./format.js";
import { about } from "./refusals.js";
import { applyNews, check, refresh, resume, settle } from "./shop.js";
import { text } from "./text.js";
import { session } from "./token.js";
import { setNews } from "./title.js";
import { isAbandoned, store } from "./yours.js";
import { toast } from "../elements/toast-list.js";
import "../elements/hold-timer.js";
import "../elements/sign-in-button.js";
import "../elements/time-zone.js";

/** @typedef {import("./yours.js").Entry} Entry */

/** The warnings before a hold expires, in seconds. */
const WARNINGS = [30, 10];
/**
 * The polling interval of a waitlist entry that the stream does not carry, on a visible and on a
 * hidden page.
 */
const [POLL_MS, POLL_HIDDEN_MS] = [4000, 15_000];
/** The polling interval of entries that rarely change: an unresolved hold, a closed waitlist. */
const POLL_RARELY_MS = 20_000;

/** The time of the last poll of each entry. @type {Map<string, number>} */
const polledAt = new Map();
/** The warnings that were shown. @type {Set<string>} */
const warned = new Set();
/**
 * The state of each entry at the last report.
 * @type {Map<string, {stage: Entry["stage"], block: string | null}>}
 */
let reported = snapshot();

function snapshot() {
  return new Map(
    store.entries.map(({ key, stage, waiting }) => [
      key,
      { stage, block: waiting?.blocked_by ?? null },
    ]),
  );
}

/**
 * Follows the entries while the page is open; waitlist entries through the page's stream, if it has
 * one.
 * @param {import("./live.js").Live} [live]
 */
export function followYours(live) {
  const watch = () =>
    live?.watch(
      store.entries.filter(mayBeServed).flatMap(({ waiting }) => (waiting ? [waiting.id] : [])),
    );
  live?.addEventListener("entry", (event) => {
    const news = /** @type {CustomEvent<import("./api.js").Waiting>} */ (event).detail;
    const entry = store.entries.find(({ waiting }) => waiting?.id === news.id);
    if (entry) void applyNews(entry, news);
  });
  store.addEventListener("change", () => {
    report();
    watch();
  });
  session.addEventListener("change", () => {
    if (!session.isOpen) return;
    live?.retry();
    void resume();
  });
  everyTick(() => session.isOpen && store.entries.forEach((entry) => update(entry, live)));
  report();
  watch();
  void resume();
}

/**
 * Returns whether an entry waits or may wait again: if the end of a drop is postponed, its waitlist
 * continues.
 * @param {Entry} entry
 */
function mayBeServed({ stage, called_off, dismissed }) {
  return (
    stage === "waiting" ||
    stage === "leaving" ||
    stage === "held" ||
    (stage === "closed" && !called_off && !dismissed)
  );
}

/** @param {Entry} entry @param {import("./live.js").Live} [live] */
function update(entry, live) {
  if (isAbandoned(entry)) void settle(entry);
  if (entry.stage === "held" && entry.hold) updateHold(entry, entry.hold);
  if (!entry.waiting || live?.covers(entry.waiting.id)) return;
  if (entry.stage === "waiting" && isDue(entry, document.hidden ? POLL_HIDDEN_MS : POLL_MS))
    void refresh(entry);
  if (entry.stage === "closed" && mayBeServed(entry) && isDue(entry, POLL_RARELY_MS))
    void refresh(entry);
}

/** @param {Entry} entry @param {import("./api.js").Hold} hold */
function updateHold(entry, hold) {
  const left = until(hold.expires_at);
  // Only the server knows whether the hold was purchased in time, and whether its drop was
  // cancelled.
  if (left <= 0 || isDue(entry, POLL_RARELY_MS)) return void check(entry);
  for (const seconds of WARNINGS) {
    const isNear = left <= 1000 * seconds && left > 1000 * (seconds - 2);
    const isLong = Date.parse(hold.expires_at) - Date.parse(hold.placed_at) > 2000 * seconds;
    if (!isNear || !isLong || warned.has(`${hold.id} ${seconds}`)) continue;
    warned.add(`${hold.id} ${seconds}`);
    toast(about(entry.drop_name, text("toast.seconds_left", { count: seconds })));
  }
}

/**
 * Returns true once per interval if an entry is due to be polled.
 * @param {Entry} entry
 * @param {number} every
 */
function isDue({ key }, every) {
  const last = polledAt.get(key);
  // The entry was current when it was created.
  if (last !== undefined && Date.now() - last < every) return false;
  polledAt.set(key, Date.now());
  return last !== undefined;
}

/** Reports changes of entries, including those that another tab received. */
function report() {
  for (const entry of store.entries) {
    const before = reported.get(entry.key);
    if (!before) continue;
    if (before.stage !== entry.stage) reportStage(entry, before.stage);
    else if (before.block !== (entry.waiting?.blocked_by ?? null)) reportBlock(entry);
  }
  reported = snapshot();
  const offer = store.entries.find(({ stage, waiting }) => stage === "held" && waiting);
  setNews(offer ? text("title.your_turn", { name: isolate(offer.drop_name) }) : "");
}

/**
 * Reports that a waitlist entry can no longer be served, or can be served again.
 * @param {Entry} entry
 */
function reportBlock({ stage, waiting, quantity, drop_name, drop_id }) {
  if (stage !== "waiting" || !waiting) return;
  const link = { href: `/drops/${drop_id}`, words: text("toast.view_drop") };
  const reason = waiting.blocked_by && blockReason(waiting.blocked_by, quantity);
  if (reason) toast(about(drop_name, text("toast.cannot_be_served", { reason })), { link });
  else toast(about(drop_name, text("toast.can_be_served")));
}

/** @param {Entry} entry @param {Entry["stage"]} before */
function reportStage(entry, before) {
  const { stage, hold, called_off } = entry;
  const name = isolate(entry.drop_name);
  const link = { href: `/drops/${entry.drop_id}`, words: text("toast.view_drop") };
  const time = clock(hold?.expires_at ?? 0);
  if (stage === "held" && before === "waiting")
    toast(about(entry.drop_name, text("toast.your_turn", { time })), {
      link,
      stays: () => entry.stage === "held",
    });
  if (stage === "expired") toast(about(entry.drop_name, text("toast.expired", { time })));
  if (stage === "released" && called_off) toast(text("toast.cancelled_hold", { name }), { link });
  if (stage === "closed")
    toast(text(called_off ? "toast.cancelled_waitlist" : "toast.ended_waitlist", { name }), {
      link,
    });
}
