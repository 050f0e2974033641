// The notifications of this buyer: the list, then every new one from the stream.
//
// The tab that holds a lock reads the stream and passes notifications on to the other tabs, because
// a browser opens few connections to a server. When it closes, the lock passes to the next tab. A
// browser without locks (they require HTTPS or localhost) reads the list every minute instead.

import { callForPage, noteStatus, sleep, tokenFor } from "./api.js";
import { at, base } from "./base.js";
import { ofBuyer } from "./choices.js";
import { session } from "./token.js";

/**
 * @typedef {{id: string, type: string, drop_id: string | null, drop_name: string | null,
 *   creator_id: string | null, order_id: string | null, data: Record<string, any>,
 *   created_at: string, position: number}} Notification
 */

const NAME = `holdfast.notifications.1${base}`;
const SHOWN = 20;
const POLL_MS = 60_000;
const [FIRST_PAUSE_MS, LONGEST_PAUSE_MS] = [1000, 30_000];

/** Dispatches `change` when the list has changed. */
export class Notifications extends EventTarget {
  /** Newest first. @type {Notification[]} */
  all = [];
  #position = 0;
  /** @type {BroadcastChannel | undefined} */
  #channel;

  /** Follows the notifications while the page is open. */
  async follow() {
    await this.#readUntilDone();
    if (!("locks" in navigator) || !("BroadcastChannel" in window)) {
      setInterval(() => session.isOpen && void this.#read().catch(() => null), POLL_MS);
      return;
    }
    this.#channel = new BroadcastChannel(NAME);
    this.#channel.addEventListener("message", ({ data }) => this.#add(data));
    await navigator.locks.request(NAME, () => this.#lead());
  }

  async #readUntilDone() {
    for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
      await session.whenOpen();
      try {
        return await this.#read();
      } catch {
        await sleep(pause * (0.5 + Math.random()));
      }
    }
  }

  async #read() {
    const path = ofBuyer(`notifications?limit=${SHOWN}`);
    const { data, position } = await callForPage(path);
    this.#position = position;
    this.all = /** @type {Notification[]} */ (/** @type {unknown} */ (data));
    this.dispatchEvent(new Event("change"));
  }

  /** Reads the stream for all tabs, until the page closes. */
  async #lead() {
    for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
      await session.whenOpen();
      try {
        await this.#readStream(() => {
          pause = FIRST_PAUSE_MS;
        });
      } catch {
        // Refused or interrupted: reconnect.
      }
      await sleep(pause * (0.5 + Math.random()));
    }
  }

  /** @param {() => void} onHeard */
  async #readStream(onHeard) {
    const url = at(ofBuyer(`notifications/stream?last_event_id=${this.#position}`));
    const token = tokenFor(url);
    const response = await fetch(url, {
      headers: {
        Accept: "text/event-stream, application/problem+json",
        ...(token && { Authorization: `Bearer ${token}` }),
      },
      cache: "no-store",
    });
    noteStatus(response.status, token);
    if (!response.ok || !response.body) return;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      onHeard();
      const frames = (rest + value).split("\n\n");
      rest = frames.pop() ?? "";
      for (const frame of frames) this.#take(frame);
    }
  }

  /** @param {string} frame */
  #take(frame) {
    const field = (/** @type {string} */ name) =>
      frame
        .split("\n")
        .filter((line) => line.startsWith(`${name}: `))
        .map((line) => line.slice(name.length + 2))
        .join("");
    this.#position = Number(field("id")) || this.#position;
    const data = field("data");
    if (!data) return;
    const notification = JSON.parse(data);
    this.#channel?.postMessage(notification);
    this.#add(notification);
  }

  /** @param {Notification} notification */
  #add(notification) {
    if (this.all.some(({ id }) => id === notification.id)) return;
    this.#position = Math.max(this.#position, notification.position - 1);
    this.all = [notification, ...this.all].slice(0, SHOWN);
    this.dispatchEvent(new Event("change"));
  }
}
