// The administrator's actions for creators and products, each in a dialog.

import { call, callUntilDecided } from "../lib/api.js";
import { h } from "../lib/dom.js";
import { isolate } from "../lib/foreign.js";
import { units } from "../lib/format.js";
import { control, fieldProblem, openDialog } from "./form-dialog.js";

/**
 * @typedef {{id: string, name: string, description: string | null, image_url: string | null,
 *   followers: number}} Creator
 * @typedef {{id: string, name: string, sku: string | null, gtin: string | null}} Variant
 * @typedef {{id: string, creator_id: string | null, title: string, description: string | null,
 *   image_url: string | null, variants: Variant[], drops: unknown[]}} Product
 */

/** @param {HTMLFormElement} form @param {string} name */
function textOf(form, name) {
  return String(new FormData(form).get(name) ?? "").trim();
}

/** Null for an empty field. @param {HTMLFormElement} form @param {string} name */
const optional = (form, name) => textOf(form, name) || null;

/** @param {string} words */
const idField = (words) =>
  control({
    name: "id",
    words,
    hint: "Letters, digits and . _ -, as in your shop. It cannot be changed later.",
    attributes: {
      required: true,
      maxlength: 64,
      autocapitalize: "none",
      autocomplete: "off",
    },
  });

/** @param {{description: string | null, image_url: string | null}} [of] */
const texts = (of) => [
  control(
    {
      name: "description",
      words: "Description",
      type: "textarea",
      whole: true,
      attributes: { rows: 2 },
    },
    of?.description ?? "",
  ),
  control(
    {
      name: "image_url",
      words: "Picture URL",
      whole: true,
      attributes: { inputmode: "url", autocapitalize: "none", autocomplete: "off" },
    },
    of?.image_url ?? "",
  ),
];

/** @param {string} title @param {string} name @param {string} [value] */
const nameField = (title, name, value = "") =>
  control(
    { name, words: title, whole: true, attributes: { required: true, maxlength: 200 } },
    value,
  );

/** The path of a new or known record. @param {string} kind @param {string} id */
const pathOf = (kind, id) => `/v1/${kind}/${encodeURIComponent(id)}`;

/**
 * Rejects an id that exists, which would be overwritten.
 * @param {string} kind @param {string} id
 */
async function mustBeNew(kind, id) {
  const known = await call(pathOf(kind, id)).catch((/** @type {{status: number}} */ problem) => {
    if (problem.status === 404) return null;
    throw problem;
  });
  if (known) throw fieldProblem("id", "This id exists already: edit it instead.");
}

export function openNewCreator() {
  creatorDialog("New creator");
}

/** @param {Creator} creator */
export function openEditCreator(creator) {
  creatorDialog(`Edit ${isolate(creator.name)}`, creator);
}

/** @param {string} title @param {Creator} [creator] */
function creatorDialog(title, creator) {
  const fields = [
    ...(creator ? [] : [idField("Id")]),
    nameField("Name", "name", creator?.name),
    ...texts(creator),
  ];
  openDialog(
    title,
    [h("div", { class: "fields" }, ...fields)],
    { words: "Save", kind: "primary", keep: "Close" },
    async (form) => {
      const id = creator?.id ?? textOf(form, "id");
      if (!creator) await mustBeNew("creators", id);
      const body = {
        name: textOf(form, "name"),
        description: optional(form, "description"),
        image_url: optional(form, "image_url"),
      };
      await callUntilDecided(pathOf("creators", id), { method: "PUT", body });
      return `${isolate(body.name)} is saved.`;
    },
  )
    .querySelector("input")
    ?.focus();
}

export function openNewProduct() {
  productDialog("New product");
}

/** @param {Product} product */
export function openEditProduct(product) {
  productDialog(`Edit ${isolate(product.title)}`, product);
}

/** A variant on one line. @param {Variant} variant */
const lineOf = ({ id, name, sku, gtin }) =>
  [id, name, sku ?? "", gtin ?? ""].join(" | ").replace(/( \| )+$/, "");

/** @param {string} text @returns {Partial<Variant>[]} */
function variantsIn(text) {
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  return lines.map((line) => {
    const [id = "", name = "", sku, gtin] = line.split("|").map((part) => part.trim());
    if (!id || !name)
      throw fieldProblem("variants", "Write each variant as: id | name | SKU | GTIN.");
    return { id, name, ...(sku && { sku }), ...(gtin && { gtin }) };
  });
}

/** @param {string} title @param {Product} [product] */
function productDialog(title, product) {
  const fields = [
    ...(product ? [] : [idField("Id")]),
    nameField("Title", "title", product?.title),
    control(
      {
        name: "creator_id",
        words: "Creator id",
        hint: "Empty: none.",
        attributes: { maxlength: 64, autocapitalize: "none", autocomplete: "off" },
      },
      product?.creator_id ?? "",
    ),
    ...texts(product),
    control(
      {
        name: "variants",
        words: "Variants, one on each line",
        type: "textarea",
        whole: true,
        hint: "id | name | SKU | GTIN; the last two may be absent.",
        attributes: { rows: 4, autocapitalize: "none" },
      },
      product?.variants.map(lineOf).join("\n") ?? "",
    ),
  ];
  openDialog(
    title,
    [h("div", { class: "fields" }, ...fields)],
    { words: "Save", kind: "primary", keep: "Close" },
    async (form) => {
      const id = product?.id ?? textOf(form, "id");
      const variants = variantsIn(textOf(form, "variants"));
      if (!product) await mustBeNew("products", id);
      const body = {
        title: textOf(form, "title"),
        creator_id: optional(form, "creator_id"),
        description: optional(form, "description"),
        image_url: optional(form, "image_url"),
        variants,
      };
      await callUntilDecided(pathOf("products", id), { method: "PUT", body });
      return `${isolate(body.title)} is saved.`;
    },
  )
    .querySelector("input")
    ?.focus();
}

/** @param {Creator} creator */
export function openDeleteCreator({ id, name, followers }) {
  confirmDeletion("creators", id, name, [
    followers > 0
      ? `${units(followers, "buyer follows", "buyers follow")} this creator, and will not any more.`
      : "No buyer follows this creator.",
    "Products and drops keep the creator's id.",
  ]);
}

/** @param {Product} product */
export function openDeleteProduct({ id, title, drops }) {
  confirmDeletion("products", id, title, [
    `${units(drops.length, "drop keeps", "drops keep")} the product's id, and ${drops.length === 1 ? "is" : "are"} not changed.`,
  ]);
}

/** @param {string} kind @param {string} id @param {string} name @param {string[]} effects */
function confirmDeletion(kind, id, name, effects) {
  const dialog = openDialog(
    `Delete ${isolate(name)}?`,
    [
      h(
        "ul",
        {},
        ...effects.map((words) => h("li", {}, words)),
        h("li", {}, h("strong", {}, "This cannot be undone.")),
      ),
    ],
    { words: "Delete", kind: "danger", keep: "Keep" },
    async () => {
      await callUntilDecided(pathOf(kind, id), { method: "DELETE" });
      return `${isolate(name)} is deleted.`;
    },
  );
  dialog.querySelector("button")?.focus();
}
