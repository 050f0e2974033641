// A dialog with a form. The error of a field is shown next to it and described to screen readers;
// an error of the whole form is shown at the end. The buttons are always visible: the content
// between title and buttons scrolls.

import { Problem } from "../lib/api.js";
import { h, mark, write } from "../lib/dom.js";
import { exact } from "../lib/format.js";
import { toast } from "./toast-list.js";

/**
 * @typedef {HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement} Control
 * @typedef {{name: string, detail: string}} Fault
 * @typedef {{words: string, kind: string, keep: string}} End the label and class of the submit
 *   button, and the label of the button that closes the dialog; empty for none
 * @typedef {{words: string, next?: string, act?: () => Promise<string>}} Resolution a description
 *   of the problem, and optionally the label and the action of a button; the action returns a
 *   message
 * @typedef {{name: string, words: string, hint?: string, type?: string, whole?: boolean,
 *   choices?: [string, string][], attributes?: import("../lib/dom.js").Attributes}} Field
 *   `choices`: the values and labels of a select
 */

/**
 * The problem of a field that the page itself rejects, in the form of a problem of the server.
 * @param {string} name
 * @param {string} detail
 */
export function fieldProblem(name, detail) {
  return new Problem(422, {
    code: "invalid_value",
    detail,
    errors: [{ pointer: `/${name}`, detail }],
  });
}

/** A label, a control, a hint and an error text. @param {Field} field @param {string} [value] */
export function control({ name, words, hint, type, whole, choices, attributes = {} }, value) {
  const id = `field-${name}`;
  const all = {
    ...attributes,
    id,
    name,
    "aria-describedby": [hint && `${id}-hint`, `${id}-error`].filter(Boolean).join(" "),
  };
  const input = choices
    ? h("select", all, ...choices.map(([value, label]) => h("option", { value }, label)))
    : type === "textarea"
      ? h("textarea", all)
      : h("input", { ...all, type: type ?? "text" });
  if (value !== undefined) input.value = value;
  const error = h("p", { class: "error", id: `${id}-error` });
  input.addEventListener("input", () => clear(input, error));
  if (type === "checkbox")
    return h(
      "div",
      { class: "field whole" },
      h("label", { class: "check", for: id }, input, words),
      hint && h("p", { class: "hint", id: `${id}-hint` }, hint),
      error,
    );
  return h(
    "div",
    { class: whole ? "field whole" : "field" },
    h("label", { for: id }, words),
    input,
    hint && h("p", { class: "hint", id: `${id}-hint` }, hint),
    error,
  );
}

/**
 * Opens a dialog. `send` submits the form and returns a message; `resolve` returns the resolution
 * of some problems.
 * @param {string} title
 * @param {Node[]} content
 * @param {End} end
 * @param {(form: HTMLFormElement) => Promise<string>} send
 * @param {(problem: Problem, form: HTMLFormElement) => Resolution | undefined} [resolve]
 */
export function openDialog(title, content, end, send, resolve = () => undefined) {
  const refused = h("div", { class: "refused", role: "alert" });
  const keep = h("button", { type: "button", class: "quiet", hidden: !end.keep }, end.keep);
  const submit = h("button", { class: end.kind }, end.words);
  // Focusable, so that it can be scrolled by keyboard even without a focusable element inside.
  const body = h("div", { class: "dialog-body", tabindex: -1 }, ...content, refused);
  const form = h(
    "form",
    { method: "dialog", novalidate: true },
    h("h2", { id: "dialog-title" }, title),
    body,
    h("div", { class: "form-end" }, keep, submit),
  );
  const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, form);
  keep.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    submit.disabled = true;
    refused.replaceChildren();
    try {
      if (showFaults(form, invalidFields(form)).length > 0) return;
      toast(await send(form));
      dialog.close();
      document.dispatchEvent(new Event("drops-changed"));
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      showProblem(form, refused, problem, resolve(problem, form));
    } finally {
      submit.disabled = false;
    }
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/**
 * @param {HTMLFormElement} form
 * @param {HTMLElement} refused
 * @param {Problem} problem
 * @param {Resolution | undefined} resolution
 */
