// Whether the numbers on the page are those of now, and if not, since when.

import { h, mark, write } from "../lib/dom.js";
import { clock } from "../lib/format.js";

/** @typedef {import("../lib/live.js").Live} Live */

export class ConnectionState extends HTMLElement {
  #words = h("span");

  connectedCallback() {
    this.setAttribute("role", "status");
    this.replaceChildren(h("span", { class: "dot", "aria-hidden": "true" }), this.#words);
    mark(this, "data-state", "connecting");
    write(this.#words, "Connecting…");
  }

  /** @param {Live} live */
  watch(live) {
    const show = () => {
      const { connection } = live;
      mark(this, "data-state", connection.state);
      document.documentElement.toggleAttribute("data-stale", connection.state === "lost");
      if (connection.state === "live") write(this.#words, "Live");
      if (connection.state === "lost") write(this.#words, `Reconnecting… as of ${clock(connection.since)}`);
    };
    live.addEventListener("connection", show);
    show();
  }
}
customElements.define("connection-state", ConnectionState);
