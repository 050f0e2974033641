// The public API (contract v1): types, calls, and one error class.
//
// A missing or late response is a `Problem` with the code `unreachable`; a retry repeats the
// idempotency key. Responses are never taken from the browser's cache, because the `server_time` of
// a revalidated response is outdated.

import { at, base } from "./base.js";
import { canSolve, solve } from "./challenge.js";
import { learn } from "./clock.js";

/**
 * @typedef {{token: () => string, refused: (token: string) => void}} Credentials `token`: the
 *   buyer's token, empty if there is none; `refused`: the server refused this one
 */

/** @type {Credentials | undefined} */
let credentials;

/**
 * Sends the buyer's token with every request to this page's own server. The pages of the shop call
 * this; those of the dashboard, and elements on other sites, do not.
 * @param {Credentials} given
 */
export function authorizeWith(given) {
  credentials = given;
}

/**
 * The buyer's token for a request; empty for requests that are not for the API of this page's own
 * server.
 * @param {string} url
 */
export function tokenFor(url) {
  const { origin, pathname } = new URL(url, location.href);
  const isOurs = origin === location.origin && pathname.startsWith(`${base}/v1/`);
  return isOurs ? (credentials?.token() ?? "") : "";
}

/**
 * Reports that the server refused the token of a request, if it did.
 * @param {number} status @param {string} token
 */
export function noteStatus(status, token) {
  if (status === 401 && token) credentials?.refused(token);
}

