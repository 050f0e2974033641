// The current actions of one buyer for one drop: hold, then buy or release before the hold expires,
// or join the waitlist.
//
// Each stage has a view. A view is built when its stage begins, and after that only its texts
// change, so that it keeps the focus. When the stage changes while the panel has the focus, the
// focus moves to the next action. Buttons that replace a pressed button are disabled for a moment,
// and then get the focus.

import { cart } from "../lib/cart.js";
import { cancelWork, percentOf } from "../lib/challenge.js";
import { everyTick, until } from "../lib/clock.js";
import { allowedUnits, blockReason, has, isOver, offerSeconds, statusOf } from "../lib/drop.js";
import { h, mark, write } from "../lib/dom.js";
import { isolate } from "../lib/foreign.js";
import { clock, count, duration, durationInWords, money, ordinal, units } from "../lib/format.js";
import { button, disarm } from "../lib/press.js";
import { refusalOf } from "../lib/refusals.js";
import { buy, check, discard, dismiss, join, leave, place, release, submit } from "../lib/shop.js";
import { store, unitPrice } from "../lib/yours.js";
import { QuantityStepper } from "./quantity-stepper.js";
import { toast } from "./toast-list.js";

/**
 * @typedef {import("../lib/api.js").Drop} Drop
 * @typedef {import("../lib/yours.js").Entry} Entry
 * @typedef {{nodes: Node[], tick?: () => void}} View
 */

const UNRESERVED = "The units are no longer reserved for you.";

