// The levers of the dashboard: create, edit, adjust and cancel a drop, each in a dialog that says what will happen.

import { Problem, callForText, callUntilDecided, uuid } from "../lib/api.js";
import { foreign } from "../lib/foreign.js";
import { count, units } from "../lib/format.js";
import { h, write } from "../lib/dom.js";
import { echo, readPrice, typed } from "../lib/price.js";
import { Stream } from "../lib/stream.js";
import { control, faulty, openDialog } from "./form-dialog.js";
import { toast } from "./toast-list.js";

/**
 * @typedef {import("../lib/api.js").Drop} Drop
 * @typedef {import("../lib/api.js").DropLine} DropLine
 * @typedef {import("./form-dialog.js").Control} Control
 * @typedef {import("./form-dialog.js").Field & {read: (value: string) => unknown, show: (drop: Drop) => string}} Term
 */

const number = (/** @type {string} */ value) => (value === "" ? null : Number(value));
const text = (/** @type {string} */ value) => (value.trim() === "" ? null : value.trim());
const upper = (/** @type {string} */ value) => value.trim().toUpperCase();
const time = (/** @type {string} */ value) => (value === "" ? null : new Date(value).toISOString());
/** As `datetime-local` has it: this machine's clock, to the second. @param {string | null} at */
const local = (at) => {
  if (!at) return "";
  const date = new Date(at);
  return new Date(date.getTime() - 60_000 * date.getTimezoneOffset()).toISOString().slice(0, 19);
};

/** @type {Term} */
const STOCK = { name: "total_stock", words: "Units", type: "number", attributes: { min: 1, step: 1, required: true, value: 100 }, read: number, show: ({ stock }) => String(stock.total) };
/** @type {Term[]} */
const TERMS = [
  { name: "name", words: "Name", whole: true, attributes: { required: true, maxlength: 200 }, read: text, show: (drop) => drop.name },
  { name: "description", words: "Description", type: "textarea", whole: true, read: text, show: (drop) => drop.description ?? "" },
  { name: "amount", words: "Price", attributes: { required: true, inputmode: "decimal", placeholder: "49.00", autocomplete: "off" }, read: text, show: ({ price }) => typed(price) },
  { name: "currency", words: "Currency", attributes: { required: true, value: "EUR", maxlength: 3, autocapitalize: "characters" }, read: upper, show: (drop) => drop.price.currency },
  { name: "hold_seconds", words: "A hold lasts (seconds)", type: "number", attributes: { min: 1, max: 3600, required: true, value: 60 }, read: number, show: (drop) => String(drop.hold_seconds) },
  { name: "starts_at", words: "Starts", type: "datetime-local", hint: "Empty: at once.", attributes: { step: "any" }, read: time, show: (drop) => local(drop.starts_at) },
  { name: "ends_at", words: "Ends", type: "datetime-local", hint: "Empty: never.", attributes: { step: "any" }, read: time, show: (drop) => local(drop.ends_at) },
  { name: "max_per_hold", words: "Most units in a hold", type: "number", attributes: { min: 1, required: true, value: 1 }, read: number, show: (drop) => String(drop.max_per_hold) },
  { name: "max_per_buyer", words: "Most units for a buyer", type: "number", hint: "Empty: no limit.", attributes: { min: 1 }, read: number, show: (drop) => String(drop.max_per_buyer ?? "") },
  { name: "holds", words: "Throttle: holds for a buyer", type: "number", hint: "Empty: no throttle.", attributes: { min: 1 }, read: number, show: (drop) => String(drop.throttle?.holds ?? "") },
  { name: "window_seconds", words: "Throttle: within (seconds)", type: "number", attributes: { min: 1 }, read: number, show: (drop) => String(drop.throttle?.window_seconds ?? "") },
  { name: "image_url", words: "Picture (address)", whole: true, hint: "Empty: one is drawn.", attributes: { inputmode: "url", autocapitalize: "none" }, read: text, show: (drop) => drop.image_url ?? "" },
];

