// The name that this buyer is seen by among purchasers, if they want to be seen.

import { displayName, setDisplayName } from "../lib/buyer.js";
import { h } from "../lib/dom.js";

export class NameField extends HTMLElement {
  connectedCallback() {
    const field = h("input", { id: "display-name", maxlength: 60, autocomplete: "nickname", placeholder: "Shown if you buy" });
    field.value = displayName();
    field.addEventListener("change", () => setDisplayName(field.value));
    this.replaceChildren(h("label", { for: "display-name" }, "Your name, if you like"), field);
  }
}
customElements.define("name-field", NameField);
