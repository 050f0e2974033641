// Creates access codes of a drop, and shows them: once, because the server keeps digests only.

import { callUntilDecided, uuid } from "../lib/api.js";
import { h } from "../lib/dom.js";
import { isolate } from "../lib/foreign.js";
import { units } from "../lib/format.js";
import { control, openDialog } from "./form-dialog.js";
import { toast } from "./toast-list.js";

/** @typedef {{id: string, name: string}} Named a drop of the page */

/** @param {HTMLFormElement} form @param {string} name */
const textOf = (form, name) => String(new FormData(form).get(name) ?? "").trim();
/** @param {HTMLFormElement} form @param {string} name */
const timeOf = (form, name) => {
  const text = textOf(form, name);
  return text === "" ? {} : { [name]: new Date(text).toISOString() };
};

/** @param {Named} drop */
export function openNewCodes({ id, name }) {
  let [key, sent] = [uuid(), ""];
  const number = (
    /** @type {string} */ field,
    /** @type {string} */ words,
    /** @type {number} */ max,
    /** @type {number} */ value,
  ) =>
    control(
      {
        name: field,
        words,
        type: "number",
        attributes: { min: 1, max, step: 1, required: true },
      },
      String(value),
    );
  const time = (
    /** @type {string} */ field,
    /** @type {string} */ words,
    /** @type {string} */ hint,
  ) => control({ name: field, words, type: "datetime-local", hint, attributes: { step: "any" } });
  const fields = h(
    "div",
    { class: "fields" },
    number("count", "Number of codes", 10_000, 10),
    number("uses", "Uses of each", 1_000_000, 1),
    time("opens_at", "Open from", "Empty: from the start of the drop."),
    time("expires_at", "Expire", "Empty: with the drop."),
  );
  const hint = h(
    "p",
    { class: "hint" },
    "The codes are shown once. To let only their bearers hold units, edit the drop: holds for buyers with a code.",
  );
  openDialog(
    `New codes for ${isolate(name)}`,
    [fields, hint],
    { words: "Create the codes", kind: "primary", keep: "Close" },
    async (form) => {
      const body = {
        count: Number(textOf(form, "count")),
        uses: Number(textOf(form, "uses")),
        ...timeOf(form, "opens_at"),
        ...timeOf(form, "expires_at"),
      };
      const text = JSON.stringify(body);
      // A repeated request returns the same codes; other codes need another key.
      if (sent && sent !== text) key = uuid();
      sent = text;
      const made = await callUntilDecided(`/v1/drops/${id}/codes`, { method: "POST", key, body });
      setTimeout(() => showCodes(name, made.codes));
      return `${units(made.codes.length, "code is", "codes are")} created.`;
    },
  )
    .querySelector("input")
    ?.focus();
}

/** @param {string} name @param {string[]} codes */
function showCodes(name, codes) {
  const list = h("textarea", {
    class: "codes",
    readonly: true,
    rows: Math.min(12, codes.length),
    "aria-label": "Codes",
  });
  list.value = codes.join("\n");
  const copy = h(
    "button",
    {
      type: "button",
      class: "secondary",
      onclick: async () => {
        list.select();
        await navigator.clipboard?.writeText(list.value).catch(() => undefined);
        toast("The codes are copied.");
      },
    },
    "Copy",
  );
  const save = h(
    "button",
    { type: "button", class: "secondary", onclick: () => download(codes) },
    "Download CSV",
  );
  openDialog(
    `Codes for ${isolate(name)}`,
    [
      h("p", { class: "hint" }, "Keep them now: they cannot be shown again."),
      list,
      h("div", { class: "tools" }, copy, save),
    ],
    { words: "Close", kind: "primary", keep: "" },
    async () => "The codes are closed.",
  );
}

/** @param {string[]} codes */
function download(codes) {
  const file = new Blob([["code", ...codes, ""].join("\r\n")], { type: "text/csv" });
  const url = URL.createObjectURL(file);
  h("a", { href: url, download: "codes.csv" }).click();
  URL.revokeObjectURL(url);
}
