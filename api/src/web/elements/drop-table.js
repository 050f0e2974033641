// Every drop: where its units are, and what can be done about it. A row is made once and its numbers change, so that focus stays.

import { h, mark, write } from "../lib/dom.js";
import { STATUS } from "../lib/drop.js";
import { count } from "../lib/format.js";
import { openAdjust, openCancel, openEdit } from "./drop-form.js";

/** @typedef {import("../lib/api.js").DropLine} DropLine */
/** @typedef {{row: HTMLTableRowElement, fill: (line: DropLine) => void}} Row */

const FIGURES = /** @type {const} */ ([["total", "In all"], ["available", "Available"], ["held", "Held"], ["sold", "Sold"], ["expired", "Expired"]]);

export class DropTable extends HTMLElement {
  /** @type {Map<string, Row>} */
  #rows = new Map();
  #body = h("tbody");
  #none = h("p", { class: "quiet-words", hidden: true }, "No drop yet.");

  connectedCallback() {
    const head = ["Drop", "Status", ...FIGURES.map(([, words]) => words)].map((words) => h("th", { scope: "col" }, words));
    const actions = h("th", { scope: "col" }, h("span", { class: "visually-hidden" }, "What to do"));
    this.replaceChildren(h("div", { class: "scroll wide", role: "region", "aria-label": "Drops", tabindex: 0 },
      h("table", {}, h("thead", {}, h("tr", {}, ...head, actions)), this.#body)), this.#none);
  }

  /** @param {DropLine[]} lines */
  set drops(lines) {
    this.#none.hidden = lines.length > 0;
    lines.forEach((line, index) => {
      let known = this.#rows.get(line.id);
      if (!known) {
        known = makeRow(line);
        this.#rows.set(line.id, known);
        this.#body.insertBefore(known.row, this.#body.children[index] ?? null);
      }
      known.fill(line);
    });
  }
}
customElements.define("drop-table", DropTable);

/** @param {DropLine} first @returns {Row} */
function makeRow(first) {
  let line = first;
  const link = h("a", { href: `/drops/${first.id}` });
  const badge = h("span", { class: "badge" });
  const figures = FIGURES.map(() => h("td"));
  const act = (/** @type {string} */ words, /** @type {(line: DropLine) => void} */ open) =>
    h("button", { type: "button", class: "quiet small", onclick: () => open(line) }, words, h("span", { class: "visually-hidden" }, ` ${first.name}`));
  const actions = [act("Edit", openEdit), act("Adjust", openAdjust), act("Cancel", openCancel)];
  const row = h("tr", { "data-drop-id": first.id }, h("th", { scope: "row" }, link), h("td", {}, badge), ...figures, h("td", {}, h("div", { class: "actions" }, ...actions)));
  const fill = (/** @type {DropLine} */ now) => {
    line = now;
    write(link, now.name);
    write(badge, STATUS[now.status]);
    mark(badge, "data-status", now.status);
    FIGURES.forEach(([name], index) => {
      const figure = figures[index];
      if (figure) write(figure, count(now[name]));
    });
    const isOver = now.status === "cancelled";
    for (const button of actions) button.disabled = isOver;
  };
  return { row, fill };
}