/**
 * @typedef {{amount: number, currency: string}} Money
 * @typedef {{total: number, available: number, held: number, sold: number,
 *   level?: "in_stock" | "low" | "sold_out"}} Stock under `level` the numbers are absent
 * @typedef {"scheduled" | "live" | "sold_out" | "ended" | "cancelled" |
 *   "paused" | "draft"} DropStatus
 * @typedef {{buyer: string, quantity: number, last_purchased_at: string}} Purchaser
 * @typedef {{id: string, name: string, description: string | null, image_url: string | null,
 *   price: Money, status: DropStatus, starts_at: string, ends_at: string | null,
 *   hold_seconds: number, max_hold_seconds: number | null, offer_seconds: number | null,
 *   max_per_hold: number, max_per_buyer: number | null,
 *   throttle: {holds: number, window_seconds: number} | null,
 *   low_stock_at: number | null, limit_group: string | null,
 *   visibility: "public" | "unlisted" | "hidden", show_stock: "exact" | "level",
 *   challenge: {kind: "proof_of_work", difficulty: number} | null,
 *   access: "open" | "code", product_id: string | null, variant_id: string | null,
 *   creator_id: string | null, stock: Stock, waitlist_length: number, position: number,
 *   created_at: string, server_time: string,
 *   top_purchasers?: Purchaser[]}} Drop
 * @typedef {{id: string, drop_id: string, buyer_id: string | null, quantity: number, price?: Money,
 *   status: "held" | "purchased" | "expired" | "released", placed_at: string, expires_at: string,
 *   purchased_at: string | null, position: number, server_time: string}} Hold
 * @typedef {{id: string, hold_id: string, drop_id: string, quantity: number, total: Money,
 *   purchased_at: string, position: number}} Purchase
 * @typedef {{buyer_id: string, held: number, purchased: number, allowance: number,
 *   next_hold_at: string | null, server_time: string}} Standing
 * @typedef {"max_per_hold" | "max_per_buyer" | "total_stock"} Block the reason why no number of
 *   returned units can serve a waitlist entry
 * @typedef {{id: string, drop_id: string, quantity: number, place: number | null,
 *   blocked_by: Block | null, hold_id: string | null, offered_at: string | null,
 *   price: Money | null, expires_at: string | null, joined_at: string, position: number,
 *   status: "waiting" | "offered" | "purchased" | "expired" | "released" | "left" | "closed"}}
 *   Waiting
 * @typedef {{id: string, name: string, status: DropStatus, total: number, available: number,
 *   held: number, sold: number, expired: number, refunded: number}} DropLine
 * @typedef {{start: string, held: number, sold: number, expired: number, released?: number}} Bucket
 * @typedef {{holds_placed: number, holds_expired: number, holds_released: number,
 *   purchases_confirmed: number, units_held: number, units_sold: number, units_expired: number,
 *   units_released: number, oversell_attempts_blocked: number, throttle_blocks: number,
 *   drops: DropLine[], has_more: boolean, timeline: Bucket[], position: number,
 *   release_lateness: {count: number, p50_ms: number, p99_ms: number, max_ms: number} | null,
 *   engine: {state: "live" | "away" | "refused" | "clock_fault" | "stopped", queued: number},
 *   watchers: number, quarantined: {drop_id: string | null, position: number, reason: string}[],
 *   projections: {name: string, checkpoint: number, lag: number, stopped: string | null}[]}}
 *   Metrics
 * @typedef {{position: number, aggregate_type: string, aggregate_id: string, event_type: string,
 *   recorded_at: string, payload: Record<string, any>,
 *   metadata: {admin?: string}}} LogEvent
 * @typedef {{quantity: number, amount: Money}} RefundTotal the refunds of a purchase, in sum
 * @typedef {{drop_id: string, hold_id: string, purchase_id: string | null, quantity: number,
 *   price: Money, total: Money, refunded: RefundTotal}} OrderItem
 * @typedef {"pending" | "paid" | "cancelled" | "expired" | "partially_refunded" | "refunded"}
 *   OrderStatus
 * @typedef {"unfulfilled" | "processing" | "shipped" | "delivered"} Fulfilment
 * @typedef {{id: string, provider: string, status: string, amount: Money,
 *   provider_reference?: string | null, late?: boolean}} OrderPayment
 * @typedef {{id: string, amount: Money, quantity: number, cause: string,
 *   status: "pending" | "succeeded" | "failed", requested_at: string,
 *   settled_at: string | null}} MadeRefund
 * @typedef {{id: string, buyer_id: string | null, status: OrderStatus, fulfilment: Fulfilment,
 *   items: OrderItem[], total: Money, refunds: MadeRefund[], late: boolean,
 *   payment?: OrderPayment | null,
 *   tracking: string | null, payment_reference?: string | null, placed_at: string,
 *   expires_at: string, paid_at: string | null, cancelled_at: string | null, position: number,
 *   server_time: string}} Order `payment`: the last payment that a provider took part in
 * @typedef {"pending" | "failed" | "done"} JobStatus
 * @typedef {{id: string, kind: string, subject: string, status: JobStatus, cancelled: boolean,
 *   attempts: number, next_attempt_at: string | null, last_error: string | null,
 *   meaning: string | null, position: number}} Job
 * @typedef {{id: string, kind: string, subject: string, since: string, detail: string,
 *   position: number}} Matter
 * @typedef {{id: string, url: string, event_types: string[] | null, description: string | null,
 *   status: "enabled" | "disabled", disabled_reason: "gone" | "administrator" | null,
 *   disabled_at: string | null, position: number, pending: number, failed: number,
 *   created_at: string, secret?: string, previous_secret_expires_at?: string}} Endpoint `secret`:
 *   only in the response that creates it
 * @typedef {{id: string, endpoint_id: string, webhook_id: string, event_type: string,
 *   drop_id: string | null, position: number, status: JobStatus, cancelled: boolean,
 *   attempts: number, next_attempt_at: string | null, last_error: string | null,
 *   created_at: string, finished_at: string | null}} Delivery
 * @typedef {{data: Drop[], has_more: boolean, position: number}} DropPage `position`: the log
 *   position that the page reflects
 * @typedef {{method?: string, body?: unknown, key?: string, headers?: Record<string, string>}}
 *   Options
 */

/**
 * A server that cannot reach its log reports that within five seconds. After twice that time the
 * request is considered lost.
 */
const TIMEOUT_MS = 10_000;

/** An error response, or the lack of a response. */
export class Problem extends Error {
  /** @param {number} status @param {Record<string, any>} body @param {number} retryAfter seconds */
  constructor(status, body, retryAfter = 0) {
    super(body.detail ?? body.title ?? `The server returned status ${status}.`);
    this.status = status;
    /** The stable code of the problem. @type {string} */
    this.code = body.code ?? "unknown";
    /** The members of the problem. */
    this.numbers = body;
    this.retryAfter = retryAfter;
  }

  /** Returns whether the outcome of the request is unknown, so that it can be retried. */
  get isUndecided() {
    return (
      this.code === "unreachable" ||
      this.status === 503 ||
      this.status === 502 ||
      this.status === 504
    );
  }
}

/**
 * Sends a request and reads the response, with one timeout for both. A path that begins with a
 * slash is one of the shop.
 * @template T
 * @param {string} path
 * @param {Options} options
 * @param {(response: Response) => Promise<T>} read
 * @returns {Promise<T>}
 */
