// The choice of notifications while no page of the shop is open, with the reason if there is none.

import { Problem } from "../lib/api.js";
import { h, write } from "../lib/dom.js";
import { button } from "../lib/press.js";
import { keepPush, pushState, startPush, stopPush } from "../lib/push.js";
import { worded } from "../lib/refusals.js";
import { text, texts } from "../lib/text.js";
import { toast } from "./toast-list.js";

/** @typedef {import("../lib/push.js").PushState} PushState */

const WORDS = texts({
  unsupported: "push.unsupported",
  denied: "push.denied",
  off: "push.off",
  on: "push.on",
});
const ACTIONS = texts({ off: "push.start", on: "push.stop" });

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
    write(this.#words, WORDS[state]);
    const action = state === "off" || state === "on" ? ACTIONS[state] : "";
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
      const words = error instanceof Problem ? worded(error) : text("push.failed");
      toast(words, { kind: "refusal" });
      this.#show(await pushState());
    } finally {
      this.#button.disabled = false;
    }
  }
}
customElements.define("push-choice", PushChoice);
