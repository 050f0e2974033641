// The actions of the dashboard: create, duplicate, edit, adjust and cancel a drop, each in a dialog
// that describes the effect.

import { Problem, callForText, callUntilDecided, uuid } from "../lib/api.js";
import { now } from "../lib/clock.js";
import { isolate } from "../lib/foreign.js";
import { count, units } from "../lib/format.js";
import { h, write } from "../lib/dom.js";
import { Stream } from "../lib/stream.js";
import { offerCatalogue } from "./catalogue-ids.js";
import { dropPreview } from "./drop-preview.js";
import { NEW_TERMS, TERMS, field, readTerms, termFields, withoutNulls } from "./drop-terms.js";
import { control, openDialog } from "./form-dialog.js";
import { toast } from "./toast-list.js";

/**
 * @typedef {import("../lib/api.js").Drop} Drop
 * @typedef {{id: string, name: string}} Named a drop of the page
 */

/** The longest name of a drop. */
const MOST_NAME = 200;
/**
 * A number in the text of an input.
 * @param {string} value
 */
const number = (value) => (value === "" ? null : Number(value));

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
  create("New drop");
}

/** Opens the form of a new drop with the terms of another one. @param {Named} line */
export function openDuplicate(line) {
  return openWith(line, ({ drop }) => create(`New drop, as ${isolate(drop.name)}`, copyOf(drop)));
}

/** A sale window that has begun is not copied. @param {Drop} drop @returns {Drop} */
function copyOf(drop) {
  const isAhead = Date.parse(drop.starts_at) > now();
  const window = isAhead ? {} : { starts_at: "", ends_at: null };
  return { ...drop, ...window, name: `${drop.name} (copy)`.slice(0, MOST_NAME) };
}

/** @param {string} title @param {Drop} [drop] the values of the fields */
function create(title, drop) {
  const keyFor = keys();
  const fields = termFields(NEW_TERMS, drop);
  offerCatalogue(fields);
  const dialog = openDialog(
    title,
    [h("div", { class: "form-split" }, fields, dropPreview(fields))],
    { words: "Create the drop", kind: "primary", keep: "Close" },
    async (form) => {
      const body = withoutNulls(readTerms(form, NEW_TERMS));
      const made = await callUntilDecided("/v1/drops", { method: "POST", key: keyFor(body), body });
      const state =
        made.status === "scheduled" || made.status === "draft" ? made.status : "on sale";
      return `${isolate(made.name)} is ${state === "draft" ? "a draft" : state}, with ${units(made.stock.total, "unit")}.`;
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

/** @param {Named} line */
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
  const fields = termFields(TERMS, base.drop);
  offerCatalogue(fields);
  openDialog(
    `Edit ${isolate(base.drop.name)}`,
    [fields, hint],
    { words: "Save", kind: "primary", keep: "Close" },
    async (form) => {
      const after = readTerms(form, TERMS);
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
  form.querySelector(".groups")?.dispatchEvent(new Event("input"));
  const yours =
    kept.length > 0 ? `Your changes are kept: ${kept.join(", ")}.` : "You have no changes.";
  const theirs = both.length > 0 ? ` Also changed in the new version: ${both.join(", ")}.` : "";
  return `This is the new version. ${yours}${theirs} Save to apply them.`;
}

/** The values of an unedited form of the drop. @param {Drop} drop @returns {Record<string, any>} */
function asShown(drop) {
  return readTerms(h("form", {}, termFields(TERMS, drop)), TERMS);
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
 * @param {Named} line
 * @param {(base: Version) => void} open
 */
async function openWith(line, open) {
  const base = await current(line.id).catch((problem) => {
    if (!(problem instanceof Problem)) throw problem;
    toast(`${isolate(line.name)}: ${problem.message}`, { kind: "refusal" });
  });
  if (base) open(base);
}

/** @param {Named} line */
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

/** @param {Named} line */
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
      " To stop sales without cancelling, pause the drop.",
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
