// The terms of a drop as fields of a form, in groups, and the values of these fields.

import { h, write } from "../lib/dom.js";
import { durationInWords, timeZone } from "../lib/format.js";
import { echo, readPrice, typed } from "../lib/price.js";
import { control, fieldProblem } from "./form-dialog.js";

/**
 * @typedef {import("../lib/api.js").Drop} Drop
 * @typedef {import("./form-dialog.js").Control} Control
 * @typedef {"Basics" | "Sale window" | "Limits" | "Waitlist and payment" | "More"} Group
 * @typedef {import("./form-dialog.js").Field & {group: Group, read: (value: string) => unknown,
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

/** @type {Group[]} */
const GROUPS = ["Basics", "Sale window", "Limits", "Waitlist and payment", "More"];
/** The group that is closed at first, because few drops need it. */
const CLOSED = "More";
/** @type {Partial<Record<Group, () => string>>} */
const HINTS = { "Sale window": () => `Times are in ${timeZone()}.` };

/** @type {Term} */
const STOCK = {
  group: "Basics",
  name: "total_stock",
  words: "Units",
  type: "number",
  attributes: { min: 1, step: 1, required: true, value: 100 },
  read: number,
  show: ({ stock }) => String(stock.total),
};
/** @type {Term[]} */
export const TERMS = [
  {
    group: "Basics",
    name: "name",
    words: "Name",
    whole: true,
    attributes: { required: true, maxlength: 200 },
    read: text,
    show: (drop) => drop.name,
  },
  {
    group: "Basics",
    name: "description",
    words: "Description",
    type: "textarea",
    whole: true,
    attributes: { rows: 2 },
    read: text,
    show: (drop) => drop.description ?? "",
  },
  {
    group: "Basics",
    name: "amount",
    words: "Price",
    attributes: { required: true, inputmode: "decimal", placeholder: "49.00", autocomplete: "off" },
    read: text,
    show: ({ price }) => typed(price),
  },
  {
    group: "Basics",
    name: "currency",
    words: "Currency",
    attributes: {
      required: true,
      value: "EUR",
      maxlength: 3,
      autocapitalize: "characters",
      autocomplete: "off",
      list: "currencies",
    },
    read: upper,
    show: (drop) => drop.price.currency,
  },
  {
    group: "Basics",
    name: "image_url",
    words: "Picture URL",
    whole: true,
    hint: "Empty: a picture is generated.",
    attributes: { inputmode: "url", autocapitalize: "none" },
    read: text,
    show: (drop) => drop.image_url ?? "",
  },
  {
    group: "Sale window",
    name: "starts_at",
    words: "Starts",
    type: "datetime-local",
    hint: "Empty: immediately.",
    attributes: { step: "any" },
    read: time,
    show: (drop) => local(drop.starts_at),
  },
  {
    group: "Sale window",
    name: "ends_at",
    words: "Ends",
    type: "datetime-local",
    hint: "Empty: no end.",
    attributes: { step: "any" },
    read: time,
    show: (drop) => local(drop.ends_at),
  },
  {
    group: "Limits",
    name: "max_per_hold",
    words: "Maximum units per hold",
    type: "number",
    attributes: { min: 1, required: true, value: 1 },
    read: number,
    show: (drop) => String(drop.max_per_hold),
  },
  {
    group: "Limits",
    name: "max_per_buyer",
    words: "Maximum units per buyer",
    type: "number",
    hint: "Empty: no limit.",
    attributes: { min: 1 },
    read: number,
    show: (drop) => String(drop.max_per_buyer ?? ""),
  },
  {
    group: "Limits",
    name: "holds",
    words: "Throttle: holds per buyer",
    type: "number",
    hint: "Empty: no throttle.",
    attributes: { min: 1 },
    read: number,
    show: (drop) => String(drop.throttle?.holds ?? ""),
  },
  {
    group: "Limits",
    name: "window_seconds",
    words: "Throttle: window (seconds)",
    type: "number",
    attributes: { min: 1 },
    read: number,
    show: (drop) => String(drop.throttle?.window_seconds ?? ""),
  },
  {
    group: "Waitlist and payment",
    name: "hold_seconds",
    words: "Hold duration (seconds)",
    type: "number",
    hint: "How long a buyer has to buy.",
    attributes: { min: 1, max: 3600, required: true, value: 60 },
    read: number,
    show: (drop) => String(drop.hold_seconds),
  },
  {
    group: "Waitlist and payment",
    name: "offer_seconds",
    words: "Waitlist offer (seconds)",
    type: "number",
    hint: "Empty: as long as a hold.",
    attributes: { min: 1, max: 604_800 },
    read: number,
    show: (drop) => String(drop.offer_seconds ?? ""),
  },
  {
    group: "Waitlist and payment",
    name: "max_hold_seconds",
    words: "Longest hold during a payment (seconds)",
    type: "number",
    hint: "Empty: as long as a hold, without extension.",
    attributes: { min: 1, max: 86_400 },
    read: number,
    show: (drop) => String(drop.max_hold_seconds ?? ""),
  },
  {
    group: "More",
    name: "low_stock_at",
    words: "Report low stock at (units)",
    type: "number",
    hint: "Empty: never. A webhook reports it.",
    attributes: { min: 1, max: 10_000_000 },
    read: number,
    show: (drop) => String(drop.low_stock_at ?? ""),
  },
  {
    group: "More",
    name: "visibility",
    words: "Visible to",
    choices: [
      ["public", "Everyone: in lists"],
      ["unlisted", "Everyone who has the link"],
      ["hidden", "Administrators only"],
    ],
    read: text,
    show: (drop) => drop.visibility,
  },
  {
    group: "More",
    name: "show_stock",
    words: "Stock shown to the public",
    choices: [
      ["exact", "Numbers"],
      ["level", "A level"],
    ],
    read: text,
    show: (drop) => drop.show_stock,
  },
  {
    group: "More",
    name: "access",
    words: "Holds for",
    choices: [
      ["open", "Every buyer"],
      ["code", "Buyers with a code of the drop"],
    ],
    read: text,
    show: (drop) => drop.access,
  },
  {
    group: "More",
    name: "challenge",
    words: "Challenge before a hold (1 to 20)",
    type: "number",
    hint: "Empty: none. A buyer's device computes before each hold: 4 takes about a second on a phone.",
    attributes: { min: 1, max: 20 },
    read: (value) => (value === "" ? null : { kind: "proof_of_work", difficulty: Number(value) }),
    show: (drop) => String(drop.challenge?.difficulty ?? ""),
  },
  ...["product_id", "variant_id", "creator_id"].map(catalogueId),
];

