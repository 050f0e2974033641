// The levers of the dashboard: create, edit, adjust and cancel a drop, each in a dialog that says what will happen.

import { Problem, callForText, callUntilDecided, uuid } from "../lib/api.js";
import { count, units } from "../lib/format.js";
import { h, mark, write } from "../lib/dom.js";
import { toast } from "./toast-list.js";

/**
 * @typedef {import("../lib/api.js").Drop} Drop
 * @typedef {import("../lib/api.js").DropLine} DropLine
 * @typedef {HTMLInputElement | HTMLTextAreaElement} Control
 * @typedef {{name: string, words: string, hint?: string, type?: string, whole?: boolean, attributes?: import("../lib/dom.js").Attributes,
 *   read: (value: string, currency: string) => unknown, show?: (drop: Drop) => string}} Field
 */

const number = (/** @type {string} */ value) => (value === "" ? null : Number(value));
const text = (/** @type {string} */ value) => (value.trim() === "" ? null : value.trim());
const time = (/** @type {string} */ value) => (value === "" ? null : new Date(value).toISOString());
/** As `datetime-local` has it: this machine's clock, to the second. @param {string | null} at */
const local = (at) => {
  if (!at) return "";
  const date = new Date(at);
  return new Date(date.getTime() - 60_000 * date.getTimezoneOffset()).toISOString().slice(0, 19);
};

/** How many decimals a currency is written with; 2 for what is no currency, which the server refuses. @param {string} currency */
function decimals(currency) {
  try {
    return new Intl.NumberFormat("en", { style: "currency", currency }).resolvedOptions().maximumFractionDigits ?? 2;
  } catch {
    return 2;
  }
}

/** @type {Field} */
const STOCK = { name: "total_stock", words: "Units", type: "number", attributes: { min: 1, step: 1, required: true, value: 100 }, read: number };
/** @type {Field[]} */
const TERMS = [
  { name: "name", words: "Name", whole: true, attributes: { required: true, maxlength: 200 }, read: text, show: (drop) => drop.name },
  { name: "description", words: "Description", type: "textarea", whole: true, read: text, show: (drop) => drop.description ?? "" },
  { name: "amount", words: "Price", attributes: { required: true, inputmode: "decimal", placeholder: "49.00", pattern: "[0-9]+([.,][0-9]+)?", title: "An amount, for example 49.00" },
    read: (value, currency) => Math.round(Number(value.replace(",", ".")) * 10 ** decimals(currency)),
    show: ({ price }) => (price.amount / 10 ** decimals(price.currency)).toFixed(decimals(price.currency)) },
  { name: "currency", words: "Currency", attributes: { required: true, value: "EUR", maxlength: 3, autocapitalize: "characters" }, read: (value) => value.trim().toUpperCase(), show: (drop) => drop.price.currency },
  { name: "hold_seconds", words: "A hold lasts (seconds)", type: "number", attributes: { min: 1, max: 3600, required: true, value: 60 }, read: number, show: (drop) => String(drop.hold_seconds) },
  { name: "starts_at", words: "Starts", type: "datetime-local", hint: "Empty: at once.", attributes: { step: "any" }, read: time, show: (drop) => local(drop.starts_at) },
  { name: "ends_at", words: "Ends", type: "datetime-local", hint: "Empty: never.", attributes: { step: "any" }, read: time, show: (drop) => local(drop.ends_at) },
  { name: "max_per_hold", words: "Most units in a hold", type: "number", attributes: { min: 1, required: true, value: 1 }, read: number, show: (drop) => String(drop.max_per_hold) },
  { name: "max_per_buyer", words: "Most units for a buyer", type: "number", hint: "Empty: no limit.", attributes: { min: 1 }, read: number, show: (drop) => String(drop.max_per_buyer ?? "") },
  { name: "holds", words: "Throttle: holds for a buyer", type: "number", hint: "Empty: no throttle.", attributes: { min: 1 }, read: number, show: (drop) => String(drop.throttle?.holds ?? "") },
  { name: "window_seconds", words: "Throttle: within (seconds)", type: "number", attributes: { min: 1 }, read: number, show: (drop) => String(drop.throttle?.window_seconds ?? "") },
  { name: "image_url", words: "Picture (address)", type: "url", whole: true, hint: "Empty: one is drawn.", read: text, show: (drop) => drop.image_url ?? "" },
];