function showProblem(form, refused, problem, resolution) {
  /** @type {{pointer: string, detail: string}[]} */
  const errors = problem.numbers.errors ?? [];
  const faults = errors.map(({ pointer, detail }) => ({
    name: pointer.split("/").at(-1) ?? "",
    detail: sentence(detail),
  }));
  const shown = showFaults(form, faults);
  if (faults.length > 0 && shown.length === faults.length) return;
  refused.append(h("p", { class: "error" }, resolution?.words ?? sentence(problem.message)));
  if (resolution?.next && resolution.act)
    refused.append(resolutionButton(refused, resolution.next, resolution.act));
  refused.scrollIntoView({ block: "nearest" });
}

/** @param {HTMLElement} refused @param {string} next @param {() => Promise<string>} act */
function resolutionButton(refused, next, act) {
  const button = h("button", { type: "button", class: "secondary" }, next);
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      refused.replaceChildren(h("p", { class: "hint" }, await act()));
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      button.disabled = false;
      // In the dialog, because it covers messages of the page.
      refused.prepend(h("p", { class: "error" }, sentence(problem.message)));
    }
  });
  return button;
}

/**
 * Shows faults next to their fields and focuses the first. Returns the controls that were found.
 * @param {HTMLFormElement} form
 * @param {Fault[]} faults
 */
function showFaults(form, faults) {
  const controls = faults.flatMap(({ name, detail }) => {
    const found = form.elements.namedItem(name);
    const error = form.querySelector(`#field-${CSS.escape(name)}-error`);
    if (!(found instanceof HTMLElement) || !error) return [];
    mark(found, "aria-invalid", "true");
    write(error, detail);
    return [found];
  });
  // A group of fields may be closed.
  for (const found of controls) found.closest("details")?.setAttribute("open", "");
  controls[0]?.focus({ preventScroll: true });
  controls[0]?.closest(".field")?.scrollIntoView({ block: "center" });
  return controls;
}

/** @param {Control} input @param {HTMLElement} error */
function clear(input, error) {
  input.removeAttribute("aria-invalid");
  write(error, "");
}

/**
 * The faults that the browser's validation finds.
 * @param {HTMLFormElement} form
 * @returns {Fault[]}
 */
function invalidFields(form) {
  const controls = /** @type {Control[]} */ (
    [...form.elements].filter(
      (element) =>
        element instanceof HTMLInputElement ||
        element instanceof HTMLTextAreaElement ||
        element instanceof HTMLSelectElement,
    )
  );
  return controls
    .filter(({ validity }) => !validity.valid)
    .map((input) => ({ name: input.name, detail: validityMessage(input) }));
}

/** @param {Control} input */
function validityMessage(input) {
  const { validity } = input;
  const [min, max] = [input.getAttribute("min"), input.getAttribute("max")];
  const most = input.getAttribute("maxlength");
  if (validity.badInput || validity.stepMismatch)
    return input.type === "number" ? "Enter a whole number." : "Enter a date and a time.";
  if (validity.valueMissing) return "This field is required.";
  if (validity.typeMismatch) return "Enter a URL that begins with https://.";
  if (validity.rangeUnderflow || validity.rangeOverflow)
    return max ? `Enter a number from ${min} to ${max}.` : `Enter a number of at least ${min}.`;
  if (validity.tooLong) return `Enter at most ${most} characters.`;
  return "This value is not valid.";
}

const INSTANT = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g;

/**
 * Formats a detail of the server as a sentence, with times in the local time zone, as in the form.
 * @param {string} words
 */
function sentence(words) {
  const local = words.replaceAll(INSTANT, (time) => exact(time));
  const [first = "", rest = ""] = [local.slice(0, 1).toUpperCase(), local.slice(1)];
  return /[.!?]$/.test(rest) ? first + rest : `${first}${rest}.`;
}
