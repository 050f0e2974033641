// Prices as people type them, and in minor units as the API takes them.
//
// What could mean two things is refused rather than guessed: `1,999` is two thousand to some and two to others.

import { decimals } from "./currencies.js";
import { money } from "./format.js";

/** As much as the API takes, in minor units. */
const MOST = 1_000_000_000_000;

/** A price as it is typed. @param {import("./api.js").Money} price */
export function typed({ amount, currency }) {
  const places = decimals(currency);
  return (amount / 10 ** places).toFixed(places);
}

/** What was typed, in minor units, or why it is no price. @param {string} text @param {string} currency @returns {{amount: number} | {fault: string}} */
export function readPrice(text, currency) {
  const places = decimals(currency);
  const [, whole = "", part = ""] = /^(\d+)(?:[.,](\d+))?$/.exec(text.trim()) ?? [];
  if (!whole) return { fault: `Digits, and ${places > 0 ? "a point before the decimals" : "nothing else"}: ${places > 0 ? (1999).toFixed(places) : "1999"}.` };
  if (part.length > places) {
    const has = places > 0 ? `has ${places} decimals` : "has no decimals";
    return { fault: `${currency} ${has}. Thousands are written without a mark: 1999.` };
  }
  const amount = Number(whole + part.padEnd(places, "0"));
  return amount > MOST ? { fault: `At most ${money({ amount: MOST, currency })}.` } : { amount };
}

/** What was typed as it will be understood; empty if it will not be. @param {string} text @param {string} currency */
export function echo(text, currency) {
  const read = readPrice(text, currency);
  if (!("amount" in read) || !/^[A-Z]{3}$/.test(currency)) return "";
  return `= ${money({ amount: read.amount, currency })}`;
}
