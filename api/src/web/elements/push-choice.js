// The choice of notifications while no page of the shop is open, with the reason if there is none.

import { Problem } from "../lib/api.js";
import { h, write } from "../lib/dom.js";
import { button } from "../lib/press.js";
import { keepPush, pushState, startPush, stopPush } from "../lib/push.js";
import { toast } from "./toast-list.js";

/** @typedef {import("../lib/push.js").PushState} PushState */

/** @type {Record<PushState, {words: string, action: string}>} */
const STATES = {
  unsupported: {
    words: "This browser cannot show notifications when the page is closed.",
    action: "",
  },
  denied: {
    words:
      "The browser blocks notifications of this shop. Allow them in its settings for this site.",
    action: "",
  },
  off: {
    words: "New notifications appear here while a page of the shop is open.",
    action: "Notify me when the page is closed",
  },
  on: {
    words: "This browser shows notifications when the page is closed, too.",
    action: "Stop these notifications",
  },
};

export class PushChoice extends HTMLElement {
  /** @type {PushState} */
  #state = "off";
  #words = h("p", { class: "quiet-words" });
  #button = button("", "secondary", () => this.#toggle());

  connectedCallback() {
    if (this.firstChild) return;
    this.append(this.#words, this.#button);
    this.hidden = true;
    void this.#read();
  }

  async #read() {
    // A failure is repeated when the next page opens.
    await keepPush().catch(() => null);
    this.#show(await pushState());
  }

  /** @param {PushState} state */
  #show(state) {
    this.#state = state;
    const { words, action } = STATES[state];
    write(this.#words, words);
    write(this.#button, action);
    this.#button.hidden = action === "";
    this.hidden = false;
  }

  async #toggle() {
    this.#button.disabled = true;
    try {
      this.#show(await (this.#state === "on" ? stopPush() : startPush()));
    } catch (error) {
      // The push service of the browser may be unreachable, or blocked.
      const words = "The browser cannot subscribe to notifications now. Try again later.";
      toast(error instanceof Problem ? error.message : words, { kind: "refusal" });
      this.#show(await pushState());
    } finally {
      this.#button.disabled = false;
    }
  }
}
customElements.define("push-choice", PushChoice);
