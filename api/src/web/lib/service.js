// Polls whether the server can record requests. A server that cannot reach its log still serves
// reads and the stream.

import { Problem, call } from "./api.js";

/**
 * The polling interval while the server is ready, and while it is not. A hidden page does not poll.
 */
const [POLL_MS, POLL_UNREADY_MS] = [20_000, 3000];

/** Dispatches `change`. */
class Service extends EventTarget {
  /** The time since which the server is not ready; null if it is ready. @type {number | null} */
  awaySince = null;
  #timer = 0;
  #isFollowed = false;

  /** Polls while the page is open. */
  follow() {
    this.#isFollowed = true;
    document.addEventListener("visibilitychange", () => document.hidden || this.#poll());
    void this.#poll();
  }

  /** Polls immediately, because a request failed. */
  suspect() {
    if (this.#isFollowed && this.awaySince === null) void this.#poll();
  }

  async #poll() {
    clearTimeout(this.#timer);
    try {
      await call("/health/ready");
      this.#setAwaySince(null);
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      // An unreachable server is reported by the stream.
      if (problem.status === 503) this.#setAwaySince(this.awaySince ?? Date.now());
    }
    clearTimeout(this.#timer);
    // Jitter: many buyers open the page at the same moment, and must not poll in step.
    const pause =
      (this.awaySince === null ? POLL_MS : POLL_UNREADY_MS) * (0.75 + Math.random() / 2);
    if (!document.hidden) this.#timer = window.setTimeout(() => void this.#poll(), pause);
  }

  /** @param {number | null} awaySince */
  #setAwaySince(awaySince) {
    if (this.awaySince === awaySince) return;
    this.awaySince = awaySince;
    this.dispatchEvent(new Event("change"));
  }
}

export const service = new Service();
