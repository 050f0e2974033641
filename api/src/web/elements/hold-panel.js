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
import { clock, duration, durationInWords, money } from "../lib/format.js";
import { button, disarm } from "../lib/press.js";
import { about, refusalOf } from "../lib/refusals.js";
import { buy, check, discard, dismiss, join, leave, place, release, submit } from "../lib/shop.js";
import { text } from "../lib/text.js";
import { store, unitPrice } from "../lib/yours.js";
import { QuantityStepper } from "./quantity-stepper.js";
import { toast } from "./toast-list.js";

/**
 * @typedef {import("../lib/api.js").Drop} Drop
 * @typedef {import("../lib/yours.js").Entry} Entry
 * @typedef {{nodes: Node[], tick?: () => void}} View
 */

/** The text of the button that ends the view of an outcome. */
const DONE = "action.done";

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
    placeholder: text("hold.code"),
    "aria-label": text("hold.code"),
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
    mark(this, "aria-label", text("hold.label", { name: isolate(drop.name) }));
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
        return this.#choice(drop, text("action.hold"), "primary", place);
      case "sold_out":
        return this.#choice(drop, text("action.join"), "secondary", join);
      case "scheduled": {
        const words = h("span", { class: "time", role: "timer" });
        // A code may open the drop before its start.
        const early =
          drop.access === "code"
            ? this.#choice(drop, text("action.hold"), "primary", place).nodes
            : [];
        return {
          nodes: [
            h("p", { class: "held-line" }, h("span", {}, text("hold.starts_in")), words),
            ...early,
          ],
          tick: () => write(words, duration(until((this.#drop ?? drop).starts_at))),
        };
      }
      case "paused":
        return this.#paused(drop);
      case "draft":
        return {
          nodes: [h("p", { class: "outcome" }, text("hold.draft"))],
        };
      case "ended":
        return { nodes: [h("p", { class: "outcome" }, text("hold.ended"))] };
      case "cancelled":
        return { nodes: [h("p", { class: "outcome" }, text("hold.cancelled"))] };
    }
  }

  /** Where units are missing, buyers may still wait for them. @param {Drop} drop @returns {View} */
  #paused(drop) {
    const outcome = h("p", { class: "outcome" }, text("hold.paused"));
    if (has(drop.stock, 1)) return { nodes: [outcome] };
    const { nodes, tick } = this.#choice(drop, text("action.join"), "secondary", join);
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
            button(text("action.add_to_cart"), "quiet", () => this.#addToCart(drop)),
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
    const link = { href: "/cart", words: text("toast.view_cart") };
    if (!isAdded) toast(text("toast.cart_full"), { kind: "refusal", link });
    else
      toast(
        about(drop.name, text("toast.in_cart", { count: cart.of(drop.id)?.quantity ?? quantity })),
        { link },
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
        return busy(entry, text("busy.asking"));
      case "buying":
        return busy(entry, text("busy.buying"));
      case "releasing":
        return busy(entry, text("busy.releasing"));
      case "checking":
        return busy(entry, text("busy.checking"));
      case "joining":
        return busy(entry, text("busy.joining"));
      case "leaving":
        return busy(entry, text("busy.leaving"));
      case "unanswered":
        return unanswered(entry);
      case "purchased":
        return ended(
          text("bought.title"),
          text("bought.words", {
            count: entry.quantity,
            price: money(entry.total ?? unitPrice(entry), entry.total ? 1 : entry.quantity),
          }),
          entry,
          DONE,
          "success",
        );
      case "expired":
        return ended(
          text("expired.title"),
          `${text("expired.words", { time: clock(entry.hold?.expires_at ?? 0) })} ${text(over ? "refusal.ended" : "hold.unreserved")}`,
          entry,
          over ? DONE : "action.try_again",
        );
      case "released":
        if (entry.called_off)
          return ended(text("cancelled.title"), text("cancelled.words"), entry, DONE);
        return ended(
          text("released.title"),
          text(over ? "refusal.ended" : "hold.unreserved"),
          entry,
          over ? DONE : "action.hold_again",
        );
      case "closed":
        return ended(
          text("closed.title"),
          text(entry.called_off ? "closed.cancelled" : "closed.ended"),
          entry,
          DONE,
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
              button(text("action.leave"), "quiet", () => leave(entry)),
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
    this.#setQuantityError(text("quantity.range", { most }));
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
  return statusOf(drop) === "sold_out" ? waitlistWords(drop) : text("hold.one");
}

/** @param {Drop} drop */
function waitlistWords({ waitlist_length }) {
  return waitlist_length > 0
    ? text("waitlist.length", { count: waitlist_length })
    : text("waitlist.empty");
}

/** Additional information below the actions. @param {Drop} drop @param {Entry | undefined} entry */
function hint(drop, entry) {
  if (entry?.stage === "held" && entry.hold)
    return `${text("hold.until", { time: clock(entry.hold.expires_at) })}${repriced(entry)}`;
  if (entry?.stage === "waiting") return waitlistHint(drop, entry);
  if (entry) return "";
  if (statusOf(drop) === "live")
    return text("hold.hint", { duration: durationInWords(drop.hold_seconds) });
  if (statusOf(drop) === "scheduled")
    return `${text("rule.per_hold", { count: allowedUnits(drop) })} ${text("rule.will_last", { duration: durationInWords(drop.hold_seconds) })}`;
  if (statusOf(drop) === "paused") return text("hold.paused_hint");
  if (statusOf(drop) !== "sold_out") return "";
  // The line above the button has the quantity then.
  const waiting = hasStepper(drop) ? ` ${waitlistWords(drop)}.` : "";
  const offer = ` ${text("waitlist.offer", { duration: durationInWords(offerSeconds(drop)) })}`;
  if (drop.stock.held === 0) return `${text("waitlist.all_sold")}${waiting}${offer}`;
  return drop.waitlist_length > 0
    ? `${text("waitlist.first")}${waiting}${offer}`
    : text("waitlist.none_yet");
}

/** @param {Entry} entry */
function waitlistRank({ waiting }) {
  if (waiting?.blocked_by) return text("waitlist.you_blocked");
  return waiting?.place
    ? text("waitlist.you_rank", { count: waiting.place })
    : text("waitlist.you");
}

/** @param {Drop} drop @param {Entry} entry */
function waitlistHint(drop, { waiting, quantity }) {
  if (!waiting?.blocked_by)
    return text("waitlist.hint", { duration: durationInWords(offerSeconds(drop)) });
  return text("waitlist.reason", { reason: blockReason(waiting.blocked_by, quantity, drop) });
}

/** Reports a price change between the page's last update and the hold. @param {Entry} entry */
function repriced(entry) {
  const [then, now] = [money(entry.price), money(unitPrice(entry))];
  return then === now ? "" : ` ${text("hold.repriced", { then, now })}`;
}

/** @param {Entry} entry @returns {View} */
function held(entry) {
  const { hold } = entry;
  if (!hold) return busy(entry, text("busy.checking"));
  const [left, fuse] = [
    h("span", { class: "time", role: "timer", "aria-label": text("hold.time_left") }),
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
    h("span", {}, text("hold.held", { count: hold.quantity })),
    left,
    h("span", { class: "fuse", "aria-hidden": "true" }, fuse),
  );
  const actions = h(
    "div",
    { class: "actions" },
    button(text("action.buy", { price: money(unitPrice(entry), hold.quantity) }), "primary", () =>
      buy(entry),
    ),
    button(text("action.release"), "quiet", () => release(entry)),
  );
  return { nodes: [line, actions], tick };
}

/** @param {Entry} entry @param {string} words @returns {View} */
function busy(entry, words) {
  const outcome = h("p", { class: "outcome busy" });
  const stop = h(
    "div",
    { class: "actions", hidden: true },
    button(text("action.stop"), "quiet", () => cancelWork(entry.key)),
  );
  const tick = () => {
    const percent = percentOf(entry.key);
    stop.hidden = percent === undefined;
    const retrying = entry.again ? `${words} ${text("busy.retrying")}` : words;
    write(outcome, percent === undefined ? retrying : text("busy.browser_percent", { percent }));
  };
  return { nodes: [outcome, stop], tick };
}

/** @param {Entry} entry @returns {View} */
function unanswered(entry) {
  const outcome = h(
    "p",
    { class: "outcome" },
    h("strong", {}, text("unanswered.title")),
    ` ${text(entry.asks === "waitlist" ? "unanswered.waitlist" : "unanswered.hold")}`,
  );
  return {
    nodes: [
      outcome,
      h(
        "div",
        { class: "actions" },
        button(text("action.retry"), "primary", () => submit(entry)),
        button(text("action.discard"), "quiet", () => discard(entry)),
      ),
    ],
  };
}

/**
 * @param {string} title
 * @param {string} words
 * @param {Entry} entry
 * @param {string} next the key of the text of the button
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
        button(text(next), next === DONE ? "quiet" : "secondary", () => dismiss(entry)),
      ),
    ],
  };
}