/** The fields in a grid; the price is repeated as it is understood. @param {Term[]} terms @param {Drop} [drop] */
function grid(terms, drop) {
  const fields = h("div", { class: "fields" }, ...terms.map((term) => control(term, drop && term.show(drop))));
  const output = h("output", { class: "hint", for: "field-amount field-currency" });
  fields.querySelector("#field-amount")?.after(output);
  const value = (/** @type {string} */ name) => /** @type {Control | null} */ (fields.querySelector(`#field-${name}`))?.value ?? "";
  const show = () => write(output, echo(value("amount"), upper(value("currency"))));
  fields.addEventListener("input", show);
  show();
  return fields;
}

/** What a field says. @param {HTMLFormElement} form @param {string} name @returns {Control | null} */
function field(form, name) {
  return /** @type {Control | null} */ (form.elements.namedItem(name));
}

/** What the form says, by the API's names. @param {HTMLFormElement} form @param {Term[]} terms @returns {Record<string, any>} */
function read(form, terms) {
  /** @type {Record<string, any>} */
  const body = {};
  for (const term of terms) body[term.name] = term.read(field(form, term.name)?.value ?? "");
  const { amount, currency, holds, window_seconds, ...rest } = body;
  const price = readPrice(amount ?? "", currency);
  if ("fault" in price) throw faulty("amount", price.fault);
  // One without the other is for the server to refuse.
  const throttle = holds === null && window_seconds === null ? null : said({ holds, window_seconds });
  return { ...rest, price: { amount: price.amount, currency }, throttle };
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
  const dialog = openDialog("New drop", [grid(fields)], { words: "Create the drop", kind: "primary", keep: "Not now" }, async (form) => {
    const body = said(read(form, fields));
    const drop = await callUntilDecided("/v1/drops", { method: "POST", key: keyFor(body), body });
    return `${foreign(drop.name)} is ${drop.status === "scheduled" ? "scheduled" : "on now"}, with ${units(drop.stock.total, "unit")}.`;
  });
  dialog.querySelector("input")?.focus();
}

/** @typedef {{drop: Drop, etag: string}} Version a drop, and the version of it that an edit or an adjustment is based on */

/** @param {string} id @returns {Promise<Version>} */
async function current(id) {
  const { text: json, etag } = await callForText(`/v1/drops/${id}`);
  // A proxy that compresses makes it a weak one. It stands for the version of the terms, however the answer was encoded.
  return { drop: JSON.parse(json), etag: etag.replace(/^W\//, "") };
}

/**
 * Saves an edit. One that was recorded but not answered is sent again, and refused, for it is behind itself: what was sent reads then
 * as it was sent.
 * @param {Version} base @param {Record<string, unknown>} changed
 */
async function save({ drop: { id }, etag }, changed) {
  try {
    await callUntilDecided(`/v1/drops/${id}`, { method: "PATCH", body: changed, headers: { "If-Match": etag } });
  } catch (problem) {
    if (!(problem instanceof Problem) || problem.status !== 412) throw problem;
    const { drop } = await current(id);
    if (!reads(drop, changed)) throw problem;
  }
}

/** Whether a drop says all that an edit asks for. @param {Record<string, any>} drop @param {Record<string, unknown>} changed */
function reads(drop, changed) {
  return Object.entries(changed).every(([name, value]) => JSON.stringify(value) === JSON.stringify(drop[name]));
}

/** @param {DropLine} line */
export function openEdit(line) {
  return openWith(line, edit);
}

/** @param {Version} base */
function edit(base) {
  const { id } = base.drop;
  const hint = h("p", { class: "hint" }, "Holds that are placed keep their price and their time.");
  /** @param {Problem} problem @param {HTMLFormElement} form */
  const wayOut = (problem, form) => {
    if (problem.status !== 412) return undefined;
    const act = async () => {
      const before = base.drop;
      base = await current(id);
      return renew(form, before, base.drop);
    };
    return { words: "Somebody else changed this drop after you opened it. Nothing of yours is saved yet.", next: "Load the new version, keep my changes", act };
  };
  openDialog(`Edit ${foreign(base.drop.name)}`, [grid(TERMS, base.drop), hint], { words: "Save", kind: "primary", keep: "Leave as it is" }, async (form) => {
    const after = read(form, TERMS);
    const before = asShown(base.drop);
    const changed = Object.fromEntries(Object.entries(after).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name])));
    if (Object.keys(changed).length === 0) return "Nothing was changed.";
    // There is always a beginning: emptied, it means now.
    if (changed.starts_at === null) changed.starts_at = new Date().toISOString();
    await save(base, changed);
    return `${foreign(base.drop.name)} is changed.`;
  }, wayOut);
}