/** A dialog with a form. `send` does it and gives what to say; what is refused is shown in the form.
 * @param {string} title @param {Node[]} content @param {{words: string, kind: string, keep: string}} end @param {(form: HTMLFormElement) => Promise<string>} send */
function open(title, content, end, send) {
  const heading = h("h2", { id: "dialog-title" }, title);
  const refused = h("p", { class: "error", role: "alert" });
  const keep = h("button", { type: "button", class: "quiet" }, end.keep);
  const submit = h("button", { class: end.kind }, end.words);
  const form = h("form", { method: "dialog" }, heading, ...content, refused, h("div", { class: "form-end" }, keep, submit));
  const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, form);
  keep.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    submit.disabled = true;
    write(refused, "");
    form.querySelectorAll("[aria-invalid]").forEach((control) => control.removeAttribute("aria-invalid"));
    try {
      toast(await send(form));
      dialog.close();
      document.dispatchEvent(new Event("drops-changed"));
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      write(refused, problem.message);
      point(form, problem);
    } finally {
      submit.disabled = false;
    }
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Marks the fields that a problem points at, and goes to the first. @param {HTMLFormElement} form @param {Problem} problem */
function point(form, problem) {
  /** @type {{pointer: string}[]} */
  const errors = problem.numbers.errors ?? [];
  const wrong = errors.map(({ pointer }) => form.elements.namedItem(pointer.split("/").at(-1) ?? "")).filter((control) => control instanceof HTMLElement);
  wrong.forEach((control) => mark(control, "aria-invalid", "true"));
  wrong[0]?.focus();
}

/** @param {Field} field @param {Drop} [drop] */
function control({ name, words, hint, type, whole, attributes = {}, show }, drop) {
  const id = `field-${name}`;
  const all = { ...attributes, id, name, "aria-describedby": hint ? `${id}-hint` : null };
  const input = type === "textarea" ? h("textarea", all) : h("input", { ...all, type: type ?? "text" });
  if (drop && show) input.value = show(drop);
  return h("div", { class: whole ? "field whole" : "field" }, h("label", { for: id }, words), input, hint && h("p", { class: "hint", id: `${id}-hint` }, hint));
}

/** What the form says, by the API's names. @param {HTMLFormElement} form @param {Field[]} fields @returns {Record<string, any>} */
function read(form, fields) {
  const value = (/** @type {string} */ name) => {
    const item = /** @type {Control | null} */ (form.elements.namedItem(name));
    return item?.value ?? "";
  };
  /** @type {Record<string, any>} */
  const body = {};
  for (const field of fields) body[field.name] = field.read(value(field.name), value("currency"));
  const { amount, currency, holds, window_seconds, ...rest } = body;
  // One without the other is for the server to refuse.
  const throttle = holds === null && window_seconds === null ? null : said({ holds, window_seconds });
  return { ...rest, price: { amount, currency }, throttle };
}

/** Without what is not said: an absent field means the usual. @param {Record<string, any>} body */
function said(body) {
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null));
}

/** A dialog's idempotency keys. Pressed twice, or sent again after a lost answer, it is one request; what was corrected is another. */
function keys() {
  let [key, sent] = [uuid(), ""];
  return (/** @type {unknown} */ body) => {
    const text = JSON.stringify(body);
    if (sent && sent !== text) key = uuid();
    sent = text;
    return key;
  };
}

export function openNewDrop() {
  const fields = [...TERMS.slice(0, 4), STOCK, ...TERMS.slice(4)];
  const keyFor = keys();
  const dialog = open("New drop", [h("div", { class: "fields" }, ...fields.map((field) => control(field)))], { words: "Create the drop", kind: "primary", keep: "Not now" }, async (form) => {
    const body = said(read(form, fields));
    const drop = await callUntilDecided("/v1/drops", { method: "POST", key: keyFor(body), body });
    return `${drop.name} is ${drop.status === "scheduled" ? "scheduled" : "on now"}, with ${units(drop.stock.total, "unit")}.`;
  });
  dialog.querySelector("input")?.focus();
}

