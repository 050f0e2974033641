// The shop's front page: every drop that is on or to come, fed by the stream.

import { byId } from "../lib/dom.js";
import { call } from "../lib/api.js";
import { isNewer, isOver, statusOf } from "../lib/drop.js";
import { followYours } from "../lib/follow.js";
import { Live } from "../lib/live.js";
import { ConnectionState } from "../elements/connection-state.js";
import { DropCard } from "../elements/drop-card.js";
import "../elements/name-field.js";
import "../elements/toast-list.js";
import "../elements/your-list.js";

/** @typedef {import("../lib/api.js").Drop} Drop */

/** How often a drop's purchasers are asked for at most. */
const PURCHASERS_EVERY_MS = 2000;
/** The present state of all drops comes at once; what was not told so long after it began is not in it. */
const STATE_TAKES_MS = 1500;
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
    card.purchasers = [];
    byId("empty").hidden = true;
  }
  const isNews = card.drop?.stock.sold !== drop.stock.sold || !askedAt.has(drop.id);
  card.drop = drop;
  if (isNews && drop.stock.sold > 0) askForPurchasers(drop.id);
}

/** What is on first, then what is to come; the newest first. A card keeps its place from then on. @param {Drop} drop */
function placeFor(drop) {
  const rank = (/** @type {Drop} */ other) => (statusOf(other) === "scheduled" ? 1 : 0);
  const isBehind = (/** @type {Drop} */ other) => rank(other) - rank(drop) || (other.created_at < drop.created_at ? 1 : -1);
  return [...list.children].find((card) => card instanceof DropCard && card.drop && isBehind(card.drop) > 0) ?? null;
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
    if (answer && card) card.purchasers = answer.data;
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

const live = new Live();
live.addEventListener("drop", (event) => show(/** @type {CustomEvent<Drop>} */ (event).detail));
live.addEventListener("connection", () => {
  if (live.connection.state !== "live") return;
  const since = Date.now();
  setTimeout(() => void readMissing(since), STATE_TAKES_MS);
  setTimeout(() => { byId("empty").hidden = cards.size > 0; }, 600);
});
const state = document.querySelector("connection-state");
if (state instanceof ConnectionState) state.watch(live);
live.follow();
followYours();
