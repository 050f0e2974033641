// The live stream of this browser: one connection for all of its tabs, because HTTP/1.1 grants a browser six of them to a server, and
// a stream keeps its own for good.
//
// A lock that only one tab has says who reads (the leader); the leader tells the rest on a channel. The lock falls to the next one by
// itself when a tab closes, and is taken from a leader that says nothing for longer than the server ever does. Where a browser has
// no locks (they need HTTPS, or this very machine), each tab reads for itself, as long as it is looked at.
//
//   server ──stream──▶ leader ──channel──▶ the other tabs          tab ──"want"──▶ leader: what it watches
//
// The leader asks for the drops that its tabs show, and for new ones if any tab wants to know of them: never for a whole shop, unless
// a tab shows none yet. A stream names 200 drops at most; more take another one.
//
// The waitlist entries of this buyer come on the same stream, so that an offer is seen when it is made, in a hidden tab too: what
// arrives on a stream is handled at once, while browsers slow the timers of hidden tabs down.

import { learn } from "./clock.js";
import { uuid } from "./api.js";
import { SILENCE_MS, Stream } from "./stream.js";

/**
 * @typedef {import("./api.js").Drop} Drop
 * @typedef {{state: "connecting" | "live"} | {state: "lost", since: number}} Connection since: when the state was last known to be new
 * @typedef {{kind: "who"} | {kind: "want", tab: string, query: string, since: number, entries: string[]} | {kind: "gone", tab: string} | {kind: "hurry"} | {kind: "heard"} | {kind: "connection", connection: Connection}
 *   | {kind: "drop", drop: Drop, id: string, isNew: boolean} | {kind: "entry", news: Waiting} | {kind: "entries", ids: string[]}} Message
 *   `isNew`: it was told by the server just now; `entries`: ids of waitlist entries, those that the stream carries where it stands alone
 * @typedef {import("./api.js").Waiting} Waiting
 */

/** Changes with what tabs say to each other: those that a browser opened before an update do not understand it. */
const NAME = "holdfast.live.2";
/** Waitlist entries that one stream may name. */
const MOST_ENTRIES = 20;
/** The most drops that one stream names. */
const MOST_DROPS = 200;
/** The leader tells that it hears something at most this often. */
const TELL_MS = 1000;
/** Who comes back to a tab at once finds it as they left it. */
const HIDDEN_MS = 10_000;

/** Tells `drop` (detail: Drop), `entry` (detail: Waiting) and `connection` (detail: Connection). */
export class Live extends EventTarget {
  #query;
  /** The position up to which this tab knows all new drops by itself. */
  #since;
  #tab = uuid();
  /** What each tab wants, as far as this one has heard. @type {Map<string, string>} */
  #wanted = new Map();
  /** The waitlist entries that each tab wants. @type {Map<string, string[]>} */
  #entries = new Map();
  /** The waitlist entries that the stream carries, whichever tab reads it. @type {Set<string>} */
  #covered = new Set();
  /** Entries for which the server refused the stream, until others are wanted. @type {Set<string>} */
  #refused = new Set();
  /** Drops of which the server has no state for now. @type {Set<string>} */
  #leftOut = new Set();
  /** The newest of each, for a tab that comes later. @type {Map<string, Drop>} */
  #known = new Map();
  #lastId = "";
  #heardAt = Date.now();
  #toldAt = 0;
  /** None: another tab reads. @type {Stream[]} */
  #streams = [];
  /** What they ask for, which may be more than is wanted by now. */
  #asked = { isAll: false, isNew: false, ids: /** @type {Set<string>} */ (new Set()) };
  /** Those of them that are not heard. @type {Set<number>} */
  #silent = new Set();
  /** @type {BroadcastChannel | undefined} */
  #channel;
  /** @type {Connection} */
  connection = { state: "connecting" };

  /**
   * @param {string} [query] for example `?drops=ID&new=true`; every drop that is not over, if none
   * @param {number} [since] the position up to which all new drops are known
   */
  constructor(query = "", since = 0) {
    super();
    this.#query = query;
    this.#since = since;
    // A machine that wakes up, or finds its network again, should not wait for the next try.
    addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.#hurry());
  }

  get query() {
    return this.#query;
  }

