// What one buyer can do about one drop, now: hold, then buy or release before the time is up, or stand in line.
//
// One view for each stage. A view is built when its stage begins and only its texts change after, so that focus stays where it is;
// when the stage changes under a keyboard user's focus, the focus goes to what can be done next. What takes the place of something
// that was pressed cannot be pressed for a moment, and gets the focus after it.

import { everyBeat, until } from "../lib/clock.js";
import { isOver, passedOver, statusOf } from "../lib/drop.js";
import { h, mark, write } from "../lib/dom.js";
import { foreign } from "../lib/foreign.js";
import { clock, duration, money, ordinal, spoken, units } from "../lib/format.js";
import { button, disarm } from "../lib/press.js";
import { refusalOf } from "../lib/refusals.js";
import { ask, buy, check, dismiss, join, leave, letBe, place, release } from "../lib/shop.js";
import { unitPrice, yours } from "../lib/yours.js";

/**
 * @typedef {import("../lib/api.js").Drop} Drop
 * @typedef {import("../lib/yours.js").Entry} Entry
 * @typedef {{nodes: Node[], tick?: () => void}} View
 */

export class HoldPanel extends HTMLElement {
  /** @type {Drop | undefined} */
  #drop;
  #kind = "";
  /** @type {(() => void) | undefined} */
  #tick;
  #arm = () => {};
  #note = h("p", { class: "note" });
  #quantity = h("input", { type: "number", min: 1, value: 1, inputmode: "numeric", "aria-label": "Quantity" });
  /** What is wrong with the quantity. */
  #complaint = "";
  /** The entry that the server was asked about because its drop is called off. */
  #askedAbout = "";
  #stop = () => {};

  constructor() {
    super();
    this.#quantity.addEventListener("input", () => this.#complain(""));
  }

