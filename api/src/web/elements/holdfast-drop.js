// <holdfast-drop drop-id="…">: one drop on a page of any origin, with its live stock: hold, then
// buy before the hold ends; or join the waitlist, and get a hold from there.
//
// Promise: a request is repeated with its idempotency key until its outcome is known; a hold and a
// waitlist entry outlast a reload of the page; nothing is parsed as markup. Limit: it has no
// orders. docs/EMBED.md describes its attributes, events, parts and custom properties.

import { call, callUntilDecided, Problem, uuid } from "../lib/api.js";
import { server } from "../lib/base.js";
import { percentOf } from "../lib/challenge.js";
import { everyTick, until } from "../lib/clock.js";
import { h, mark, write } from "../lib/dom.js";
import {
  blockReason,
  has,
  isOver,
  LEVEL,
  offerSeconds,
  statusOf,
  statusWords,
  when,
} from "../lib/drop.js";
import { follow, storeClaim, storedClaim } from "../lib/embedded.js";
import { isolate, nameOrUnnamed } from "../lib/foreign.js";
import { clock, duration, durationInWords, money } from "../lib/format.js";
import { claimsOf } from "../lib/jwt.js";
import { button, disarm } from "../lib/press.js";
import { hasText, inLanguage, language, languageOf, text } from "../lib/text.js";
import { sheet } from "./holdfast-drop-style.js";

/**
 * @typedef {import("../lib/api.js").Drop} Drop
 * @typedef {import("../lib/api.js").Hold} Hold
 * @typedef {import("../lib/api.js").Waiting} Waiting
 * @typedef {import("../lib/embedded.js").Claim} Claim
 * @typedef {string | (() => string | Promise<string>)} Token
 */

