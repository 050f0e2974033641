// A number of units from 1 to the limit of the drop: an input between two buttons. The buttons stop
// at the available units; a number that is typed may exceed them, and the server decides.

import { h, mark } from "../lib/dom.js";
import { text } from "../lib/text.js";

/** Dispatches `input`, as its input does. */
export class QuantityStepper extends HTMLElement {
  #input = h("input", { type: "number", min: 1, value: 1, step: 1, inputmode: "numeric" });
  #less = step("−", text("quantity.fewer"), () => this.#add(-1));
  #more = step("+", text("quantity.more"), () => this.#add(1));
  #label = h("label", {}, text("quantity.label"));
  #available = Infinity;

  constructor() {
    super();
    this.#input.addEventListener("input", () => this.#show());
    this.className = "choose";
  }

  connectedCallback() {
    if (this.firstChild) return;
    const stepper = h("span", { class: "stepper" }, this.#less, this.#input, this.#more);
    this.append(this.#label, stepper);
  }

  /** @param {{id: string, describedBy: string, most: number, available: number}} bounds */
  set bounds({ id, describedBy, most, available }) {
    this.#input.id = id;
    this.#label.htmlFor = id;
    mark(this.#input, "aria-describedby", describedBy);
    this.#input.max = String(most);
    this.#available = available;
    this.#show();
  }

  /** The largest number that is allowed. */
  get most() {
    return Number(this.#input.max);
  }

  /** The chosen number; undefined if it is not valid. */
  get value() {
    const units = this.#input.valueAsNumber;
    const isValid = Number.isInteger(units) && units >= 1 && units <= this.most;
    return isValid ? units : undefined;
  }

  set isInvalid(/** @type {boolean} */ isInvalid) {
    mark(this.#input, "aria-invalid", isInvalid ? "true" : null);
  }

  /** @override */
  focus() {
    this.#input.focus();
  }

  /** @param {number} units */
  #add(units) {
    const [now, most] = [this.value ?? (units > 0 ? 0 : 2), Math.min(this.most, this.#available)];
    this.#input.value = String(Math.max(1, Math.min(now + units, Math.max(1, most))));
    this.#input.dispatchEvent(new Event("input", { bubbles: true }));
  }

  #show() {
    const [now, most] = [this.value ?? 1, Math.min(this.most, this.#available)];
    mark(this.#less, "aria-disabled", now > 1 ? null : "true");
    mark(this.#more, "aria-disabled", now < most ? null : "true");
  }
}
customElements.define("quantity-stepper", QuantityStepper);

/** @param {string} sign @param {string} words @param {() => void} act */
function step(sign, words, act) {
  const made = h("button", { type: "button", "aria-label": words }, sign);
  made.addEventListener("click", () => made.ariaDisabled === "true" || act());
  return made;
}
