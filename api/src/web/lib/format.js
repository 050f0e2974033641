// Numbers, money and times in words.

import { decimals } from "./currencies.js";

/** @param {number} number */
export function count(number) {
  return number.toLocaleString("en");
}

/** @param {number} number @param {string} one @param {string} [many] */
export function units(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** Minor units as the currency is written. @param {import("./api.js").Money} money @param {number} [times] */
export function money({ amount, currency }, times = 1) {
  const places = decimals(currency);
  const digits = { minimumFractionDigits: places, maximumFractionDigits: places };
  const format = new Intl.NumberFormat("en", { style: "currency", currency, ...digits });
  return format.format((amount * times) / 10 ** places);
}

/** What is left, rounded up to whole seconds: it says 0:00 at the end and not before. @param {number} milliseconds */
export function duration(milliseconds) {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1000));
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0");
  const [days, hours] = [Math.floor(seconds / 86_400), Math.floor(seconds / 3600) % 24];
  const [minutes, rest] = [Math.floor(seconds / 60) % 60, two(seconds % 60)];
  if (days > 0) return `${units(days, "day")} ${two(hours)}:${two(minutes)}:${rest}`;
  return hours > 0 ? `${hours}:${two(minutes)}:${rest}` : `${minutes}:${rest}`;
}

/** Seconds as a person says them. @param {number} seconds */
export function spoken(seconds) {
  if (seconds < 120) return units(seconds, "second");
  if (seconds < 7200 && seconds % 60 === 0) return units(seconds / 60, "minute");
  if (seconds % 3600 === 0) return units(seconds / 3600, "hour");
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** @param {number} place */
export function ordinal(place) {
  const suffix = { zero: "th", one: "st", two: "nd", few: "rd", many: "th", other: "th" };
  return `${count(place)}${suffix[new Intl.PluralRules("en", { type: "ordinal" }).select(place)]}`;
}

/** A time of day with seconds, on this machine's clock. @param {string | number} time */
export function clock(time) {
  return new Date(time).toLocaleTimeString("en-GB");
}

/** Day and time to the minute; with the year where it is not this one. @param {string | number} time */
export function day(time) {
  const date = new Date(time);
  /** @type {Intl.DateTimeFormatOptions} */
  const year = date.getFullYear() === new Date().getFullYear() ? {} : { year: "numeric" };
  return date.toLocaleString("en-GB", { day: "numeric", month: "short", ...year, hour: "2-digit", minute: "2-digit" });
}

/** Day and time to the second, with the year. @param {string | number} time */
export function exact(time) {
  return new Date(time).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
}
