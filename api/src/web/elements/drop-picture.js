// The picture of a drop. A generated drawing replaces a picture that is missing or cannot be
// loaded.

import { art } from "../lib/art.js";
import { h } from "../lib/dom.js";

/** @typedef {import("../lib/api.js").Drop} Drop */

export class DropPicture extends HTMLElement {
  /** @type {string | undefined} */
  #shown;

  /** @param {Drop} drop */
  set drop({ id, image_url }) {
    const wanted = image_url ?? "";
    if (this.#shown === wanted) return;
    const isFirst = this.#shown === undefined;
    this.#shown = wanted;
    const rendered = this.querySelector("img");
    // The server has rendered it.
    if (isFirst && rendered && wanted && rendered.getAttribute("src") === wanted) {
      const draw = () => this.replaceChildren(art(id));
      if (rendered.complete && rendered.naturalWidth === 0) draw();
      else rendered.addEventListener("error", draw);
      return;
    }
    if (!image_url) {
      this.replaceChildren(art(id));
      return;
    }
    const image = h("img", {
      alt: "",
      decoding: "async",
      loading: "lazy",
      referrerpolicy: "no-referrer",
    });
    image.addEventListener("error", () => this.replaceChildren(art(id)));
    image.src = image_url;
    this.replaceChildren(image);
  }
}
customElements.define("drop-picture", DropPicture);
