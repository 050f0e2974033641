// A page-wide notice that the server cannot record requests. Empty in normal operation.

import { h } from "../lib/dom.js";
import { clock } from "../lib/format.js";
import { service } from "../lib/service.js";
import { text } from "../lib/text.js";

export class ServiceNote extends HTMLElement {
  connectedCallback() {
    this.setAttribute("role", "status");
    service.addEventListener("change", () => this.#show());
    this.#show();
  }

  #show() {
    const { awaySince } = service;
    if (awaySince === null) return this.replaceChildren();
    const words = this.getAttribute("words") ?? "";
    return this.replaceChildren(
      h("p", {}, h("strong", {}, `${words} `), text("service.since", { time: clock(awaySince) })),
    );
  }
}
customElements.define("service-note", ServiceNote);