export class HoldPanel extends HTMLElement {
  /** @type {Drop | undefined} */
  #drop;
  #kind = "";
  /** @type {(() => void) | undefined} */
  #tick;
  #arm = () => {};
  #note = h("p", { class: "note" });
  #quantity = new QuantityStepper();
  #code = h("input", {
    type: "text",
    maxlength: 64,
    autocomplete: "off",
    placeholder: "Access code",
    "aria-label": "Access code",
  });
  /** The error of the quantity. */
  #quantityError = "";
  /** The entry that was checked because its drop was cancelled. */
  #checkedEntry = "";
  #stop = () => {};

  constructor() {
    super();
    this.#quantity.addEventListener("input", () => this.#setQuantityError(""));
  }

  connectedCallback() {
    this.tabIndex = -1;
    this.setAttribute("role", "group");
    const show = () => this.#show();
    store.addEventListener("change", show);
    const stop = everyTick(show);
    this.#stop = () => {
      stop();
      store.removeEventListener("change", show);
    };
  }

  disconnectedCallback() {
    this.#stop();
  }

  /** @param {Drop} drop */
  set drop(drop) {
    this.#drop = drop;
    mark(this, "aria-label", `${isolate(drop.name)}: your hold`);
    this.#note.id = `note-${drop.id}`;
    this.#quantity.bounds = {
      id: `units-${drop.id}`,
      describedBy: this.#note.id,
      most: allowedUnits(drop),
      // A waitlist entry waits for units that are not available.
      available: drop.stock.available || Infinity,
    };
    this.#show();
  }

  #show() {
    const drop = this.#drop;
    if (!drop) return;
    const entry = store.of(drop.id);
    this.#checkIfCancelled(drop, entry);
    const status = statusOf(drop);
    const kind = entry
      ? `${entry.key} ${entry.stage} ${isOver(status)}`
      : `${status} ${hasStepper(drop)} ${drop.access}`;
    if (kind !== this.#kind) this.#build(kind, drop, entry);
    this.#tick?.();
    this.#arm();
    const refusal = this.#quantityError || refusalOf(drop);
    write(this.#note, refusal || hint(drop, entry));
    this.#note.classList.toggle("refusal", refusal !== "");
  }

  /** @param {string} kind @param {Drop} drop @param {Entry | undefined} entry */
  #build(kind, drop, entry) {
    const focused = this.contains(document.activeElement) ? document.activeElement : null;
    // A change of the stock must not disable the button each time. An action of the buyer, or its
    // result, changes the meaning of a click.
    const isStep = this.#kind !== "" && (entry !== undefined || this.hasAttribute("data-mine"));
    this.#kind = kind;
    const { nodes, tick } = entry ? this.#mine(drop, entry) : this.#choices(drop);
    this.#tick = tick;
    this.dataset.stage = entry?.stage ?? statusOf(drop);
    this.toggleAttribute("data-mine", entry !== undefined);
    this.replaceChildren(...nodes, this.#note);
    this.#arm = isStep
      ? disarm(this.querySelectorAll(".actions button"), () => this.#focusNext())
      : () => {};
    if (!(focused instanceof HTMLElement)) return;
    (this.contains(focused) ? focused : this).focus();
    if (!isStep) this.#focusNext();
  }

  /** Moves the focus from the panel to the next action. */
  #focusNext() {
    const next = this.querySelector(".actions button");
    if (document.activeElement === this && next instanceof HTMLElement) next.focus();
  }

  /**
   * The stream reports the cancellation of a drop, but not its effect on this buyer's hold.
   * @param {Drop} drop
   * @param {Entry | undefined} entry
   */
  #checkIfCancelled(drop, entry) {
    if (drop.status !== "cancelled" || entry?.stage !== "held" || this.#checkedEntry === entry.key)
      return;
    this.#checkedEntry = entry.key;
    void check(entry);
  }

  /** The actions of a buyer without an entry. @param {Drop} drop @returns {View} */
  #choices(drop) {
    switch (statusOf(drop)) {
      case "live":
        return this.#choice(drop, "Hold it", "primary", place);
      case "sold_out":
        return this.#choice(drop, "Join the waitlist", "secondary", join);
      case "scheduled": {
        const words = h("span", { class: "time", role: "timer" });
        // A code may open the drop before its start.
        const early =
          drop.access === "code" ? this.#choice(drop, "Hold it", "primary", place).nodes : [];
        return {
          nodes: [h("p", { class: "held-line" }, h("span", {}, "Starts in"), words), ...early],
          tick: () => write(words, duration(until((this.#drop ?? drop).starts_at))),
        };
      }
      case "paused":
        return this.#paused(drop);
      case "draft":
        return {
          nodes: [h("p", { class: "outcome" }, "This drop is a draft: buyers do not see it.")],
        };
      case "ended":
        return { nodes: [h("p", { class: "outcome" }, "This drop has ended.")] };
      case "cancelled":
        return { nodes: [h("p", { class: "outcome" }, "This drop was cancelled.")] };
    }
  }

  /** Where units are missing, buyers may still wait for them. @param {Drop} drop @returns {View} */
  #paused(drop) {
    const outcome = h("p", { class: "outcome" }, "This drop is paused.");
    if (has(drop.stock, 1)) return { nodes: [outcome] };
    const { nodes, tick } = this.#choice(drop, "Join the waitlist", "secondary", join);
    return { nodes: [outcome, ...nodes], tick };
  }

  /**
   * A quantity and a button.
   * @param {Drop} drop
   * @param {string} words
   * @param {string} kind
   * @param {(drop: Drop, quantity: number, code: string) => unknown} act
   * @returns {View}
   */
  #choice(drop, words, kind, act) {
    const press = () => {
      const quantity = this.#chosenQuantity();
      // The current state of the drop, not that of the time when the view was built.
      if (quantity) act(this.#drop ?? drop, quantity, this.#code.value.trim());
    };
    const line = h("p", { class: "choose quiet-words" });
    return {
      nodes: [
        hasStepper(drop) ? this.#quantity : line,
        h(
          "div",
          { class: "actions" },
          drop.access === "code" && this.#code,
          button(words, kind, press),
          act === place &&
            drop.access !== "code" &&
            button("Add to cart", "quiet", () => this.#addToCart(drop)),
        ),
      ],
      tick: () => write(line, limitOf(this.#drop ?? drop)),
    };
  }

  /** @param {Drop} drop */
  #addToCart(drop) {
    const quantity = this.#chosenQuantity();
    if (!quantity) return;
    const isAdded = cart.add(this.#drop ?? drop, quantity);
    const link = { href: "/cart", words: "View cart" };
    if (!isAdded) toast("The cart is full.", { kind: "refusal", link });
    else
      toast(
        `${isolate(drop.name)}: ${units(cart.of(drop.id)?.quantity ?? quantity, "unit")} in the cart, not reserved yet.`,
        {
          link,
        },
      );
  }

  /**
   * The state of this buyer's entry, and the next actions.
   * @param {Drop} drop
   * @param {Entry} entry
   * @returns {View}
   */
  #mine(drop, entry) {
    const over = isOver(statusOf(drop));
    switch (entry.stage) {
      case "held":
        return held(entry);
      case "asking":
        return busy(entry, "Placing a hold…");
      case "buying":
        return busy(entry, "Buying…");
      case "releasing":
        return busy(entry, "Releasing…");
      case "checking":
        return busy(entry, "Checking the status…");
      case "joining":
        return busy(entry, "Joining the waitlist…");
      case "leaving":
        return busy(entry, "Leaving the waitlist…");
      case "unanswered":
        return unanswered(entry);
      case "purchased":
        return ended(
          "Purchase complete.",
          `${units(entry.quantity, "unit")} bought for ${money(entry.total ?? unitPrice(entry), entry.total ? 1 : entry.quantity)}.`,
          entry,
          "Done",
          "success",
        );
      case "expired":
        return ended(
          "Time is up.",
          `The hold expired at ${clock(entry.hold?.expires_at ?? 0)}. ${over ? "The drop has ended." : UNRESERVED}`,
          entry,
          over ? "Done" : "Try again",
        );
      case "released":
        if (entry.called_off)
          return ended(
            "Cancelled.",
            "The drop was cancelled, and your hold was released. You were not charged.",
            entry,
            "Done",
          );
        return ended(
          "Released.",
          over ? "The drop has ended." : UNRESERVED,
          entry,
          over ? "Done" : "Hold again",
        );
      case "closed":
        return ended(
          "The waitlist is closed.",
          entry.called_off
            ? "The drop was cancelled before your turn came."
            : "The drop ended before your turn came.",
          entry,
          "Done",
        );
      case "waiting": {
        const [words, others] = [h("strong"), h("span", { class: "quiet-words" })];
        const tick = () => {
          write(words, waitlistRank(entry));
          write(others, waitlistWords(this.#drop ?? drop));
        };
        return {
          nodes: [
            h("p", { class: "outcome choose" }, words, others),
            h(
              "div",
              { class: "actions" },
              button("Leave the waitlist", "quiet", () => leave(entry)),
            ),
          ],
          tick,
        };
      }
    }
  }

  /** The chosen quantity. If it is not valid, shows an error and returns undefined. */
  #chosenQuantity() {
    if (!this.#quantity.isConnected) return 1;
    const { value, most } = this.#quantity;
    if (value !== undefined) return value;
    this.#setQuantityError(`Enter a quantity from 1 to ${most}.`);
    this.#quantity.focus();
    return undefined;
  }

  /** @param {string} words empty: no error */
  #setQuantityError(words) {
    this.#quantityError = words;
    this.#quantity.isInvalid = words !== "";
    this.#show();
  }
}
customElements.define("hold-panel", HoldPanel);

/** @param {Drop} drop */
function hasStepper(drop) {
  return allowedUnits(drop) > 1;
}

/** The limit of a hold, or the length of the waitlist. @param {Drop} drop */
function limitOf(drop) {
  return statusOf(drop) === "sold_out" ? waitlistWords(drop) : "One unit per hold";
}

/** @param {Drop} drop */
function waitlistWords({ waitlist_length }) {
  return waitlist_length > 0 ? `${count(waitlist_length)} waiting` : "The waitlist is empty";
}

/** Additional information below the actions. @param {Drop} drop @param {Entry | undefined} entry */
function hint(drop, entry) {
  if (entry?.stage === "held" && entry.hold)
    return `Reserved for you until ${clock(entry.hold.expires_at)}.${repriced(entry)}`;
  if (entry?.stage === "waiting") return waitlistHint(drop, entry);
  if (entry) return "";
  if (statusOf(drop) === "live")
    return `A hold reserves the units for you for ${durationInWords(drop.hold_seconds)}.`;
  if (statusOf(drop) === "scheduled")
    return `At most ${units(allowedUnits(drop), "unit")} per hold. A hold will last ${durationInWords(drop.hold_seconds)}.`;
  if (statusOf(drop) === "paused")
    return "Existing holds can be bought. Further units can be held when the drop resumes.";
  if (statusOf(drop) !== "sold_out") return "";
  // The line above the button has the quantity then.
  const waiting = hasStepper(drop) ? ` ${waitlistWords(drop)}.` : "";
  const offer = ` An offer is a hold for ${durationInWords(offerSeconds(drop))}.`;
  if (drop.stock.held === 0)
    return `All units are sold. Added stock is offered to the waitlist first.${waiting}${offer}`;
  return drop.waitlist_length > 0
    ? `Returned units are offered to the waitlist first.${waiting}${offer}`
    : "Units of expired holds become available here automatically.";
}

/** @param {Entry} entry */
function waitlistRank({ waiting }) {
  if (waiting?.blocked_by) return "You are on the waitlist, but cannot be served";
  return waiting?.place
    ? `You are ${ordinal(waiting.place)} on the waitlist`
    : "You are on the waitlist";
}

/** @param {Drop} drop @param {Entry} entry */
function waitlistHint(drop, { waiting, quantity }) {
  if (!waiting?.blocked_by)
    return `Returned units are offered, as a hold, to the first buyer on the waitlist. Your offer will last ${durationInWords(offerSeconds(drop))}: buy within that time, or it goes to the next.`;
  return `Reason: ${blockReason(waiting.blocked_by, quantity, drop)}`;
}

/** Reports a price change between the page's last update and the hold. @param {Entry} entry */
function repriced(entry) {
  const [then, now] = [money(entry.price), money(unitPrice(entry))];
  return then === now
    ? ""
    : ` The price changed before the hold was placed: from ${then} to ${now} per unit.`;
}

/** @param {Entry} entry @returns {View} */
function held(entry) {
  const { hold } = entry;
  if (!hold) return busy(entry, "Checking the status…");
  const [left, fuse] = [
    h("span", { class: "time", role: "timer", "aria-label": "Time left to buy" }),
    h("span"),
  ];
  const whole = Date.parse(hold.expires_at) - Date.parse(hold.placed_at);
  const tick = () => {
    const remaining = until(hold.expires_at);
    write(left, duration(remaining));
    left.toggleAttribute("data-soon", remaining < 10_000);
    fuse.style.transform = `scaleX(${Math.min(1, Math.max(0, remaining / whole)).toFixed(3)})`;
  };
  const line = h(
    "p",
    { class: "held-line" },
    h("span", {}, `${units(hold.quantity, "unit")} held for you`),
    left,
    h("span", { class: "fuse", "aria-hidden": "true" }, fuse),
  );
  const actions = h(
    "div",
    { class: "actions" },
    button(`Buy for ${money(unitPrice(entry), hold.quantity)}`, "primary", () => buy(entry)),
    button("Release", "quiet", () => release(entry)),
  );
  return { nodes: [line, actions], tick };
}

/** @param {Entry} entry @param {string} words @returns {View} */
function busy(entry, words) {
  const outcome = h("p", { class: "outcome busy" });
  const stop = h(
    "div",
    { class: "actions", hidden: true },
    button("Stop", "quiet", () => cancelWork(entry.key)),
  );
  const tick = () => {
    const percent = percentOf(entry.key);
    stop.hidden = percent === undefined;
    const retrying = entry.again ? `${words} No response yet, retrying.` : words;
    write(outcome, percent === undefined ? retrying : `Checking this browser… ${percent} %`);
  };
  return { nodes: [outcome, stop], tick };
}

/** @param {Entry} entry @returns {View} */
function unanswered(entry) {
  const unknown = entry.asks === "waitlist" ? "you joined the waitlist" : "your hold was placed";
  const outcome = h(
    "p",
    { class: "outcome" },
    h("strong", {}, "No response."),
    ` It is unknown whether ${unknown}. Retry to find out; a retry never counts twice.`,
  );
  return {
    nodes: [
      outcome,
      h(
        "div",
        { class: "actions" },
        button("Retry", "primary", () => submit(entry)),
        button("Discard", "quiet", () => discard(entry)),
      ),
    ],
  };
}

/**
 * @param {string} title
 * @param {string} words
 * @param {Entry} entry
 * @param {string} next
 * @param {"success" | ""} [kind]
 * @returns {View}
 */
function ended(title, words, entry, next, kind = "") {
  const outcome = h(
    "p",
    { class: `outcome ${kind}`.trim() },
    h("span", {}, h("strong", {}, title), " ", words),
  );
  return {
    nodes: [
      outcome,
      h(
        "div",
        { class: "actions" },
        button(next, next === "Done" ? "quiet" : "secondary", () => dismiss(entry)),
      ),
    ],
  };
}
