// Follows all that this buyer has under way, on every page of the shop: holds that run out, places in line that become holds, a drop
// that is called off. What happens to a buyer who looks at another page is told there, with a link, and in the title of the page.

import { everyBeat, until } from "./clock.js";
import { passedOver } from "./drop.js";
import { foreign } from "./foreign.js";
import { clock } from "./format.js";
import { check, hear, look, resume, settle } from "./shop.js";
import { setNews } from "./title.js";
import { isStuck, yours } from "./yours.js";
import { toast } from "../elements/toast-list.js";

/** @typedef {import("./yours.js").Entry} Entry */

/** Seconds before the end at which who holds is told so. */
const WARNINGS = [30, 10];
/** Between two looks at a waitlist entry that the stream does not carry at present, on a visible page and on a hidden one. */
const [LOOK_MS, LOOK_HIDDEN_MS] = [4000, 15_000];
/** Between two looks at what nobody expects to change: a hold that is held, a line that was closed. */
const SELDOM_MS = 20_000;

/** When each entry was asked about last. @type {Map<string, number>} */
const askedAt = new Map();
/** Which warnings were given. @type {Set<string>} */
const warned = new Set();
/** How each entry stood when it was looked at last. @type {Map<string, {stage: Entry["stage"], block: string | null}>} */
let stood = standings();

function standings() {
  return new Map(yours.entries.map(({ key, stage, waiting }) => [key, { stage, block: waiting?.blocked_by ?? null }]));
}

/** Follows for as long as the page is open; waitlist entries by the page's stream. @param {import("./live.js").Live} live */
export function followYours(live) {
  const watch = () => live.watch(yours.entries.filter(mayBeServed).flatMap(({ waiting }) => (waiting ? [waiting.id] : [])));
  live.addEventListener("entry", (event) => {
    const news = /** @type {CustomEvent<import("./api.js").Waiting>} */ (event).detail;
    const entry = yours.entries.find(({ waiting }) => waiting?.id === news.id);
    if (entry) void hear(entry, news);
  });
  yours.addEventListener("change", () => {
    tell();
    watch();
  });
  everyBeat(() => yours.entries.forEach((entry) => attend(entry, live)));
  tell();
  watch();
  void resume();
}

/** Whether an entry waits, or may wait again: the end of a drop can be put off, and its waitlist goes on then. @param {Entry} entry */
function mayBeServed({ stage, called_off, dismissed }) {
  return stage === "waiting" || stage === "leaving" || stage === "held" || (stage === "closed" && !called_off && !dismissed);
}

/** @param {Entry} entry @param {import("./live.js").Live} live */
function attend(entry, live) {
  if (isStuck(entry)) void settle(entry);
  if (entry.stage === "held" && entry.hold) attendHold(entry, entry.hold);
  if (!entry.waiting || live.covers(entry.waiting.id)) return;
  if (entry.stage === "waiting" && isDue(entry, document.hidden ? LOOK_HIDDEN_MS : LOOK_MS)) void look(entry);
  if (entry.stage === "closed" && mayBeServed(entry) && isDue(entry, SELDOM_MS)) void look(entry);
}

/** @param {Entry} entry @param {import("./api.js").Hold} hold */
function attendHold(entry, hold) {
  const left = until(hold.expires_at);
  // Only the server knows whether it was bought in time, and whether its drop was called off.
  if (left <= 0 || isDue(entry, SELDOM_MS)) return void check(entry);
  for (const seconds of WARNINGS) {
    const isNear = left <= 1000 * seconds && left > 1000 * (seconds - 2);
    const isLong = Date.parse(hold.expires_at) - Date.parse(hold.placed_at) > 2000 * seconds;
    if (!isNear || !isLong || warned.has(`${hold.id} ${seconds}`)) continue;
    warned.add(`${hold.id} ${seconds}`);
    toast(`${foreign(entry.drop_name)}: ${seconds} seconds left to buy.`);
  }
}

/** Whether it is time to ask about an entry again; says so once. @param {Entry} entry @param {number} every */
function isDue({ key }, every) {
  const last = askedAt.get(key);
  // The first look was taken by who put it there.
  if (last !== undefined && Date.now() - last < every) return false;
  askedAt.set(key, Date.now());
  return last !== undefined;
}

/** Tells what happened to entries, whichever tab noticed it. */
function tell() {
  for (const entry of yours.entries) {
    const before = stood.get(entry.key);
    if (!before) continue;
    if (before.stage !== entry.stage) tellOf(entry, before.stage);
    else if (before.block !== (entry.waiting?.blocked_by ?? null)) tellBlock(entry);
  }
  stood = standings();
  const offer = yours.entries.find(({ stage, waiting }) => stage === "held" && waiting);
  setNews(offer ? `Your turn: ${foreign(offer.drop_name)}` : "");
}

/** Whether a waitlist entry can be served has changed. @param {Entry} entry */
function tellBlock({ stage, waiting, quantity, drop_name, drop_id }) {
  const name = foreign(drop_name);
  if (stage !== "waiting" || !waiting) return;
  const link = { href: `/drops/${drop_id}`, words: "Go there" };
  if (waiting.blocked_by) toast(`${name}: ${passedOver(waiting.blocked_by, quantity)}`, { link });
  else toast(`${name}: units that come back can reach you again.`);
}

/** @param {Entry} entry @param {Entry["stage"]} before */
function tellOf(entry, before) {
  const { stage, hold, called_off } = entry;
  const name = foreign(entry.drop_name);
  const link = { href: `/drops/${entry.drop_id}`, words: "Go there" };
  if (stage === "held" && before === "waiting") toast(`${name}: it is your turn. Held for you until ${clock(hold?.expires_at ?? 0)}.`, { link, stays: () => entry.stage === "held" });
  if (stage === "expired") toast(`${name}: your hold ran out at ${clock(hold?.expires_at ?? 0)}, and its stock is for others again.`);
  if (stage === "released" && called_off) toast(`${name} was called off, and your hold with it. Nothing is owed.`, { link });
  if (stage === "closed") toast(called_off ? `${name} was called off, and its line with it.` : `${name} ended before your turn came.`, { link });
}
