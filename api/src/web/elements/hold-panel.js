// What one buyer can do about one drop, now: hold, then buy or release before the time is up, or stand in line.
//
// One view for each stage. A view is built when its stage begins and only its texts change after, so that focus stays where it is;
// when the stage changes under a keyboard user's focus, the focus goes to what can be done next.

import { everyBeat, until } from "../lib/clock.js";
import { statusOf } from "../lib/drop.js";
import { h, write } from "../lib/dom.js";
import { clock, duration, money, ordinal, spoken, units } from "../lib/format.js";
import { buy, check, dismiss, join, leave, look, place, refusalOf, release, settle } from "../lib/shop.js";
import { isStuck, yours } from "../lib/yours.js";
import { toast } from "./toast-list.js";

/**
 * @typedef {import("../lib/api.js").Drop} Drop
 * @typedef {import("../lib/yours.js").Entry} Entry
 * @typedef {{nodes: Node[], tick?: () => void}} View
 */

/** Seconds before the end at which who holds is told so. */
const WARNINGS = [30, 10];
const LOOK_AT_LINE_MS = 5000;

export class HoldPanel extends HTMLElement {
  /** @type {Drop | undefined} */
  #drop;
  #kind = "";
  /** @type {(() => void) | undefined} */
  #tick;
  #note = h("p", { class: "note" });
  #quantity = h("input", { type: "number", min: 1, value: 1, inputmode: "numeric", "aria-label": "Quantity" });
  #lookedAt = 0;
  /** @type {Set<number>} */
  #warned = new Set();
  #stop = () => {};

  connectedCallback() {
    this.tabIndex = -1;
    const show = () => this.#show();
    yours.addEventListener("change", show);
    const stop = everyBeat(() => this.#beat());
    this.#stop = () => {
      stop();
      yours.removeEventListener("change", show);
    };
  }

  disconnectedCallback() {
    this.#stop();
  }

  /** @param {Drop} drop */
  set drop(drop) {
    this.#drop = drop;
    this.#quantity.max = String(drop.max_per_hold);
    this.#show();
  }

