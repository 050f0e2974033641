// The buyer in the header of every page of the shop, where buyers need a token: a link to the
// shop's sign-in page, or the buyer's id with a button that signs out.

import { h, mark, write } from "../lib/dom.js";
import { isolate } from "../lib/foreign.js";
import { button } from "../lib/press.js";
import { text } from "../lib/text.js";
import { isTokenRequired, session, signInHref } from "../lib/token.js";
import { toast } from "./toast-list.js";

export class SignInButton extends HTMLElement {
  #words = h("span", { class: "quiet-words" }, text("sign_in.none"));
  #long = h("span", { class: "long" });
  /** On a phone, if there is a shorter text. */
  #short = h("span", { class: "short", "aria-hidden": "true" });
  #link = h("a", { class: "button small" }, this.#long, this.#short);
  #name = h("span", { class: "buyer", dir: "auto" });
  #whole = h("p", {});
  #box = h(
    "details",
    {},
    h("summary", {}, this.#name),
    h(
      "div",
      { class: "box" },
      this.#whole,
      button(text("sign_in.out"), "quiet small", () => session.signOut()),
    ),
  );
  #question = h("p", {});
  #choice = h(
    "div",
    { class: "box", role: "alertdialog", "aria-label": text("sign_in.other") },
    this.#question,
    h(
      "div",
      { class: "actions" },
      button(text("sign_in.keep"), "primary small", () => session.decide(false)),
      button(text("sign_in.change"), "quiet small", () => session.decide(true)),
    ),
  );
  #wasOpen = session.isOpen;

  connectedCallback() {
    session.addEventListener("change", this.#show);
    addEventListener("keydown", this.#close);
    this.#show();
  }

  disconnectedCallback() {
    session.removeEventListener("change", this.#show);
    removeEventListener("keydown", this.#close);
  }

  #show = () => {
    this.hidden = !isTokenRequired;
    if (!isTokenRequired) return;
    const href = signInHref();
    mark(this.#link, "href", href);
    write(this.#long, text(session.buyer ? "sign_in.again" : "sign_in.link"));
    write(this.#short, session.buyer ? text("sign_in.link") : "");
    write(this.#name, session.buyer);
    write(this.#whole, text("sign_in.as", { name: isolate(session.buyer) }));
    const shown = session.isOpen ? this.#box : href ? this.#link : this.#words;
    if (!this.contains(shown)) this.replaceChildren(shown);
    this.#ask();
    this.#report(href);
  };

  /** Asks whether to act for the buyer of a token that arrived with a link. */
  #ask() {
    const { offeredBuyer: other, buyer } = session;
    if (!other) return this.#choice.remove();
    write(
      this.#question,
      text("sign_in.question", { other: isolate(other), name: isolate(buyer) }),
    );
    return this.append(this.#choice);
  }

  /** Reports the end of a token once. @param {string} href */
  #report(href) {
    const isEnd = this.#wasOpen && !session.isOpen;
    this.#wasOpen = session.isOpen;
    if (!isEnd) return;
    toast(text("sign_in.ended"), {
      kind: "refusal",
      ...(href && { link: { href, words: text("sign_in.link") } }),
    });
  }

  #close = (/** @type {KeyboardEvent} */ { key }) => {
    if (key === "Escape") this.#box.open = false;
  };
}
customElements.define("sign-in-button", SignInButton);
