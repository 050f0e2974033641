// The actions of the dashboard: create, edit, adjust and cancel a drop, each in a dialog that
// describes the effect.

import { Problem, callForText, callUntilDecided, uuid } from "../lib/api.js";
import { isolate } from "../lib/foreign.js";
import { count, units } from "../lib/format.js";
import { h, write } from "../lib/dom.js";
import { echo, readPrice, typed } from "../lib/price.js";
import { Stream } from "../lib/stream.js";
import { control, fieldProblem, openDialog } from "./form-dialog.js";
import { toast } from "./toast-list.js";

/**
 * @typedef {import("../lib/api.js").Drop} Drop
 * @typedef {import("../lib/api.js").DropLine} DropLine
 * @typedef {import("./form-dialog.js").Control} Control
 * @typedef {import("./form-dialog.js").Field & {read: (value: string) => unknown,
 *   show: (drop: Drop) => string}} Term
 */

const number = (/** @type {string} */ value) => (value === "" ? null : Number(value));
const text = (/** @type {string} */ value) => (value.trim() === "" ? null : value.trim());
const upper = (/** @type {string} */ value) => value.trim().toUpperCase();
const time = (/** @type {string} */ value) => (value === "" ? null : new Date(value).toISOString());
/**
 * The format of `datetime-local`: the local time of this machine, to the second.
 * @param {string | null} at
 */
const local = (at) => {
  if (!at) return "";
  const date = new Date(at);
  return new Date(date.getTime() - 60_000 * date.getTimezoneOffset()).toISOString().slice(0, 19);
};

/** @type {Term} */
const STOCK = {
  name: "total_stock",
  words: "Units",
  type: "number",
  attributes: { min: 1, step: 1, required: true, value: 100 },
  read: number,
  show: ({ stock }) => String(stock.total),
};
/** @type {Term[]} */
const TERMS = [
  {
    name: "name",
    words: "Name",
    whole: true,
    attributes: { required: true, maxlength: 200 },
    read: text,
    show: (drop) => drop.name,
  },
  {
    name: "description",
    words: "Description",
    type: "textarea",
    whole: true,
    read: text,
    show: (drop) => drop.description ?? "",
  },
  {
    name: "amount",
    words: "Price",
    attributes: { required: true, inputmode: "decimal", placeholder: "49.00", autocomplete: "off" },
    read: text,
    show: ({ price }) => typed(price),
  },
  {
    name: "currency",
    words: "Currency",
    attributes: { required: true, value: "EUR", maxlength: 3, autocapitalize: "characters" },
    read: upper,
    show: (drop) => drop.price.currency,
  },
  {
    name: "hold_seconds",
    words: "Hold duration (seconds)",
    type: "number",
    attributes: { min: 1, max: 3600, required: true, value: 60 },
    read: number,
    show: (drop) => String(drop.hold_seconds),
  },
  {
    name: "starts_at",
    words: "Starts",
    type: "datetime-local",
    hint: "Empty: immediately.",
    attributes: { step: "any" },
    read: time,
    show: (drop) => local(drop.starts_at),
  },
  {
    name: "ends_at",
    words: "Ends",
    type: "datetime-local",
    hint: "Empty: no end.",
    attributes: { step: "any" },
    read: time,
    show: (drop) => local(drop.ends_at),
  },
  {
    name: "max_per_hold",
    words: "Maximum units per hold",
    type: "number",
    attributes: { min: 1, required: true, value: 1 },
    read: number,
    show: (drop) => String(drop.max_per_hold),
  },
  {
    name: "max_per_buyer",
    words: "Maximum units per buyer",
    type: "number",
    hint: "Empty: no limit.",
    attributes: { min: 1 },
    read: number,
    show: (drop) => String(drop.max_per_buyer ?? ""),
  },
  {
    name: "holds",
    words: "Throttle: holds per buyer",
    type: "number",
    hint: "Empty: no throttle.",
    attributes: { min: 1 },
    read: number,
    show: (drop) => String(drop.throttle?.holds ?? ""),
  },
  {
    name: "window_seconds",
    words: "Throttle: window (seconds)",
    type: "number",
    attributes: { min: 1 },
    read: number,
    show: (drop) => String(drop.throttle?.window_seconds ?? ""),
  },
  {
    name: "image_url",
    words: "Picture URL",
    whole: true,
    hint: "Empty: a picture is generated.",
    attributes: { inputmode: "url", autocapitalize: "none" },
    read: text,
    show: (drop) => drop.image_url ?? "",
  },
];

