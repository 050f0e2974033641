// The page of one creator: the follow button and the products.

import { Problem, call } from "../lib/api.js";
import { byId, h, write } from "../lib/dom.js";
import { followYours } from "../lib/follow.js";
import { isolate } from "../lib/foreign.js";
import { worded } from "../lib/refusals.js";
import { service } from "../lib/service.js";
import { idOfPage, picture, showShelf } from "../lib/shelf.js";
import { text } from "../lib/text.js";
import { setTitle } from "../lib/title.js";
import { FollowButton } from "../elements/choice-button.js";
import "../elements/cart-count.js";
import "../elements/notification-bell.js";
import "../elements/service-note.js";

/**
 * @typedef {{id: string, title: string, image_url: string | null, variants: unknown[],
 *   drops: import("../lib/api.js").Drop[]}} Product
 */

const id = idOfPage();
const path = `/v1/creators/${encodeURIComponent(id)}`;

async function begin() {
  try {
    const creator = await call(path);
    setTitle(isolate(creator.name));
    write(byId("name"), creator.name);
    write(byId("description"), creator.description ?? "");
    showFollowers(creator.followers);
    byId("creator").hidden = false;
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (problem.status === 404) byId("missing").hidden = false;
    else write(byId("failed"), text("creator.failed", { reason: worded(problem) }));
    return;
  }
  const follow = document.querySelector("follow-button");
  if (follow instanceof FollowButton) follow.subject = id;
  const products = `/v1/products?creator_id=${encodeURIComponent(id)}&limit=24`;
  await showShelf(byId("products"), products, item);
}

/** @param {number} followers */
function showFollowers(followers) {
  write(byId("followers"), text("creator.followers", { count: followers }));
}

/** @param {Product} product */
function item({ id: productId, title, image_url, drops }) {
  const link = h("a", { href: `/products/${encodeURIComponent(productId)}`, dir: "auto" }, title);
  const live = drops.filter(({ status }) => status === "live").length;
  const words = live > 0 ? text("creator.on_sale", { count: live }) : text("creator.not_on_sale");
  return h(
    "li",
    {},
    picture(image_url),
    h("h2", {}, link),
    h("p", { class: "quiet-words" }, words),
  );
}

document.addEventListener("chosen", () => {
  void call(path)
    .then(({ followers }) => showFollowers(followers))
    .catch(() => null);
});
document.querySelector("connection-state")?.remove();
followYours();
service.follow();
void begin();
