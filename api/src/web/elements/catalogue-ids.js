// The fields of a form that have an id of the catalogue: each offers the names of the catalogue's
// entries. Any id can be entered, because the catalogue may have more entries than are offered, and
// the terms of a drop may name entries that it does not have.

import { Problem, call } from "../lib/api.js";
import { h } from "../lib/dom.js";

/**
 * @typedef {{id: string, name?: string, title?: string}} Entry
 * @typedef {Entry & {variants: Entry[]}} Product
 */

/** The newest entries that are offered. */
const MOST = 100;

/** @param {string} path @returns {Promise<any[]>} */
async function entries(path) {
  try {
    return (await call(`${path}?limit=${MOST}`)).data;
  } catch (problem) {
    // The id can still be entered.
    if (!(problem instanceof Problem)) throw problem;
    return [];
  }
}

/** @param {Entry} entry */
function option({ id, name, title }) {
  const words = name ?? title ?? id;
  return h("option", { value: id, label: words === id ? id : `${words} (${id})` });
}

/** Adds the lists to the fields of a form. @param {HTMLElement} form */
export function offerCatalogue(form) {
  const lists = ["product_id", "variant_id", "creator_id"].map((name) =>
    h("datalist", { id: `list-${name}` }),
  );
  const [products, variants, creators] = lists;
  const input = /** @type {HTMLInputElement | null} */ (form.querySelector("#field-product_id"));
  if (!input || !products || !variants || !creators) return;
  form.append(...lists);
  /** @type {Product[]} */
  let known = [];
  const showVariants = () => {
    const product = known.find(({ id }) => id === input.value.trim());
    variants.replaceChildren(...(product?.variants ?? []).map(option));
  };
  input.addEventListener("input", showVariants);
  void entries("/v1/products").then((found) => {
    known = found;
    products.replaceChildren(...known.map(option));
    showVariants();
  });
  void entries("/v1/creators").then((found) => creators.replaceChildren(...found.map(option)));
}
