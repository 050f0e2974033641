// Converts prices between text input and the minor units of the API.
//
// Ambiguous input is rejected: `1,999` can mean two thousand or two.

import { decimals } from "./currencies.js";
import { money } from "./format.js";

/** The maximum price of the API, in minor units. */
const MOST = 1_000_000_000_000;

/** Formats a price as input text. @param {import("./api.js").Money} price */
export function typed({ amount, currency }) {
  const places = decimals(currency);
  return (amount / 10 ** places).toFixed(places);
}

/**
 * Parses input text. Returns minor units, or the reason why the text is not a price.
 * @param {string} text
 * @param {string} currency
 * @returns {{amount: number} | {fault: string}}
 */
export function readPrice(text, currency) {
  const places = decimals(currency);
  const [, whole = "", part = ""] = /^(\d+)(?:[.,](\d+))?$/.exec(text.trim()) ?? [];
  if (!whole)
    return {
      fault: `Enter digits${places > 0 ? " and a decimal point" : " only"}: ${places > 0 ? (1999).toFixed(places) : "1999"}.`,
    };
  if (part.length > places) {
    const has = places > 0 ? `has ${places} decimals` : "has no decimals";
    return { fault: `${currency} ${has}. Enter thousands without a separator: 1999.` };
  }
  const amount = Number(whole + part.padEnd(places, "0"));
  return amount > MOST ? { fault: `At most ${money({ amount: MOST, currency })}.` } : { amount };
}

/**
 * The parsed price as text; empty if the input is not valid.
 * @param {string} text
 * @param {string} currency
 */
export function echo(text, currency) {
  const read = readPrice(text, currency);
  if (!("amount" in read) || !/^[A-Z]{3}$/.test(currency)) return "";
  return `= ${money({ amount: read.amount, currency })}`;
}
