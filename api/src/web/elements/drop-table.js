// A page of drops: where their units are, and what can be done about it. A row is made once and its numbers change, so that focus
// stays.
// On a small screen the style sheet makes a card of each row, so that nothing is out of sight; the roles say what it is all the same.

import { h, mark, write } from "../lib/dom.js";
import { STATUS, isOver } from "../lib/drop.js";
import { foreign, named } from "../lib/foreign.js";
import { count } from "../lib/format.js";
import { openAdjust, openCancel, openEdit } from "./drop-form.js";

/** @typedef {import("../lib/api.js").DropLine} DropLine */
/** @typedef {{row: HTMLTableRowElement, fill: (line: DropLine) => void}} Row */

const FIGURES = /** @type {const} */ ([["total", "In all"], ["available", "Available"], ["held", "Held"], ["sold", "Sold"], ["expired", "Expired"]]);

export class DropTable extends HTMLElement {
  /** @type {Map<string, Row>} */
  #rows = new Map();
  #body = h("tbody", { role: "rowgroup" });
  #none = h("p", { class: "quiet-words", hidden: true });

  connectedCallback() {
    const head = ["Drop", "Status", ...FIGURES.map(([, words]) => words)].map((words) => h("th", { scope: "col", role: "columnheader" }, words));
    const actions = h("th", { scope: "col", role: "columnheader" }, h("span", { class: "visually-hidden" }, "What to do"));
    this.replaceChildren(h("div", { class: "scroll wide", role: "region", "aria-label": "Drops", tabindex: 0 },
      h("table", { role: "table" }, h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ...head, actions)), this.#body)), this.#none);
  }

  /** Shows these and no others. @param {DropLine[]} lines @param {boolean} isSamePage whether the same was asked for before */
  show(lines, isSamePage) {
    const shown = new Set(lines.map(({ id }) => id));
    for (const [id, { row }] of this.#rows) {
      // A row that a new drop pushed off the page stays while it is in use: its button may be about to be pressed.
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
      const place = before ? before.nextElementSibling : this.#body.firstElementChild;
      if (known.row !== place) this.#body.insertBefore(known.row, place);
      before = known.row;
    }
    this.#none.hidden = lines.length > 0;
  }

  /** Why there may be no row. @param {string} words */
  set none(words) {
    write(this.#none, words);
  }
}
customElements.define("drop-table", DropTable);

/** @param {DropLine} first @returns {Row} */
function makeRow(first) {
  let line = first;
  const link = h("a", { href: `/drops/${first.id}`, dir: "auto" });
  const badge = h("span", { class: "badge" });
  const figures = FIGURES.map(([, words]) => h("td", { role: "cell", "data-label": words }));
  const names = [h("span", { class: "visually-hidden" }), h("span", { class: "visually-hidden" }), h("span", { class: "visually-hidden" })];
  const levers = /** @type {const} */ ([["Edit", openEdit], ["Adjust", openAdjust], ["Cancel", openCancel]]);
  const actions = levers.map(([words, open], place) => h("button", { type: "button", class: "quiet small", onclick: () => void open(line) }, words, names[place]));
  const row = h("tr", { role: "row", "data-drop-id": first.id }, h("th", { scope: "row", role: "rowheader" }, link), h("td", { role: "cell" }, badge), ...figures,
    h("td", { role: "cell" }, h("div", { class: "actions" }, ...actions)));
  const fill = (/** @type {DropLine} */ now) => {
    line = now;
    write(link, named(now.name));
    for (const name of names) write(name, ` ${foreign(now.name)}`);
    write(badge, STATUS[now.status]);
    mark(badge, "data-status", now.status);
    FIGURES.forEach(([name], index) => {
      const figure = figures[index];
      // No buyer can have what a drop that is over did not sell.
      if (figure) write(figure, name === "available" && isOver(now.status) ? "–" : count(now[name]));
    });
    const isCancelled = now.status === "cancelled";
    const hadFocus = actions.some((button) => button === document.activeElement);
    for (const button of actions) button.disabled = isCancelled;
    // What cannot be pressed any more loses the focus to nothing; the row keeps it.
    if (isCancelled && hadFocus) link.focus();
  };
  return { row, fill };
}
