// The details of one drop: picture, terms, stock, purchasers, and the actions of this buyer.

import { call } from "../lib/api.js";
import { buyerId } from "../lib/buyer.js";
import { everyTick } from "../lib/clock.js";
import { isOver, statusOf, statusWords, when } from "../lib/drop.js";
import { h, mark, write } from "../lib/dom.js";
import { nameOrUnnamed } from "../lib/foreign.js";
import { clock, count, durationInWords, money } from "../lib/format.js";
import { text } from "../lib/text.js";
import { session } from "../lib/token.js";
import { store } from "../lib/yours.js";
import { DropPicture } from "./drop-picture.js";
import { HoldPanel } from "./hold-panel.js";
import { StockBar } from "./stock-bar.js";

/**
 * @typedef {import("../lib/api.js").Drop} Drop
 * @typedef {import("../lib/api.js").Purchaser} Purchaser
 */

const FIGURES = /** @type {const} */ ([
  ["available", text("figure.available")],
  ["held", text("figure.held")],
  ["sold", text("figure.sold")],
  ["total", text("figure.total")],
]);
/** Marks the state that the server has rendered. */
const FIRST = "data-first";
const REQUEST_DELAY_MS = 500;
/** The pause after a failed request. */
const RETRY_MS = 5000;

export class DropSheet extends HTMLElement {
  /** @type {Drop | undefined} */
  #drop;
  #picture = new DropPicture();
  #status = h("span", { class: "status" });
  #name = h("h1", { dir: "auto" });
  #description = h("p", { class: "description", dir: "auto" });
  #price = h("p", { class: "price large" });
  #stock = new StockBar();
  #when = h("p", { class: "when" });
  #panel = new HoldPanel();
  #figures = new Map(FIGURES.map(([name]) => [name, h("dd")]));
  #names = new Map(FIGURES.map(([name, words]) => [name, h("dt", {}, words)]));
  #rules = h("ul", { class: "plain rules" });
  #standing = h("p", { class: "standing" });
  #top = h("ol", { class: "plain rows" });
  #latest = h("ol", { class: "plain rows" });
  /** Strangers' names are shown, and requested, only on request. */
  #purchasers = h("details", { class: "panel fold", id: "purchasers" });
  #timer = 0;

