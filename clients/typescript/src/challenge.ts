// Solves the challenge that a drop may require before a hold, an order or a waitlist entry, and
// sends the request again with the solution.
//
// Promise: the second request has the idempotency key of the first, so it has one effect. Limit: it
// needs `crypto.subtle`, which browsers have on HTTPS and on localhost, and Node from version 20.
// Without it, and after `MOST` challenges, the response is returned as it is.

interface Challenge {
  parameters: {
    cost: number;
    keyLength: number;
    keyPrefix: string;
    nonce: string;
    salt: string;
  };
  signature: string;
}

const HEADER = "challenge-solution";
/** The most challenges of one request: an edit of the drop may require a second one. */
const MOST = 3;

/** Returns a `fetch` that solves challenges. */
export function solving(send: typeof fetch): typeof fetch {
  return async (input, init) => {
    const request = new Request(input, init);
    for (let round = 0; ; round += 1) {
      // A body can be read once, so each attempt sends a copy.
      const response = await send(request.clone());
      if (response.status !== 403 || round === MOST || !globalThis.crypto?.subtle) return response;
      const problem = await response
        .clone()
        .json()
        .catch(() => undefined);
      if (problem?.challenge === undefined) return response;
      request.headers.set(HEADER, await solve(problem.challenge, request.signal));
    }
  };
}

/** Returns the value of the header `Challenge-Solution`. */
async function solve(challenge: Challenge, signal: AbortSignal): Promise<string> {
  const { cost, keyLength, keyPrefix, nonce, salt } = challenge.parameters;
  const start = bytesOf(nonce);
  const password = new Uint8Array(start.length + 4);
  password.set(start);
  const counterBytes = new DataView(password.buffer);
  const how = { name: "PBKDF2", hash: "SHA-256", salt: bytesOf(salt), iterations: cost };
  for (let counter = 0; ; counter += 1) {
    signal.throwIfAborted();
    counterBytes.setUint32(start.length, counter);
    const key = await crypto.subtle.importKey("raw", password, "PBKDF2", false, ["deriveBits"]);
    const derivedKey = hexOf(await crypto.subtle.deriveBits(how, key, 8 * keyLength));
    if (derivedKey.startsWith(keyPrefix))
      return btoa(JSON.stringify({ challenge, solution: { counter, derivedKey } }));
  }
}

function bytesOf(hex: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(hex.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
}

function hexOf(bytes: ArrayBuffer): string {
  return Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