  #beat() {
    const entry = this.#entry();
    if (entry?.stage === "held" && entry.hold) this.#watchHold(entry, entry.hold);
    if (entry && isStuck(entry)) void settle(entry);
    if (entry?.stage === "waiting" && Date.now() - this.#lookedAt > LOOK_AT_LINE_MS) {
      this.#lookedAt = Date.now();
      void look(entry);
    }
    this.#show();
  }

  /** @param {Entry} entry @param {import("../lib/api.js").Hold} hold */
  #watchHold(entry, hold) {
    const left = until(hold.expires_at);
    // Only the server knows whether it was bought in time.
    if (left <= 0) return void check(entry);
    for (const seconds of WARNINGS) {
      const isNear = left <= 1000 * seconds && left > 1000 * (seconds - 2);
      const isLong = Date.parse(hold.expires_at) - Date.parse(hold.placed_at) > 2000 * seconds;
      if (!isNear || !isLong || this.#warned.has(seconds)) continue;
      this.#warned.add(seconds);
      toast(`${entry.drop_name}: ${seconds} seconds left to buy.`);
    }
  }

  #entry() {
    return this.#drop && yours.of(this.#drop.id);
  }

  #show() {
    const drop = this.#drop;
    if (!drop) return;
    const entry = this.#entry();
    const kind = `${entry?.stage ?? statusOf(drop)} ${entry?.key ?? ""}`;
    if (kind !== this.#kind) {
      const hadFocus = this.contains(document.activeElement);
      this.#kind = kind;
      this.#warned.clear();
      const { nodes, tick } = entry ? this.#mine(entry) : this.#offer(drop);
      this.#tick = tick;
      this.dataset.stage = entry?.stage ?? statusOf(drop);
      this.replaceChildren(...nodes, this.#note);
      if (hadFocus) (this.querySelector("button") ?? this).focus();
    }
    this.#tick?.();
    write(this.#note, refusalOf(drop.id) || this.#hint(drop, entry));
    this.#note.classList.toggle("refusal", refusalOf(drop.id) !== "");
  }

  /** @param {Drop} drop @param {Entry | undefined} entry */
  #hint(drop, entry) {
    if (entry?.stage === "held" && entry.hold) return `Yours until ${clock(entry.hold.expires_at)}, and for nobody else.`;
    if (entry?.stage === "waiting") return "What comes back goes to the first in line, as a hold.";
    if (entry) return "";
    if (statusOf(drop) === "live") return `A hold keeps it for you for ${spoken(drop.hold_seconds)}.`;
    if (statusOf(drop) === "sold_out" && drop.stock.held > 0) return "Holds that run out come back here by themselves.";
    return "";
  }

  /** What anybody may do. @param {Drop} drop @returns {View} */
  #offer(drop) {
    switch (statusOf(drop)) {
      case "live":
        return { nodes: [h("div", { class: "actions" }, this.#stepper(drop), button("Hold it", "primary", () => place(this.#fresh(drop), this.#wanted())))] };
      case "sold_out":
        return { nodes: [h("div", { class: "actions" }, this.#stepper(drop), button("Join the waitlist", "secondary", () => join(this.#fresh(drop), this.#wanted())))] };
      case "scheduled": {
        const words = h("span", { class: "time", role: "timer" });
        return { nodes: [h("p", { class: "held-line" }, h("span", {}, "Starts in"), words)], tick: () => write(words, duration(until(this.#fresh(drop).starts_at))) };
      }
      case "ended":
        return { nodes: [h("p", { class: "outcome" }, "This drop is over.")] };
      case "cancelled":
        return { nodes: [h("p", { class: "outcome" }, "This drop was called off.")] };
    }
  }

  /** What this buyer has, and what comes next. @param {Entry} entry @returns {View} */
  #mine(entry) {
    switch (entry.stage) {
      case "held":
        return this.#held(entry);
      case "asking":
        return busy("Asking for a hold…");
      case "buying":
        return busy("Buying…");
      case "releasing":
        return busy("Releasing…");
      case "checking":
        return busy("Asking how it stands…");
      case "joining":
        return busy("Getting in line…");
      case "leaving":
        return busy("Leaving the line…");
      case "purchased":
        return ended("It is yours.", `${units(entry.quantity, "unit")} bought for ${money(entry.total ?? entry.price, entry.total ? 1 : entry.quantity)}.`, entry, "Done");
      case "expired":
        return ended("Time is up.", `The hold ran out at ${clock(entry.hold?.expires_at ?? 0)} and the stock went back on sale.`, entry, "Try again");
      case "released":
        return ended("Released.", "The stock is for others again.", entry, "Hold again");
      case "waiting": {
        const words = h("strong");
        const tick = () => write(words, entry.waiting?.place ? `You are ${ordinal(entry.waiting.place)} in line` : "You are in line");
        return { nodes: [h("p", { class: "outcome" }, words), h("div", { class: "actions" }, button("Leave the line", "quiet", () => leave(entry)))], tick };
      }
    }
  }

  /** @param {Entry} entry @returns {View} */
  #held(entry) {
    const { hold } = entry;
    if (!hold) return busy("Asking how it stands…");
    const [left, fuse] = [h("span", { class: "time", role: "timer", "aria-label": "Time left to buy" }), h("span")];
    const whole = Date.parse(hold.expires_at) - Date.parse(hold.placed_at);
    const tick = () => {
      const remaining = until(hold.expires_at);
      write(left, duration(remaining));
      left.toggleAttribute("data-soon", remaining < 10_000);
      fuse.style.transform = `scaleX(${Math.min(1, Math.max(0, remaining / whole)).toFixed(3)})`;
    };
    const held = h("p", { class: "held-line" }, h("span", {}, `${units(hold.quantity, "unit")} held for you`), left);
    const actions = h("div", { class: "actions" },
      button(`Buy for ${money(entry.price, hold.quantity)}`, "primary", () => buy(entry)), button("Release", "quiet", () => release(entry)));
    return { nodes: [held, h("div", { class: "fuse", "aria-hidden": "true" }, fuse), actions], tick };
  }

  /** @param {Drop} drop */
  #stepper(drop) {
    return drop.max_per_hold > 1 && !this.hasAttribute("compact") && this.#quantity;
  }

  #wanted() {
    const { valueAsNumber, max } = this.#quantity;
    return this.hasAttribute("compact") ? 1 : Math.min(Math.max(1, Math.floor(valueAsNumber) || 1), Number(max) || 1);
  }

  /** The drop as it is now, not as it was when a view was built. @param {Drop} drop */
  #fresh(drop) {
    return this.#drop ?? drop;
  }
}
customElements.define("hold-panel", HoldPanel);

/** @param {string} words @param {string} kind @param {() => unknown} act */
function button(words, kind, act) {
  return h("button", { type: "button", class: kind, onclick: () => void act() }, words);
}

/** @param {string} words @returns {View} */
function busy(words) {
  return { nodes: [h("p", { class: "outcome busy" }, words)] };
}

/** @param {string} title @param {string} words @param {Entry} entry @param {string} next @returns {View} */
function ended(title, words, entry, next) {
  const outcome = h("p", { class: "outcome" }, h("strong", {}, title), " ", words);
  return { nodes: [outcome, h("div", { class: "actions" }, button(next, "secondary", () => dismiss(entry)))] };
}
