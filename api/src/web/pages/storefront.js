// The shop's front page: every drop that is on or to come, fed by the stream.

import { byId } from "../lib/dom.js";
import { call } from "../lib/api.js";
import { isNewer, isOver, statusOf } from "../lib/drop.js";
import { followYours } from "../lib/follow.js";
import { Live } from "../lib/live.js";
import { service } from "../lib/service.js";
import { ConnectionState } from "../elements/connection-state.js";
import { DropCard } from "../elements/drop-card.js";
import "../elements/name-field.js";
import "../elements/service-note.js";
import "../elements/toast-list.js";
import "../elements/your-list.js";

/** @typedef {import("../lib/api.js").Drop} Drop */

/** How often a drop's purchasers are asked for at most. */
const PURCHASERS_EVERY_MS = 2000;
/** Between an answer that failed and the next question. */
const RETRY_MS = 5000;
/** The present state of all drops comes at once; what was not told so long after it began is not in it. */
const STATE_TAKES_MS = 1500;
/** Within this after the start the page still fills, and a link into it is followed again. */
const FILLING_MS = 4000;

/** @type {Map<string, DropCard>} */
const cards = new Map();
/** When each drop was told last. @type {Map<string, number>} */
const toldAt = new Map();
const list = byId("drops");

/** @param {Drop} drop */
function show(drop) {
  toldAt.set(drop.id, Date.now());
  let card = cards.get(drop.id);
  if (card?.drop && !isNewer(drop, card.drop)) return;
  if (!card) {
    // Over before it was ever shown here.
    if (isOver(statusOf(drop))) return;
    card = new DropCard();
    cards.set(drop.id, card);
    card.drop = drop;
    list.insertBefore(card, placeFor(drop));
    byId("empty").hidden = true;
    goThere();
  }
  const isNews = card.drop?.stock.sold !== drop.stock.sold || !askedAt.has(drop.id);
  card.drop = drop;
  if (isNews && drop.stock.sold > 0) askForPurchasers(drop.id);
}

/** What can be had first, then what is to come, then what is gone; the newest first. @param {Drop} one @param {Drop} other */
function inOrder(one, other) {
  return rank(one) - rank(other) || (one.created_at < other.created_at ? 1 : -1);
}

/** @param {Drop} drop */
function rank(drop) {
  return { live: 0, scheduled: 1, sold_out: 2, ended: 3, cancelled: 3 }[statusOf(drop)];
}

/** A card keeps its place from then on, so that nothing moves under a finger. @param {Drop} drop */
function placeFor(drop) {
  return [...list.children].find((card) => card instanceof DropCard && card.drop && inOrder(drop, card.drop) < 0) ?? null;
}

/** Nobody looks: what is gone goes behind what can be had, and what is over goes away. */
function tidy() {
  if (list.contains(document.activeElement)) return;
  const kept = [...cards.values()].filter(({ drop }) => drop && !isOver(statusOf(drop)));
  for (const [id, card] of cards) if (!kept.includes(card)) cards.delete(id);
  list.replaceChildren(...kept.sort((one, other) => (one.drop && other.drop ? inOrder(one.drop, other.drop) : 0)));
}

/** When each drop's purchasers were, or will be, asked for. @type {Map<string, number>} */
const askedAt = new Map();

/** Asks now, or as soon as it may be asked again. @param {string} id */
function askForPurchasers(id) {
  const last = askedAt.get(id) ?? 0;
  if (last > Date.now()) return;
  const pause = Math.max(100, last + PURCHASERS_EVERY_MS - Date.now());
  askedAt.set(id, Date.now() + pause);
  setTimeout(async () => {
    const answer = await call(`/v1/drops/${id}/purchasers?limit=3`).catch(() => null);
    const card = cards.get(id);
    if (card) card.purchasers = answer ? answer.data : null;
    if (card && !answer) setTimeout(() => askForPurchasers(id), RETRY_MS);
  }, pause);
}

/** After a time without the stream: what its first state does not tell may be over. @param {number} since */
async function readMissing(since) {
  for (const [id, card] of cards) {
    const isMissing = (toldAt.get(id) ?? 0) < since && card.drop && !isOver(statusOf(card.drop));
    const drop = isMissing ? await call(`/v1/drops/${id}`).catch(() => null) : null;
    if (drop) show(drop);
  }
}

let isTouched = false;
for (const type of ["wheel", "touchmove", "keydown", "pointerdown"]) addEventListener(type, () => { isTouched = true; }, { once: true, passive: true });

/** The address names a part of the page that was not there yet, or has moved down since. Not once somebody has moved by themselves. */
function goThere() {
  if (location.hash.length < 2 || isTouched || performance.now() > FILLING_MS) return;
  requestAnimationFrame(() => document.getElementById(location.hash.slice(1))?.scrollIntoView());
}

const live = new Live();
live.addEventListener("drop", (event) => show(/** @type {CustomEvent<Drop>} */ (event).detail));
live.addEventListener("connection", () => {
  if (live.connection.state !== "live") return;
  const since = Date.now();
  setTimeout(() => void readMissing(since), STATE_TAKES_MS);
  setTimeout(() => { byId("empty").hidden = cards.size > 0; goThere(); }, 600);
});
document.addEventListener("visibilitychange", () => document.hidden && tidy());
const state = document.querySelector("connection-state");
if (state instanceof ConnectionState) state.watch(live);
live.follow();
followYours(live);
service.follow();
