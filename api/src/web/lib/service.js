// Whether anything can be recorded at all: a server whose log is away goes on telling what it knows, and its stream goes on too.

import { call, Problem } from "./api.js";

/** Between two looks while all is well, and while it is not. A page that nobody looks at does not look. */
const [LOOK_MS, LOOK_AGAIN_MS] = [20_000, 3000];

/** Tells `change`. */
class Service extends EventTarget {
  /** Since when nothing is recorded; null: all is well, as far as anybody knows. @type {number | null} */
  awaySince = null;
  #timer = 0;
  #isFollowed = false;

  /** Looks for as long as the page is open. */
  follow() {
    this.#isFollowed = true;
    document.addEventListener("visibilitychange", () => document.hidden || this.#look());
    void this.#look();
  }

  /** Somebody was told that a request could not be taken: look now. */
  suspect() {
    if (this.#isFollowed && this.awaySince === null) void this.#look();
  }

  async #look() {
    clearTimeout(this.#timer);
    try {
      await call("/health/ready");
      this.#become(null);
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      // Whether the server is there at all is for the stream to say.
      if (problem.status === 503) this.#become(this.awaySince ?? Date.now());
    }
    clearTimeout(this.#timer);
    // Everybody opened the page at the same moment; they should not all ask at the same moment for ever.
    const pause = (this.awaySince === null ? LOOK_MS : LOOK_AGAIN_MS) * (0.75 + Math.random() / 2);
    if (!document.hidden) this.#timer = window.setTimeout(() => void this.#look(), pause);
  }

  /** @param {number | null} awaySince */
  #become(awaySince) {
    if (this.awaySince === awaySince) return;
    this.awaySince = awaySince;
    this.dispatchEvent(new Event("change"));
  }
}

export const service = new Service();
