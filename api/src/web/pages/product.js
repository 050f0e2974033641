// The page of one product: each of its sizes as a drop with live stock, and the buttons to follow
// its creator and to be reminded of a drop.

import { Problem, call } from "../lib/api.js";
import { byId, h, mark, write } from "../lib/dom.js";
import { isNewer } from "../lib/drop.js";
import { followYours } from "../lib/follow.js";
import { isolate } from "../lib/foreign.js";
import { Live } from "../lib/live.js";
import { worded } from "../lib/refusals.js";
import { service } from "../lib/service.js";
import { idOfPage } from "../lib/shelf.js";
import { text } from "../lib/text.js";
import { setTitle } from "../lib/title.js";
import { FollowButton, RemindButton } from "../elements/choice-button.js";
import { ConnectionState } from "../elements/connection-state.js";
import { DropCard } from "../elements/drop-card.js";
import "../elements/cart-count.js";
import "../elements/notification-bell.js";
import "../elements/service-note.js";

/**
 * @typedef {import("../lib/api.js").Drop} Drop
 * @typedef {{id: string, name: string}} Variant
 * @typedef {{id: string, creator_id: string | null, title: string, description: string | null,
 *   variants: Variant[], drops: Drop[]}} Product
 */

const id = idOfPage();
/** The card of each drop. @type {Map<string, DropCard>} */
const cards = new Map();

async function begin() {
  /** @type {Product} */
  let product;
  try {
    product = await call(`/v1/products/${encodeURIComponent(id)}`);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (problem.status === 404) byId("missing").hidden = false;
    else write(byId("failed"), text("product.failed", { reason: worded(problem) }));
    document.querySelector("connection-state")?.remove();
    return;
  }
  show(product);
  if (product.creator_id) void showCreator(product.creator_id);
  follow(product.drops.map((drop) => drop.id));
}

/** @param {Product} product */
function show({ title, description, variants, drops }) {
  setTitle(isolate(title));
  write(byId("title"), title);
  write(byId("description"), description ?? "");
  byId("product").hidden = false;
  byId("empty").hidden = drops.length > 0;
  const ranks = new Map(variants.map((variant, rank) => [variant.id, rank]));
  const rank = (/** @type {Drop} */ { variant_id }) => ranks.get(variant_id ?? "") ?? ranks.size;
  const inOrder = [...drops].sort((one, other) => rank(one) - rank(other));
  const sizes = inOrder.map((drop) =>
    size(
      drop,
      variants.find((known) => known.id === drop.variant_id),
    ),
  );
  byId("sizes").replaceChildren(...sizes);
}

/** @param {Drop} drop @param {Variant | undefined} variant */
function size(drop, variant) {
  // The card of the first state is kept, with its picture.
  const first = byId("sizes").querySelector(`drop-card[data-drop-id="${drop.id}"]`);
  const card = first instanceof DropCard ? first : new DropCard();
  card.drop = drop;
  cards.set(drop.id, card);
  const remind = new RemindButton();
  remind.subject = drop.id;
  const name = variant && h("h3", { dir: "auto" }, variant.name);
  return h("div", { class: "size" }, name, card, remind);
}

/** @param {string} creatorId */
async function showCreator(creatorId) {
  // A product may name a creator that the catalogue does not have.
  const creator = await call(`/v1/creators/${encodeURIComponent(creatorId)}`).catch(() => null);
  if (!creator) return;
  const link = byId("creator");
  write(link, creator.name);
  mark(link, "href", `/creators/${encodeURIComponent(creatorId)}`);
  const button = document.querySelector("follow-button");
  if (button instanceof FollowButton) button.subject = creatorId;
  byId("by").hidden = false;
}

/** Keeps the cards up to date. @param {string[]} drops */
function follow(drops) {
  const state = document.querySelector("connection-state");
  if (drops.length === 0) {
    state?.remove();
    return followYours();
  }
  const live = new Live(`?drops=${drops.join(",")}`);
  live.addEventListener("drop", (event) => {
    const drop = /** @type {CustomEvent<Drop>} */ (event).detail;
    const card = cards.get(drop.id);
    if (card && (!card.drop || isNewer(drop, card.drop))) card.drop = drop;
  });
  if (state instanceof ConnectionState) state.watch(live);
  live.follow();
  followYours(live);
}

service.follow();
void begin();