  connectedCallback() {
    this.tabIndex = -1;
    this.setAttribute("role", "group");
    const show = () => this.#show();
    yours.addEventListener("change", show);
    const stop = everyBeat(show);
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
    mark(this, "aria-label", `${foreign(drop.name)}: yours`);
    this.#note.id = `note-${drop.id}`;
    mark(this.#quantity, "aria-describedby", this.#note.id);
    this.#show();
  }

  #show() {
    const drop = this.#drop;
    if (!drop) return;
    const entry = yours.of(drop.id);
    this.#askIfCalledOff(drop, entry);
    const status = statusOf(drop);
    const kind = entry ? `${entry.key} ${entry.stage} ${isOver(status)}` : `${status} ${this.#hasStepper(drop)}`;
    if (kind !== this.#kind) this.#build(kind, drop, entry);
    this.#tick?.();
    this.#arm();
    const refusal = this.#complaint || refusalOf(drop);
    write(this.#note, refusal || hint(drop, entry));
    this.#note.classList.toggle("refusal", refusal !== "");
  }

  /** @param {string} kind @param {Drop} drop @param {Entry | undefined} entry */
  #build(kind, drop, entry) {
    const focused = this.contains(document.activeElement) ? document.activeElement : null;
    // Stock that comes and goes must not lock its button each time; what a buyer did, or what came of it, changes what a press means.
    const isStep = this.#kind !== "" && (entry !== undefined || this.hasAttribute("data-mine"));
    this.#kind = kind;
    const { nodes, tick } = entry ? this.#mine(drop, entry) : this.#offer(drop);
    this.#tick = tick;
    this.dataset.stage = entry?.stage ?? statusOf(drop);
    this.toggleAttribute("data-mine", entry !== undefined);
    this.replaceChildren(...nodes, this.#note);
    this.#arm = isStep ? disarm(this.querySelectorAll("button"), () => this.#goOn()) : () => {};
    if (!(focused instanceof HTMLElement)) return;
    (this.contains(focused) ? focused : this).focus();
    if (!isStep) this.#goOn();
  }

  /** From the panel as a whole, where the focus waits, to what can be done. */
  #goOn() {
    if (document.activeElement === this) this.querySelector("button")?.focus();
  }

  /** The stream tells that a drop is called off; what became of this buyer's hold, only the server knows. @param {Drop} drop @param {Entry | undefined} entry */
  #askIfCalledOff(drop, entry) {
    if (drop.status !== "cancelled" || entry?.stage !== "held" || this.#askedAbout === entry.key) return;
    this.#askedAbout = entry.key;
    void check(entry);
  }

  /** What anybody may do. @param {Drop} drop @returns {View} */
  #offer(drop) {
    switch (statusOf(drop)) {
      case "live":
        return this.#choice(drop, "Hold it", "primary", place);
      case "sold_out":
        return this.#choice(drop, "Join the waitlist", "secondary", join);
      case "scheduled": {
        const words = h("span", { class: "time", role: "timer" });
        return { nodes: [h("p", { class: "held-line" }, h("span", {}, "Starts in"), words)], tick: () => write(words, duration(until((this.#drop ?? drop).starts_at))) };
      }
      case "ended":
        return { nodes: [h("p", { class: "outcome" }, "This drop is over.")] };
      case "cancelled":
        return { nodes: [h("p", { class: "outcome" }, "This drop was called off.")] };
    }
  }

  /** How many, and a button. @param {Drop} drop @param {string} words @param {string} kind @param {(drop: Drop, quantity: number) => unknown} act @returns {View} */
  #choice(drop, words, kind, act) {
    const press = () => {
      const quantity = this.#wanted();
      // The drop as it is now, not as it was when this was built.
      if (quantity) act(this.#drop ?? drop, quantity);
    };
    return { nodes: [h("div", { class: "actions" }, this.#hasStepper(drop) && this.#quantity, button(words, kind, press))] };
  }

  /** What this buyer has, and what comes next. @param {Drop} drop @param {Entry} entry @returns {View} */
  #mine(drop, entry) {
    const over = isOver(statusOf(drop));
    switch (entry.stage) {
      case "held":
        return held(entry);
      case "asking":
        return busy(entry, "Asking for a hold…");
      case "buying":
        return busy(entry, "Buying…");
      case "releasing":
        return busy(entry, "Releasing…");
      case "checking":
        return busy(entry, "Asking how it stands…");
      case "joining":
        return busy(entry, "Getting in line…");
      case "leaving":
        return busy(entry, "Leaving the line…");
      case "unanswered":
        return unanswered(entry);
      case "purchased":
        return ended("It is yours.", `${units(entry.quantity, "unit")} bought for ${money(entry.total ?? unitPrice(entry), entry.total ? 1 : entry.quantity)}.`, entry, "Done");
      case "expired":
        return ended("Time is up.", `The hold ran out at ${clock(entry.hold?.expires_at ?? 0)}, and ${over ? "the drop is over." : "its stock is for others again."}`, entry, over ? "Done" : "Try again");
      case "released":
        if (entry.called_off) return ended("Called off.", "The drop was called off, and your hold with it. It was not bought, and nothing is owed.", entry, "Done");
        return ended("Released.", over ? "The drop is over." : "The stock is for others again.", entry, over ? "Done" : "Hold again");
      case "closed":
        return ended("The line is closed.", entry.called_off ? "The drop was called off before your turn came." : "The drop ended before your turn came.", entry, "Done");
      case "waiting": {
        const words = h("strong");
        const tick = () => write(words, inLine(entry));
        return { nodes: [h("p", { class: "outcome" }, words), h("div", { class: "actions" }, button("Leave the line", "quiet", () => leave(entry)))], tick };
      }
    }
  }

  /** @param {Drop} drop */
  #hasStepper(drop) {
    return drop.max_per_hold > 1 && !this.hasAttribute("compact");
  }

  /** The units that are wanted; none if that is no number that can be, which is said then. */
  #wanted() {
    if (!this.#quantity.isConnected) return 1;
    const [units, most] = [this.#quantity.valueAsNumber, Number(this.#quantity.max)];
    if (Number.isInteger(units) && units >= 1 && units <= most) return units;
    this.#complain(`From 1 to ${most} can be held at once.`);
    this.#quantity.focus();
    return undefined;
  }

  /** @param {string} words empty: nothing */
  #complain(words) {
    this.#complaint = words;
    mark(this.#quantity, "aria-invalid", words ? "true" : null);
    this.#show();
  }
}
customElements.define("hold-panel", HoldPanel);

/** What else there is to know. @param {Drop} drop @param {Entry | undefined} entry */
function hint(drop, entry) {
  if (entry?.stage === "held" && entry.hold) return `Yours until ${clock(entry.hold.expires_at)}, and for nobody else.${repriced(entry)}`;
  if (entry?.stage === "waiting") return ifServed(drop, entry);
  if (entry) return "";
  if (statusOf(drop) === "live") return `A hold keeps it for you for ${spoken(drop.hold_seconds)}.`;
  if (statusOf(drop) !== "sold_out") return "";
  if (drop.stock.held === 0) return "Every unit is sold. More stock would go to the waitlist first.";
  return drop.waitlist_length > 0 ? "What comes back goes to the waitlist first." : "Holds that run out come back here by themselves.";
}

/** @param {Entry} entry */
function inLine({ waiting }) {
  if (waiting?.blocked_by) return "You are in line, and passed over";
  return waiting?.place ? `You are ${ordinal(waiting.place)} in line` : "You are in line";
}

/** @param {Drop} drop @param {Entry} entry */
function ifServed(drop, { waiting, quantity }) {
  if (!waiting?.blocked_by) return "What comes back goes to the first in line, as a hold.";
  return `Nothing that comes back can reach you: ${passedOver(waiting.blocked_by, quantity, drop)}`;
}

/** The price may have been changed between the look at it and the hold. @param {Entry} entry */
function repriced(entry) {
  const [then, now] = [money(entry.price), money(unitPrice(entry))];
  return then === now ? "" : ` The price changed before it was placed: a unit is ${now}, no longer ${then}.`;
}

/** @param {Entry} entry @returns {View} */
function held(entry) {
  const { hold } = entry;
  if (!hold) return busy(entry, "Asking how it stands…");
  const [left, fuse] = [h("span", { class: "time", role: "timer", "aria-label": "Time left to buy" }), h("span")];
  const whole = Date.parse(hold.expires_at) - Date.parse(hold.placed_at);
  const tick = () => {
    const remaining = until(hold.expires_at);
    write(left, duration(remaining));
    left.toggleAttribute("data-soon", remaining < 10_000);
    fuse.style.transform = `scaleX(${Math.min(1, Math.max(0, remaining / whole)).toFixed(3)})`;
  };
  const line = h("p", { class: "held-line" }, h("span", {}, `${units(hold.quantity, "unit")} held for you`), left);
  const actions = h("div", { class: "actions" },
    button(`Buy for ${money(unitPrice(entry), hold.quantity)}`, "primary", () => buy(entry)), button("Release", "quiet", () => release(entry)));
  return { nodes: [line, h("div", { class: "fuse", "aria-hidden": "true" }, fuse), actions], tick };
}

/** @param {Entry} entry @param {string} words @returns {View} */
function busy(entry, words) {
  const outcome = h("p", { class: "outcome busy" });
  return { nodes: [outcome], tick: () => write(outcome, entry.again ? `${words} No answer yet, asking again.` : words) };
}

/** @param {Entry} entry @returns {View} */
function unanswered(entry) {
  const what = entry.asks === "waitlist" ? "whether you are in line" : "whether it is held for you";
  const outcome = h("p", { class: "outcome" }, h("strong", {}, "No answer."), ` Nobody knows ${what}. Asking again finds out, and never counts twice.`);
  return { nodes: [outcome, h("div", { class: "actions" }, button("Ask again", "primary", () => ask(entry)), button("Let it be", "quiet", () => letBe(entry)))] };
}

/** @param {string} title @param {string} words @param {Entry} entry @param {string} next @returns {View} */
function ended(title, words, entry, next) {
  const outcome = h("p", { class: "outcome" }, h("strong", {}, title), " ", words);
  return { nodes: [outcome, h("div", { class: "actions" }, button(next, "secondary", () => dismiss(entry)))] };
}
