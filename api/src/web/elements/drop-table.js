// A page of drops with their stock and actions. A row is created once and its numbers change, so
// that it keeps the focus. On a small screen the style sheet turns each row into a card, so that
// everything is visible; explicit roles keep the table semantics.

import { h, mark, write } from "../lib/dom.js";
import { STATUS, isOver } from "../lib/drop.js";
import { isolate, nameOrUnnamed } from "../lib/foreign.js";
import { count } from "../lib/format.js";
import { openAdjust, openCancel, openDuplicate, openEdit } from "./drop-form.js";
import { saleAction } from "./sale-form.js";

/** @typedef {import("../lib/api.js").DropLine} DropLine */
/** @typedef {{row: HTMLTableRowElement, fill: (line: DropLine) => void}} Row */

const FIGURES = /** @type {const} */ ([
  ["total", "Total"],
  ["available", "Available"],
  ["held", "Held"],
  ["sold", "Sold"],
  ["expired", "Expired"],
]);

export class DropTable extends HTMLElement {
  /** @type {Map<string, Row>} */
  #rows = new Map();
  #body = h("tbody", { role: "rowgroup" });
  #none = h("p", { class: "quiet-words", hidden: true });

  connectedCallback() {
    const head = ["Drop", "Status", ...FIGURES.map(([, words]) => words)].map((words) =>
      h("th", { scope: "col", role: "columnheader" }, words),
    );
    const actions = h(
      "th",
      { scope: "col", role: "columnheader" },
      h("span", { class: "visually-hidden" }, "Actions"),
    );
    this.replaceChildren(
      h(
        "div",
        { class: "scroll wide", role: "region", "aria-label": "Drops", tabindex: 0 },
        h(
          "table",
          { role: "table" },
          h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ...head, actions)),
          this.#body,
        ),
      ),
      this.#none,
    );
  }

  /**
   * Shows exactly these drops.
   * @param {DropLine[]} lines
   * @param {boolean} isSamePage true if the previous request was the same
   */
  show(lines, isSamePage) {
    const shown = new Set(lines.map(({ id }) => id));
    for (const [id, { row }] of this.#rows) {
      // A focused row stays, even if a new drop pushed it off the page: the administrator may be
      // about to press its button.
      if (shown.has(id) || (isSamePage && row.contains(document.activeElement))) continue;
      row.remove();
      this.#rows.delete(id);
    }
    /** @type {Element | null} */
    let before = null;
    for (const line of lines) {
      const known = this.#rows.get(line.id) ?? makeRow(line);
      this.#rows.set(line.id, known);
      known.fill(line);
      /** @type {Element | null} */
      const next = before ? before.nextElementSibling : this.#body.firstElementChild;
      if (known.row !== next) this.#body.insertBefore(known.row, next);
      before = known.row;
    }
    this.#none.hidden = lines.length > 0;
  }

  /** The text for an empty table. @param {string} words */
  set none(words) {
    write(this.#none, words);
  }
}
customElements.define("drop-table", DropTable);

/** @param {DropLine} first @returns {Row} */
function makeRow(first) {
  let line = first;
  const link = h("a", { href: `/admin/drops/${first.id}`, dir: "auto" });
  const badge = h("span", { class: "badge" });
  const figures = FIGURES.map(([, words]) => h("td", { role: "cell", "data-label": words }));
  const choices = /** @type {const} */ ([
    ["Edit", openEdit, "quiet"],
    ["Adjust", openAdjust, "quiet"],
    ["Duplicate", openDuplicate, "quiet"],
    ["Cancel", openCancel, "danger-quiet"],
  ]);
  const names = choices.map(() => h("span", { class: "visually-hidden" }));
  const actions = choices.map(([words, open, kind], index) =>
    h(
      "button",
      { type: "button", class: `${kind} small`, onclick: () => void open(line) },
      words,
      names[index],
    ),
  );
  const saleWords = h("span", {});
  const saleName = h("span", { class: "visually-hidden" });
  const sale = h(
    "button",
    {
      type: "button",
      class: "quiet small",
      onclick: () => saleAction(line.status)?.open(line),
    },
    saleWords,
    saleName,
  );
  const row = h(
    "tr",
    { role: "row", "data-drop-id": first.id },
    h("th", { scope: "row", role: "rowheader" }, link),
    h("td", { role: "cell" }, badge),
    ...figures,
    h("td", { role: "cell" }, h("div", { class: "actions" }, sale, ...actions)),
  );
  const fill = (/** @type {DropLine} */ now) => {
    line = now;
    write(link, nameOrUnnamed(now.name));
    const next = saleAction(now.status);
    const losesFocus = !next && sale === document.activeElement;
    sale.hidden = !next;
    if (next) write(saleWords, next.words);
    write(saleName, ` ${isolate(now.name)}`);
    if (losesFocus) link.focus();
    for (const name of names) write(name, ` ${isolate(now.name)}`);
    write(badge, STATUS[now.status]);
    mark(badge, "data-status", now.status);
    FIGURES.forEach(([name], index) => {
      const figure = figures[index];
      // The unsold units of a drop that has ended are not available to anyone.
      if (figure)
        write(figure, name === "available" && isOver(now.status) ? "–" : count(now[name]));
    });
    const isCancelled = now.status === "cancelled";
    const hadFocus = actions.some((button) => button === document.activeElement);
    // A cancelled drop can still be duplicated.
    actions.forEach((button, index) => {
      button.disabled = isCancelled && choices[index]?.[0] !== "Duplicate";
    });
    // A disabled button loses the focus. The link keeps it within the row.
    if (isCancelled && hadFocus) link.focus();
  };
  return { row, fill };
}