/**
 * The fields in a grid, with the parsed price shown next to its input.
 * @param {Term[]} terms
 * @param {Drop} [drop]
 */
function grid(terms, drop) {
  const fields = h(
    "div",
    { class: "fields" },
    ...terms.map((term) => control(term, drop && term.show(drop))),
  );
  const output = h("output", { class: "hint", for: "field-amount field-currency" });
  fields.querySelector("#field-amount")?.after(output);
  const value = (/** @type {string} */ name) =>
    /** @type {Control | null} */ (fields.querySelector(`#field-${name}`))?.value ?? "";
  const show = () => write(output, echo(value("amount"), upper(value("currency"))));
  fields.addEventListener("input", show);
  show();
  return fields;
}

/**
 * The control of a field.
 * @param {HTMLFormElement} form
 * @param {string} name
 * @returns {Control | null}
 */
function field(form, name) {
  return /** @type {Control | null} */ (form.elements.namedItem(name));
}

/**
 * The values of the form, by the field names of the API.
 * @param {HTMLFormElement} form
 * @param {Term[]} terms
 * @returns {Record<string, any>}
 */
function read(form, terms) {
  /** @type {Record<string, any>} */
  const body = {};
  for (const term of terms) body[term.name] = term.read(field(form, term.name)?.value ?? "");
  const { amount, currency, holds, window_seconds, ...rest } = body;
  const price = readPrice(amount ?? "", currency);
  if ("fault" in price) throw fieldProblem("amount", price.fault);
  // If only one of the two is set, the server rejects the request.
  const throttle =
    holds === null && window_seconds === null ? null : withoutNulls({ holds, window_seconds });
  return { ...rest, price: { amount: price.amount, currency }, throttle };
}

/**
 * Removes fields without a value: an absent field has its default.
 * @param {Record<string, any>} body
 */
function withoutNulls(body) {
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null));
}

/**
 * The idempotency keys of a dialog. A second click or a retry repeats the key; a changed body gets
 * a new one.
 */
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
  const dialog = openDialog(
    "New drop",
    [grid(fields)],
    { words: "Create the drop", kind: "primary", keep: "Close" },
    async (form) => {
      const body = withoutNulls(read(form, fields));
      const drop = await callUntilDecided("/v1/drops", { method: "POST", key: keyFor(body), body });
      return `${isolate(drop.name)} is ${drop.status === "scheduled" ? "scheduled" : "on sale"}, with ${units(drop.stock.total, "unit")}.`;
    },
  );
  dialog.querySelector("input")?.focus();
}

/**
 * @typedef {{drop: Drop, etag: string}} Version a drop, and the entity tag of the version that an
 *   edit or an adjustment is based on
 */

