// Who buys in this browser: a random id, kept here, and a name to be seen by, if one was given. For a shop without accounts;
// one with accounts gives its buyers tokens (HOLDFAST_BUYER_SECRET) and pages of its own.

import { uuid } from "./api.js";

const ID = "holdfast.buyer";
const NAME = "holdfast.name";

/** Storage may be switched off, or full; what it did not take lasts as long as the page. @type {Map<string, string>} */
const instead = new Map();

/** @param {string} name */
export function recall(name) {
  // First what was not taken: what storage has of it is older.
  const kept = instead.get(name);
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
    instead.delete(name);
  } catch {
    instead.set(name, value);
  }
}

/** This browser's buyer id, made at the first look. */
export function buyerId() {
  const known = recall(ID);
  if (known) return known;
  const made = `guest-${uuid()}`;
  remember(ID, made);
  return made;
}

/** The name that this buyer wants to be seen by; empty for none. */
export function displayName() {
  return recall(NAME) ?? "";
}

/** @param {string} name */
export function setDisplayName(name) {
  remember(NAME, name.trim().slice(0, 60));
}
