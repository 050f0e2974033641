// Orders and payments of this buyer. An attempt is stored with its idempotency key before the
// request is sent: after a page load, a lost response or a restart, the same request is sent again
// with the same key and returns the recorded result. So a retry never orders or pays twice.

import { Problem, callUntilDecided, uuid } from "./api.js";
import { buyerId, displayName, hasChanged, recall, remember } from "./buyer.js";
import { cart } from "./cart.js";
import { explain, signInLink } from "./refusals.js";
import { service } from "./service.js";
import { hasText, text } from "./text.js";
import { isSignedOut, ofThisBuyer, session } from "./token.js";
import { toast } from "../elements/toast-list.js";
import { RETRY_WINDOW_MS } from "./yours.js";

/**
 * @typedef {import("./cart.js").Line} Line
 * @typedef {import("./api.js").Order} Order
 * @typedef {{key: string, lines: Line[], asked_at: number,
 *   stage: "placing" | "unanswered" | "placed", again?: boolean, order_id?: string,
 *   total?: import("./api.js").Money}} Checkout `unanswered`: the outcome is unknown; `again`: the
 *   request is being retried
 * @typedef {{key: string, order_id: string, scenario: string, asked_at: number,
 *   stage: "starting" | "unanswered" | "started", again?: boolean}} PaymentAttempt
 * @typedef {{checkouts: Checkout[], payments: PaymentAttempt[]}} Stored
 */

const NAME = ofThisBuyer("holdfast.orders");
/** The most orders, and payments, that the browser remembers. */
const MAX_KEPT = 30;
/** The longest life of an order: after it, an order that an unanswered request placed is over. */
const MAX_ORDER_MS = 3_600_000;

/** Dispatches `change`. */
class Checkouts extends EventTarget {
  #stored = read();

  constructor() {
    super();
    const reload = () => {
      this.#stored = read();
      this.dispatchEvent(new Event("change"));
    };
    addEventListener("storage", (event) => hasChanged(event, NAME) && reload());
    addEventListener("pageshow", (event) => event.persisted && reload());
  }

  /** Newest first. */
  get all() {
    return this.#stored.checkouts;
  }

  /** The order that is being placed, if there is one. */
  get open() {
    return this.all.find(({ stage }) => stage !== "placed");
  }

  /** The newest payment of an order. @param {string} orderId */
  paymentOf(orderId) {
    return this.#stored.payments.find(({ order_id }) => order_id === orderId);
  }

