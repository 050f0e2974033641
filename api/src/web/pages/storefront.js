// The shop's front page: the drops that are on or to come, a page at a time, and the stream of those that are shown.
//
// However many drops there are, the page asks for one page of them, follows what it shows, and is told of those that are new. It waits
// for the first page before it shows anything below it, so that nothing moves when the drops come.

import { Problem, callForPage, sleep } from "../lib/api.js";
import { Catalog, PAGE, inOrder } from "../lib/catalog.js";
import { byId, mark, write } from "../lib/dom.js";
import { isNewer, isOver, statusOf } from "../lib/drop.js";
import { followYours } from "../lib/follow.js";
import { units } from "../lib/format.js";
import { Live } from "../lib/live.js";
import { service } from "../lib/service.js";
import { ConnectionState } from "../elements/connection-state.js";
import { DropCard } from "../elements/drop-card.js";
import "../elements/name-field.js";
import "../elements/service-note.js";
import { toast } from "../elements/toast-list.js";
import "../elements/your-list.js";

/** @typedef {import("../lib/api.js").Drop} Drop */

/** How often purchasers are asked for at most, of all drops together. */
const PURCHASERS_EVERY_MS = 2000;
/** The most cards that are alive and followed at a time: those that are near. */
const MOST_AWAKE = 100;
/** Cards that come and go within this are followed anew by one request. */
const SETTLE_MS = 250;
/** The longest pause before the first page is asked for again. */
const LONGEST_PAUSE_MS = 8000;

const catalog = new Catalog();
/** @type {Map<string, DropCard>} */
const cards = new Map();
const list = byId("drops");
const empty = byId("empty");
const more = byId("more");
/** Follows once the first page is there: from its position on. */
const live = new Live();
let isFollowing = false;

/** @param {Drop} drop */
function show(drop) {
  const card = cards.get(drop.id);
  if (!card) return arrive(drop);
  if (card.drop && !isNewer(drop, card.drop)) return;
  const hasSold = card.drop?.stock.sold !== drop.stock.sold;
  card.drop = drop;
  if (hasSold) askForPurchasers(drop.id);
}

/** Drops that came by themselves since the page was opened. */
let arrived = 0;

/** A drop that is new, or that another tab follows. @param {Drop} drop */
function arrive(drop) {
  if (isOver(statusOf(drop)) || !catalog.isPast(drop)) return;
  arrived += 1;
  // A page that fills by itself is one that nobody can use.
  if (arrived > PAGE + 1) return;
  if (arrived > PAGE) return toast("More new drops are here.", { link: { href: "/", words: "Show them" }, stays: () => true });
  add([drop]);
  if (drop.stock.sold > 0) askForPurchasers(drop.id);
}

/** Puts cards where they belong, but not where one is already; gives the first. @param {Drop[]} drops */
function add(drops) {
  const added = drops.filter(({ id }) => !cards.has(id)).map((drop) => {
    const card = new DropCard();
    card.drop = drop;
    if (drop.top_purchasers) card.purchasers = drop.top_purchasers;
    cards.set(drop.id, card);
    list.insertBefore(card, placeFor(drop));
    near.observe(card);
    return card;
  });
  empty.hidden = cards.size > 0;
  follow();
  return added[0];
}

/** A card keeps its place from then on, so that nothing moves under a finger. @param {Drop} drop */
function placeFor(drop) {
  const comesFirst = (/** @type {Element | null} */ card) => card instanceof DropCard && card.drop && inOrder(drop, card.drop) < 0;
  // A page comes in order, so nearly always behind all that is there.
  if (!comesFirst(list.lastElementChild)) return null;
  return [...list.children].find(comesFirst) ?? null;
}

/** Cards that are in sight or nearly. @type {Set<Element>} */
const nearby = new Set();
const near = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) nearby[isIntersecting ? "add" : "delete"](target);
  if (cards.size > MOST_AWAKE) follow();
}, { rootMargin: "150% 0px" });
let settling = 0;

