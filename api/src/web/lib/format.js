// Formats numbers, money and times in the language of the page.

import { decimals } from "./currencies.js";
import { count, formatOf, language, text } from "./text.js";

export { count } from "./text.js";

/** The zone of the shop, if it has set one; otherwise that of the browser. */
const zone = document.documentElement.dataset.timeZone;

/** For pages in English. @param {number} number @param {string} one @param {string} [many] */
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
  const format = formatOf(
    currency,
    (tag) =>
      new Intl.NumberFormat(tag, {
        style: "currency",
        currency,
        minimumFractionDigits: digits,
        maximumFractionDigits: digits,
      }),
  );
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
  if (days > 0)
    return text("duration.days", { count: days, time: `${two(hours)}:${two(minutes)}:${rest}` });
  return hours > 0 ? `${hours}:${two(minutes)}:${rest}` : `${minutes}:${rest}`;
}

/** A duration in words. @param {number} seconds */
export function durationInWords(seconds) {
  if (seconds < 120) return text("duration.seconds", { count: seconds });
  if (seconds < 7200 && seconds % 60 === 0)
    return text("duration.minutes", { count: seconds / 60 });
  if (seconds % 3600 === 0) return text("duration.hours", { count: seconds / 3600 });
  return text("duration.mixed", { minutes: Math.floor(seconds / 60), seconds: seconds % 60 });
}

/**
 * @param {string | number} time
 * @param {Intl.DateTimeFormatOptions} options
 */
function local(time, options) {
  return new Date(time).toLocaleString(language().dates, { timeZone: zone, ...options });
}

/** The local time of day, with seconds. @param {string | number} time */
export function clock(time) {
  return local(time, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

/**
 * Day and time to the minute, with the year if it is not the current one.
 * @param {string | number} time
 */
export function day(time) {
  const yearOf = (/** @type {string | number} */ at) => local(at, { year: "numeric" });
  /** @type {Intl.DateTimeFormatOptions} */
  const year = yearOf(time) === yearOf(Date.now()) ? {} : { year: "numeric" };
  return local(time, {
    day: "numeric",
    month: "short",
    ...year,
    hour: "2-digit",
    minute: "2-digit",
  });
}

/** The time zone of the shown times, with its present offset. */
export function timeZone() {
  const name = zone ?? new Intl.DateTimeFormat().resolvedOptions().timeZone;
  const offset = zoneAt(Date.now());
  return name === offset || name === "UTC" ? "UTC" : `${name} (${offset})`;
}

/** The offset from UTC of local times at `time`, as `UTC+2`. @param {string | number} time */
export function zoneAt(time) {
  const minutes = offsetAt(new Date(time));
  const [hours, rest] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60];
  const offset = `${hours}${rest > 0 ? `:${String(rest).padStart(2, "0")}` : ""}`;
  return minutes === 0 ? "UTC" : `UTC${minutes > 0 ? "+" : "−"}${offset}`;
}

/** The offset from UTC of local times, in minutes. @param {Date} date */
function offsetAt(date) {
  if (!zone) return -date.getTimezoneOffset();
  const format = new Intl.DateTimeFormat("en", { timeZone: zone, timeZoneName: "longOffset" });
  const name = format.formatToParts(date).find(({ type }) => type === "timeZoneName")?.value;
  const [, sign = "+", hours = 0, minutes = 0] = /([+-])(\d+):(\d+)/.exec(name ?? "") ?? [];
  return (sign === "-" ? -1 : 1) * (60 * Number(hours) + Number(minutes));
}

/** Day and time to the second, with the year. @param {string | number} time */
export function exact(time) {
  return local(time, { dateStyle: "medium", timeStyle: "medium" });
}
