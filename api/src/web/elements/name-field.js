// The optional name of this buyer in the public list of purchasers.

import { displayName, setDisplayName } from "../lib/buyer.js";
import { h } from "../lib/dom.js";

export class NameField extends HTMLElement {
  connectedCallback() {
    const field = h("input", {
      id: "display-name",
      maxlength: 60,
      autocomplete: "nickname",
      placeholder: "Public if you buy",
    });
    field.value = displayName();
    field.addEventListener("change", () => setDisplayName(field.value));
    this.replaceChildren(h("label", { for: "display-name" }, "Your name (optional)"), field);
  }
}
customElements.define("name-field", NameField);