/** Brings a form from one version of its drop to another, but for what was typed into it; gives what to say. @param {HTMLFormElement} form @param {Drop} before @param {Drop} after */
function renew(form, before, after) {
  const [kept, both] = [/** @type {string[]} */ ([]), /** @type {string[]} */ ([])];
  for (const { name, words, show } of TERMS) {
    const input = field(form, name);
    if (!input) continue;
    const [was, is] = [show(before), show(after)];
    if (input.value === was) input.value = is;
    else kept.push(words);
    if (input.value !== is && was !== is) both.push(`${words} (now ${is || "empty"})`);
  }
  form.querySelector(".fields")?.dispatchEvent(new Event("input"));
  const yours = kept.length > 0 ? `Your changes are kept: ${kept.join(", ")}.` : "You changed nothing.";
  const theirs = both.length > 0 ? ` Changed by both: ${both.join(", ")}.` : "";
  return `This is the new version. ${yours}${theirs} Save to put it in force.`;
}

/** The drop as its untouched form would be read. @param {Drop} drop @returns {Record<string, any>} */
function asShown(drop) {
  return read(h("form", {}, grid(TERMS, drop)), TERMS);
}

/**
 * Keeps the numbers of a dialog equal to the API's: reads the drop with its version, and again after each change on the stream, until
 * the dialog is closed. Returns a function that reads it now.
 * @param {HTMLDialogElement} dialog @param {Version} base @param {(now: Version) => void} show
 */
function keepCurrent(dialog, base, show) {
  let [shown, isReading, isStale] = [base, false, false];
  const refresh = async () => {
    isStale = true;
    if (isReading) return;
    isReading = true;
    try {
      while (isStale) {
        isStale = false;
        shown = await current(base.drop.id);
        show(shown);
      }
    } catch (problem) {
      // What is shown may be old; the version that is sent with it says so.
      if (!(problem instanceof Problem)) throw problem;
    } finally {
      isReading = false;
    }
  };
  const onDrop = (/** @type {Drop} */ drop) => {
    if (drop.position > shown.drop.position || drop.status !== shown.drop.status) void refresh();
  };
  const stream = new Stream(`?drops=${base.drop.id}`, "", { onDrop });
  void stream.follow();
  dialog.addEventListener("close", () => stream.stop());
  show(base);
  return refresh;
}

/** Opens a dialog about a drop as it is now. @param {DropLine} line @param {(base: Version) => void} open */
async function openWith(line, open) {
  const base = await current(line.id).catch((problem) => {
    if (!(problem instanceof Problem)) throw problem;
    toast(`${foreign(line.name)}: ${problem.message}`, { kind: "refusal" });
  });
  if (base) open(base);
}

/** @param {DropLine} line */
export function openAdjust(line) {
  return openWith(line, adjust);
}

