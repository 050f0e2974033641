// One connection to the SSE stream, with reconnects: first the current state of drops, waitlist
// entries and orders, then every change.
//
// It uses `fetch` instead of `EventSource`, which stops permanently on a 503, and hides
// `Retry-After` and the heartbeats that distinguish an idle connection from a dead one.

import { noteStatus, tokenFor } from "./api.js";
import { base } from "./base.js";

/**
 * @typedef {import("./api.js").Drop} Drop
 * @typedef {import("./api.js").Waiting} Waiting
 * @typedef {import("./api.js").Order} Order
 * @typedef {{onDrop: (drop: Drop, id: string) => void, onEntry?: (news: Waiting) => void,
 *   onOrder?: (order: Order) => void, onHeard?: () => void, onLost?: () => void,
 *   onRefused?: (code: string, drop: string) => void}} Listener `onHeard`: data was received;
 *   `onRefused`: the server returned a problem; `drop`: the
 *   drop in quarantine that caused it, if any
 */

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;
/**
 * A connection without data for this time is dead: the server sends a heartbeat at least every 15
 * s.
 */
export const SILENCE_MS = 25_000;

export class Stream {
  #url;
  #lastId;
  #listener;
  #pause = FIRST_PAUSE_MS;
  #heardAt = Date.now();
  #attempt = new AbortController();
  #isStopped = false;
  #watch = setInterval(() => this.#watchdog(), 1000);

  /**
   * @param {string} query for example `?drops=ID`
   * @param {string} lastId the last id that was received
   * @param {Listener} listener
   * @param {string} server the address of another server
   */
  constructor(query, lastId, listener, server = base) {
    this.#url = `${server}/v1/stream${query}`;
    this.#lastId = lastId;
    this.#listener = listener;
  }

  /** Reads until `stop` is called. */
  async follow() {
    while (!this.#isStopped) {
      this.#attempt = new AbortController();
      this.#heardAt = Date.now();
      let wait = 0;
      try {
        wait = await this.#read(this.#attempt.signal);
      } catch {
        // Rejected, interrupted or timed out: reconnect in each case.
      }
      if (this.#isStopped) return;
      this.#listener.onLost?.();
      // Jitter: all clients lose the connection at the same moment, and must not reconnect in step.
      await this.#rest(Math.max(wait * 1000, this.#pause) * (0.5 + Math.random()));
      this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE_MS);
    }
  }

  stop() {
    this.#isStopped = true;
    clearInterval(this.#watch);
    this.#attempt.abort();
    this.#wake();
  }

  /** Ends the pause before a reconnect, because the machine woke up or the page became visible. */
  hurry() {
    this.#pause = FIRST_PAUSE_MS;
    this.#wake();
  }

  /**
   * Reads until the stream ends. Returns the seconds to wait that the server requested.
   * @param {AbortSignal} signal
   */
  async #read(signal) {
    /** @type {Record<string, string>} */
    // A client that accepts only events gets a stream without any from a server that starts.
    const headers = { Accept: "text/event-stream, application/problem+json" };
    if (this.#lastId) headers["Last-Event-ID"] = this.#lastId;
    const token = tokenFor(this.#url);
    if (token) headers.Authorization = `Bearer ${token}`;
    const response = await fetch(this.#url, { headers, signal, cache: "no-store" });
    noteStatus(response.status, token);
    if (!response.ok || !response.body) {
      const problem = await response.json().catch(() => ({}));
      this.#listener.onRefused?.(problem.code ?? "", problem.drop_id ?? "");
      return Number(response.headers.get("retry-after")) || 0;
    }
    this.#heard();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done || this.#isStopped) return 0;
      this.#heard();
      this.#pause = FIRST_PAUSE_MS;
      const frames = (rest + value).split("\n\n");
      rest = frames.pop() ?? "";
      frames.forEach((frame) => this.#take(frame));
    }
  }

  /** @param {string} frame */
  #take(frame) {
    let [event, data] = ["message", ""];
    for (const line of frame.split("\n")) {
      const colon = line.indexOf(":");
      const [field, value] = [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, "")];
      if (field === "event") event = value;
      else if (field === "data") data += value;
      else if (field === "id") this.#lastId = value;
    }
    if (event === "drop" && data) this.#listener.onDrop(JSON.parse(data), this.#lastId);
    if (event === "waitlist" && data) this.#listener.onEntry?.(JSON.parse(data));
    if (event === "order" && data) this.#listener.onOrder?.(JSON.parse(data));
  }

  #heard() {
    this.#heardAt = Date.now();
    this.#listener.onHeard?.();
  }

  #watchdog() {
    if (Date.now() - this.#heardAt > SILENCE_MS) this.#attempt.abort();
  }

  #wake = () => {};

  /** @param {number} milliseconds @returns {Promise<void>} */
  #rest(milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
