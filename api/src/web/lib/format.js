// Formats numbers, money and times.

import { decimals } from "./currencies.js";

/** @param {number} number */
export function count(number) {
  return number.toLocaleString("en");
}

/** @param {number} number @param {string} one @param {string} [many] */
export function units(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/**
 * Formats an amount in minor units.
 * @param {import("./api.js").Money} money
 * @param {number} [times]
 */
export function money({ amount, currency }, times = 1) {
  const digits = decimals(currency);
  const format = new Intl.NumberFormat("en", {
    style: "currency",
    currency,
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
  return format.format((amount * times) / 10 ** digits);
}

/**
 * A remaining time, rounded up to whole seconds: 0:00 means that no time is left.
 * @param {number} milliseconds
 */
export function duration(milliseconds) {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1000));
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0");
  const [days, hours] = [Math.floor(seconds / 86_400), Math.floor(seconds / 3600) % 24];
  const [minutes, rest] = [Math.floor(seconds / 60) % 60, two(seconds % 60)];
  if (days > 0) return `${units(days, "day")} ${two(hours)}:${two(minutes)}:${rest}`;
  return hours > 0 ? `${hours}:${two(minutes)}:${rest}` : `${minutes}:${rest}`;
}

/** A duration in words. @param {number} seconds */
export function durationInWords(seconds) {
  if (seconds < 120) return units(seconds, "second");
  if (seconds < 7200 && seconds % 60 === 0) return units(seconds / 60, "minute");
  if (seconds % 3600 === 0) return units(seconds / 3600, "hour");
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** @param {number} rank */
export function ordinal(rank) {
  const suffix = { zero: "th", one: "st", two: "nd", few: "rd", many: "th", other: "th" };
  return `${count(rank)}${suffix[new Intl.PluralRules("en", { type: "ordinal" }).select(rank)]}`;
}

/** The local time of day, with seconds. @param {string | number} time */
export function clock(time) {
  return new Date(time).toLocaleTimeString("en-GB");
}

/**
 * Day and time to the minute, with the year if it is not the current one.
 * @param {string | number} time
 */
export function day(time) {
  const date = new Date(time);
  /** @type {Intl.DateTimeFormatOptions} */
  const year = date.getFullYear() === new Date().getFullYear() ? {} : { year: "numeric" };
  return date.toLocaleString("en-GB", {
    day: "numeric",
    month: "short",
    ...year,
    hour: "2-digit",
    minute: "2-digit",
  });
}

/** The time zone of this browser, with its present offset. */
export function timeZone() {
  const { timeZone: name } = new Intl.DateTimeFormat().resolvedOptions();
  const offset = zoneAt(Date.now());
  return name === offset || name === "UTC" ? "UTC" : `${name} (${offset})`;
}

/** The offset from UTC of local times at `time`, as `UTC+2`. @param {string | number} time */
export function zoneAt(time) {
  const minutes = -new Date(time).getTimezoneOffset();
  const [hours, rest] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60];
  const offset = `${hours}${rest > 0 ? `:${String(rest).padStart(2, "0")}` : ""}`;
  return minutes === 0 ? "UTC" : `UTC${minutes > 0 ? "+" : "−"}${offset}`;
}

/** Day and time to the second, with the year. @param {string | number} time */
export function exact(time) {
  return new Date(time).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
}
