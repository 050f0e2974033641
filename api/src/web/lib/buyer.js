// The buyer of this browser: a random id and an optional display name, in local storage. For a shop
// without accounts. A shop with accounts issues buyer tokens (HOLDFAST_BUYER_SECRET) and has its
// own pages.

import { uuid } from "./api.js";

const ID = "holdfast.buyer";
const NAME = "holdfast.name";

/**
 * Values that local storage did not accept, because it is disabled or full. They last as long as
 * the page.
 * @type {Map<string, string>}
 */
const fallback = new Map();

/** @param {string} name */
export function recall(name) {
  // The fallback first: a value in storage is older.
  const kept = fallback.get(name);
  if (kept !== undefined) return kept;
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

/** @param {string} name @param {string} value */
export function remember(name, value) {
  try {
    localStorage.setItem(name, value);
    fallback.delete(name);
  } catch {
    fallback.set(name, value);
  }
}

/** Returns the buyer id of this browser, which is created on first use. */
export function buyerId() {
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
