// Shows whether the numbers on the page are current, and if not, from what time; and whether the
// server can record requests.

import { h, mark, write } from "../lib/dom.js";
import { clock } from "../lib/format.js";
import { service } from "../lib/service.js";
import { text } from "../lib/text.js";

/** @typedef {import("../lib/live.js").Live} Live */

export class ConnectionState extends HTMLElement {
  #words = h("span");

  connectedCallback() {
    this.setAttribute("role", "status");
    this.replaceChildren(h("span", { class: "dot", "aria-hidden": "true" }), this.#words);
    mark(this, "data-state", "connecting");
    write(this.#words, text("connection.connecting"));
  }

  /** @param {Live} live */
  watch(live) {
    const show = () => {
      const { connection } = live;
      const isAway = connection.state === "live" && service.awaySince !== null;
      mark(this, "data-state", isAway ? "away" : connection.state);
      document.documentElement.toggleAttribute("data-stale", connection.state === "lost");
      if (connection.state === "live")
        write(this.#words, text(isAway ? "connection.away" : "connection.live"));
      if (connection.state === "lost")
        write(this.#words, text("connection.lost", { time: clock(connection.since) }));
    };
    live.addEventListener("connection", show);
    service.addEventListener("change", show);
    show();
  }
}
customElements.define("connection-state", ConnectionState);
