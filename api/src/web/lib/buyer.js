// The buyer of this browser: the one of the shop's token (lib/token.js), or, on a server without
// tokens, a random id in local storage; and an optional display name.

import { uuid } from "./api.js";
import { hasChanged, recall, remember } from "./storage.js";
import { ofThisBuyer, session } from "./token.js";

export { hasChanged, recall, remember };

const ID = "holdfast.buyer";
const NAME = ofThisBuyer("holdfast.name");

/** Returns the buyer id of this browser. That of a guest is created on first use. */
export function buyerId() {
  if (session.buyer) return session.buyer;
  const known = recall(ID);
  if (known) return known;
  const made = `guest-${uuid()}`;
  remember(ID, made);
  return made;
}

/** Returns the display name; empty if none was entered. */
export function displayName() {
  return recall(NAME) ?? "";
}

/** @param {string} name */
export function setDisplayName(name) {
  remember(NAME, name.trim().slice(0, 60));
}