/** The shortest time between two reads of a hold that should have ended. */
const CHECK_MS = 2000;
/** The longest time between two reads of a waitlist entry; a change of the drop causes another. */
const WAITING_MS = 10_000;
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
  /** @type {Waiting | undefined} */
  #entry;
  #isBusy = false;
  #isStarted = false;
  /** When the hold or the waitlist entry was last read, by the page's monotonic clock. */
  #checkedAt = -Infinity;
  /** The version of the drop at which the waitlist entry was last read. */
  #checkedPosition = 0;
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
  #code = h("input", {
    type: "text",
    class: "code",
    part: "code",
    maxlength: 64,
    autocomplete: "off",
    autocapitalize: "characters",
  });
  #place = h("p", { class: "place", part: "place", hidden: true });
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
      this.#place,
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
    const given = this.getAttribute("server");
    if (given === null) return server;
    const { origin, pathname } = new URL(given, document.baseURI);
    return origin + pathname.replace(/\/+$/, "");
  }

  /** The present drop, once it is known. */
  get drop() {
    return this.#drop;
  }

  /** The present hold of the buyer, if any. */
  get hold() {
    return this.#hold;
  }

  /** The present waitlist entry of the buyer, if any. */
  get entry() {
    return this.#entry;
  }

  get #dropId() {
    return this.getAttribute("drop-id") ?? "";
  }

  /** Reads the hold or the waitlist entry again, for a shop that has purchased or released it. */
  async refresh() {
    const run = this.#run;
    const { hold_id, entry_id } = this.#claim ?? {};
    if (hold_id) {
      const hold = await this.#read(`holds/${hold_id}`);
      if (run === this.#run) this.#take(hold);
    } else if (entry_id) {
      const entry = await this.#read(`waitlist/${entry_id}`);
      if (run === this.#run) await this.#follow(entry);
    }
  }

  async #restart() {
    this.#stop();
    this.#run += 1;
    const run = this.#run;
    [this.#drop, this.#hold, this.#claim, this.#stage] = [undefined, undefined, undefined, ""];
    this.#entry = undefined;
    this.#say("");
    this.#actions.replaceChildren();
    mark(this.#name, "aria-level", this.getAttribute("heading-level") ?? "2");
    try {
      const tag = this.closest("[lang]")?.getAttribute("lang") ?? "";
      this.#language = await languageOf(tag).catch(() => this.#language);
      if (run !== this.#run) return;
      this.#in(() => {
        mark(this.#quantity, "aria-label", text("quantity.label"));
        mark(this.#code, "aria-label", text("hold.code"));
        mark(this.#code, "placeholder", text("hold.code"));
      });
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

  /** Reads a hold or a waitlist entry. @param {string} path @returns {Promise<any>} */
  async #read(path) {
    return call(`${this.server}/v1/${path}`, { headers: await this.#headers() });
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
      if (left <= 0) this.#check(CHECK_MS);
    }
    this.#countdown.hidden = hold?.status !== "held";
    const isWaiting = !hold && this.#entry?.status === "waiting";
    if (isWaiting) {
      // An offer sets units aside, so it changes the drop.
      const isNews = drop.position > this.#checkedPosition;
      this.#check(isNews ? CHECK_MS : WAITING_MS);
    }
    this.#showPlace(drop, isWaiting);
    const free = this.#buyer ? statusOf(drop) : "anonymous";
    const stage = hold?.status ?? (isWaiting ? "waiting" : free);
    // The choices depend on more than the stage.
    const kind = `${stage} ${stage === free ? `${drop.access} ${has(drop.stock, 1)}` : ""}`;
    if (kind !== this.#stage) this.#build(stage, kind, drop);
    this.#arm();
    // A disabled button would lose the focus; presses are ignored instead.
    mark(this.#actions, "aria-busy", this.#isBusy ? "true" : null);
  }

  /** Reads the hold or the waitlist entry, at most once in `ms`. @param {number} ms */
  #check(ms) {
    if (this.#isBusy || performance.now() - this.#checkedAt <= ms) return;
    this.#checkedAt = performance.now();
    this.#checkedPosition = this.#drop?.position ?? 0;
    void this.#act(() => this.refresh());
  }

  /** The rank of the buyer, or the length of the waitlist. @param {Drop} drop */
  #showPlace(drop, /** @type {boolean} */ isWaiting) {
    const length = drop.waitlist_length;
    const duration = durationInWords(offerSeconds(drop));
    const mayJoin = this.#buyer !== "" && !this.#hold && canJoin(drop);
    this.#place.hidden = !isWaiting && !mayJoin;
    if (isWaiting && this.#entry) {
      const { place, blocked_by, quantity } = this.#entry;
      const rank = place ? text("waitlist.you_rank", { count: place }) : text("waitlist.you");
      const words = blocked_by
        ? `${text("waitlist.you_blocked")}. ${text("waitlist.reason", { reason: blockReason(blocked_by, quantity, drop) })}`
        : `${rank}. ${text("waitlist.hint", { duration })}`;
      write(this.#place, words);
    } else if (mayJoin) {
      const waiting =
        length > 0 ? text("waitlist.length", { count: length }) : text("waitlist.empty");
      write(this.#place, `${waiting}. ${text("waitlist.offer", { duration })}`);
    }
  }

  /**
   * Builds the actions of a stage.
   * @param {string} stage @param {string} kind the stage, and what its actions depend on
   * @param {Drop} drop
   */
  #build(stage, kind, drop) {
    const hadFocus = this.#actions.contains(this.shadowRoot?.activeElement ?? null);
    const isStep = this.#stage !== "";
    this.#stage = kind;
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
      case "live":
        return this.#choice(drop, "holds");
      case "scheduled":
        // A code may open the drop before its start.
        return drop.access === "code" ? this.#choice(drop, "holds") : [];
      case "sold_out":
      case "paused":
        return canJoin(drop) ? this.#choice(drop, "waitlist") : [];
      case "waiting":
        return [button(text("action.leave"), "secondary", () => this.#act(() => this.#leave()))];
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

  /** A quantity, a code and a button. @param {Drop} drop @param {"holds" | "waitlist"} asks */
  #choice(drop, asks) {
    const [words, kind] =
      asks === "holds" ? [text("action.hold"), "primary"] : [text("action.join"), "secondary"];
    return [
      ...(drop.max_per_hold > 1 ? [this.#quantity] : []),
      ...(drop.access === "code" ? [this.#code] : []),
      button(words, kind, () => this.#act(() => this.#request(asks))),
    ];
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

  /** Requests a hold or a waitlist entry. @param {"holds" | "waitlist"} asks */
  async #request(asks) {
    if (!this.#quantity.reportValidity()) return;
    // An attempt whose outcome is unknown is repeated as it was sent.
    const claim = this.#claim ?? this.#attempt(asks);
    this.#remember(claim);
    const { key, quantity, code, asks: part = "holds" } = claim;
    const body = { buyer_id: this.#buyer, quantity, ...(code ? { code } : {}) };
    const path = `${this.server}/v1/drops/${this.#dropId}/${part}`;
    const [headers, run] = [await this.#headers(), this.#run];
    const checking = setInterval(() => {
      if (percentOf(key) !== undefined) this.#in(() => this.#say(text("busy.browser")));
    }, CHECKING_MS);
    try {
      const made = await callUntilDecided(path, { method: "POST", body, key, headers });
      if (run !== this.#run) return;
      if (part === "waitlist") {
        this.#remember({ key, quantity, asks: part, entry_id: made.id });
        this.#emit("joined", { entry: made, drop: this.#drop });
        return await this.#follow(made);
      }
      this.#remember({ key, quantity, hold_id: made.id });
      this.#take(made);
      if (made.status === "held") this.#emit("held", { hold: made, drop: this.#drop });
    } catch (error) {
      if (run === this.#run && !(error instanceof Problem && error.isUndecided))
        this.#remember(undefined);
      throw error;
    } finally {
      clearInterval(checking);
    }
  }

  /** @param {"holds" | "waitlist"} asks @returns {Claim} */
  #attempt(asks) {
    const code = this.#drop?.access === "code" ? this.#code.value.trim() : "";
    return { key: uuid(), asks, quantity: Number(this.#quantity.value), ...(code && { code }) };
  }

  /** Takes over the present state of the waitlist entry. @param {Waiting} entry */
  async #follow(entry) {
    const isNew = this.#entry === undefined;
    this.#entry = entry.status === "waiting" ? entry : undefined;
    if (entry.status === "waiting") {
      if (isNew) this.#say("");
    } else if (entry.hold_id && entry.status === "offered") {
      const run = this.#run;
      const hold = await this.#read(`holds/${entry.hold_id}`);
      if (run !== this.#run) return;
      this.#remember({ key: uuid(), quantity: entry.quantity, hold_id: hold.id });
      this.#take(hold);
      if (hold.status === "held") this.#emit("held", { hold, drop: this.#drop });
    } else {
      this.#remember(undefined);
      this.#in(() => this.#say(text("closed.title")));
    }
    this.#tick();
  }

  async #leave() {
    const entry = /** @type {Waiting} */ (this.#entry);
    const path = `${this.server}/v1/waitlist/${entry.id}`;
    await callUntilDecided(path, { method: "DELETE", headers: await this.#headers() });
    this.#entry = undefined;
    this.#remember(undefined);
    this.#say("");
    this.#emit("left", { entry, drop: this.#drop });
    this.#tick();
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
    if (code === "already_offered") void this.refresh().catch(() => {});
    if (code === "waitlist_entry_not_found") {
      this.#entry = undefined;
      this.#remember(undefined);
    }
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

/** Buyers may wait for units that a hold would not get now. @param {Drop} drop */
function canJoin(drop) {
  const status = statusOf(drop);
  return status === "sold_out" || (status === "paused" && !has(drop.stock, 1));
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
    case "code_invalid":
      return numbers.expired_at
        ? text("refusal.code_expired", { time: clock(numbers.expired_at) })
        : text("refusal.code_invalid");
    default:
      return hasText(`problem.${code}`) ? text(`problem.${code}`) : isolate(message);
  }
}

customElements.define("holdfast-drop", HoldfastDrop);
