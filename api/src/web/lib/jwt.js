// Reads the claims of a buyer's token. Only the server verifies them: here they name the buyer
// whose requests a page prepares, and the time at which the token ends.

/**
 * @typedef {{buyer: string, expiresAt: number | undefined}} Claims `buyer`: the buyer's id as the
 *   server reads it from `sub`, empty if there is none; `expiresAt`: `exp` in milliseconds
 */

/** White space that the server removes around `sub`. */
const OUTER_SPACE = /^[\t\n\f\r ]+|[\t\n\f\r ]+$/g;

/**
 * Returns the claims of a token; undefined for a text that is no token.
 * @param {string} token
 * @returns {Claims | undefined}
 */
export function claimsOf(token) {
  const [, payload, signature, ...rest] = token.split(".");
  if (!payload || signature === undefined || rest.length > 0) return undefined;
  try {
    const letters = atob(payload.replaceAll("-", "+").replaceAll("_", "/"));
    const bytes = Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
    const claims = JSON.parse(new TextDecoder().decode(bytes), exactNumber);
    if (claims === null || typeof claims !== "object") return undefined;
    const exp = Number(claims.exp);
    return {
      buyer: ["string", "number"].includes(typeof claims.sub) ? buyerOf(claims.sub) : "",
      expiresAt: claims.exp === undefined || Number.isNaN(exp) ? undefined : 1000 * exp,
    };
  } catch {
    return undefined;
  }
}

/** The server trims a `sub` and accepts it otherwise as it is. @param {string | number} sub */
function buyerOf(sub) {
  return String(sub).replaceAll(OUTER_SPACE, "").normalize("NFC");
}

/**
 * A reviver of JSON. A `sub` may be a whole number with more digits than a number of JavaScript
 * represents; browsers that pass the source of a number on return it exactly.
 * @param {string} name @param {unknown} value @param {{source?: string}} [context]
 */
function exactNumber(name, value, context) {
  const isLarge = typeof value === "number" && !Number.isSafeInteger(value);
  return name === "sub" && isLarge ? (context?.source ?? value) : value;
}
