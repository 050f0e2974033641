// The live stream of this browser: one connection for all of its tabs, because HTTP/1.1 grants a browser six of them to a server, and
// a stream keeps its own for good.
//
// A lock that only one tab has says who reads (the leader); the leader tells the rest on a channel. The lock falls to the next one by
// itself when a tab closes, and is taken from a leader that says nothing for longer than the server ever does. Where a browser has
// no locks (they need HTTPS, or this very machine), each tab reads for itself, as long as it is looked at.
//
//   server ──stream──▶ leader ──channel──▶ the other tabs          tab ──"want"──▶ leader: what it watches

import { learn } from "./clock.js";
import { SILENCE_MS, Stream } from "./stream.js";

/**
 * @typedef {import("./api.js").Drop} Drop
 * @typedef {{state: "connecting" | "live"} | {state: "lost", since: number}} Connection since: when the state was last known to be new
 * @typedef {{kind: "who"} | {kind: "want", query: string} | {kind: "hurry"} | {kind: "heard"} | {kind: "connection", connection: Connection}
 *   | {kind: "drop", drop: Drop, id: string, isNew: boolean}} Message `isNew`: it was told by the server just now
 */

const NAME = "holdfast.live";
/** The leader tells that it hears something at most this often. */
const TELL_MS = 1000;
/** Who comes back to a tab at once finds it as they left it. */
const HIDDEN_MS = 10_000;

/** Tells `drop` (detail: Drop) and `connection` (detail: Connection). */
export class Live extends EventTarget {
  #query;
  /** What all tabs want, as far as this one has heard. @type {Set<string>} */
  #wanted;
  /** The newest of each, for a tab that comes later. @type {Map<string, Drop>} */
  #known = new Map();
  #lastId = "";
  #heardAt = Date.now();
  #toldAt = 0;
  /** @type {Stream | undefined} */
  #stream;
  /** @type {BroadcastChannel | undefined} */
  #channel;
  /** @type {Connection} */
  connection = { state: "connecting" };

  /** @param {string} [query] for example `?drops=ID`; every drop that is not over, if none */
  constructor(query = "") {
    super();
    this.#query = query;
    this.#wanted = new Set([query]);
    // A machine that wakes up, or finds its network again, should not wait for the next try.
    addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.#hurry());
  }

  /** Follows for as long as the page is open. */
  follow() {
    if ("locks" in navigator && "BroadcastChannel" in window) void this.#followTogether();
    else this.#followAlone();
  }

  #followAlone() {
    let timer = 0;
    const attend = () => {
      clearTimeout(timer);
      if (document.hidden) timer = window.setTimeout(() => this.#close(), HIDDEN_MS);
      else if (!this.#stream) this.#open();
    };
    document.addEventListener("visibilitychange", attend);
    this.#open();
    attend();
  }

  async #followTogether() {
    const channel = new BroadcastChannel(NAME);
    channel.addEventListener("message", ({ data }) => this.#take(data));
    this.#channel = channel;
    this.#tell({ kind: "want", query: this.#query });
    let [isAway, isImpatient] = [false, false];
    /** Ends the wait for the lock, or the turn as the leader. */
    let end = () => {};
    setInterval(() => {
      if (this.#stream || Date.now() - this.#heardAt < SILENCE_MS) return;
      isImpatient = true;
      end();
    }, TELL_MS);
    // A page that is kept for the way back must not keep the rest waiting for its lock.
    addEventListener("pagehide", () => { isAway = true; end(); });
    addEventListener("pageshow", () => { isAway = false; });
    for (;;) {
      if (isAway) await new Promise((resolve) => addEventListener("pageshow", resolve, { once: true }));
      const wait = new AbortController();
      const turn = new Promise((resolve) => { end = () => { wait.abort(); resolve(null); }; });
      const options = isImpatient ? { steal: true } : { signal: wait.signal };
      isImpatient = false;
      // An error says that the wait was ended, or the lock taken by a tab that heard nothing: on to the end of the queue.
      await navigator.locks.request(NAME, options, () => this.#lead(turn)).catch(() => null);
      this.#close();
    }
  }

  /** Reads for all tabs until `turn` ends. @param {Promise<unknown>} turn */
  async #lead(turn) {
    this.#open();
    this.#tell({ kind: "who" });
    await turn;
  }

  #open() {
    this.#heardAt = Date.now();
    this.#stream = new Stream(this.#union(), this.#lastId, {
      onDrop: (drop, id) => {
        this.#tell({ kind: "drop", drop, id, isNew: true });
        this.#show(drop, id, true);
      },
      onHeard: () => this.#heard(),
      onLost: () => {
        if (this.connection.state !== "lost") this.#become({ state: "lost", since: this.#heardAt });
        this.#tell({ kind: "connection", connection: this.connection });
      },
    });
    void this.#stream.follow();
  }

  #close() {
    this.#stream?.stop();
    this.#stream = undefined;
    this.#heardAt = Date.now();
  }

  /** What to ask the server for: what all want, if they want the same, otherwise everything. */
  #union() {
    const [first = "", ...others] = this.#wanted;
    return others.length > 0 ? "" : first;
  }

  /** From another tab. @param {Message} message */
  #take(message) {
    // What other followers say does not tell that there is a leader.
    if (message.kind === "drop" || message.kind === "connection" || message.kind === "heard") this.#heardAt = Date.now();
    switch (message.kind) {
      case "drop":
        return this.#show(message.drop, message.id, message.isNew);
      case "connection":
        return this.#become(message.connection);
      case "who":
        return this.#tell({ kind: "want", query: this.#query });
      case "want":
        return this.#serve(message.query);
      case "hurry":
        return this.#stream?.hurry();
      case "heard":
        return undefined;
    }
  }

  /** Somebody wants to watch as well. @param {string} query */
  #serve(query) {
    const before = this.#union();
    this.#wanted.add(query);
    if (!this.#stream) return;
    // First the connection, as it is with a stream of one's own: what is told after it is not missing.
    this.#tell({ kind: "connection", connection: this.connection });
    for (const drop of this.#known.values()) this.#tell({ kind: "drop", drop, id: this.#lastId, isNew: false });
    if (this.#union() === before) return;
    this.#close();
    this.#open();
  }

  /** @param {Drop} drop @param {string} id @param {boolean} isNew */
  #show(drop, id, isNew) {
    this.#lastId = id;
    this.#known.set(drop.id, drop);
    if (isNew) learn(drop.server_time);
    if (!this.#query || this.#query.includes(drop.id)) this.dispatchEvent(new CustomEvent("drop", { detail: drop }));
  }

  #heard() {
    this.#heardAt = Date.now();
    if (this.connection.state !== "live") {
      this.#become({ state: "live" });
      this.#tell({ kind: "connection", connection: this.connection });
    } else if (this.#heardAt - this.#toldAt > TELL_MS) {
      this.#toldAt = this.#heardAt;
      this.#tell({ kind: "heard" });
    }
  }

  #hurry() {
    this.#stream?.hurry();
    this.#tell({ kind: "hurry" });
  }

  /** @param {Message} message */
  #tell(message) {
    this.#channel?.postMessage(message);
  }

  /** @param {Connection} connection */
  #become(connection) {
    const isNews = this.connection.state !== connection.state;
    this.connection = connection;
    if (isNews) this.dispatchEvent(new CustomEvent("connection", { detail: connection }));
  }
}
