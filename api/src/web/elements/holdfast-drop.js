// <holdfast-drop drop-id="…">: one drop on a page of any origin, with its live stock: hold, then
// buy before the hold ends.
//
// Promise: a request is repeated with its idempotency key until its outcome is known; a hold
// outlasts a reload of the page; nothing is parsed as markup. Limit: it has no waitlist and no
// orders. docs/EMBED.md describes its attributes, events, parts and custom properties.

import { call, callUntilDecided, Problem, uuid } from "../lib/api.js";
import { percentOf } from "../lib/challenge.js";
import { everyTick, until } from "../lib/clock.js";
import { h, mark, write } from "../lib/dom.js";
import { isOver, LEVEL, statusOf, statusWords, when } from "../lib/drop.js";
import { follow, storeClaim, storedClaim } from "../lib/embedded.js";
import { isolate, nameOrUnnamed } from "../lib/foreign.js";
import { clock, duration, money } from "../lib/format.js";
import { claimsOf } from "../lib/jwt.js";
import { button, disarm } from "../lib/press.js";
import { hasText, inLanguage, language, languageOf, text } from "../lib/text.js";
import { sheet } from "./holdfast-drop-style.js";

/**
 * @typedef {import("../lib/api.js").Drop} Drop
 * @typedef {import("../lib/api.js").Hold} Hold
 * @typedef {import("../lib/embedded.js").Claim} Claim
 * @typedef {string | (() => string | Promise<string>)} Token
 */

/** The shortest time between two reads of a hold that should have ended. */
const CHECK_MS = 2000;
/** The time between two looks at the work for a hold. */
const CHECKING_MS = 250;

export class HoldfastDrop extends HTMLElement {
  static observedAttributes = ["drop-id", "server", "buyer-id", "token", "heading-level", "lang"];

  /** The language of its texts: that of its attribute `lang`, or of the elements around it. */
  #language = language();

  /** @type {Token} */
  #token = "";
  #buyer = "";
  /** @type {Drop | undefined} */
  #drop;
  /** @type {Claim | undefined} */
  #claim;
  /** @type {Hold | undefined} */
  #hold;
  #isBusy = false;
  #isStarted = false;
  /** When the end of the hold was last checked, by the page's monotonic clock. */
  #checkedAt = -Infinity;
  /** The stage for which the actions were built. */
  #stage = "";
  #arm = () => {};
  #stop = () => {};
  /** Changes when the element is connected to another drop, so that late responses are ignored. */
  #run = 0;