async function send(path, { method = "GET", body, key, headers = {} }, read) {
  const url = at(path);
  const token = tokenFor(url);
  /** @type {Record<string, string>} */
  const all = { ...(token && { Authorization: `Bearer ${token}` }), ...headers };
  if (body !== undefined) all["Content-Type"] = "application/json";
  if (key !== undefined) all["Idempotency-Key"] = key;
  const attempt = new AbortController();
  const timer = setTimeout(() => attempt.abort(), TIMEOUT_MS);
  try {
    const sent = body === undefined ? undefined : JSON.stringify(body);
    const response = await fetch(url, {
      method,
      headers: all,
      body: sent,
      signal: attempt.signal,
      cache: "no-store",
    });
    noteStatus(response.status, token);
    if (!response.ok) throw await problemOf(response);
    return await read(response);
  } catch (error) {
    if (error instanceof Problem) throw error;
    throw new Problem(0, { code: "unreachable", detail: "The server is not responding." });
  } finally {
    clearTimeout(timer);
  }
}

/** @param {Response} response */
async function problemOf(response) {
  const body = await response.json().catch(() => ({}));
  return new Problem(response.status, body, Number(response.headers.get("retry-after")) || 0);
}

/**
 * Calls the API and returns the body of the response.
 * @param {string} path
 * @param {Options} [options]
 * @returns {Promise<any>}
 */
export async function call(path, options = {}) {
  const body = await send(path, options, async (response) =>
    response.status === 204 ? null : response.json(),
  );
  learn(body?.server_time);
  return body;
}

/**
 * Returns a page of drops with its log position.
 * @param {string} path
 * @returns {Promise<DropPage>}
 */
export async function callForPage(path) {
  const page = await send(path, {}, async (response) => {
    const body = await response.json();
    return {
      data: body.data,
      has_more: body.has_more,
      position: Number(response.headers.get("holdfast-position")),
    };
  });
  learn(page.data[0]?.server_time);
  return page;
}

/**
 * Calls the API and returns the body as text, with the entity tag.
 * @param {string} path
 * @param {Options} [options]
 */
export async function callForText(path, options = {}) {
  return send(path, options, async (response) => ({
    text: await response.text(),
    etag: response.headers.get("etag") ?? "",
  }));
}

/** The most challenges of one request: an edit of the drop may require a second one. */
const MOST_CHALLENGES = 3;

/**
 * Adds the solution of the challenge in a problem to a request.
 * @param {Options} options @param {Problem} problem
 * @returns {Promise<Options>}
 */
async function withSolution(options, problem) {
  if (!canSolve()) throw new Problem(0, { code: "challenge_unsupported" });
  const solution = await solve(problem.numbers.challenge, options.key ?? "");
  if (solution === undefined) throw new Problem(0, { code: "challenge_cancelled" });
  return { ...options, headers: { ...options.headers, "Challenge-Solution": solution } };
}

/**
 * Calls the API until the outcome is known: retries with exponential backoff and jitter for at most
 * `timeout` ms, and solves the challenge that a drop requires.
 * @param {string} path @param {Options} options
 * @param {{timeout?: number, onRetry?: () => void}} [how] `onRetry` is called before each retry
 * @returns {Promise<any>}
 */
export async function callUntilDecided(
  path,
  options,
  { timeout = 20_000, onRetry = () => {} } = {},
) {
  const deadline = Date.now() + timeout;
  let challenges = 0;
  for (let pause = 300; ; pause = Math.min(2 * pause, 4000)) {
    try {
      return await call(path, options);
    } catch (error) {
      if (error instanceof Problem && error.numbers.challenge && challenges < MOST_CHALLENGES) {
        challenges += 1;
        options = await withSolution(options, error);
        continue;
      }
      const canRetry =
        error instanceof Problem && error.isUndecided && Date.now() + pause < deadline;
      if (!canRetry) throw error;
      onRetry();
      await sleep(pause * (0.5 + Math.random()));
    }
  }
}

/** @param {number} milliseconds */
export function sleep(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/**
 * Returns a random UUID. `crypto.randomUUID` is missing on pages loaded by plain HTTP from another
 * machine.
 */
export function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    hex.slice(12, 16),
    hex.slice(16, 20),
    hex.slice(20),
  ].join("-");
}
