// The page of all creators.

import { byId, h } from "../lib/dom.js";
import { followYours } from "../lib/follow.js";
import { service } from "../lib/service.js";
import { picture, showShelf } from "../lib/shelf.js";
import { text } from "../lib/text.js";
import { FollowButton } from "../elements/choice-button.js";
import "../elements/cart-count.js";
import "../elements/notification-bell.js";
import "../elements/service-note.js";

/**
 * @typedef {{id: string, name: string, description: string | null, image_url: string | null,
 *   followers: number}} Creator
 */

/** @param {Creator} creator */
function item({ id, name, image_url, followers }) {
  const follow = new FollowButton();
  follow.subject = id;
  const link = h("a", { href: `/creators/${encodeURIComponent(id)}`, dir: "auto" }, name);
  const known = h(
    "span",
    { class: "quiet-words" },
    text("creator.followers", { count: followers }),
  );
  return h("li", {}, picture(image_url), h("h2", {}, link), known, follow);
}

document.querySelector("connection-state")?.remove();
followYours();
service.follow();
void showShelf(byId("creators"), "/v1/creators?limit=24", item);
