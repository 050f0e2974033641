// The server's clock, as well as this page can know it, and a beat for whatever counts down.
//
// Every answer carries `server_time`. On its way here it grew old, never young, so of the latest samples the one that puts the
// server furthest ahead is nearest to the truth: it is late by the shortest way that any of them took. But one alone is believed
// only if there is no other: a server whose clock is ahead of the rest's must not win over all that they say.

const SAMPLES = 16;
/** What two samples may differ by and still bear each other out. */
const AGREE_MS = 1000;
const BEAT_MS = 200;

/** The server's clock minus this machine's, in milliseconds, one entry a sample. @type {number[]} */
const samples = [];
let offset = 0;
/** How far this machine's clock is ahead of the page's own stopwatch, which nobody sets. */
let lead = leadNow();

function leadNow() {
  return Date.now() - performance.now();
}

/** Takes in a `server_time`, which must come from an answer that was given just now. @param {string | undefined} time RFC 3339 */
export function learn(time) {
  const server = Date.parse(time ?? "");
  if (Number.isNaN(server)) return;
  // This machine's clock was set, or it slept: what was known before is worth nothing.
  if (Math.abs(leadNow() - lead) > AGREE_MS) samples.length = 0;
  lead = leadNow();
  samples.push(server - Date.now());
  if (samples.length > SAMPLES) samples.shift();
  offset = best();
}

/** The furthest ahead of those that another one bears out; if none does, the furthest ahead. */
function best() {
  const sorted = [...samples].sort((one, other) => other - one);
  const isBorneOut = (/** @type {number} */ sample, /** @type {number} */ place) => sample - (sorted[place + 1] ?? -Infinity) <= AGREE_MS;
  return sorted.find(isBorneOut) ?? sorted[0] ?? 0;
}

/** The server's time in milliseconds since the Unix epoch. */
export function now() {
  return Date.now() + offset;
}

/** Milliseconds until `time`, by the server's clock; negative once it is past. @param {string} time RFC 3339 */
export function until(time) {
  return Date.parse(time) - now();
}

/** @type {Set<() => void>} */
const listeners = new Set();
let beating = 0;

/** Calls `listener` several times a second until the returned function is called. @param {() => void} listener */
export function everyBeat(listener) {
  listeners.add(listener);
  if (!beating) beating = window.setInterval(() => listeners.forEach((beat) => beat()), BEAT_MS);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) {
      window.clearInterval(beating);
      beating = 0;
    }
  };
}
