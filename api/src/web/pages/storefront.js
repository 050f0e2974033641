// The front page of the shop: current and upcoming drops, page by page, with live updates.
//
// It requests only one page of drops, follows the visible ones, and
// receives new ones from the stream. The content below the drops is shown after the first page has
// loaded, to avoid layout shifts.

import { Problem, sleep } from "../lib/api.js";
import { Catalog, PAGE, inOrder } from "../lib/catalog.js";
import { byId, mark, write } from "../lib/dom.js";
import { isNewer, isOver, statusOf } from "../lib/drop.js";
import { followYours } from "../lib/follow.js";
import { Live } from "../lib/live.js";
import { service } from "../lib/service.js";
import { text } from "../lib/text.js";
import { ConnectionState } from "../elements/connection-state.js";
import { DropCard } from "../elements/drop-card.js";
import "../elements/cart-count.js";
import "../elements/name-field.js";
import "../elements/service-note.js";
import { toast } from "../elements/toast-list.js";
import "../elements/your-list.js";
import "../elements/notification-bell.js";

/** @typedef {import("../lib/api.js").Drop} Drop */

/** The maximum number of cards that are active and followed at a time: those near the viewport. */
const MOST_AWAKE = 100;
/** Changes of the active cards within this time lead to one new stream request. */
const SETTLE_MS = 250;
/** The longest pause before the first page is requested again. */
const LONGEST_PAUSE_MS = 8000;

const catalog = new Catalog();
/** @type {Map<string, DropCard>} */
const cards = new Map();
const list = byId("drops");
const empty = byId("empty");
const more = byId("more");
/** Follows from the position of the first page. */
const live = new Live();
let isFollowing = false;
/** The cards that the server has rendered, until the first page is known. */
const firstCards = new Map(
  [...list.children].flatMap((card) =>
    card instanceof DropCard ? [[card.dataset.dropId ?? "", card]] : [],
  ),
);

/** @param {Drop} drop */
function show(drop) {
  const card = cards.get(drop.id);
  if (!card) return addFromStream(drop);
  if (card.drop && !isNewer(drop, card.drop)) return;
  card.drop = drop;
}

/** @param {Drop} drop */
function isPublic({ visibility, status }) {
  return visibility === "public" && status !== "draft";
}

/** The number of drops that the stream added since the page was opened. */
let arrived = 0;

/** Adds a drop from the stream: a new one, or one that another tab follows. @param {Drop} drop */
function addFromStream(drop) {
  if (isOver(statusOf(drop)) || !catalog.isPast(drop) || !isPublic(drop)) return;
  arrived += 1;
  // A page that grows without limit would be unusable.
  if (arrived > PAGE + 1) return;
  if (arrived > PAGE)
    return toast(text("shop.new_drops"), {
      link: { href: "/", words: text("shop.show_new") },
      stays: () => true,
    });
  add([drop]);
}

/**
 * Adds cards for drops that have none, in order. Returns the first of them.
 * @param {Drop[]} drops
 */
function add(drops) {
  const added = drops
    // A signed-in administrator is sent all drops.
    .filter((drop) => isPublic(drop) && !cards.has(drop.id))
    .map((drop) => {
      const rendered = firstCards.get(drop.id);
      const card = rendered ?? new DropCard();
      card.drop = drop;
      cards.set(drop.id, card);
      if (!rendered) list.insertBefore(card, successorOf(drop));
      near.observe(card);
      return card;
    });
  firstCards.clear();
  empty.hidden = cards.size > 0;
  follow();
  return added[0];
}

/**
 * Removes the cards of the server's first state whose drops are not on the first page any more, and
 * puts the others into the sequence of the page.
 * @param {Drop[]} drops
 */
function takeOver(drops) {
  const ids = new Set(drops.map(({ id }) => id));
  for (const [id, card] of firstCards) if (!ids.has(id)) card.remove();
  const kept = drops.flatMap(({ id }) => firstCards.get(id) ?? []);
  kept.forEach((card, index) => {
    if (list.children[index] !== card) list.insertBefore(card, list.children[index] ?? null);
  });
}

