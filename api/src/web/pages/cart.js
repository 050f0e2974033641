// The cart: several drops in one order, which holds all of them or none.

import { callForPage } from "../lib/api.js";
import { cart } from "../lib/cart.js";
import { resumeOrder } from "../lib/checkout.js";
import { followYours } from "../lib/follow.js";
import { Live } from "../lib/live.js";
import { service } from "../lib/service.js";
import { CartSheet } from "../elements/cart-sheet.js";
import { ConnectionState } from "../elements/connection-state.js";
import "../elements/cart-count.js";
import "../elements/name-field.js";
import "../elements/order-list.js";
import "../elements/service-note.js";
import "../elements/toast-list.js";
import "../elements/notification-bell.js";
import { at } from "../lib/base.js";

/** @typedef {import("../lib/api.js").Drop} Drop */

const found = document.querySelector("cart-sheet");
if (!(found instanceof CartSheet)) throw new Error("the page has no cart-sheet");
const sheet = found;
const live = new Live();
let followed = "";

/** Follows the drops of the cart. Without any the page needs no stream. */
function follow() {
  const ids = cart.lines.map(({ drop_id }) => drop_id).sort();
  const query = `?drops=${ids.join()}`;
  if (ids.length === 0 || query === followed) return;
  const isFirst = followed === "";
  followed = query;
  if (isFirst) {
    const state = document.querySelector("connection-state");
    if (state instanceof ConnectionState) state.watch(live);
    live.follow(query);
  } else live.query = query;
  // The stream sends nothing about a drop that has ended.
  void callForPage(`/v1/drops?ids=${ids.join()}`)
    .then(({ data }) => data.forEach((drop) => sheet.learn(drop)))
    .catch(() => null);
}

live.addEventListener("drop", (event) => {
  const { detail } = /** @type {CustomEvent<Drop>} */ (event);
  if (cart.of(detail.id)) sheet.learn(detail);
});
sheet.addEventListener("placed", (event) =>
  location.assign(at(`/orders/${/** @type {CustomEvent<string>} */ (event).detail}`)),
);
cart.addEventListener("change", follow);
follow();
followYours(live);
service.follow();
void resumeOrder().then((id) => {
  if (id) location.assign(at(`/orders/${id}`));
});
