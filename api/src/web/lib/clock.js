// An estimate of the server's clock, and a timer for countdowns.
//
// Every response contains `server_time`. Network delay can only make it older, so among the latest
// samples the one that puts the server furthest ahead is the most accurate: it had the shortest
// delay. A single outlier is not accepted if there are other samples: one node whose clock is ahead
// must not override all others.

const SAMPLES = 16;
/** The maximum difference between two samples that confirm each other. */
const AGREE_MS = 1000;
export const TICK_MS = 200;

/** The server's clock minus this machine's, in milliseconds, by sample. @type {number[]} */
const samples = [];
let offset = 0;
/**
 * This machine's clock minus the page's monotonic clock. A jump means that the machine's clock was
 * changed.
 */
let lead = leadNow();

function leadNow() {
  return Date.now() - performance.now();
}

/**
 * Adds a sample. The `server_time` must come from a response that has just been received.
 * @param {string | undefined} time RFC 3339
 */
export function learn(time) {
  const server = Date.parse(time ?? "");
  if (Number.isNaN(server)) return;
  // This machine's clock was changed, or the machine slept: earlier samples are not valid any more.
  if (Math.abs(leadNow() - lead) > AGREE_MS) samples.length = 0;
  lead = leadNow();
  samples.push(server - Date.now());
  if (samples.length > SAMPLES) samples.shift();
  offset = best();
}

/** Returns the largest sample that another one confirms; if there is none, the largest sample. */
function best() {
  const sorted = [...samples].sort((one, other) => other - one);
  const isConfirmed = (/** @type {number} */ sample, /** @type {number} */ index) =>
    sample - (sorted[index + 1] ?? -Infinity) <= AGREE_MS;
  return sorted.find(isConfirmed) ?? sorted[0] ?? 0;
}

/** Returns whether a response has shown the server's time. */
export function isKnown() {
  return samples.length > 0;
}

/** Returns the estimated server time, in milliseconds since the Unix epoch. */
export function now() {
  return Date.now() + offset;
}

/**
 * Returns the milliseconds until `time` by the server's clock; negative if it has passed.
 * @param {string} time RFC 3339
 */
export function until(time) {
  return Date.parse(time) - now();
}

/** @type {Set<() => void>} */
const listeners = new Set();
let interval = 0;

/**
 * Calls `listener` several times a second until the returned function is called.
 * @param {() => void} listener
 */
export function everyTick(listener) {
  listeners.add(listener);
  if (!interval) interval = window.setInterval(() => listeners.forEach((tick) => tick()), TICK_MS);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) {
      window.clearInterval(interval);
      interval = 0;
    }
  };
}
