// The SSE stream of this browser: one connection for all of its tabs, because with HTTP/1.1 a
// browser opens at most six connections to a server, and a stream occupies one permanently.
//
// The tab that holds a lock is the leader: it reads the stream and forwards it to the other tabs on
// a channel. When the leader closes, the lock passes to the next tab. A tab takes the lock from a
// leader that is silent for longer than the server can be. In a browser without locks (they require
// HTTPS or localhost), each visible tab reads its own stream.
//
//   server ──stream──▶ leader ──channel──▶ the other tabs
//   tab ──"want"──▶ leader: the drops that the tab watches
//
// The leader requests the drops that its tabs show, and new drops if any tab needs them. It
// requests the whole shop only while a tab shows no drop yet. A stream names at most 200 drops;
// more drops need another stream.
//
// The waitlist entries of this buyer are part of the same stream, so that an offer is shown
// immediately, in a hidden tab as well: browsers throttle the timers of hidden tabs, but not
// network events. So is the order of a page, which is paid elsewhere.

import { learn } from "./clock.js";
import { uuid } from "./api.js";
import { base, pathHere } from "./base.js";
import { SILENCE_MS, Stream } from "./stream.js";

/**
 * @typedef {import("./api.js").Drop} Drop
 * @typedef {{state: "connecting" | "live"} | {state: "lost", since: number}} Connection since: when
 *   the state was last known to be current
 * @typedef {{kind: "who"} | {kind: "want", tab: string, query: string, since: number,
 *   entries: string[], orders: string[]} | {kind: "gone",
 *   tab: string} | {kind: "hurry"} | {kind: "heard"} | {kind: "connection",
 *   connection: Connection} | {kind: "drop", drop: Drop, id: string,
 *   isNew: boolean} | {kind: "entry", news: Waiting} | {kind: "order",
 *   order: Order} | {kind: "carried", entries: string[], orders: string[]}} Message
 *   `isNew`: the server has just sent it; `entries`, `orders`: ids of waitlist entries and of
 *   orders; `carried`: those that the stream carries
 * @typedef {import("./api.js").Waiting} Waiting
 * @typedef {import("./api.js").Order} Order
 */

/**
 * The channel's name contains the version of the messages between tabs, because tabs from before an
 * update do not understand new ones. The dashboard has a channel of its own: its stream shows
 * hidden drops and all numbers. So has another shop of the same host.
 */
const NAME = `holdfast.live.4${pathHere().startsWith("/admin") ? ".admin" : ""}${base}`;
/** The maximum number of waitlist entries per stream. */
const MAX_ENTRIES = 20;
/** The maximum number of orders per stream. */
const MAX_ORDERS = 20;
/** The maximum number of drops per stream. */
const MAX_DROPS = 200;
/** The minimum interval between two "heard" messages of the leader. */
const HEARD_MS = 1000;
/** How long a hidden tab keeps its own stream, for users who return soon. */
const HIDDEN_MS = 10_000;

/** The problems of a stream that are about its orders. */
const OF_ORDERS = ["order_not_found", "order_quarantined", "unauthorized", "forbidden"];

/**
 * Dispatches `drop` (detail: Drop), `entry` (detail: Waiting), `order` (detail: Order) and
 * `connection` (detail: Connection).
 */
