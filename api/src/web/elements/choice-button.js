// A button that follows a creator, or sets a reminder of a drop, and ends it again. It is disabled
// until the present choice is known.

import { Problem } from "../lib/api.js";
import { follows, reminders } from "../lib/choices.js";
import { mark, write } from "../lib/dom.js";
import { button } from "../lib/press.js";
import { signInLink, worded } from "../lib/refusals.js";
import { text } from "../lib/text.js";
import { toast } from "./toast-list.js";

/** @typedef {{chosen: string, free: string}} Words */

class ChoiceButton extends HTMLElement {
  #choices;
  #words;
  #subject = "";
  #isBusy = false;
  #button = button("", "secondary", () => this.#toggle());
  #show = () => this.#update();

  /** @param {typeof follows} choices @param {Words} words */
  constructor(choices, words) {
    super();
    this.#choices = choices;
    this.#words = words;
  }

  connectedCallback() {
    this.replaceChildren(this.#button);
    this.#choices.addEventListener("change", this.#show);
    this.#update();
  }

  disconnectedCallback() {
    this.#choices.removeEventListener("change", this.#show);
  }

  /** The id of the creator or drop. @param {string} id */
  set subject(id) {
    this.#subject = id;
    this.#update();
    void this.#choices.read().catch(() => null);
  }

  #update() {
    const isChosen = this.#choices.has(this.#subject);
    write(this.#button, isChosen ? this.#words.chosen : this.#words.free);
    mark(this.#button, "aria-pressed", isChosen === undefined ? null : String(isChosen));
    this.#button.disabled = isChosen === undefined || this.#isBusy || this.#subject === "";
  }

  async #toggle() {
    const isChosen = this.#choices.has(this.#subject);
    if (isChosen === undefined) return;
    this.#isBusy = true;
    this.#update();
    try {
      await this.#choices.set(this.#subject, !isChosen);
      this.dispatchEvent(new CustomEvent("chosen", { bubbles: true, detail: !isChosen }));
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      toast(worded(problem), { kind: "refusal", ...signInLink(problem) });
    } finally {
      this.#isBusy = false;
      this.#update();
    }
  }
}

/** Follows a creator. */
export class FollowButton extends ChoiceButton {
  constructor() {
    super(follows, { chosen: text("follow.chosen"), free: text("follow.free") });
  }
}
customElements.define("follow-button", FollowButton);

/** Sets a reminder of a drop. */
export class RemindButton extends ChoiceButton {
  constructor() {
    super(reminders, { chosen: text("remind.chosen"), free: text("remind.free") });
  }
}
customElements.define("remind-button", RemindButton);
