// A dialog with a form. What is wrong with a field stands beside it and is read with it; what is wrong with the whole stands at the end.
// However much is in it, its buttons are in sight: the part between title and buttons scrolls.

import { Problem } from "../lib/api.js";
import { h, mark, write } from "../lib/dom.js";
import { exact } from "../lib/format.js";
import { toast } from "./toast-list.js";

/**
 * @typedef {HTMLInputElement | HTMLTextAreaElement} Control
 * @typedef {{name: string, detail: string}} Fault
 * @typedef {{words: string, kind: string, keep: string}} End what the button that sends says, how it looks, and what the other one says
 * @typedef {{words: string, next?: string, act?: () => Promise<string>}} Way out of a problem: what happened, what a button does, what to say then
 * @typedef {{name: string, words: string, hint?: string, type?: string, whole?: boolean, attributes?: import("../lib/dom.js").Attributes}} Field
 */

/** A field that a form cannot be sent with. Refused as the server would, but here. @param {string} name @param {string} detail */
export function faulty(name, detail) {
  return new Problem(422, { code: "invalid_value", detail, errors: [{ pointer: `/${name}`, detail }] });
}

/** A label, a control, and room for what is to be said about it. @param {Field} field @param {string} [value] */
export function control({ name, words, hint, type, whole, attributes = {} }, value) {
  const id = `field-${name}`;
  const all = { ...attributes, id, name, "aria-describedby": [hint && `${id}-hint`, `${id}-error`].filter(Boolean).join(" ") };
  const input = type === "textarea" ? h("textarea", all) : h("input", { ...all, type: type ?? "text" });
  if (value !== undefined) input.value = value;
  const error = h("p", { class: "error", id: `${id}-error` });
  input.addEventListener("input", () => clear(input, error));
  return h("div", { class: whole ? "field whole" : "field" }, h("label", { for: id }, words), input, hint && h("p", { class: "hint", id: `${id}-hint` }, hint), error);
}

/**
 * Opens a dialog. `send` does it and gives what to say; `wayOut` knows what to do about some problems.
 * @param {string} title @param {Node[]} content @param {End} end @param {(form: HTMLFormElement) => Promise<string>} send
 * @param {(problem: Problem, form: HTMLFormElement) => Way | undefined} [wayOut]
 */
export function openDialog(title, content, end, send, wayOut = () => undefined) {
  const refused = h("div", { class: "refused", role: "alert" });
  const keep = h("button", { type: "button", class: "quiet" }, end.keep);
  const submit = h("button", { class: end.kind }, end.words);
  // Focusable, so that it can be scrolled by keys where nothing in it can be focused.
  const body = h("div", { class: "dialog-body", tabindex: -1 }, ...content, refused);
  const form = h("form", { method: "dialog", novalidate: true }, h("h2", { id: "dialog-title" }, title), body, h("div", { class: "form-end" }, keep, submit));
  const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, form);
  keep.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    submit.disabled = true;
    refused.replaceChildren();
    try {
      if (point(form, unfilled(form)).length > 0) return;
      toast(await send(form));
      dialog.close();
      document.dispatchEvent(new Event("drops-changed"));
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      tell(form, refused, problem, wayOut(problem, form));
    } finally {
      submit.disabled = false;
    }
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** @param {HTMLFormElement} form @param {HTMLElement} refused @param {Problem} problem @param {Way | undefined} way */
function tell(form, refused, problem, way) {
  /** @type {{pointer: string, detail: string}[]} */
  const errors = problem.numbers.errors ?? [];
  const faults = errors.map(({ pointer, detail }) => ({ name: pointer.split("/").at(-1) ?? "", detail: sentence(detail) }));
  const placed = point(form, faults);
  if (faults.length > 0 && placed.length === faults.length) return;
  refused.append(h("p", { class: "error" }, way?.words ?? sentence(problem.message)));
  if (way?.next && way.act) refused.append(wayButton(refused, way.next, way.act));
  refused.scrollIntoView({ block: "nearest" });
}

/** @param {HTMLElement} refused @param {string} next @param {() => Promise<string>} act */
function wayButton(refused, next, act) {
  const button = h("button", { type: "button", class: "secondary" }, next);
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      refused.replaceChildren(h("p", { class: "hint" }, await act()));
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      button.disabled = false;
      // Here, and not in a message, which a dialog covers.
      refused.prepend(h("p", { class: "error" }, sentence(problem.message)));
    }
  });
  return button;
}

/** Writes faults beside their fields and goes to the first; gives those that have a field here. @param {HTMLFormElement} form @param {Fault[]} faults */
function point(form, faults) {
  const controls = faults.flatMap(({ name, detail }) => {
    const found = form.elements.namedItem(name);
    const error = form.querySelector(`#field-${CSS.escape(name)}-error`);
    if (!(found instanceof HTMLElement) || !error) return [];
    mark(found, "aria-invalid", "true");
    write(error, detail);
    return [found];
  });
  controls[0]?.focus({ preventScroll: true });
  controls[0]?.closest(".field")?.scrollIntoView({ block: "center" });
  return controls;
}

/** @param {Control} input @param {HTMLElement} error */
function clear(input, error) {
  input.removeAttribute("aria-invalid");
  write(error, "");
}

/** What the browser itself finds wrong, in our words. @param {HTMLFormElement} form @returns {Fault[]} */
function unfilled(form) {
  const controls = /** @type {Control[]} */ ([...form.elements].filter((element) => element instanceof HTMLInputElement || element instanceof HTMLTextAreaElement));
  return controls.filter(({ validity }) => !validity.valid).map((input) => ({ name: input.name, detail: whatIsWrong(input) }));
}

/** @param {Control} input */
function whatIsWrong(input) {
  const { validity } = input;
  const [min, max] = [input.getAttribute("min"), input.getAttribute("max")];
  if (validity.badInput || validity.stepMismatch) return input.type === "number" ? "A whole number." : "A day and a time.";
  if (validity.valueMissing) return "This is needed.";
  if (validity.rangeUnderflow || validity.rangeOverflow) return max ? `From ${min} to ${max}.` : `At least ${min}.`;
  if (validity.tooLong) return `At most ${input.maxLength} characters.`;
  return "This cannot be.";
}

const INSTANT = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g;

/** What the server says, as a sentence, and with the times of this machine's clock, which the form has too. @param {string} words */
function sentence(words) {
  const local = words.replaceAll(INSTANT, (time) => exact(time));
  const [first = "", rest = ""] = [local.slice(0, 1).toUpperCase(), local.slice(1)];
  return /[.!?]$/.test(rest) ? first + rest : `${first}${rest}.`;
}
