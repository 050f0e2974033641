// The server's clock, as well as this page can know it, and a beat for whatever counts down.
//
// Every answer carries `server_time`. On its way here it grew old, never young, so of the latest samples the one that puts the
// server furthest ahead is nearest to the truth: it is late by the shortest way that any of them took.

const SAMPLES = 16;
const BEAT_MS = 200;

/** The server's clock minus this machine's, in milliseconds, one entry a sample. @type {number[]} */
const samples = [];
let offset = 0;

/** Takes in a `server_time`. @param {string | undefined} time RFC 3339 */
export function learn(time) {
  const server = Date.parse(time ?? "");
  if (Number.isNaN(server)) return;
  const sample = server - Date.now();
  // This machine's clock was set, or it slept: what was known before is worth nothing.
  if (samples.length > 0 && Math.abs(sample - offset) > 5000) samples.length = 0;
  samples.push(sample);
  if (samples.length > SAMPLES) samples.shift();
  offset = Math.max(...samples);
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