  /** From now on this is watched. */
  set query(query) {
    if (query === this.#query) return;
    this.#query = query;
    this.#wanted.set(this.#tab, query);
    this.#tell(this.#wish());
    this.#askAnew();
  }

  /** Watches these waitlist entries as well, and no others. @param {string[]} ids */
  watch(ids) {
    const before = this.#entries.get(this.#tab) ?? [];
    if (before.length === ids.length && ids.every((id) => before.includes(id))) return;
    this.#entries.set(this.#tab, ids);
    this.#refused.clear();
    this.#tell(this.#wish());
    this.#askAnew();
  }

  /** Whether the stream carries a waitlist entry at present, so that polling for it is not needed. @param {string} id */
  covers(id) {
    return this.connection.state === "live" && this.#covered.has(id);
  }

  /** Follows for as long as the page is open; by another query, from another position, if they are known only now. */
  follow(query = this.#query, since = this.#since) {
    this.#query = query;
    this.#since = since;
    this.#lastId = since > 0 ? String(since) : "";
    this.#wanted.set(this.#tab, query);
    if ("locks" in navigator && "BroadcastChannel" in window) void this.#followTogether();
    else this.#followAlone();
  }

  /** A hidden tab gives its connection up, unless it waits for an offer and was the last one that was looked at. */
  #followAlone() {
    let timer = 0;
    const looked = "BroadcastChannel" in window ? new BroadcastChannel(`${NAME}.looked`) : undefined;
    const attend = () => {
      clearTimeout(timer);
      if (document.hidden) timer = window.setTimeout(() => (this.#entries.get(this.#tab) ?? []).length > 0 || this.#close(), HIDDEN_MS);
      else if (this.#streams.length === 0) this.#open();
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
    this.#tell(this.#wish());
    let [isAway, isImpatient] = [false, false];
    /** Ends the wait for the lock, or the turn as the leader. */
    let end = () => {};
    setInterval(() => {
      if (this.#streams.length > 0 || Date.now() - this.#heardAt < SILENCE_MS) return;
      isImpatient = true;
      end();
    }, TELL_MS);
    // A page that is kept for the way back must not keep the rest waiting for its lock.
    addEventListener("pagehide", () => { isAway = true; this.#tell({ kind: "gone", tab: this.#tab }); end(); });
    addEventListener("pageshow", () => { isAway = false; this.#tell(this.#wish()); });
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
    this.#silent.clear();
    this.#asked = this.#union();
    const entries = this.#wantedEntries();
    this.#cover(entries);
    this.#streams = queriesOf(this.#asked, entries).map((query, place) => new Stream(query, place === 0 ? this.#lastId : "", {
      onDrop: (drop, id) => {
        // New drops are told by the first, so that its place in the log says which are still to come.
        const told = place === 0 ? id : this.#lastId;
        this.#tell({ kind: "drop", drop, id: told, isNew: true });
        this.#show(drop, told, true);
      },
      onHeard: () => {
        this.#silent.delete(place);
        if (this.#silent.size === 0) this.#heard();
      },
      onLost: () => {
        this.#silent.add(place);
        if (this.connection.state !== "lost") this.#become({ state: "lost", since: this.#heardAt });
        this.#tell({ kind: "connection", connection: this.connection });
      },
      onEntry: (news) => {
        this.#tell({ kind: "entry", news });
        this.#showEntry(news);
      },
      onRefused: (code, drop) => this.#refuse(code, drop),
    }));
    for (const stream of this.#streams) void stream.follow();
  }

  #close() {
    for (const stream of this.#streams) stream.stop();
    this.#streams = [];
    this.#heardAt = Date.now();
  }

  /** Asks for what is wanted now, if this tab asks, unless that is among what it asks for. */
  #askAnew() {
    const { isAll, isNew, ids } = this.#union();
    const hasNamed = (!isNew || this.#asked.isNew) && [...ids].every((id) => this.#asked.ids.has(id));
    const isIn = isAll ? this.#asked.isAll : !this.#asked.isAll && hasNamed;
    const isCovered = this.#wantedEntries().every((id) => this.#covered.has(id));
    if (this.#streams.length === 0 || (isIn && isCovered)) return;
    this.#close();
    this.#open();
  }

  /** The waitlist entries to ask for. */
  #wantedEntries() {
    return [...new Set([...this.#entries.values()].flat())].filter((id) => !this.#refused.has(id)).slice(0, MOST_ENTRIES);
  }

  /** @param {string[]} ids */
  #cover(ids) {
    this.#covered = new Set(ids);
    this.#tell({ kind: "entries", ids });
  }

  /**
   * The server refused a stream. One entry that does not exist, or whose drop is in quarantine, must not stop it: the page polls for
   * these entries. @param {string} code @param {string} drop
   */
  #refuse(code, drop) {
    const isOfDrop = code === "drop_quarantined" && this.#asked.ids.has(drop);
    if (isOfDrop) return this.#leaveOut(drop);
    if (this.#covered.size === 0 || (code !== "drop_quarantined" && code !== "waitlist_entry_not_found")) return;
    for (const id of this.#covered) this.#refused.add(id);
    if (this.#streams.length === 0) return;
    this.#close();
    this.#open();
  }

  /** One drop that the server knows nothing of must not keep the others from being seen. @param {string} drop */
  #leaveOut(drop) {
    this.#leftOut.add(drop);
    if (this.#streams.length === 0 || !this.#asked.ids.has(drop) || this.#union().ids.has(drop)) return;
    this.#close();
    this.#open();
  }

  /** What all tabs want together. */
  #union() {
    const wanted = [...this.#wanted.values()];
    const all = wanted.map((query) => new URLSearchParams(query));
    const named = all.flatMap((query) => (query.get("drops") ?? "").split(",").filter(Boolean));
    const known = named.filter((id) => !this.#leftOut.has(id));
    // None named would mean every drop.
    return { isAll: wanted.includes(""), isNew: all.some((query) => query.get("new") === "true"), ids: new Set(known.length > 0 ? known : named) };
  }

  /** @returns {Message} */
  #wish() {
    return { kind: "want", tab: this.#tab, query: this.#query, since: this.#since, entries: this.#entries.get(this.#tab) ?? [] };
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
        return this.#tell(this.#wish());
      case "want":
        return this.#serve(message);
      case "gone":
        // What it watched is left out with the next change: nothing is missing until then.
        this.#entries.delete(message.tab);
        return void this.#wanted.delete(message.tab);
      case "hurry":
        return this.#streams.forEach((stream) => stream.hurry());
      case "heard":
        return undefined;
    }
  }

  /** Another tab wants to watch as well, or something else. @param {{tab: string, query: string, since: number, entries: string[]}} wish */
  #serve({ tab, query, since, entries }) {
    const isKnown = this.#wanted.has(tab);
    this.#wanted.set(tab, query);
    this.#entries.set(tab, entries);
    this.#refused.clear();
    if (this.#streams.length === 0) return;
    this.#tell({ kind: "entries", ids: [...this.#covered] });
    // First the connection, as it is with a stream of one's own: what is told after it is not missing.
    this.#tell({ kind: "connection", connection: this.connection });
    for (const [id, drop] of this.#known) if (!isKnown || query.includes(id)) this.#tell({ kind: "drop", drop, id: this.#lastId, isNew: false });
    if (!isKnown && since > 0 && (this.#lastId === "" || since < Number(this.#lastId))) this.#lastId = String(since);
    this.#askAnew();
  }

  /** @param {Drop} drop @param {string} id @param {boolean} isNew */
  #show(drop, id, isNew) {
    this.#lastId = id;
    this.#known.set(drop.id, drop);
    if (isNew) learn(drop.server_time);
    const isWanted = !this.#query || this.#query.includes("new=true") || this.#query.includes(drop.id);
    if (isWanted) this.dispatchEvent(new CustomEvent("drop", { detail: drop }));
    // It is known again.
    if (this.#leftOut.delete(drop.id)) this.#askAnew();
  }

  /** @param {Waiting} news */
  #showEntry(news) {
    if (this.#entries.get(this.#tab)?.includes(news.id)) this.dispatchEvent(new CustomEvent("entry", { detail: news }));
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
    for (const stream of this.#streams) stream.hurry();
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

/**
 * What to ask the server for: a query for each stream; the first carries the waitlist entries.
 * @param {{isAll: boolean, isNew: boolean, ids: Set<string>}} asked @param {string[]} entries
 */
function queriesOf({ isAll, isNew, ids }, entries) {
  const waitlist = entries.length > 0 ? `waitlist=${entries.join()}` : "";
  if (isAll) return [waitlist && `?${waitlist}`];
  const all = [...ids].sort();
  const queries = [];
  for (let place = 0; place < all.length; place += MOST_DROPS) {
    queries.push(`?drops=${all.slice(place, place + MOST_DROPS).join()}${isNew && place === 0 ? "&new=true" : ""}${waitlist && place === 0 ? `&${waitlist}` : ""}`);
  }
  return queries;
}
