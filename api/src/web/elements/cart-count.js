// The number of units in the cart, in the navigation. It has its width before the first unit, so
// that nothing moves.

import { cart } from "../lib/cart.js";
import { mark, write } from "../lib/dom.js";
import { count } from "../lib/format.js";

export class CartCount extends HTMLElement {
  #show = () => {
    const { units } = cart;
    write(this, units > 0 ? count(units) : "");
    mark(this, "data-empty", units > 0 ? null : "");
  };

  connectedCallback() {
    cart.addEventListener("change", this.#show);
    this.#show();
  }

  disconnectedCallback() {
    cart.removeEventListener("change", this.#show);
  }
}
customElements.define("cart-count", CartCount);
