// Repeats requests that may have had no effect yet, each with the idempotency key that it has.
//
// Promise: only requests that are safe to repeat are sent again: reads, changes by PUT, PATCH and
// DELETE, requests with an idempotency key, and purchases and cancellations, which the API makes
// once. A 429 changed nothing, so it is repeated always. Limit: `attempts` in all, and no wait
// beyond `longestWaitMs`: a response that demands a longer one is returned.

export interface RetryOptions {
  /** Attempts in all. */
  attempts?: number;
  /** The longest single wait, in milliseconds. */
  longestWaitMs?: number;
}

const FIRST_WAIT_MS = 200;
const MADE_ONCE = /\/(?:purchase|cancel)$/;

/** Returns a `fetch` that repeats requests. */
export function retrying(
  send: typeof fetch,
  { attempts = 6, longestWaitMs = 10_000 }: RetryOptions = {},
): typeof fetch {
  return async (input, init) => {
    const request = new Request(input, init);
    for (let attempt = 1; ; attempt += 1) {
      const isLast = attempt >= attempts;
      // A body can be read once, so each attempt sends a copy.
      const outcome = await send(request.clone()).catch((error: unknown) => {
        if (isLast || request.signal.aborted || !isRepeatable(request)) throw error;
      });
      const wait = outcome === undefined ? backoff(attempt) : waitOf(request, outcome, attempt);
      if (outcome && (isLast || wait === undefined || wait > longestWaitMs)) return outcome;
      await outcome?.body?.cancel();
      await pause(Math.min(wait ?? 0, longestWaitMs), request.signal);
    }
  };
}

function isRepeatable({ method, headers, url }: Request): boolean {
  return (
    method !== "POST" || headers.has("idempotency-key") || MADE_ONCE.test(new URL(url).pathname)
  );
}

/** Returns the wait before the next attempt; undefined if this response is the result. */
function waitOf(request: Request, { status, headers }: Response, attempt: number) {
  const isTemporary = status === 429 || (status === 503 && isRepeatable(request));
  const seconds = Number(headers.get("retry-after") ?? Number.NaN);
  if (!isTemporary || Number.isNaN(seconds)) return undefined;
  // Never earlier than the server permits, and not all clients in step.
  return seconds * 1000 + Math.random() * FIRST_WAIT_MS * 2 ** attempt;
}

/** A random wait below an exponential bound. */
function backoff(attempt: number): number {
  return Math.random() * FIRST_WAIT_MS * 2 ** attempt;
}

/** Waits; rejects when `signal` is aborted. */
export function pause(milliseconds: number, signal?: AbortSignal | null): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, milliseconds);
    if (signal?.aborted) abort();
    else signal?.addEventListener("abort", abort, { once: true });
  });
}