/**
 * The card before which a new card is inserted. Cards do not move after that, so that none moves
 * under a finger.
 * @param {Drop} drop
 */
function successorOf(drop) {
  const comesFirst = (/** @type {Element | null} */ card) =>
    card instanceof DropCard && card.drop && inOrder(drop, card.drop) < 0;
  // Pages are in order, so a new card is nearly always the last.
  if (!comesFirst(list.lastElementChild)) return null;
  return [...list.children].find(comesFirst) ?? null;
}

/** The cards in or near the viewport. @type {Set<Element>} */
const nearby = new Set();
const near = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries)
      nearby[isIntersecting ? "add" : "delete"](target);
    if (cards.size > MOST_AWAKE) follow();
  },
  { rootMargin: "150% 0px" },
);
let settling = 0;

/** Follows the cards near the viewport, or all cards if they are few. The others are inactive. */
function follow() {
  if (!isFollowing || settling) return;
  settling = window.setTimeout(() => {
    settling = 0;
    const all = [...cards.values()];
    const few =
      all.length <= MOST_AWAKE
        ? all
        : [...all.filter((card) => nearby.has(card)), ...all.filter((card) => !nearby.has(card))];
    const awake = new Map(few.slice(0, MOST_AWAKE).map((card) => [card.drop?.id ?? "", card]));
    for (const [id, card] of cards) card.isAwake = awake.has(id);
    live.query = queryOf([...awake.keys()]);
  }, SETTLE_MS);
}

/** If no drop is shown, the stream sends all drops. @param {string[]} ids */
function queryOf(ids) {
  return ids.length > 0 ? `?drops=${ids.sort().join()}&new=true` : "";
}

/** While the page is hidden: moves sold-out drops to the end, and removes drops that have ended. */
function tidy() {
  if (list.contains(document.activeElement)) return;
  const kept = [...cards.values()].filter(({ drop }) => drop && !isOver(statusOf(drop)));
  for (const [id, card] of cards) {
    if (kept.includes(card)) continue;
    cards.delete(id);
    near.unobserve(card);
    nearby.delete(card);
  }
  list.replaceChildren(
    ...kept.sort((one, other) => (one.drop && other.drop ? inOrder(one.drop, other.drop) : 0)),
  );
  follow();
}

let isReading = false;

/** Shows another page, and moves the focus to its first card. */
async function showMore() {
  if (isReading) return;
  isReading = true;
  mark(more, "aria-disabled", "true");
  try {
    const first = add(await catalog.next());
    write(byId("shown"), text("shop.shown", { count: cards.size }));
    first?.querySelector("a")?.focus({ preventScroll: true });
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    toast(text("shop.silent"), { kind: "refusal" });
  } finally {
    isReading = false;
    mark(more, "aria-disabled", null);
    more.hidden = !catalog.hasMore;
  }
}

let isTouched = false;
for (const type of ["wheel", "touchmove", "keydown", "pointerdown"])
  addEventListener(
    type,
    () => {
      isTouched = true;
    },
    { once: true, passive: true },
  );

/**
 * Scrolls to the URL's fragment, whose target did not exist before. Skipped if the user has
 * interacted with the page.
 */
function scrollToHash() {
  if (location.hash.length < 2 || isTouched) return;
  requestAnimationFrame(() => document.getElementById(location.hash.slice(1))?.scrollIntoView());
}

/** Requests the first page until it succeeds. */
async function firstPage() {
  for (let pause = 500; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
    try {
      return await catalog.next();
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      write(empty, text("shop.silent_retrying"));
      empty.hidden = false;
      await sleep(pause * (0.5 + Math.random()));
    }
  }
}

async function begin() {
  const words = empty.textContent ?? "";
  const drops = await firstPage();
  write(empty, words);
  takeOver(drops);
  add(drops);
  more.hidden = !catalog.hasMore;
  byId("main").toggleAttribute("data-filling", false);
  scrollToHash();
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
