// The card of one drop on the front page.

import { everyTick } from "../lib/clock.js";
import { isOver, statusOf, statusWords, when } from "../lib/drop.js";
import { h, mark, write } from "../lib/dom.js";
import { nameOrUnnamed } from "../lib/foreign.js";
import { money } from "../lib/format.js";
import { DropPicture } from "./drop-picture.js";
import { HoldPanel } from "./hold-panel.js";
import { StockBar } from "./stock-bar.js";

/** @typedef {import("../lib/api.js").Drop} Drop */

/** Marks the state that the server has rendered. */
const FIRST = "data-first";

export class DropCard extends HTMLElement {
  /** @type {Drop | undefined} */
  #drop;
  #picture = new DropPicture();
  #status = h("span", { class: "status" });
  #link = h("a", { dir: "auto" });
  #price = h("p", { class: "price" });
  #stock = new StockBar();
  #when = h("p", { class: "when" });
  #panel = new HoldPanel();
  #isAwake = true;
  #stop = () => {};

  connectedCallback() {
    // The server's first state stays until the drop is known.
    if (!this.firstChild) this.#build();
    if (this.#isAwake) this.#stop = everyTick(() => this.#tick());
  }

  disconnectedCallback() {
    this.#stop();
  }

  #build() {
    this.setAttribute("role", "listitem");
    const shown = this.querySelector("drop-picture");
    // The same element, so that its picture is not drawn again.
    if (shown instanceof DropPicture) this.#picture = shown;
    const frame = h("div", { class: "frame" }, this.#picture, this.#status);
    const title = h("div", { class: "title" }, h("h2", {}, this.#link), this.#price);
    const facts = h("div", { class: "facts" }, title, this.#stock, this.#when, this.#panel);
    const hadFocus = this.contains(document.activeElement);
    this.replaceChildren(h("article", { class: "card" }, frame, facts));
    this.removeAttribute(FIRST);
    if (hadFocus) this.#link.focus({ preventScroll: true });
  }

  /** @returns {Drop | undefined} */
  get drop() {
    return this.#drop;
  }

  set drop(drop) {
    if (!drop) return;
    this.#drop = drop;
    mark(this.#link, "href", `/drops/${drop.id}`);
    if (this.hasAttribute(FIRST)) this.#build();
    this.dataset.dropId = drop.id;
    write(this.#link, nameOrUnnamed(drop.name));
    write(this.#price, money(drop.price));
    this.#picture.drop = drop;
    this.#panel.drop = drop;
    this.#tick();
  }

  get isAwake() {
    return this.#isAwake;
  }

  /** A card far outside the viewport has no updates and no buttons until it comes near. */
  set isAwake(isAwake) {
    if (isAwake === this.#isAwake || this.contains(document.activeElement)) return;
    this.#isAwake = isAwake;
    this.toggleAttribute("data-asleep", !isAwake);
    this.#stop();
    if (isAwake) {
      this.querySelector(".facts")?.append(this.#panel);
      this.#stop = everyTick(() => this.#tick());
      this.#tick();
    } else {
      this.#panel.remove();
    }
  }

  #tick() {
    const drop = this.#drop;
    if (!drop) return;
    mark(this, "data-status", statusOf(drop));
    write(this.#status, statusWords(drop));
    write(this.#when, when(drop));
    this.#stock.show(drop.stock, isOver(statusOf(drop)));
  }
}
customElements.define("drop-card", DropCard);
