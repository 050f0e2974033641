// One connection to the live stream, kept up: the present state of drops and waitlist entries first, then every change.
//
// `fetch` rather than `EventSource`: that one closes for good on a 503, hides the heartbeats by which a dead connection is told
// from a quiet one, and hides `Retry-After`.

/**
 * @typedef {import("./api.js").Drop} Drop
 * @typedef {import("./api.js").Waiting} Waiting
 * @typedef {{onDrop: (drop: Drop, id: string) => void, onEntry?: (news: Waiting) => void, onHeard?: () => void, onLost?: () => void,
 *   onRefused?: (code: string, drop: string) => void}} Listener `onHeard`: of anything at all; `onRefused`: the server answered, and not
 *   with a stream; `drop`: for the sake of this one, if it is in quarantine
 */

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;
/** The server is never silent for longer than 15 s. */
export const SILENCE_MS = 25_000;

export class Stream {
  #query;
  #lastId;
  #listener;
  #pause = FIRST_PAUSE_MS;
  #heardAt = Date.now();
  #attempt = new AbortController();
  #isStopped = false;
  #watch = setInterval(() => this.#watchdog(), 1000);

  /** @param {string} query for example `?drops=ID` @param {string} lastId of what was heard before @param {Listener} listener */
  constructor(query, lastId, listener) {
    this.#query = query;
    this.#lastId = lastId;
    this.#listener = listener;
  }

  /** Follows until it is stopped. */
  async follow() {
    while (!this.#isStopped) {
      this.#attempt = new AbortController();
      this.#heardAt = Date.now();
      let wait = 0;
      try {
        wait = await this.#read(this.#attempt.signal);
      } catch {
        // Refused, cut off or given up: all the same to who watches.
      }
      if (this.#isStopped) return;
      this.#listener.onLost?.();
      // Everybody was cut off at the same moment; they should not all come back at the same moment.
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

  /** Tries now, if it waits to try again: the machine woke up, or somebody came back to look. */
  hurry() {
    this.#pause = FIRST_PAUSE_MS;
    this.#wake();
  }

  /** Reads until the stream ends; gives the seconds that the server asks to wait. @param {AbortSignal} signal */
  async #read(signal) {
    /** @type {Record<string, string>} */
    const headers = { Accept: "text/event-stream" };
    if (this.#lastId) headers["Last-Event-ID"] = this.#lastId;
    const response = await fetch(`/v1/stream${this.#query}`, { headers, signal, cache: "no-store" });
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