export class Live extends EventTarget {
  #query;
  /** The position up to which this tab knows all new drops without the stream. */
  #since;
  #tab = uuid();
  /** The query of each tab, as far as known. @type {Map<string, string>} */
  #wanted = new Map();
  /** The waitlist entries that each tab watches. @type {Map<string, string[]>} */
  #entries = new Map();
  /** The waitlist entries that the stream of the leader carries. @type {Set<string>} */
  #covered = new Set();
  /**
   * Entries for which the server rejected the stream, until other entries are requested.
   * @type {Set<string>}
   */
  #refused = new Set();
  /** The orders that each tab watches. @type {Map<string, string[]>} */
  #orders = new Map();
  /** The orders that the stream of the leader carries. @type {Set<string>} */
  #coveredOrders = new Set();
  /** Orders for which the server rejected the stream. @type {Set<string>} */
  #refusedOrders = new Set();
  /** The latest state of each order, for tabs that open later. @type {Map<string, Order>} */
  #knownOrders = new Map();
  /** Drops for which the server currently has no state. @type {Set<string>} */
  #leftOut = new Set();
  /** The latest state of each drop, for tabs that open later. @type {Map<string, Drop>} */
  #known = new Map();
  #lastId = "";
  #heardAt = Date.now();
  #forwardedAt = 0;
  /** Empty if another tab is the leader. @type {Stream[]} */
  #streams = [];
  /** The drops that the streams request, which can be more than the tabs need now. */
  #requested = { isAll: false, isNew: false, ids: /** @type {Set<string>} */ (new Set()) };
  /** The indices of streams that are not connected. @type {Set<number>} */
  #silent = new Set();
  /** @type {BroadcastChannel | undefined} */
  #channel;
  /** @type {Connection} */
  connection = { state: "connecting" };

  /**
   * @param {string} [query] for example `?drops=ID&new=true`; empty: every drop that has not ended
   * @param {number} [since] the position up to which all new drops are known
   */
  constructor(query = "", since = 0) {
    super();
    this.#query = query;
    this.#since = since;
    // Reconnect without a pause when the machine wakes up or the network is back.
    addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.#hurry());
  }

  get query() {
    return this.#query;
  }

