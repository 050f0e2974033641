// The optional name of this buyer in the public list of purchasers.

import { displayName, setDisplayName } from "../lib/buyer.js";
import { h } from "../lib/dom.js";
import { text } from "../lib/text.js";

export class NameField extends HTMLElement {
  connectedCallback() {
    const field = h("input", {
      id: "display-name",
      maxlength: 60,
      autocomplete: "nickname",
      placeholder: text("name.hint"),
    });
    field.value = displayName();
    field.addEventListener("change", () => setDisplayName(field.value));
    this.replaceChildren(h("label", { for: "display-name" }, text("name.label")), field);
  }
}
customElements.define("name-field", NameField);
