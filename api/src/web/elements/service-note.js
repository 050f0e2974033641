// Says across the page that nothing can be recorded right now. Made of nothing as long as all is well.

import { h } from "../lib/dom.js";
import { clock } from "../lib/format.js";
import { service } from "../lib/service.js";

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
    return this.replaceChildren(h("p", {}, h("strong", {}, `${words} `), `Since ${clock(awaySince)}; it is tried again all the time.`));
  }
}
customElements.define("service-note", ServiceNote);