  /** @param {(stored: Stored) => void} change */
  change(change) {
    this.#stored = read();
    change(this.#stored);
    this.#stored.checkouts.length = Math.min(this.#stored.checkouts.length, MAX_KEPT);
    this.#stored.payments.length = Math.min(this.#stored.payments.length, MAX_KEPT);
    remember(NAME, JSON.stringify(this.#stored));
    this.dispatchEvent(new Event("change"));
  }

  /** @param {string} key @param {Partial<Checkout>} change */
  update(key, change) {
    this.change(({ checkouts }) => {
      const known = checkouts.find((other) => other.key === key);
      if (known) Object.assign(known, change);
    });
  }

  /** @param {string} key @param {Partial<PaymentAttempt>} change */
  updatePayment(key, change) {
    this.change(({ payments }) => {
      const known = payments.find((other) => other.key === key);
      if (known) Object.assign(known, change);
    });
  }

  /** Gives up an attempt to order. @param {string} key */
  remove(key) {
    this.change((stored) => {
      stored.checkouts = stored.checkouts.filter((other) => other.key !== key);
    });
  }

  /** Gives up an attempt to pay. @param {string} key */
  removePayment(key) {
    this.change((stored) => {
      stored.payments = stored.payments.filter((other) => other.key !== key);
    });
  }
}

/** @returns {Stored} */
function read() {
  /** @type {Stored} */
  const none = { checkouts: [], payments: [] };
  try {
    const stored = JSON.parse(recall(NAME) ?? "null");
    const isWhole = Array.isArray(stored?.checkouts) && Array.isArray(stored?.payments);
    return isWhole ? stored : none;
  } catch {
    return none;
  }
}

export const checkouts = new Checkouts();

/**
 * The last refusal of an order: the drop whose line was refused, or "" for the whole order.
 * @type {{dropId: string, words: string} | null}
 */
export let refusal = null;

/** Removes the refusal, because the cart was changed. */
export function clearOrderRefusal() {
  refusal = null;
}

/**
 * Orders the lines of the cart. Returns the order's id; undefined if it was refused, or if the
 * outcome is unknown.
 */
export async function placeOrder() {
  const lines = cart.lines.map((line) => ({ ...line }));
  if (lines.length === 0 || checkouts.open) return undefined;
  /** @type {Checkout} */
  const made = { key: uuid(), lines, asked_at: Date.now(), stage: "placing" };
  checkouts.change((stored) => {
    stored.checkouts.unshift(made);
  });
  return submitOrder(made, true);
}

/**
 * Sends the request of an order, or repeats it with the same key.
 * @param {Checkout} checkout @param {boolean} [isFirst] it was not sent before
 */
export async function submitOrder({ key, lines }, isFirst = false) {
  refusal = null;
  checkouts.update(key, { stage: "placing", again: false });
  const name = displayName();
  const body = {
    buyer_id: buyerId(),
    items: lines.map(({ drop_id, quantity }) => ({ drop_id, quantity })),
    ...(name ? { display_name: name } : {}),
  };
  try {
    /** @type {Order} */
    const order = await callUntilDecided(
      "/v1/orders",
      { method: "POST", key, body },
      {
        timeout: RETRY_WINDOW_MS,
        onRetry: () => retried(() => checkouts.update(key, { again: true })),
      },
    );
    checkouts.update(key, { stage: "placed", order_id: order.id, total: order.total });
    cart.remove(...lines.map(({ drop_id }) => drop_id));
    return order.id;
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    // A repeated request that needs a sign-in says nothing about the first one.
    const isRepeated = !isFirst || checkouts.all.find((one) => one.key === key)?.again;
    if (problem.isUndecided || (isSignedOut(problem) && isRepeated)) {
      checkouts.update(key, { stage: "unanswered" });
      return undefined;
    }
    if (isSignedOut(problem)) toast(explain(problem), { kind: "refusal", ...signInLink(problem) });
    refusal = { dropId: lineOf(problem, lines), words: wordsOf(problem) };
    checkouts.remove(key);
    return undefined;
  }
}

/** @param {() => void} mark */
function retried(mark) {
  mark();
  service.suspect();
}

/**
 * The drop of the item that a problem names, as `/items/1`; empty if it names none.
 * @param {Problem} problem @param {Line[]} lines
 */
function lineOf({ numbers }, lines) {
  const pointer = numbers.pointer ?? numbers.errors?.[0]?.pointer ?? "";
  const [, index] = /^\/items\/(\d+)/.exec(pointer) ?? [];
  return lines[Number(index)]?.drop_id ?? "";
}

/** @param {Problem} problem */
function wordsOf(problem) {
  const [fault] = problem.numbers.errors ?? [];
  if (fault && /\/drop_id$/.test(fault.pointer)) return text("order.one_currency");
  return explain(problem);
}

/**
 * After a page load: repeats the request of an order without a response. Returns the id of the
 * order.
 */
export async function resumeOrder() {
  const { open } = checkouts;
  if (!open || !session.isOpen) return undefined;
  const age = Date.now() - open.asked_at;
  if (age > MAX_ORDER_MS) {
    checkouts.remove(open.key);
    return undefined;
  }
  if (open.stage === "placing" && age < RETRY_WINDOW_MS) return submitOrder(open);
  checkouts.update(open.key, { stage: "unanswered" });
  return undefined;
}

/**
 * Starts a payment of an order by the demo provider.
 * @param {string} orderId @param {string} scenario
 */
export async function pay(orderId, scenario) {
  /** @type {PaymentAttempt} */
  const made = {
    key: uuid(),
    order_id: orderId,
    scenario,
    asked_at: Date.now(),
    stage: "starting",
  };
  checkouts.change((stored) => {
    stored.payments.unshift(made);
  });
  await submitPayment(made, true);
}

/**
 * Sends the request of a payment, or repeats it with the same key.
 * @param {PaymentAttempt} attempt @param {boolean} [isFirst] it was not sent before
 */
export async function submitPayment({ key, order_id, scenario }, isFirst = false) {
  checkouts.updatePayment(key, { stage: "starting", again: false });
  try {
    await callUntilDecided(
      `/v1/orders/${order_id}/payments`,
      { method: "POST", key, body: { provider: "demo", scenario } },
      { onRetry: () => retried(() => checkouts.updatePayment(key, { again: true })) },
    );
    checkouts.updatePayment(key, { stage: "started" });
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    const isRepeated = !isFirst || checkouts.paymentOf(order_id)?.again;
    if (problem.isUndecided || (isSignedOut(problem) && isRepeated))
      return checkouts.updatePayment(key, { stage: "unanswered" });
    checkouts.removePayment(key);
    toast(paymentRefusal(problem), { kind: "refusal", ...signInLink(problem) });
  }
  return undefined;
}

/** @param {Problem} problem */
function paymentRefusal(problem) {
  const key = `payment.problem.${problem.code}`;
  return hasText(key) ? text(key) : explain(problem);
}

/**
 * After a page load: repeats the request of a payment without a response.
 * @param {string} orderId
 */
export async function resumePayment(orderId) {
  const attempt = checkouts.paymentOf(orderId);
  if (attempt?.stage !== "starting" || !session.isOpen) return;
  if (Date.now() - attempt.asked_at < RETRY_WINDOW_MS) await submitPayment(attempt);
  else checkouts.updatePayment(attempt.key, { stage: "unanswered" });
}

/** Cancels an order. @param {Order} order @returns {Promise<Order | null>} null: refused */
export async function cancelOrder(order) {
  try {
    const cancelled = await callUntilDecided(`/v1/orders/${order.id}/cancel`, { method: "POST" });
    toast(text("toast.order_cancelled"));
    return cancelled;
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    toast(paymentRefusal(problem), { kind: "refusal", ...signInLink(problem) });
    return null;
  }
}