  /** Changes the watched drops. */
  set query(query) {
    if (query === this.#query) return;
    this.#query = query;
    this.#wanted.set(this.#tab, query);
    this.#post(this.#wantMessage());
    this.#reopenIfNeeded();
  }

  /** Sets the watched waitlist entries. @param {string[]} ids */
  watch(ids) {
    const before = this.#entries.get(this.#tab) ?? [];
    if (before.length === ids.length && ids.every((id) => before.includes(id))) return;
    this.#entries.set(this.#tab, ids);
    this.#refused.clear();
    this.#post(this.#wantMessage());
    this.#reopenIfNeeded();
  }

  /** Sets the watched orders. @param {string[]} ids */
  watchOrders(ids) {
    this.#orders.set(this.#tab, ids);
    this.#refusedOrders.clear();
    this.#post(this.#wantMessage());
    this.#reopenIfNeeded();
  }

  /** Repeats the refused requests, because the buyer has signed in. */
  retry() {
    if (this.#refused.size + this.#refusedOrders.size === 0) return;
    this.#refused.clear();
    this.#refusedOrders.clear();
    this.#reopen();
  }

  /**
   * Returns whether the stream currently carries an order, so that it need not be polled.
   * @param {string} id
   */
  coversOrder(id) {
    return this.connection.state === "live" && this.#coveredOrders.has(id);
  }

  /**
   * Returns whether the stream currently carries a waitlist entry, so that it need not be polled.
   * @param {string} id
   */
  covers(id) {
    return this.connection.state === "live" && this.#covered.has(id);
  }

  /** Follows the stream while the page is open, optionally with a new query and position. */
  follow(query = this.#query, since = this.#since) {
    this.#query = query;
    this.#since = since;
    this.#lastId = since > 0 ? String(since) : "";
    this.#wanted.set(this.#tab, query);
    if ("locks" in navigator && "BroadcastChannel" in window) void this.#followTogether();
    else this.#followAlone();
  }

  /**
   * A hidden tab closes its connection, unless it waits for an offer and was the last visible tab.
   */
  #followAlone() {
    let timer = 0;
    const visible =
      "BroadcastChannel" in window ? new BroadcastChannel(`${NAME}.looked`) : undefined;
    const update = () => {
      clearTimeout(timer);
      if (document.hidden)
        timer = window.setTimeout(
          () => (this.#entries.get(this.#tab) ?? []).length > 0 || this.#close(),
          HIDDEN_MS,
        );
      else if (this.#streams.length === 0) this.#open();
      if (!document.hidden) visible?.postMessage(null);
    };
    visible?.addEventListener("message", () => document.hidden && this.#close());
    document.addEventListener("visibilitychange", update);
    this.#open();
    update();
  }

  async #followTogether() {
    const channel = new BroadcastChannel(NAME);
    channel.addEventListener("message", ({ data }) => this.#receive(data));
    this.#channel = channel;
    this.#post(this.#wantMessage());
    let [isAway, mustSteal] = [false, false];
    /** Ends the wait for the lock, or the time as leader. */
    let end = () => {};
    setInterval(() => {
      if (this.#streams.length > 0 || Date.now() - this.#heardAt < SILENCE_MS) return;
      mustSteal = true;
      end();
    }, HEARD_MS);
    // A page in the back/forward cache must not keep the lock.
    addEventListener("pagehide", () => {
      isAway = true;
      this.#post({ kind: "gone", tab: this.#tab });
      end();
    });
    addEventListener("pageshow", () => {
      isAway = false;
      this.#post(this.#wantMessage());
    });
    for (;;) {
      if (isAway)
        await new Promise((resolve) => addEventListener("pageshow", resolve, { once: true }));
      const wait = new AbortController();
      const turn = new Promise((resolve) => {
        end = () => {
          wait.abort();
          resolve(null);
        };
      });
      const options = mustSteal ? { steal: true } : { signal: wait.signal };
      mustSteal = false;
      // An error means that the wait was ended, or that another tab took the lock: queue for the
      // lock again.
      await navigator.locks.request(NAME, options, () => this.#lead(turn)).catch(() => null);
      this.#close();
    }
  }

  /** Reads for all tabs until `turn` ends. @param {Promise<unknown>} turn */
  async #lead(turn) {
    this.#open();
    this.#post({ kind: "who" });
    await turn;
  }

  #open() {
    this.#heardAt = Date.now();
    this.#silent.clear();
    this.#requested = this.#union();
    const [entries, orders] = [this.#wantedEntries(), this.#wantedOrders()];
    this.#cover(entries, orders);
    this.#streams = queriesOf(this.#requested, entries, orders).map(
      (query, index) =>
        new Stream(query, index === 0 ? this.#lastId : "", {
          onDrop: (drop, id) => {
            // Only the first stream carries new drops, so only its position is the one to resume
            // from.
            const lastId = index === 0 ? id : this.#lastId;
            this.#post({ kind: "drop", drop, id: lastId, isNew: true });
            this.#show(drop, lastId, true);
          },
          onHeard: () => {
            this.#silent.delete(index);
            if (this.#silent.size === 0) this.#heard();
          },
          onLost: () => {
            this.#silent.add(index);
            if (this.connection.state !== "lost")
              this.#setConnection({ state: "lost", since: this.#heardAt });
            this.#post({ kind: "connection", connection: this.connection });
          },
          onEntry: (news) => {
            this.#post({ kind: "entry", news });
            this.#showEntry(news);
          },
          onOrder: (order) => {
            this.#post({ kind: "order", order });
            this.#showOrder(order);
          },
          onRefused: (code, drop) => this.#refuse(code, drop),
        }),
    );
    for (const stream of this.#streams) void stream.follow();
  }

  #close() {
    for (const stream of this.#streams) stream.stop();
    this.#streams = [];
    this.#heardAt = Date.now();
  }

  /**
   * As the leader: opens new streams if the current ones do not carry everything that the tabs
   * need.
   */
  #reopenIfNeeded() {
    const { isAll, isNew, ids } = this.#union();
    const hasNamed =
      (!isNew || this.#requested.isNew) && [...ids].every((id) => this.#requested.ids.has(id));
    const hasDrops = isAll ? this.#requested.isAll : !this.#requested.isAll && hasNamed;
    const hasEntries = this.#wantedEntries().every((id) => this.#covered.has(id));
    const hasOrders = this.#wantedOrders().every((id) => this.#coveredOrders.has(id));
    if (this.#streams.length === 0 || (hasDrops && hasEntries && hasOrders)) return;
    this.#close();
    this.#open();
  }

  /** The waitlist entries to request. */
  #wantedEntries() {
    return [...new Set([...this.#entries.values()].flat())]
      .filter((id) => !this.#refused.has(id))
      .slice(0, MAX_ENTRIES);
  }

  /** The orders to request. */
  #wantedOrders() {
    return [...new Set([...this.#orders.values()].flat())]
      .filter((id) => !this.#refusedOrders.has(id))
      .slice(0, MAX_ORDERS);
  }

  /** @param {string[]} entries @param {string[]} orders */
  #cover(entries, orders) {
    this.#covered = new Set(entries);
    this.#coveredOrders = new Set(orders);
    this.#post({ kind: "carried", entries, orders });
  }

  /**
   * Handles a stream that the server rejected. An entry or order that does not exist, that the
   * caller may not read, or that is in quarantine, must not stop the stream: the page polls
   * instead.
   * @param {string} code
   * @param {string} drop
   */
  #refuse(code, drop) {
    if (this.#coveredOrders.size > 0 && OF_ORDERS.includes(code)) {
      for (const id of this.#coveredOrders) this.#refusedOrders.add(id);
      return this.#reopen();
    }
    const isOfDrop = code === "drop_quarantined" && this.#requested.ids.has(drop);
    if (isOfDrop) return this.#leaveOut(drop);
    if (
      this.#covered.size === 0 ||
      (code !== "drop_quarantined" && code !== "waitlist_entry_not_found")
    )
      return;
    for (const id of this.#covered) this.#refused.add(id);
    this.#reopen();
  }

  #reopen() {
    if (this.#streams.length === 0) return;
    this.#close();
    this.#open();
  }

  /** Requests the other drops without one in quarantine. @param {string} drop */
  #leaveOut(drop) {
    this.#leftOut.add(drop);
    if (this.#streams.length === 0 || !this.#requested.ids.has(drop) || this.#union().ids.has(drop))
      return;
    this.#close();
    this.#open();
  }

  /** The drops of all tabs together. */
  #union() {
    const wanted = [...this.#wanted.values()];
    const all = wanted.map((query) => new URLSearchParams(query));
    const named = all.flatMap((query) => (query.get("drops") ?? "").split(",").filter(Boolean));
    const known = named.filter((id) => !this.#leftOut.has(id));
    // An empty list would mean every drop.
    return {
      isAll: wanted.includes(""),
      isNew: all.some((query) => query.get("new") === "true"),
      ids: new Set(known.length > 0 ? known : named),
    };
  }

  /** @returns {Message} */
  #wantMessage() {
    return {
      kind: "want",
      tab: this.#tab,
      query: this.#query,
      since: this.#since,
      entries: this.#entries.get(this.#tab) ?? [],
      orders: this.#orders.get(this.#tab) ?? [],
    };
  }

  /** Handles a message of another tab. @param {Message} message */
  #receive(message) {
    // Messages of other followers do not prove that there is a leader.
    if (message.kind === "drop" || message.kind === "connection" || message.kind === "heard")
      this.#heardAt = Date.now();
    switch (message.kind) {
      case "drop":
        return this.#show(message.drop, message.id, message.isNew);
      case "connection":
        return this.#setConnection(message.connection);
      case "entry":
        return this.#showEntry(message.news);
      case "order":
        return this.#showOrder(message.order);
      case "carried":
        this.#covered = new Set(message.entries);
        this.#coveredOrders = new Set(message.orders);
        return undefined;
      case "who":
        return this.#post(this.#wantMessage());
      case "want":
        return this.#serve(message);
      case "gone":
        // Its drops are removed from the stream with the next change; until then they do no harm.
        this.#entries.delete(message.tab);
        this.#orders.delete(message.tab);
        return void this.#wanted.delete(message.tab);
      case "hurry":
        return this.#streams.forEach((stream) => stream.hurry());
      case "heard":
        return undefined;
    }
  }

  /**
   * Another tab opened, or watches other drops.
   * @param {{tab: string, query: string, since: number, entries: string[], orders: string[]}} want
   */
  #serve({ tab, query, since, entries, orders }) {
    const isKnown = this.#wanted.has(tab);
    this.#wanted.set(tab, query);
    this.#entries.set(tab, entries);
    this.#orders.set(tab, orders);
    this.#refused.clear();
    if (this.#streams.length === 0) return;
    this.#post({
      kind: "carried",
      entries: [...this.#covered],
      orders: [...this.#coveredOrders],
    });
    // The connection first, as with a tab's own stream: later changes are not missed then.
    this.#post({ kind: "connection", connection: this.connection });
    for (const [id, drop] of this.#known)
      if (!isKnown || query.includes(id))
        this.#post({ kind: "drop", drop, id: this.#lastId, isNew: false });
    for (const id of orders) {
      const order = this.#knownOrders.get(id);
      if (order) this.#post({ kind: "order", order });
    }
    if (!isKnown && since > 0 && (this.#lastId === "" || since < Number(this.#lastId)))
      this.#lastId = String(since);
    this.#reopenIfNeeded();
  }

  /** @param {Drop} drop @param {string} id @param {boolean} isNew */
  #show(drop, id, isNew) {
    this.#lastId = id;
    this.#known.set(drop.id, drop);
    if (isNew) learn(drop.server_time);
    const isWanted =
      !this.#query || this.#query.includes("new=true") || this.#query.includes(drop.id);
    if (isWanted) this.dispatchEvent(new CustomEvent("drop", { detail: drop }));
    // The server has a state of the drop again.
    if (this.#leftOut.delete(drop.id)) this.#reopenIfNeeded();
  }

  /** @param {Waiting} news */
  #showEntry(news) {
    if (this.#entries.get(this.#tab)?.includes(news.id))
      this.dispatchEvent(new CustomEvent("entry", { detail: news }));
  }

  /** @param {Order} order */
  #showOrder(order) {
    this.#knownOrders.set(order.id, order);
    if (this.#orders.get(this.#tab)?.includes(order.id))
      this.dispatchEvent(new CustomEvent("order", { detail: order }));
  }

  #heard() {
    this.#heardAt = Date.now();
    if (this.connection.state !== "live") {
      this.#setConnection({ state: "live" });
      this.#post({ kind: "connection", connection: this.connection });
    } else if (this.#heardAt - this.#forwardedAt > HEARD_MS) {
      this.#forwardedAt = this.#heardAt;
      this.#post({ kind: "heard" });
    }
  }

  #hurry() {
    for (const stream of this.#streams) stream.hurry();
    this.#post({ kind: "hurry" });
  }

  /** @param {Message} message */
  #post(message) {
    this.#channel?.postMessage(message);
  }

  /** @param {Connection} connection */
  #setConnection(connection) {
    const isChange = this.connection.state !== connection.state;
    this.connection = connection;
    if (isChange) this.dispatchEvent(new CustomEvent("connection", { detail: connection }));
  }
}

/**
 * The queries of the streams; the first one carries the waitlist entries and orders, unless it
 * carries every drop: a stream that names orders carries only named drops.
 * @param {{isAll: boolean, isNew: boolean, ids: Set<string>}} requested
 * @param {string[]} entries @param {string[]} orders
 */
function queriesOf({ isAll, isNew, ids }, entries, orders) {
  const waitlist = entries.length > 0 ? `waitlist=${entries.join()}` : "";
  const ofOrders = orders.length > 0 ? `orders=${orders.join()}` : "";
  if (isAll) return [waitlist && `?${waitlist}`, ...(ofOrders ? [`?${ofOrders}`] : [])];
  const all = [...ids].sort();
  const queries = [];
  for (let start = 0; start < all.length; start += MAX_DROPS) {
    const drops = `drops=${all.slice(start, start + MAX_DROPS).join()}`;
    const others = start === 0 ? [isNew ? "new=true" : "", waitlist, ofOrders] : [];
    queries.push(`?${[drops, ...others].filter(Boolean).join("&")}`);
  }
  return queries;
}