/** @param {string} id @returns {Promise<Version>} */
async function current(id) {
  const { text: json, etag } = await callForText(`/v1/drops/${id}`);
  // A compressing proxy makes the tag weak. The tag identifies the version of the terms in any
  // encoding.
  return { drop: JSON.parse(json), etag: etag.replace(/^W\//, "") };
}

/**
 * Saves an edit. If the response was lost, the retry is rejected as stale by the edit itself. In
 * that case the drop already has all changed values, and the edit succeeded.
 * @param {Version} base @param {Record<string, unknown>} changed
 */
async function save({ drop: { id }, etag }, changed) {
  try {
    await callUntilDecided(`/v1/drops/${id}`, {
      method: "PATCH",
      body: changed,
      headers: { "If-Match": etag },
    });
  } catch (problem) {
    if (!(problem instanceof Problem) || problem.status !== 412) throw problem;
    const { drop } = await current(id);
    if (!hasValues(drop, changed)) throw problem;
  }
}

/**
 * Returns whether a drop has all values of an edit.
 * @param {Record<string, any>} drop
 * @param {Record<string, unknown>} changed
 */
function hasValues(drop, changed) {
  return Object.entries(changed).every(
    ([name, value]) => JSON.stringify(value) === JSON.stringify(drop[name]),
  );
}

/** @param {DropLine} line */
export function openEdit(line) {
  return openWith(line, edit);
}

/** @param {Version} base */
function edit(base) {
  const { id } = base.drop;
  const hint = h("p", { class: "hint" }, "Existing holds keep their price and expiry time.");
  /** @param {Problem} problem @param {HTMLFormElement} form */
  const resolve = (problem, form) => {
    if (problem.status !== 412) return undefined;
    const act = async () => {
      const before = base.drop;
      base = await current(id);
      return renew(form, before, base.drop);
    };
    return {
      words: "This drop was edited since you opened it. Your changes are not saved yet.",
      next: "Load the new version, keep my changes",
      act,
    };
  };
  openDialog(
    `Edit ${isolate(base.drop.name)}`,
    [grid(TERMS, base.drop), hint],
    { words: "Save", kind: "primary", keep: "Close" },
    async (form) => {
      const after = read(form, TERMS);
      const before = asShown(base.drop);
      const changed = Object.fromEntries(
        Object.entries(after).filter(
          ([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name]),
        ),
      );
      if (Object.keys(changed).length === 0) return "No changes to save.";
      // A drop always has a start. An empty field means now.
      if (changed.starts_at === null) changed.starts_at = new Date().toISOString();
      await save(base, changed);
      return `${isolate(base.drop.name)} was saved.`;
    },
    resolve,
  );
}

/**
 * Updates a form to a new version of its drop, except for edited fields. Returns a message for the
 * administrator.
 * @param {HTMLFormElement} form
 * @param {Drop} before
 * @param {Drop} after
 */
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
  const yours =
    kept.length > 0 ? `Your changes are kept: ${kept.join(", ")}.` : "You have no changes.";
  const theirs = both.length > 0 ? ` Also changed in the new version: ${both.join(", ")}.` : "";
  return `This is the new version. ${yours}${theirs} Save to apply them.`;
}

/** The values of an unedited form of the drop. @param {Drop} drop @returns {Record<string, any>} */
function asShown(drop) {
  return read(h("form", {}, grid(TERMS, drop)), TERMS);
}

/**
 * Keeps the numbers of a dialog current: reads the drop with its version, and again after each
 * change on the stream, until the dialog is closed. Returns a function that reads it immediately.
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
      // The numbers may be outdated; the version that is sent with a change protects against that.
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

/**
 * Opens a dialog with the current state of a drop.
 * @param {DropLine} line
 * @param {(base: Version) => void} open
 */
async function openWith(line, open) {
  const base = await current(line.id).catch((problem) => {
    if (!(problem instanceof Problem)) throw problem;
    toast(`${isolate(line.name)}: ${problem.message}`, { kind: "refusal" });
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
  const delta = control({
    name: "delta",
    words: "Units to add (negative to remove)",
    type: "number",
    attributes: { step: 1, required: true },
  });
  const reason = control({
    name: "reason",
    words: "Reason (stored in the log permanently)",
    attributes: { required: true, maxlength: 200 },
    hint: "Do not enter personal data: the log is never edited.",
  });
  const keyFor = keys();
  /** @param {Problem} problem */
  const resolve = (problem) => {
    if (problem.status !== 412) return undefined;
    void refresh();
    return {
      words:
        "The stock was adjusted since you opened this dialog, and your adjustment was not recorded. The numbers are now current. Submit again to apply your adjustment to them.",
    };
  };
  const dialog = openDialog(
    `Adjust ${isolate(name)}`,
    [delta, reason, outcome],
    { words: "Adjust the stock", kind: "primary", keep: "Close" },
    async (form) => {
      const values = new FormData(form);
      const body = {
        delta: number(String(values.get("delta"))),
        reason: String(values.get("reason")).trim(),
      };
      const headers = { "If-Match": now.etag };
      return adjusted(
        name,
        await callUntilDecided(`/v1/drops/${id}/stock-adjustments`, {
          method: "POST",
          key: keyFor(body),
          body,
          headers,
        }),
      );
    },
    resolve,
  );
  const input = dialog.querySelector("input");
  const show = () => write(outcome, preview(now.drop, input?.valueAsNumber || 0));
  input?.addEventListener("input", show);
  const refresh = keepCurrent(dialog, base, (newer) => {
    now = newer;
    show();
  });
  input?.focus();
}

/**
 * The expected result of an adjustment. Added units are offered to the waitlist first, so
 * availability is not predicted then.
 * @param {Drop} drop
 * @param {number} delta
 */
function preview({ stock, waitlist_length }, delta) {
  const after = stock.available + delta;
  const before = `Available: ${count(stock.available)} now`;
  if (after < 0)
    return `At most ${units(stock.available, "unit")} can be removed: the others are held or sold.`;
  if (delta === 0) return `${before}.`;
  if (delta < 0 || waitlist_length === 0) return `${before}, ${count(after)} after.`;
  return `${before}. Added units are offered to the waitlist first (${units(waitlist_length, "entry", "entries")} waiting).`;
}

/**
 * The result of an adjustment, from its response.
 * @param {string} name
 * @param {{delta: number, stock: import("../lib/api.js").Stock, waitlist_length: number}} made
 */
function adjusted(name, { delta, stock, waitlist_length }) {
  const { total, available, held, sold } = stock;
  const waiting =
    waitlist_length > 0 ? ` ${units(waitlist_length, "entry is", "entries are")} waiting.` : "";
  // Units that are already held or sold cannot be removed again.
  const undo =
    delta <= available
      ? ` An adjustment by ${delta > 0 ? "−" : "+"}${count(Math.abs(delta))} reverts it.`
      : "";
  return `${isolate(name)} has ${units(total, "unit")} now: ${count(available)} available, ${count(held)} held, ${count(sold)} sold.${waiting}${undo}`;
}

/** @param {DropLine} line */
export function openCancel(line) {
  return openWith(line, confirmCancellation);
}

/** @param {Version} base */
function confirmCancellation(base) {
  const { id, name } = base.drop;
  const [held, waiting, sold] = [h("li"), h("li"), h("li")];
  const effects = h(
    "ul",
    { "aria-live": "polite" },
    held,
    waiting,
    sold,
    h("li", {}, "No further holds or purchases are possible."),
    h(
      "li",
      {},
      h("strong", {}, "This cannot be undone."),
      " To stop sales without cancelling, edit the end of the drop.",
    ),
  );
  const dialog = openDialog(
    `Cancel ${isolate(name)}?`,
    [effects],
    { words: "Cancel the drop", kind: "danger", keep: "Keep the drop" },
    async () => {
      const drop = await callUntilDecided(`/v1/drops/${id}/cancel`, { method: "POST" });
      return `${isolate(drop.name)} was cancelled. ${units(drop.stock.sold, "unit remains", "units remain")} sold.`;
    },
  );
  keepCurrent(dialog, base, ({ drop: { stock, waitlist_length } }) => {
    write(
      held,
      stock.held > 0
        ? `${units(stock.held, "unit is", "units are")} on hold: these holds will be released.`
        : "No units are on hold.",
    );
    write(
      waiting,
      waitlist_length > 0
        ? `${units(waitlist_length, "waitlist entry is", "waitlist entries are")} waiting: the waitlist will be closed, and the buyers will see this on their pages.`
        : "No waitlist entries are waiting.",
    );
    write(
      sold,
      stock.sold > 0
        ? `${units(stock.sold, "unit is", "units are")} sold: purchases remain valid.`
        : "No units are sold.",
    );
  });
  dialog.querySelector("button")?.focus();
}
