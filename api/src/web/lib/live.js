// The live stream of this browser: one connection for all of its tabs, because HTTP/1.1 grants a browser six of them to a server, and
// a stream keeps its own for good.
//
// A lock that only one tab has says who reads (the leader); the leader tells the rest on a channel. The lock falls to the next one by
// itself when a tab closes, and is taken from a leader that says nothing for longer than the server ever does. Where a browser has
// no locks (they need HTTPS, or this very machine), each tab reads for itself, as long as it is looked at.
//
//   server ──stream──▶ leader ──channel──▶ the other tabs          tab ──"want"──▶ leader: what it watches
//
// The waitlist entries of this buyer come on the same stream, so that an offer is seen when it is made, in a hidden tab too: what
// arrives on a stream is handled at once, while browsers slow the timers of hidden tabs down.

import { uuid } from "./api.js";
import { learn } from "./clock.js";
import { SILENCE_MS, Stream } from "./stream.js";

/**
 * @typedef {import("./api.js").Drop} Drop
 * @typedef {{state: "connecting" | "live"} | {state: "lost", since: number}} Connection since: when the state was last known to be new
 * @typedef {import("./api.js").Waiting} Waiting
 * @typedef {{query: string, entries: string[]}} Wanted `entries`: ids of waitlist entries
 * @typedef {{kind: "who"} | {kind: "want", tab: string, wanted: Wanted} | {kind: "gone", tab: string} | {kind: "hurry"} | {kind: "heard"}
 *   | {kind: "connection", connection: Connection} | {kind: "drop", drop: Drop, id: string, isNew: boolean}
 *   | {kind: "entry", news: Waiting} | {kind: "entries", ids: string[]}} Message `isNew`: it was told by the server just now;
 *   `entries`: those that the stream carries
 */

/** Changes with what tabs say to each other: those that a browser opened before an update do not understand it. */
const NAME = "holdfast.live.2";
/** The leader tells that it hears something at most this often. */
const TELL_MS = 1000;
/** Who comes back to a tab at once finds it as they left it. */
const HIDDEN_MS = 10_000;
/** Waitlist entries that one stream may name. */
const MOST_ENTRIES = 20;

