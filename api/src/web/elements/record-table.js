// A table of records that is refreshed. A row is created once; a refresh rewrites only the rows
// whose records have changed, and returns the focus to the same control. On a small screen the
// style sheet turns each row into a card, so that everything is visible; explicit roles keep the
// table semantics.

import { h, write } from "../lib/dom.js";

/**
 * @typedef {import("../lib/dom.js").Child} Child
 * @typedef {{words: string, cell: (record: any) => Child | Child[], kind?: "wide" | "number" |
 *   "actions"}} Column the first column names the record
 */

export class RecordTable extends HTMLElement {
  /** @type {Column[]} */
  #columns = [];
  /**
   * By id: the row, and the text of its record.
   * @type {Map<string, {row: HTMLElement, text: string}>}
   */
  #rows = new Map();
  #head = h("tr", { role: "row" });
  #body = h("tbody", { role: "rowgroup" });
  #foot = h("tfoot", { role: "rowgroup" });
  #none = h("p", { class: "quiet-words", hidden: true });
  #scroll = h(
    "div",
    { class: "scroll wide", role: "region", tabindex: 0 },
    h(
      "table",
      { role: "table" },
      h("thead", { role: "rowgroup" }, this.#head),
      this.#body,
      this.#foot,
    ),
  );

  connectedCallback() {
    if (!this.firstChild) this.replaceChildren(this.#scroll, this.#none);
  }

  /**
   * Sets the label and the columns, once.
   * @param {string} label @param {Column[]} columns
   */
  begin(label, columns) {
    this.#columns = columns;
    this.#scroll.setAttribute("aria-label", label);
    this.#head.replaceChildren(
      ...columns.map(({ words, kind }) =>
        h(
          "th",
          { scope: "col", role: "columnheader", "data-kind": kind },
          kind === "actions" ? h("span", { class: "visually-hidden" }, words) : words,
        ),
      ),
    );
  }

  /**
   * Shows exactly these records. `also` returns the other values that the cells depend on.
   * @param {{id: string}[]} records
   * @param {{none: string, also?: (record: any) => unknown}} how `none`: the text without records
   */
  show(records, { none, also = () => null }) {
    const shown = new Set(records.map(({ id }) => id));
    for (const [id, { row }] of this.#rows) {
      if (shown.has(id)) continue;
      row.remove();
      this.#rows.delete(id);
    }
    records.forEach((record, index) => {
      const text = JSON.stringify([record, also(record)]);
      const known = this.#rows.get(record.id) ?? { row: makeRow(record.id), text: "" };
      this.#rows.set(record.id, known);
      if (known.text !== text) this.#fill(known.row, record);
      known.text = text;
      const present = this.#body.children[index] ?? null;
      if (present !== known.row) this.#body.insertBefore(known.row, present);
    });
    write(this.#none, none);
    this.#none.hidden = records.length > 0;
    this.#scroll.hidden = records.length === 0;
  }

  /** Shows a last row with sums, one cell per column. @param {Child[] | null} cells */
  set sums(cells) {
    this.#foot.replaceChildren(
      ...(cells ? [h("tr", { role: "row" }, ...this.#cells((_, index) => cells[index]))] : []),
    );
  }

  /** @param {HTMLElement} row @param {{id: string}} record */
  #fill(row, record) {
    const focused = row.contains(document.activeElement) ? document.activeElement : null;
    const name = focused?.getAttribute("data-act");
    row.replaceChildren(...this.#cells(({ cell }) => cell(record)));
    if (!focused) return;
    const same = row.querySelector(`[data-act="${CSS.escape(name ?? "")}"]`);
    const next = same ?? row.querySelector("a, button");
    if (next instanceof HTMLElement) next.focus();
  }

  /** @param {(column: Column, index: number) => Child | Child[]} content */
  #cells(content) {
    return this.#columns.map((column, index) => {
      const inside = content(column, index);
      const children = Array.isArray(inside) ? inside : [inside];
      const { words, kind } = column;
      return index === 0
        ? h("th", { scope: "row", role: "rowheader" }, ...children)
        : h(
            "td",
            { role: "cell", "data-kind": kind, "data-label": kind === "actions" ? null : words },
            ...(kind === "actions" ? [h("div", { class: "actions" }, ...children)] : children),
          );
    });
  }
}
customElements.define("record-table", RecordTable);

/** @param {string} id */
function makeRow(id) {
  return h("tr", { role: "row", "data-id": id });
}

/**
 * A button in a row. `subject` completes its name for screen readers. `danger-quiet`: its action
 * cannot be undone.
 * @param {string} words @param {string} subject @param {() => unknown} act
 * @param {"quiet" | "danger-quiet"} [kind]
 */
export function rowButton(words, subject, act, kind = "quiet") {
  const made = h(
    "button",
    { type: "button", class: `${kind} small`, "data-act": words },
    words,
    h("span", { class: "visually-hidden" }, ` ${subject}`),
  );
  made.addEventListener("click", async () => {
    if (made.hasAttribute("aria-disabled")) return;
    made.setAttribute("aria-disabled", "true");
    try {
      await act();
    } finally {
      made.removeAttribute("aria-disabled");
    }
  });
  return made;
}

/** A label with the color of a status. @param {string} words @param {string} status */
export function badge(words, status) {
  return h("span", { class: "badge", "data-status": status }, words);
}

/**
 * Returns the page's element of this type.
 * @template {HTMLElement} T @param {string} selector @param {new () => T} type @returns {T}
 */
export function part(selector, type) {
  const found = document.querySelector(selector);
  if (!(found instanceof type)) throw new Error(`the page has no ${selector}`);
  return found;
}