/** Follows the cards that are near, all of them as long as they are few; the others sleep. */
function follow() {
  if (!isFollowing || settling) return;
  settling = window.setTimeout(() => {
    settling = 0;
    const all = [...cards.values()];
    const few = all.length <= MOST_AWAKE ? all : [...all.filter((card) => nearby.has(card)), ...all.filter((card) => !nearby.has(card))];
    const awake = new Map(few.slice(0, MOST_AWAKE).map((card) => [card.drop?.id ?? "", card]));
    for (const [id, card] of cards) card.isAwake = awake.has(id);
    live.query = queryOf([...awake.keys()]);
  }, SETTLE_MS);
}

/** Where nothing is shown, every drop is new. @param {string[]} ids */
function queryOf(ids) {
  return ids.length > 0 ? `?drops=${ids.sort().join()}&new=true` : "";
}

/** Nobody looks: what is gone goes behind what can be had, and what is over goes away. */
function tidy() {
  if (list.contains(document.activeElement)) return;
  const kept = [...cards.values()].filter(({ drop }) => drop && !isOver(statusOf(drop)));
  for (const [id, card] of cards) {
    if (kept.includes(card)) continue;
    cards.delete(id);
    near.unobserve(card);
    nearby.delete(card);
  }
  list.replaceChildren(...kept.sort((one, other) => (one.drop && other.drop ? inOrder(one.drop, other.drop) : 0)));
  follow();
}

/** Drops whose purchasers may be others now. @type {Set<string>} */
const sold = new Set();
let isAsking = false;

/** Asks soon, once for all that were sold meanwhile. @param {string} id */
async function askForPurchasers(id) {
  sold.add(id);
  if (isAsking) return;
  isAsking = true;
  // Everybody is told of a sale at the same moment; they should not all ask at the same moment.
  await sleep(100 + 200 * Math.random());
  while (sold.size > 0) {
    const ids = [...sold].slice(0, MOST_AWAKE);
    const answer = await callForPage(`/v1/drops?ids=${ids.join()}&expand=top_purchasers`).catch(() => null);
    if (answer) ids.forEach((asked) => sold.delete(asked));
    else ids.forEach((asked) => { const card = cards.get(asked); if (card) card.purchasers = null; });
    for (const drop of answer?.data ?? []) {
      const card = cards.get(drop.id);
      if (card && drop.top_purchasers) card.purchasers = drop.top_purchasers;
      if (card) show(drop);
    }
    await sleep(PURCHASERS_EVERY_MS);
  }
  isAsking = false;
}

let isReading = false;

/** Shows another page, and leads who came by the keyboard to its first card. */
async function showMore() {
  if (isReading) return;
  isReading = true;
  mark(more, "aria-disabled", "true");
  try {
    const first = add(await catalog.next());
    write(byId("shown"), `${units(cards.size, "drop")} shown.`);
    first?.querySelector("a")?.focus({ preventScroll: true });
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    toast("The shop does not answer. Ask again in a moment.", { kind: "refusal" });
  } finally {
    isReading = false;
    mark(more, "aria-disabled", null);
    more.hidden = !catalog.hasMore;
  }
}

let isTouched = false;
for (const type of ["wheel", "touchmove", "keydown", "pointerdown"]) addEventListener(type, () => { isTouched = true; }, { once: true, passive: true });

/** The address names a part of the page that is there only now. Not once somebody has moved by themselves. */
function goThere() {
  if (location.hash.length < 2 || isTouched) return;
  requestAnimationFrame(() => document.getElementById(location.hash.slice(1))?.scrollIntoView());
}

/** The first page, however long that takes. */
async function firstPage() {
  for (let pause = 500; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
    try {
      return await catalog.next();
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      write(empty, "The shop does not answer. It is asked again until it does.");
      empty.hidden = false;
      await sleep(pause * (0.5 + Math.random()));
    }
  }
}

async function begin() {
  const words = empty.textContent ?? "";
  const drops = await firstPage();
  write(empty, words);
  add(drops);
  more.hidden = !catalog.hasMore;
  byId("main").toggleAttribute("data-filling", false);
  goThere();
  live.addEventListener("drop", (event) => show(/** @type {CustomEvent<Drop>} */ (event).detail));
  const state = document.querySelector("connection-state");
  if (state instanceof ConnectionState) state.watch(live);
  live.follow(queryOf(drops.map(({ id }) => id)), catalog.position);
  isFollowing = true;
}

more.addEventListener("click", showMore);
document.addEventListener("visibilitychange", () => document.hidden && tidy());
followYours(live);
service.follow();
void begin();
