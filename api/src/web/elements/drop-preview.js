// The card of a drop that is being created, as the shop will show it.

import { now } from "../lib/clock.js";
import { h } from "../lib/dom.js";
import { decimals } from "../lib/currencies.js";
import { readPrice } from "../lib/price.js";
import { DropCard } from "./drop-card.js";

/**
 * @typedef {import("../lib/api.js").Drop} Drop
 * @typedef {(name: string) => string} Values the text of a field
 */

/** Its id chooses the generated picture; the new drop will have another one. */
const NO_ID = "00000000-0000-4000-8000-000000000000";

/** @param {HTMLElement} fields the fields of the form @returns {HTMLElement} */
export function dropPreview(fields) {
  const card = new DropCard();
  const value = (/** @type {string} */ name) => {
    const control = fields.querySelector(`#field-${name}`);
    return control instanceof HTMLInputElement || control instanceof HTMLTextAreaElement
      ? control.value.trim()
      : "";
  };
  const show = () => {
    card.drop = drafted(value);
    // Assistive technology skips it; a label with the typed name would be another field's.
    card.querySelector("hold-panel")?.removeAttribute("aria-label");
  };
  fields.addEventListener("input", show);
  show();
  return h(
    "div",
    { class: "form-preview" },
    h("p", { class: "hint" }, "Preview of the card"),
    // Its buttons must not hold anything, and it is not part of the form.
    h("div", { inert: true }, card),
  );
}

/**
 * The drop that the fields describe; a field that is not valid has its default.
 * @param {Values} value @returns {Drop}
 */
function drafted(value) {
  const whole = (/** @type {string} */ name, /** @type {number} */ otherwise) => {
    const number = Number(value(name));
    return value(name) !== "" && Number.isInteger(number) && number > 0 ? number : otherwise;
  };
  const present = new Date(now()).toISOString();
  const total = whole("total_stock", 0);
  return {
    id: NO_ID,
    name: value("name") || "Untitled",
    description: value("description") || null,
    image_url: value("image_url") || null,
    price: price(value),
    status: "live",
    starts_at: instant(value("starts_at")) ?? present,
    ends_at: instant(value("ends_at")),
    hold_seconds: whole("hold_seconds", 60),
    max_hold_seconds: null,
    offer_seconds: null,
    max_per_hold: whole("max_per_hold", 1),
    max_per_buyer: whole("max_per_buyer", 0) || null,
    throttle: null,
    low_stock_at: null,
    limit_group: null,
    visibility: "public",
    show_stock: "exact",
    challenge: null,
    access: "open",
    product_id: null,
    variant_id: null,
    creator_id: null,
    stock: { total, available: total, held: 0, sold: 0 },
    waitlist_length: 0,
    position: 0,
    created_at: present,
    server_time: present,
  };
}

/** @param {Values} value */
function price(value) {
  const typed = value("currency").toUpperCase();
  const currency = /^[A-Z]{3}$/.test(typed) ? typed : "EUR";
  const read = readPrice(value("amount") || `0${decimals(currency) > 0 ? ".00" : ""}`, currency);
  return { amount: "amount" in read ? read.amount : 0, currency };
}

/** @param {string} local */
function instant(local) {
  const time = Date.parse(local);
  return Number.isNaN(time) ? null : new Date(time).toISOString();
}
