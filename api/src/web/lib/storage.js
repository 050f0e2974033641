// Small texts in the browser's local storage, which all pages of the shop share. Their names begin
// with the base path: another shop of the same host has its own.

import { base } from "./base.js";

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
    return localStorage.getItem(base + name);
  } catch {
    return null;
  }
}

/** @param {string} name @param {string} value */
export function remember(name, value) {
  try {
    localStorage.setItem(base + name, value);
    fallback.delete(name);
  } catch {
    fallback.set(name, value);
  }
}

/**
 * Whether another tab has changed the text of this name.
 * @param {StorageEvent} event @param {string} name
 */
export function hasChanged({ key }, name) {
  // All names, if the key is null.
  return key === null || key === base + name;
}