/** @param {DropLine} line */
export async function openEdit(line) {
  const { text: json, etag } = await callForText(`/v1/drops/${line.id}`);
  /** @type {Drop} */
  const drop = JSON.parse(json);
  const hint = h("p", { class: "hint" }, "Holds that are placed keep their price and their time.");
  open(`Edit ${drop.name}`, [h("div", { class: "fields" }, ...TERMS.map((field) => control(field, drop))), hint], { words: "Save", kind: "primary", keep: "Leave as it is" }, async (form) => {
    const after = read(form, TERMS);
    const before = asShown(drop);
    const changed = Object.fromEntries(Object.entries(after).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name])));
    if (Object.keys(changed).length === 0) return "Nothing was changed.";
    // There is always a beginning: emptied, it means now.
    if (changed.starts_at === null) changed.starts_at = new Date().toISOString();
    await callUntilDecided(`/v1/drops/${drop.id}`, { method: "PATCH", body: changed, headers: { "If-Match": etag } });
    return `${drop.name} is changed.`;
  });
}

/** The drop as its untouched form would be read. @param {Drop} drop @returns {Record<string, any>} */
function asShown(drop) {
  const form = h("form", {}, ...TERMS.map((field) => control(field, drop)));
  return read(form, TERMS);
}

/** @param {DropLine} line */
export function openAdjust(line) {
  const outcome = h("p", { class: "hint", "aria-live": "polite" });
  const delta = control({ name: "delta", words: "Units to add; with a minus, to take away", type: "number", attributes: { step: 1, required: true }, read: number });
  const reason = control({ name: "reason", words: "Reason, kept in the log for ever", attributes: { required: true, maxlength: 200 }, hint: "No names: the log is never edited.", read: text });
  const keyFor = keys();
  const dialog = open(`Adjust ${line.name}`, [delta, reason, outcome], { words: "Adjust the stock", kind: "primary", keep: "Leave as it is" }, async (form) => {
    const values = new FormData(form);
    const body = { delta: number(String(values.get("delta"))), reason: String(values.get("reason")).trim() };
    const made = await callUntilDecided(`/v1/drops/${line.id}/stock-adjustments`, { method: "POST", key: keyFor(body), body });
    const undo = `an adjustment by ${made.delta > 0 ? "−" : "+"}${Math.abs(made.delta)} takes it back`;
    return `${line.name} has ${units(made.stock.total, "unit")} now, ${count(made.stock.available)} available; ${undo}.`;
  });
  const input = dialog.querySelector("input");
  input?.addEventListener("input", () => {
    const after = line.available + (input.valueAsNumber || 0);
    write(outcome, after < 0 ? `Only ${count(line.available)} can be taken away: the rest is held or sold.` : `Available: ${count(line.available)} now, ${count(after)} after.`);
  });
  input?.focus();
}

/** @param {DropLine} line */
export function openCancel(line) {
  const what = h("ul", {},
    h("li", {}, line.held > 0 ? `${units(line.held, "unit")} on hold right now: those holds are released at once.` : "Nobody holds anything right now."),
    h("li", {}, line.sold > 0 ? `${units(line.sold, "unit")} sold so far: they stay sold.` : "Nothing was sold yet."),
    h("li", {}, "Nothing more can be held or bought."),
    h("li", {}, h("strong", {}, "This cannot be undone."), " To pause instead, edit its end."));
  const dialog = open(`Cancel ${line.name}?`, [what], { words: "Cancel the drop", kind: "danger", keep: "Keep the drop" }, async () => {
    const drop = await callUntilDecided(`/v1/drops/${line.id}/cancel`, { method: "POST" });
    return `${drop.name} is called off. ${units(drop.stock.sold, "unit")} stay sold.`;
  });
  dialog.querySelector("button")?.focus();
}
