// Follows all that this buyer has under way, on every page of the shop: holds that run out, places in line that become holds, a drop
// that is called off. What happens to a buyer who looks at another page is told there, with a link, and in the title of the page.

import { everyBeat, until } from "./clock.js";
import { foreign } from "./foreign.js";
import { clock } from "./format.js";
import { check, look, resume, settle } from "./shop.js";
import { setNews } from "./title.js";
import { isStuck, yours } from "./yours.js";
import { toast } from "../elements/toast-list.js";

/** @typedef {import("./yours.js").Entry} Entry */

/** Seconds before the end at which who holds is told so. */
const WARNINGS = [30, 10];
/** Between two looks at a place in line, and at one on a page that nobody looks at. */
const [LOOK_MS, LOOK_HIDDEN_MS] = [4000, 15_000];
/** Between two looks at what nobody expects to change: a hold that is held, a line that was closed. */
const SELDOM_MS = 20_000;

/** When each entry was asked about last. @type {Map<string, number>} */
const askedAt = new Map();
/** Which warnings were given. @type {Set<string>} */
const warned = new Set();
/** How each entry stood when it was looked at last. @type {Map<string, Entry["stage"]>} */
let stood = new Map(yours.entries.map(({ key, stage }) => [key, stage]));

/** Follows for as long as the page is open. */
export function followYours() {
  yours.addEventListener("change", tell);
  everyBeat(() => yours.entries.forEach(attend));
  tell();
  void resume();
}

/** @param {Entry} entry */
function attend(entry) {
  if (isStuck(entry)) void settle(entry);
  if (entry.stage === "held" && entry.hold) attendHold(entry, entry.hold);
  if (entry.stage === "waiting" && isDue(entry, document.hidden ? LOOK_HIDDEN_MS : LOOK_MS)) void look(entry);
  // The end of a drop may be put off; whoever waited waits on then.
  if (entry.stage === "closed" && !entry.called_off && !entry.dismissed && isDue(entry, SELDOM_MS)) void look(entry);
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
    if (before !== undefined && before !== entry.stage) tellOf(entry, before);
  }
  stood = new Map(yours.entries.map(({ key, stage }) => [key, stage]));
  const offer = yours.entries.find(({ stage, waiting }) => stage === "held" && waiting);
  setNews(offer ? `Your turn: ${foreign(offer.drop_name)}` : "");
}

/** @param {Entry} entry @param {Entry["stage"]} before */
function tellOf(entry, before) {
  const { stage, hold, called_off } = entry;
  const name = foreign(entry.drop_name);
  const link = { href: `/drops/${entry.drop_id}`, words: "Go there" };
  if (stage === "held" && before === "waiting") toast(`${name}: it is your turn. Held for you until ${clock(hold?.expires_at ?? 0)}.`, { link, stays: () => entry.stage === "held" });
  if (stage === "expired") toast(`${name}: your hold ran out at ${clock(hold?.expires_at ?? 0)}, and the stock went back on sale.`);
  if (stage === "released" && called_off) toast(`${name} was called off, and your hold with it. Nothing is owed.`, { link });
  if (stage === "closed") toast(called_off ? `${name} was called off, and its line with it.` : `${name} ended before your turn came.`, { link });
}