/** @param {Version} base */
function adjust(base) {
  const { id, name } = base.drop;
  let now = base;
  const outcome = h("p", { class: "hint", "aria-live": "polite" });
  const delta = control({ name: "delta", words: "Units to add; with a minus, to take away", type: "number", attributes: { step: 1, required: true } });
  const reason = control({ name: "reason", words: "Reason, kept in the log for ever", attributes: { required: true, maxlength: 200 }, hint: "No names: the log is never edited." });
  const keyFor = keys();
  /** @param {Problem} problem */
  const wayOut = (problem) => {
    if (problem.status !== 412) return undefined;
    void refresh();
    return { words: "The stock was adjusted meanwhile, and nothing of yours is recorded. The numbers are those of now: press again to go on from them." };
  };
  const dialog = openDialog(`Adjust ${foreign(name)}`, [delta, reason, outcome], { words: "Adjust the stock", kind: "primary", keep: "Leave as it is" }, async (form) => {
    const values = new FormData(form);
    const body = { delta: number(String(values.get("delta"))), reason: String(values.get("reason")).trim() };
    const headers = { "If-Match": now.etag };
    return adjusted(name, await callUntilDecided(`/v1/drops/${id}/stock-adjustments`, { method: "POST", key: keyFor(body), body, headers }));
  }, wayOut);
  const input = dialog.querySelector("input");
  const show = () => write(outcome, preview(now.drop, input?.valueAsNumber || 0));
  input?.addEventListener("input", show);
  const refresh = keepCurrent(dialog, base, (newer) => {
    now = newer;
    show();
  });
  input?.focus();
}

/** What an adjustment will come to, as far as it is known: added units go to the waitlist first. @param {Drop} drop @param {number} delta */
function preview({ stock, waitlist_length }, delta) {
  const after = stock.available + delta;
  const before = `Available: ${count(stock.available)} now`;
  if (after < 0) return `Only ${count(stock.available)} can be taken away: the rest is held or sold.`;
  if (delta === 0) return `${before}.`;
  if (delta < 0 || waitlist_length === 0) return `${before}, ${count(after)} after.`;
  return `${before}. What is added goes to the waitlist first, where ${units(waitlist_length, "entry waits", "entries wait")}.`;
}

/**
 * What an adjustment has come to, by the numbers of its answer.
 * @param {string} name @param {{delta: number, stock: import("../lib/api.js").Stock, waitlist_length: number}} made
 */
function adjusted(name, { delta, stock, waitlist_length }) {
  const { total, available, held, sold } = stock;
  const waiting = waitlist_length > 0 ? ` ${units(waitlist_length, "entry waits", "entries wait")} in line.` : "";
  // Units that are held or sold already cannot be taken away again.
  const undo = delta <= available ? ` An adjustment by ${delta > 0 ? "−" : "+"}${count(Math.abs(delta))} takes it back.` : "";
  return `${foreign(name)} has ${units(total, "unit")} now: ${count(available)} available, ${count(held)} held, ${count(sold)} sold.${waiting}${undo}`;
}

/** @param {DropLine} line */
export function openCancel(line) {
  return openWith(line, askToCancel);
}

/** @param {Version} base */
function askToCancel(base) {
  const { id, name } = base.drop;
  const [held, waiting, sold] = [h("li"), h("li"), h("li")];
  const what = h("ul", { "aria-live": "polite" }, held, waiting, sold,
    h("li", {}, "Nothing more can be held or bought."),
    h("li", {}, h("strong", {}, "This cannot be undone."), " To pause instead, edit its end."));
  const dialog = openDialog(`Cancel ${foreign(name)}?`, [what], { words: "Cancel the drop", kind: "danger", keep: "Keep the drop" }, async () => {
    const drop = await callUntilDecided(`/v1/drops/${id}/cancel`, { method: "POST" });
    return `${foreign(drop.name)} is called off. ${units(drop.stock.sold, "unit stays", "units stay")} sold.`;
  });
  keepCurrent(dialog, base, ({ drop: { stock, waitlist_length } }) => {
    write(held, stock.held > 0 ? `${units(stock.held, "unit")} on hold right now: those holds are released at once.` : "No unit is on hold right now.");
    write(waiting, waitlist_length > 0 ? `${units(waitlist_length, "entry waits", "entries wait")} in line: the waitlist is closed, and its buyers see that.` : "No entry waits in line.");
    write(sold, stock.sold > 0 ? `${units(stock.sold, "unit")} sold so far: ${stock.sold === 1 ? "it stays" : "they stay"} sold.` : "Nothing was sold yet.");
  });
  dialog.querySelector("button")?.focus();
}
