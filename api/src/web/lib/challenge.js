// The work before a hold: solves the challenge of a 403 `challenge_required`.
//
// The browser derives the keys with PBKDF2 in threads of its own, so the page stays responsive, and
// no worker is needed, which a page of another origin could not start. Limit: browsers have
// `crypto.subtle` on HTTPS and on this computer only.

/**
 * @typedef {{parameters: {cost: number, nonce: string, salt: string, keyLength: number,
 *   keyPrefix: string, data: {difficulty: number}}, signature: string}} Challenge
 */

/** The longest search, for each level of difficulty. */
const MOST_TRIES_PER_LEVEL = 768;
/** Searches at the same time. More would leave no processor to the page. */
const LANES = Math.min(4, Math.max(1, Math.floor((navigator.hardwareConcurrency || 2) / 2)));

/** The present work, by the idempotency key of its request. @type {Map<string, Work>} */
const works = new Map();

class Work {
  tried = 0;
  isCancelled = false;

  /** @param {number} most */
  constructor(most) {
    this.most = most;
  }
}

/** Returns whether this page can solve challenges. */
export function canSolve() {
  return globalThis.crypto?.subtle !== undefined;
}

/**
 * Returns how much of the longest search is done, in percent; undefined if there is no work for
 * this request.
 * @param {string} key
 */
export function percentOf(key) {
  const work = works.get(key);
  return work && Math.min(99, Math.floor((100 * work.tried) / work.most));
}

/** Ends the work for a request. @param {string} key */
export function cancelWork(key) {
  const work = works.get(key);
  if (work) work.isCancelled = true;
}

/**
 * Solves a challenge. Returns the value of the header `Challenge-Solution`, or undefined if the
 * work was cancelled.
 * @param {Challenge} challenge
 * @param {string} key the idempotency key of the request
 */
export async function solve(challenge, key) {
  const work = new Work(MOST_TRIES_PER_LEVEL * challenge.parameters.data.difficulty);
  works.set(key, work);
  try {
    const lanes = Array.from({ length: LANES }, (_, lane) => search(challenge, work, lane));
    const solution = await Promise.any(lanes);
    return btoa(JSON.stringify({ challenge, solution }));
  } catch {
    return undefined;
  } finally {
    work.isCancelled = true;
    if (works.get(key) === work) works.delete(key);
  }
}

/**
 * Tries every number of a lane. Fails if the work was cancelled or another lane found the number.
 * @param {Challenge} challenge @param {Work} work @param {number} lane
 */
async function search({ parameters }, work, lane) {
  const { cost, keyLength } = parameters;
  const [salt, prefix] = [bytesOf(parameters.salt), bytesOf(parameters.keyPrefix)];
  const nonce = bytesOf(parameters.nonce);
  const password = new Uint8Array(nonce.length + 4);
  password.set(nonce);
  const view = new DataView(password.buffer);
  const how = { name: "PBKDF2", hash: "SHA-256", salt, iterations: cost };
  for (let counter = lane; !work.isCancelled; counter += LANES) {
    view.setUint32(nonce.length, counter);
    const from = await crypto.subtle.importKey("raw", password, "PBKDF2", false, ["deriveBits"]);
    const derived = new Uint8Array(await crypto.subtle.deriveBits(how, from, 8 * keyLength));
    work.tried += 1;
    if (prefix.every((byte, index) => byte === derived[index]))
      return { counter, derivedKey: hexOf(derived) };
  }
  throw new Error("The work was cancelled.");
}

/** @param {string} hex */
function bytesOf(hex) {
  return Uint8Array.from(hex.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
}

/** @param {Uint8Array} bytes */
function hexOf(bytes) {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