  connectedCallback() {
    // The server's first state stays until the drop is known.
    if (!this.hasAttribute(FIRST)) this.#build();
    everyTick(() => this.#tick());
    store.addEventListener("change", () => this.#loadSoon());
  }

  #build() {
    const shown = this.querySelector("drop-picture");
    // The same element, so that its picture is not drawn again.
    if (shown instanceof DropPicture) this.#picture = shown;
    const figures = h(
      "dl",
      { class: "figures" },
      ...FIGURES.map(([name]) => h("div", {}, this.#names.get(name), this.#figures.get(name))),
    );
    const facts = h(
      "div",
      { class: "sheet-facts" },
      this.#name,
      this.#price,
      this.#description,
      h("div", { class: "buy-box" }, this.#stock, this.#when, this.#panel, this.#standing),
      document.createElement("name-field"),
    );
    this.#purchasers.append(
      h("summary", {}, text("purchasers.title")),
      h(
        "div",
        { class: "columns" },
        h(
          "section",
          { "aria-labelledby": "top-title" },
          title("top-title", text("purchasers.top")),
          this.#top,
        ),
        h(
          "section",
          { "aria-labelledby": "latest-title" },
          title("latest-title", text("purchasers.latest")),
          this.#latest,
        ),
      ),
    );
    this.#purchasers.addEventListener("toggle", () => this.#loadNow());
    this.replaceChildren(
      h(
        "div",
        { class: "sheet" },
        h("div", { class: "frame large" }, this.#picture, this.#status),
        facts,
        h("div", { class: "sheet-more" }, figures, this.#rules),
      ),
      this.#purchasers,
    );
    this.removeAttribute(FIRST);
  }

  /** @param {Drop} drop */
  set drop(drop) {
    const before = this.#drop;
    this.#drop = drop;
    if (this.hasAttribute(FIRST)) this.#build();
    write(this.#name, nameOrUnnamed(drop.name));
    write(this.#description, drop.description ?? "");
    write(this.#price, money(drop.price));
    this.#picture.drop = drop;
    this.#panel.drop = drop;
    for (const [name, figure] of this.#figures)
      write(figure, drop.stock.level ? "–" : count(drop.stock[name]));
    this.#showRules(drop);
    this.#tick();
    if (!before || before.stock.sold !== drop.stock.sold) this.#loadSoon();
  }

  #tick() {
    const drop = this.#drop;
    if (!drop) return;
    mark(this, "data-status", statusOf(drop));
    write(this.#status, statusWords(drop));
    write(this.#when, when(drop));
    const over = isOver(statusOf(drop));
    this.#stock.show(drop.stock, over);
    const available = this.#names.get("available");
    if (available) write(available, text(over ? "figure.unsold" : "figure.available"));
  }

  /** @param {Drop} drop */
  #showRules({ hold_seconds, max_per_hold, max_per_buyer, throttle, limit_group }) {
    const ofBuyer = limit_group === null ? "rule.per_buyer" : "rule.per_buyer_in_group";
    const rules = [
      text("rule.lasts", { duration: durationInWords(hold_seconds) }),
      text("rule.per_hold", { count: max_per_hold }),
      max_per_buyer === null ? "" : text(ofBuyer, { count: max_per_buyer }),
      throttle === null
        ? ""
        : text("rule.throttle", {
            count: throttle.holds,
            duration: durationInWords(throttle.window_seconds),
          }),
    ].filter(Boolean);
    if (
      this.#rules.childElementCount === rules.length &&
      [...this.#rules.children].every((item, index) => item.textContent === rules[index])
    )
      return;
    this.#rules.replaceChildren(...rules.map((rule) => h("li", {}, rule)));
  }

  /**
   * Requests data that the stream does not contain, after a pause that combines several changes.
   * @param {number} [pause]
   */
  #loadSoon(pause = REQUEST_DELAY_MS) {
    if (this.#timer) return;
    this.#timer = window.setTimeout(() => {
      this.#timer = 0;
      void this.#load();
    }, pause);
  }

  /** As `#loadSoon`, without the pause. */
  #loadNow() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    void this.#load();
  }

  async #load() {
    const drop = this.#drop;
    if (!drop) return;
    const all = [this.#loadStanding(drop), this.#purchasers.open && this.#loadPurchasers(drop)];
    const loaded = await Promise.all(all);
    if (loaded.includes(null)) this.#loadSoon(RETRY_MS);
  }

  /** Null: the request failed. @param {Drop} drop */
  async #loadStanding(drop) {
    // Without a token the last response stays.
    if (!session.isOpen) return undefined;
    const standing = await call(fresh(drop, `/buyers/${encodeURIComponent(buyerId())}?`)).catch(
      () => null,
    );
    write(this.#standing, standing ? describe(standing, store.of(drop.id) === undefined) : "");
    return standing;
  }

  /** Null: a request failed. @param {Drop} drop */
  async #loadPurchasers(drop) {
    const [top, latest] = await Promise.all([
      call(fresh(drop, "/purchasers?limit=5&order=units&")).catch(() => null),
      call(fresh(drop, "/purchasers?limit=5&order=recent&")).catch(() => null),
    ]);
    const retry = () => this.#loadNow();
    if (top) fill(this.#top, top.data, ({ quantity }) => text("unit.count", { count: quantity }));
    else showError(this.#top, retry);
    if (latest)
      fill(this.#latest, latest.data, ({ last_purchased_at }) => clock(last_purchased_at));
    else showError(this.#latest, retry);
    return top && latest;
  }
}
customElements.define("drop-sheet", DropSheet);

/** @param {string} id @param {string} words */
function title(id, words) {
  return h("h2", { id }, words);
}

/**
 * A path below a drop, for a response that is at least as new as the page, whichever node responds.
 * @param {Drop} drop @param {string} rest ends with `?` or `&`
 */
function fresh({ id, position }, rest) {
  return `/v1/drops/${id}${rest}at_least=${position}`;
}

/**
 * @param {Element} list
 * @param {Purchaser[]} purchasers
 * @param {(purchaser: Purchaser) => string} figure
 */
function fill(list, purchasers, figure) {
  const rows = purchasers.map((purchaser) =>
    h(
      "li",
      {},
      h("bdi", {}, nameOrUnnamed(purchaser.buyer)),
      h("span", { class: "tabular" }, figure(purchaser)),
    ),
  );
  list.replaceChildren(
    ...(rows.length > 0 ? rows : [h("li", { class: "quiet-words" }, text("purchasers.none"))]),
  );
}

/**
 * Replaces a list that could not be loaded by an error, because its old content may be outdated.
 * @param {Element} list
 * @param {() => void} retry
 */
function showError(list, retry) {
  if (list.querySelector(".unread")) return;
  const button = h(
    "button",
    { type: "button", class: "quiet small", onclick: retry },
    text("action.retry"),
  );
  list.replaceChildren(
    h("li", { class: "unread" }, h("span", {}, text("purchasers.failed")), button),
  );
}

/**
 * The buyer's holds and purchases, and the remaining allowance if a hold can be placed now.
 * @param {import("../lib/api.js").Standing} standing
 * @param {boolean} canHold
 */
function describe({ held, purchased, allowance }, canHold) {
  if (held === 0 && purchased === 0) return "";
  const have = [
    held > 0 && text("standing.held", { count: held }),
    purchased > 0 && text("standing.bought", { count: purchased }),
  ]
    .filter(Boolean)
    .join(", ");
  if (allowance === 0) return text("standing.limit", { have });
  return canHold
    ? text("standing.more", { have, count: allowance })
    : text("standing.only", { have });
}
