// The live stream: the present state of drops first, then every change. One connection a page.
//
// `fetch` rather than `EventSource`: that one closes for good on a 503, hides the heartbeats by which a dead connection is told
// from a quiet one, and hides `Retry-After`.

import { learn } from "./clock.js";

/** @typedef {import("./api.js").Drop} Drop */
/** @typedef {{state: "connecting" | "live"} | {state: "lost", since: number}} Connection since: when the state was last known to be new */

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;
// The server is never silent for longer than 15 s.
const SILENCE_MS = 25_000;

/** Tells `drop` (detail: Drop) and `connection` (detail: Connection). */
export class Live extends EventTarget {
  #path;
  #lastId = "";
  #pause = FIRST_PAUSE_MS;
  #heardAt = Date.now();
  #attempt = new AbortController();
  /** @type {Connection} */
  connection = { state: "connecting" };

  /** @param {string} [query] for example `?drops=ID` */
  constructor(query = "") {
    super();
    this.#path = `/v1/stream${query}`;
    // A machine that wakes up, or finds its network again, should not wait for the next try.
    addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.#hurry());
    setInterval(() => this.#watchdog(), 1000);
  }

  /** Follows for as long as the page is open. */
  async follow() {
    for (;;) {
      this.#attempt = new AbortController();
      let wait = 0;
      try {
        wait = await this.#read(this.#attempt.signal);
      } catch {
        // Refused, cut off or given up: all the same to who watches.
      }
      this.#lose();
      // Everybody was cut off at the same moment; they should not all come back at the same moment.
      await this.#rest(Math.max(wait * 1000, this.#pause) * (0.5 + Math.random()));
      this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE_MS);
    }
  }

  /** Reads until the stream ends; gives the seconds that the server asks to wait. @param {AbortSignal} signal */
  async #read(signal) {
    /** @type {Record<string, string>} */
    const headers = { Accept: "text/event-stream" };
    if (this.#lastId) headers["Last-Event-ID"] = this.#lastId;
    const response = await fetch(this.#path, { headers, signal, cache: "no-store" });
    if (!response.ok || !response.body) return Number(response.headers.get("retry-after")) || 0;
    this.#heard();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return 0;
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
    if (event !== "drop" || !data) return;
    /** @type {Drop} */
    const drop = JSON.parse(data);
    learn(drop.server_time);
    this.dispatchEvent(new CustomEvent("drop", { detail: drop }));
  }

  #heard() {
    this.#heardAt = Date.now();
    if (this.connection.state !== "live") this.#tell({ state: "live" });
  }

  #lose() {
    if (this.connection.state !== "lost") this.#tell({ state: "lost", since: this.#heardAt });
  }

  /** @param {Connection} connection */
  #tell(connection) {
    this.connection = connection;
    this.dispatchEvent(new CustomEvent("connection", { detail: connection }));
  }

  #watchdog() {
    if (this.connection.state === "live" && Date.now() - this.#heardAt > SILENCE_MS) this.#attempt.abort();
  }

  #wake = () => {};

  #hurry() {
    this.#pause = FIRST_PAUSE_MS;
    this.#wake();
  }

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