  #picture = h("img", { class: "picture", part: "picture", alt: "", hidden: true });
  #name = h("div", { class: "name", part: "name", dir: "auto", role: "heading", "aria-level": 2 });
  #price = h("span", { class: "price", part: "price" });
  #status = h("p", { class: "status", part: "status" });
  #fill = h("div", { class: "fill", part: "fill" });
  #bar = h("div", { class: "bar", part: "bar", "aria-hidden": "true" }, this.#fill);
  #stock = h("p", { class: "stock", part: "stock" });
  #countdown = h("p", { class: "countdown", part: "countdown", role: "timer", hidden: true });
  #quantity = h("input", {
    type: "number",
    part: "quantity",
    min: 1,
    value: 1,
    inputmode: "numeric",
  });
  #actions = h("div", { class: "actions", part: "actions", tabindex: "-1" });
  #message = h("p", { class: "message", part: "message", role: "status" });
  #card = h("section", { class: "card", part: "card" });

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [sheet];
    this.#card.append(
      this.#picture,
      h("div", { class: "title" }, this.#name, this.#price),
      this.#status,
      this.#bar,
      this.#stock,
      this.#countdown,
      this.#actions,
      this.#message,
    );
    root.append(this.#card);
  }

  connectedCallback() {
    // A page may set the property before this script has run.
    if (Object.hasOwn(this, "token")) {
      const { token } = this;
      Reflect.deleteProperty(this, "token");
      this.token = token;
    }
    this.#isStarted = true;
    void this.#restart();
  }

  disconnectedCallback() {
    this.#isStarted = false;
    this.#stop();
    this.#run += 1;
  }

  /** @param {string} name @param {string | null} before @param {string | null} after */
  attributeChangedCallback(name, before, after) {
    if (before === after) return;
    if (name === "token") this.#token = after ?? "";
    if (this.#isStarted) void this.#restart();
  }

  /** The buyer's token, or a function that returns a present one. @returns {Token} */
  get token() {
    return this.#token;
  }

  set token(token) {
    this.#token = token;
    if (this.#isStarted) void this.#restart();
  }

  /** The server, by default the one that served this script. */
  get server() {
    return new URL(this.getAttribute("server") ?? import.meta.url, document.baseURI).origin;
  }

  /** The present drop, once it is known. */
  get drop() {
    return this.#drop;
  }

  /** The present hold of the buyer, if any. */
  get hold() {
    return this.#hold;
  }

  get #dropId() {
    return this.getAttribute("drop-id") ?? "";
  }

  /** Reads the hold again, for a shop that has purchased or released it. */
  async refresh() {
    const run = this.#run;
    if (!this.#claim?.hold_id) return;
    const hold = await this.#read(this.#claim.hold_id);
    if (run === this.#run) this.#take(hold);
  }

  async #restart() {
    this.#stop();
    this.#run += 1;
    const run = this.#run;
    [this.#drop, this.#hold, this.#claim, this.#stage] = [undefined, undefined, undefined, ""];
    this.#say("");
    this.#actions.replaceChildren();
    mark(this.#name, "aria-level", this.getAttribute("heading-level") ?? "2");
    try {
      const tag = this.closest("[lang]")?.getAttribute("lang") ?? "";
      this.#language = await languageOf(tag).catch(() => this.#language);
      if (run !== this.#run) return;
      this.#in(() => mark(this.#quantity, "aria-label", text("quantity.label")));
      mark(this.#card, "dir", this.#language.direction);
      this.#buyer = this.getAttribute("buyer-id") ?? claimsOf(await this.#present())?.buyer ?? "";
      const drop = await callUntilDecided(`${this.server}/v1/drops/${this.#dropId}`, {});
      if (run !== this.#run) return;
      const watcher = {
        onDrop: (/** @type {Drop} */ changed) => this.#show(changed),
        onConnection: (/** @type {boolean} */ isLive) => this.toggleAttribute("data-live", isLive),
      };
      const [unfollow, untick] = [
        follow(this.server, drop.id, watcher),
        everyTick(() => this.#tick()),
      ];
      this.#stop = () => {
        unfollow();
        untick();
        this.#stop = () => {};
      };
      this.#claim = storedClaim(this.server, this.#dropId, this.#buyer);
      this.#show(drop);
      await this.refresh();
    } catch (error) {
      if (run === this.#run) this.#refuse(error);
    }
  }

  /** Makes texts in the language of the element. @template T @param {() => T} show */
  #in(show) {
    return inLanguage(this.#language, show);
  }

  async #present() {
    return typeof this.#token === "function" ? this.#token() : this.#token;
  }

  /** @returns {Promise<Record<string, string>>} */
  async #headers() {
    const token = await this.#present();
    return token ? { Authorization: `Bearer ${token}` } : {};
  }

  /** @param {string} holdId @returns {Promise<Hold>} */
  async #read(holdId) {
    return call(`${this.server}/v1/holds/${holdId}`, { headers: await this.#headers() });
  }

  /** @param {Drop} drop */
  #show(drop) {
    this.#in(() => this.#fillIn(drop));
  }

  /** @param {Drop} drop */
  #fillIn(drop) {
    this.#drop = drop;
    write(this.#name, nameOrUnnamed(drop.name));
    write(this.#price, money(drop.price));
    mark(this.#picture, "src", drop.image_url && new URL(drop.image_url, this.server).href);
    this.#picture.hidden = !drop.image_url;
    this.#showStock(drop);
    this.#quantity.max = String(drop.max_per_hold);
    this.#tick();
  }

  /** @param {Drop} drop */
  #showStock(drop) {
    const isForSale = !isOver(statusOf(drop));
    const { available, total, held, sold, level } = drop.stock;
    this.#bar.hidden = level !== undefined;
    // A shop may withhold the numbers.
    if (level) return write(this.#stock, isForSale ? LEVEL[level] : "");
    this.#fill.style.setProperty("--share", `${(100 * (sold + held)) / Math.max(1, total)}%`);
    write(
      this.#stock,
      isForSale ? text("embed.left", { available, total }) : text("stock.sold", { number: sold }),
    );
  }

  #tick() {
    const drop = this.#drop;
    if (drop) this.#in(() => this.#update(drop));
  }

  /** @param {Drop} drop */
  #update(drop) {
    mark(this, "data-status", statusOf(drop));
    write(this.#status, `${statusWords(drop)} · ${when(drop)}`);
    const hold = this.#hold;
    if (hold?.status === "held") {
      const left = until(hold.expires_at);
      write(this.#countdown, text("embed.reserved", { time: duration(left) }));
      const isDue = left <= 0 && performance.now() - this.#checkedAt > CHECK_MS;
      if (isDue && !this.#isBusy) {
        this.#checkedAt = performance.now();
        void this.#act(() => this.refresh());
      }
    }
    this.#countdown.hidden = hold?.status !== "held";
    const stage = hold ? hold.status : this.#buyer ? statusOf(drop) : "anonymous";
    if (stage !== this.#stage) this.#build(stage, drop);
    this.#arm();
    // A disabled button would lose the focus; presses are ignored instead.
    mark(this.#actions, "aria-busy", this.#isBusy ? "true" : null);
  }

  /** Builds the actions of a stage. @param {string} stage @param {Drop} drop */
  #build(stage, drop) {
    const hadFocus = this.#actions.contains(this.shadowRoot?.activeElement ?? null);
    const isStep = this.#stage !== "";
    this.#stage = stage;
    mark(this, "data-stage", stage);
    this.#actions.replaceChildren(...this.#actionsOf(stage, drop));
    for (const one of this.#actions.querySelectorAll("button"))
      one.part.add("button", one.classList[0] ?? "");
    if (hadFocus) this.#actions.focus();
    // A press that is meant for the earlier button must not reach its successor.
    this.#arm = isStep
      ? disarm(this.#actions.querySelectorAll("button"), () => {
          if (this.shadowRoot?.activeElement === this.#actions)
            this.#actions.querySelector("button")?.focus();
        })
      : () => {};
  }

  /** @param {string} stage @param {Drop} drop @returns {Node[]} */
  #actionsOf(stage, drop) {
    switch (stage) {
      case "live": {
        const hold = button(text("action.hold"), "primary", () => this.#act(() => this.#place()));
        return drop.max_per_hold > 1 ? [this.#quantity, hold] : [hold];
      }
      case "held": {
        const release = button(text("action.release"), "secondary", () =>
          this.#act(() => this.#release()),
        );
        if (this.hasAttribute("no-purchase")) return [h("slot", { name: "checkout" }), release];
        const { price, quantity } = /** @type {Hold} */ (this.#hold);
        const words = text("action.buy", { price: money(price ?? drop.price, quantity) });
        return [button(words, "primary", () => this.#act(() => this.#purchase())), release];
      }
      case "purchased":
        return [button(text("embed.again"), "secondary", () => this.#again())];
      default:
        return [];
    }
  }

  /** Begins again after a purchase. */
  #again() {
    this.#hold = undefined;
    this.#say("");
    this.#tick();
  }

  /** Runs one action at a time. @param {() => Promise<void>} action */
  async #act(action) {
    if (this.#isBusy) return;
    this.#isBusy = true;
    this.#tick();
    try {
      await action();
    } catch (error) {
      this.#refuse(error);
    } finally {
      this.#isBusy = false;
      this.#tick();
    }
  }

  async #place() {
    if (!this.#quantity.reportValidity()) return;
    // An attempt whose outcome is unknown is repeated as it was sent.
    const claim = this.#claim ?? { key: uuid(), quantity: Number(this.#quantity.value) };
    this.#remember(claim);
    const body = { buyer_id: this.#buyer, quantity: claim.quantity };
    const path = `${this.server}/v1/drops/${this.#dropId}/holds`;
    const [headers, run] = [await this.#headers(), this.#run];
    const checking = setInterval(() => {
      if (percentOf(claim.key) !== undefined) this.#in(() => this.#say(text("busy.browser")));
    }, CHECKING_MS);
    try {
      const hold = await callUntilDecided(path, { method: "POST", body, key: claim.key, headers });
      if (run !== this.#run) return;
      this.#remember({ ...claim, hold_id: hold.id });
      this.#take(hold);
      if (hold.status === "held") this.#emit("held", { hold, drop: this.#drop });
    } catch (error) {
      if (run === this.#run && !(error instanceof Problem && error.isUndecided))
        this.#remember(undefined);
      throw error;
    } finally {
      clearInterval(checking);
    }
  }

  async #purchase() {
    const hold = /** @type {Hold} */ (this.#hold);
    const headers = await this.#headers();
    const path = `${this.server}/v1/holds/${hold.id}/purchase`;
    const purchase = await callUntilDecided(path, { method: "POST", headers });
    this.#take({ ...hold, status: "purchased" });
    this.#emit("purchased", { purchase, drop: this.#drop });
  }

  async #release() {
    const hold = /** @type {Hold} */ (this.#hold);
    const path = `${this.server}/v1/holds/${hold.id}`;
    await callUntilDecided(path, { method: "DELETE", headers: await this.#headers() });
    this.#take({ ...hold, status: "released" });
    this.#emit("released", { hold, drop: this.#drop });
  }

  /** Takes over the present state of the hold. @param {Hold} hold */
  #take(hold) {
    const was = this.#hold?.status;
    const isActive = hold.status === "held" || hold.status === "purchased";
    this.#hold = isActive ? hold : undefined;
    if (hold.status !== "held") this.#remember(undefined);
    this.#in(() => this.#say(text(`embed.${hold.status}`, { count: hold.quantity })));
    if (hold.status === "expired" && was === "held")
      this.#emit("expired", { hold, drop: this.#drop });
    this.#tick();
  }

  /** @param {Claim | undefined} claim */
  #remember(claim) {
    this.#claim = claim;
    storeClaim(this.server, this.#dropId, this.#buyer, claim);
  }

  /** Shows and reports a failure. @param {unknown} error */
  #refuse(error) {
    if (!(error instanceof Problem)) throw error;
    const { code, status, numbers: problem } = error;
    this.#in(() => this.#say(explain(error), true));
    this.#emit("error", { code, status, problem });
    if (["hold_expired", "hold_released", "hold_purchased"].includes(code) && this.#hold)
      void this.refresh().catch(() => {});
    if (code === "hold_not_found") {
      this.#hold = undefined;
      this.#remember(undefined);
    }
  }

  /** @param {string} words */
  #say(words, isRefusal = false) {
    write(this.#message, words);
    this.#message.classList.toggle("refusal", isRefusal);
  }

  /** @param {string} name @param {unknown} detail */
  #emit(name, detail) {
    const event = new CustomEvent(`holdfast:${name}`, { detail, bubbles: true, composed: true });
    this.dispatchEvent(event);
  }
}

/** Describes a refusal and the next step. @param {Problem} problem */
function explain({ code, message, numbers, retryAfter }) {
  switch (code) {
    case "sold_out":
      return numbers.available > 0
        ? text("refusal.few_left", { count: numbers.available })
        : text("embed.none_left");
    case "limit_reached":
      return numbers.allowance > 0
        ? text("refusal.allowance", { count: numbers.allowance })
        : text("refusal.limit", { count: numbers.limit });
    case "throttled":
    case "cooling_down":
    case "address_limit_reached":
      return text("embed.throttled", { time: duration(retryAfter * 1000) });
    case "not_live":
      return text("embed.not_live", { time: clock(numbers.starts_at) });
    case "ended":
      return text("embed.over");
    case "hold_expired":
      return text("embed.hold_expired");
    default:
      return hasText(`problem.${code}`) ? text(`problem.${code}`) : isolate(message);
  }
}

customElements.define("holdfast-drop", HoldfastDrop);