/** Tells `drop` (detail: Drop), `entry` (detail: Waiting) and `connection` (detail: Connection). */
export class Live extends EventTarget {
  #tab = uuid();
  #query;
  /** What each tab wants, this one included, as far as this one has heard. @type {Map<string, Wanted>} */
  #wanted;
  /** The waitlist entries that the stream carries, whichever tab reads it. @type {Set<string>} */
  #covered = new Set();
  /** Entries for which the server refused the stream, until others are wanted. @type {Set<string>} */
  #refused = new Set();
  /** The newest of each, for a tab that comes later. @type {Map<string, Drop>} */
  #known = new Map();
  #lastId = "";
  #heardAt = Date.now();
  #toldAt = 0;
  /** The drops that the stream was asked for. */
  #asked = "";
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
    this.#wanted = new Map([[this.#tab, { query, entries: [] }]]);
    // A machine that wakes up, or finds its network again, should not wait for the next try.
    addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.#hurry());
  }

  /** Watches these waitlist entries as well, and no others. @param {string[]} ids */
  watch(ids) {
    const before = this.#mine.entries;
    if (before.length === ids.length && ids.every((id) => before.includes(id))) return;
    this.#wanted.set(this.#tab, { query: this.#query, entries: ids });
    this.#refused.clear();
    this.#tell({ kind: "want", tab: this.#tab, wanted: this.#mine });
    this.#adapt();
  }

  /** Whether the stream carries a waitlist entry at present, so that polling for it is not needed. @param {string} id */
  covers(id) {
    return this.connection.state === "live" && this.#covered.has(id);
  }

  get #mine() {
    return this.#wanted.get(this.#tab) ?? { query: this.#query, entries: [] };
  }

  /** Follows for as long as the page is open. */
  follow() {
    if ("locks" in navigator && "BroadcastChannel" in window) void this.#followTogether();
    else this.#followAlone();
  }

  /** A hidden tab gives its connection up, unless it waits for an offer and was the last one that was looked at. */
  #followAlone() {
    let timer = 0;
    const looked = "BroadcastChannel" in window ? new BroadcastChannel(`${NAME}.looked`) : undefined;
    const attend = () => {
      clearTimeout(timer);
      if (document.hidden) timer = window.setTimeout(() => this.#mine.entries.length > 0 || this.#close(), HIDDEN_MS);
      else if (!this.#stream) this.#open();
      if (!document.hidden) looked?.postMessage(null);
    };
    looked?.addEventListener("message", () => document.hidden && this.#close());
    document.addEventListener("visibilitychange", attend);
    this.#open();
    attend();
  }

  async #followTogether() {
    const channel = new BroadcastChannel(NAME);
    channel.addEventListener("message", ({ data }) => this.#take(data));
    this.#channel = channel;
    this.#tell({ kind: "want", tab: this.#tab, wanted: this.#mine });
    let [isAway, isImpatient] = [false, false];
    /** Ends the wait for the lock, or the turn as the leader. */
    let end = () => {};
    setInterval(() => {
      if (this.#stream || Date.now() - this.#heardAt < SILENCE_MS) return;
      isImpatient = true;
      end();
    }, TELL_MS);
    // A page that is kept for the way back must not keep the rest waiting for its lock.
    addEventListener("pagehide", () => {
      isAway = true;
      this.#tell({ kind: "gone", tab: this.#tab });
      end();
    });
    addEventListener("pageshow", ({ persisted }) => {
      isAway = false;
      if (persisted) this.#tell({ kind: "want", tab: this.#tab, wanted: this.#mine });
    });
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
    const [entries, union] = [this.#entries(), this.#union()];
    this.#asked = union;
    this.#cover(entries);
    this.#stream = new Stream(queryFor(union, entries), this.#lastId, {
      onDrop: (drop, id) => {
        this.#tell({ kind: "drop", drop, id, isNew: true });
        this.#show(drop, id, true);
      },
      onEntry: (news) => {
        this.#tell({ kind: "entry", news });
        this.#showEntry(news);
      },
      onRefused: (code) => {
        // One entry that does not exist, or whose drop is in quarantine, must not stop the stream: the page polls for these entries.
        if (entries.length === 0 || (code !== "waitlist_entry_not_found" && code !== "drop_quarantined")) return;
        entries.forEach((entry) => this.#refused.add(entry));
        this.#adapt();
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
    const [first = "", ...others] = new Set([...this.#wanted.values()].map(({ query }) => query));
    return others.length > 0 ? "" : first;
  }

  /** The waitlist entries to ask for. */
  #entries() {
    const all = new Set([...this.#wanted.values()].flatMap(({ entries }) => entries));
    return [...all].filter((id) => !this.#refused.has(id)).slice(0, MOST_ENTRIES);
  }

  /** @param {string[]} ids */
  #cover(ids) {
    this.#covered = new Set(ids);
    this.#tell({ kind: "entries", ids });
  }

  /** Opens the stream anew, if this tab reads it and it lacks what is wanted. It may carry more than that. */
  #adapt() {
    if (!this.#stream) return;
    const [entries, union] = [this.#entries(), this.#union()];
    const isRefused = [...this.#covered].some((id) => this.#refused.has(id));
    if (union === this.#asked && !isRefused && entries.every((id) => this.#covered.has(id))) return;
    this.#close();
    this.#open();
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
      case "entry":
        return this.#showEntry(message.news);
      case "entries":
        this.#covered = new Set(message.ids);
        return undefined;
      case "who":
        return this.#tell({ kind: "want", tab: this.#tab, wanted: this.#mine });
      case "want":
        return this.#serve(message.tab, message.wanted);
      case "gone":
        this.#wanted.delete(message.tab);
        return undefined;
      case "hurry":
        return this.#stream?.hurry();
      case "heard":
        return undefined;
    }
  }

  /** Another tab says what it wants. @param {string} tab @param {Wanted} wanted */
  #serve(tab, wanted) {
    const isKnown = this.#wanted.has(tab);
    this.#wanted.set(tab, wanted);
    this.#refused.clear();
    if (!this.#stream) return;
    this.#tell({ kind: "entries", ids: [...this.#covered] });
    if (!isKnown) {
      // First the connection, as it is with a stream of one's own: what is told after it is not missing.
      this.#tell({ kind: "connection", connection: this.connection });
      for (const drop of this.#known.values()) this.#tell({ kind: "drop", drop, id: this.#lastId, isNew: false });
    }
    this.#adapt();
  }

  /** @param {Drop} drop @param {string} id @param {boolean} isNew */
  #show(drop, id, isNew) {
    this.#lastId = id;
    this.#known.set(drop.id, drop);
    if (isNew) learn(drop.server_time);
    if (!this.#query || this.#query.includes(drop.id)) this.dispatchEvent(new CustomEvent("drop", { detail: drop }));
  }

  /** @param {Waiting} news */
  #showEntry(news) {
    if (this.#mine.entries.includes(news.id)) this.dispatchEvent(new CustomEvent("entry", { detail: news }));
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

/** The query of a stream. @param {string} drops as a tab wants them: `?drops=ID`, or empty for all @param {string[]} entries */
function queryFor(drops, entries) {
  const parts = [drops.replace(/^\?/, ""), entries.length > 0 ? `waitlist=${entries.join(",")}` : ""].filter(Boolean);
  return parts.length > 0 ? `?${parts.join("&")}` : "";
}
