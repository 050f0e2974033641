// The time that is left of the buyer's hold that expires first, in the navigation of every page of
// the shop. It leads to the drop of that hold.

import { everyTick, until } from "../lib/clock.js";
import { h, mark, write } from "../lib/dom.js";
import { isolate } from "../lib/foreign.js";
import { duration } from "../lib/format.js";
import { text } from "../lib/text.js";
import { store } from "../lib/yours.js";

const SOON_MS = 10_000;

export class HoldTimer extends HTMLElement {
  #left = h("span", { class: "left" });
  #name = h("span", { class: "visually-hidden" });
  #link = h("a", {}, this.#left, this.#name);
  #stop = () => {};

  connectedCallback() {
    const show = () => this.#show();
    store.addEventListener("change", show);
    const stop = everyTick(show);
    this.#stop = () => {
      stop();
      store.removeEventListener("change", show);
    };
    show();
  }

  disconnectedCallback() {
    this.#stop();
  }

  #show() {
    const held = store.entries.flatMap((entry) => {
      const left = entry.stage === "held" && entry.hold ? until(entry.hold.expires_at) : 0;
      return left > 0 ? [{ entry, left }] : [];
    });
    const [first] = held.sort((one, other) => one.left - other.left);
    if (!first) return this.replaceChildren();
    const { entry, left } = first;
    if (!this.firstChild) this.append(this.#link);
    mark(this.#link, "href", `/drops/${entry.drop_id}`);
    write(this.#left, duration(left));
    const units = text("unit.count", { count: entry.quantity });
    const name = isolate(entry.drop_name);
    const key = held.length > 1 ? "timer.first" : "timer.only";
    write(this.#name, ` ${text(key, { units, name, holds: held.length })}`);
    return this.toggleAttribute("data-soon", left < SOON_MS);
  }
}
customElements.define("hold-timer", HoldTimer);
