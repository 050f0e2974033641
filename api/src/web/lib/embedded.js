// What embedded elements of one page share: one stream for each server, because a browser opens
// few connections to it; and holds that outlast a reload.

import { isNewer } from "./drop.js";
import { Stream } from "./stream.js";

/**
 * @typedef {import("./api.js").Drop} Drop
 * @typedef {{onDrop: (drop: Drop) => void, onConnection: (isLive: boolean) => void}} Watcher
 * @typedef {{key: string, quantity: number, asks?: "holds" | "waitlist", code?: string,
 *   hold_id?: string, entry_id?: string}} Claim a request for a hold or a waitlist entry: its
 *   idempotency key, and the hold or the entry once it is known
 */

class Feed {
  #server;
  /** @type {Map<string, Set<Watcher>>} */
  #watchers = new Map();
  /** @type {Map<string, Drop>} */
  #newest = new Map();
  /** @type {Stream | undefined} */
  #stream;
  #isChanging = false;

  /** @param {string} server */
  constructor(server) {
    this.#server = server;
  }

  /** @param {string} id @param {Watcher} watcher */
  add(id, watcher) {
    const watchers = this.#watchers.get(id) ?? new Set();
    this.#watchers.set(id, watchers.add(watcher));
    const newest = this.#newest.get(id);
    if (newest) watcher.onDrop(newest);
    if (watchers.size === 1) this.#change();
  }

  /** @param {string} id @param {Watcher} watcher */
  remove(id, watcher) {
    const watchers = this.#watchers.get(id);
    if (!watchers?.delete(watcher) || watchers.size > 0) return;
    this.#watchers.delete(id);
    this.#newest.delete(id);
    this.#change();
  }

  /** Connects again with the present ids, once for all elements that are added together. */
  #change() {
    if (this.#isChanging) return;
    this.#isChanging = true;
    queueMicrotask(() => {
      this.#isChanging = false;
      this.#stream?.stop();
      const ids = [...this.#watchers.keys()];
      this.#stream = ids.length > 0 ? this.#follow(ids) : undefined;
    });
  }

  /** @param {string[]} ids */
  #follow(ids) {
    const report = (/** @type {boolean} */ isLive) => {
      for (const watchers of this.#watchers.values())
        for (const watcher of watchers) watcher.onConnection(isLive);
    };
    const stream = new Stream(
      `?drops=${ids.join(",")}`,
      "",
      {
        onDrop: (drop) => this.#take(drop),
        onHeard: () => report(true),
        onLost: () => report(false),
      },
      this.#server,
    );
    void stream.follow();
    return stream;
  }

  /** @param {Drop} drop */
  #take(drop) {
    const newest = this.#newest.get(drop.id);
    if (newest && !isNewer(drop, newest)) return;
    this.#newest.set(drop.id, drop);
    for (const watcher of this.#watchers.get(drop.id) ?? []) watcher.onDrop(drop);
  }
}

/** @type {Map<string, Feed>} */
const feeds = new Map();

/**
 * Follows a drop of a server until the returned function is called.
 * @param {string} server @param {string} dropId @param {Watcher} watcher
 */
export function follow(server, dropId, watcher) {
  const feed = feeds.get(server) ?? new Feed(server);
  feeds.set(server, feed);
  feed.add(dropId, watcher);
  return () => feed.remove(dropId, watcher);
}

/** @param {string} server @param {string} dropId @param {string} buyer */
const nameOf = (server, dropId, buyer) => `holdfast ${server} ${dropId} ${buyer}`;

/**
 * Returns the stored claim of a buyer. Storage may be switched off; then a reload forgets it.
 * @param {string} server @param {string} dropId @param {string} buyer
 * @returns {Claim | undefined}
 */
export function storedClaim(server, dropId, buyer) {
  try {
    return JSON.parse(sessionStorage.getItem(nameOf(server, dropId, buyer)) ?? "null") ?? undefined;
  } catch {
    return undefined;
  }
}

/**
 * Stores a claim; undefined removes it.
 * @param {string} server @param {string} dropId @param {string} buyer
 * @param {Claim | undefined} claim
 */
export function storeClaim(server, dropId, buyer, claim) {
  try {
    const name = nameOf(server, dropId, buyer);
    if (claim) sessionStorage.setItem(name, JSON.stringify(claim));
    else sessionStorage.removeItem(name);
  } catch {
    // Storage is switched off.
  }
}