/**
 * An id of the shop's catalogue, with its entries to choose from: see `catalogue-ids.js`.
 * @param {string} name @returns {Term}
 */
function catalogueId(name) {
  const words = `${name.charAt(0).toUpperCase()}${name.slice(1).replace("_id", "")}`;
  return {
    group: "More",
    name,
    words,
    hint:
      name === "variant_id"
        ? "A variant of the product. Empty: none."
        : "Choose one, or enter an id. Empty: none.",
    attributes: {
      maxlength: 64,
      autocapitalize: "none",
      autocomplete: "off",
      list: `list-${name}`,
    },
    read: text,
    show: (drop) => /** @type {Record<string, any>} */ (drop)[name] ?? "",
  };
}

/** It cannot be changed later. @type {Term} */
const LIMIT_GROUP = {
  group: "More",
  name: "limit_group",
  words: "Limit group",
  hint: "Drops of a group share the limit per buyer. It cannot be changed later. Empty: none.",
  attributes: { maxlength: 64, autocapitalize: "none", autocomplete: "off" },
  read: text,
  show: (drop) => drop.limit_group ?? "",
};

/** @type {Term} */
const DRAFT = {
  group: "Sale window",
  name: "draft",
  words: "Publish",
  choices: [
    ["", "Immediately"],
    ["draft", "Later: save as a draft"],
  ],
  hint: "Buyers do not see a draft.",
  read: (value) => (value === "draft" ? true : null),
  show: () => "",
};

/** The terms of a new drop: also its stock, its group, and whether it is a draft. */
export const NEW_TERMS = [...TERMS.slice(0, 4), STOCK, ...TERMS.slice(4), LIMIT_GROUP, DRAFT];

/**
 * The fields in groups, with the parsed price and durations shown next to their inputs.
 * @param {Term[]} terms
 * @param {Drop} [drop]
 */
export function termFields(terms, drop) {
  const groups = GROUPS.map((group) => {
    const fields = h(
      "div",
      { class: "fields" },
      ...terms
        .filter((term) => term.group === group)
        .map((term) => control(term, drop && term.show(drop))),
    );
    const hint = HINTS[group];
    return group === CLOSED
      ? h("details", { class: "fold" }, h("summary", {}, group), fields)
      : h(
          "fieldset",
          {},
          h("legend", {}, group),
          hint && h("p", { class: "hint" }, hint()),
          fields,
        );
  });
  const all = h("div", { class: "groups" }, ...groups);
  nameCurrencies();
  const value = (/** @type {string} */ name) =>
    /** @type {Control | null} */ (all.querySelector(`#field-${name}`))?.value ?? "";
  const price = h("output", { class: "hint", for: "field-amount field-currency" });
  all.querySelector("#field-amount")?.after(price);
  const seconds = ["hold_seconds", "offer_seconds", "max_hold_seconds"].map((name) => {
    const words = h("span", { class: "hint in-words" });
    all.querySelector(`#field-${name}`)?.after(words);
    return () => write(words, inWords(value(name)));
  });
  const show = () => {
    write(price, echo(value("amount"), upper(value("currency"))));
    for (const update of seconds) update();
  };
  all.addEventListener("input", show);
  show();
  return all;
}

/** Names the currencies that can be chosen; their codes are those of the server. */
function nameCurrencies() {
  const names = new Intl.DisplayNames("en", { type: "currency" });
  for (const option of document.querySelectorAll("#currencies option:not([label])"))
    if (option instanceof HTMLOptionElement) option.label = names.of(option.value) ?? option.value;
}

/** A number of seconds in words, if they say more than the number. @param {string} value */
function inWords(value) {
  const seconds = Number(value);
  return Number.isInteger(seconds) && seconds >= 120 ? `= ${durationInWords(seconds)}` : "";
}

/**
 * The control of a field.
 * @param {HTMLFormElement} form
 * @param {string} name
 * @returns {Control | null}
 */
export function field(form, name) {
  return /** @type {Control | null} */ (form.elements.namedItem(name));
}

/**
 * The values of the form, by the field names of the API.
 * @param {HTMLFormElement} form
 * @param {Term[]} terms
 * @returns {Record<string, any>}
 */
export function readTerms(form, terms) {
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
export function withoutNulls(body) {
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null));
}
