// The room of the catalogue: the creators and the products of the shop.

import { call } from "../lib/api.js";
import { byId, h } from "../lib/dom.js";
import { isolate } from "../lib/foreign.js";
import { count, units } from "../lib/format.js";
import { keepFresh, pager, queryOf, startRoom } from "../lib/room.js";
import { service } from "../lib/service.js";
import {
  openDeleteCreator,
  openDeleteProduct,
  openEditCreator,
  openEditProduct,
  openNewCreator,
  openNewProduct,
} from "../elements/catalogue-form.js";
import { RecordTable, part, rowButton } from "../elements/record-table.js";
import "../elements/service-note.js";
import "../elements/toast-list.js";

/**
 * @typedef {import("../elements/catalogue-form.js").Creator} Creator
 * @typedef {import("../elements/catalogue-form.js").Product} Product
 */

const REFRESH_MS = 5000;
const PAGE = 25;
/** The most creators that the page lists. */
const MOST_CREATORS = 100;

const creators = part("#creators record-table", RecordTable);
const products = part("#products record-table", RecordTable);

/** A name that leads to the page in the shop, above its id. @param {string} path @param {string} id
 * @param {string} name */
const named = (path, id, name) => [
  h("a", { href: `/${path}/${encodeURIComponent(id)}` }, isolate(name)),
  h("span", { class: "line hint" }, id),
];

creators.begin("Creators", [
  {
    words: "Creator",
    cell: (/** @type {Creator} */ { id, name }) => named("creators", id, name),
  },
  { words: "Followers", kind: "number", cell: ({ followers }) => count(followers) },
  {
    words: "Description",
    kind: "wide",
    cell: ({ description }) => (description ? isolate(description) : "–"),
  },
  {
    words: "Actions",
    kind: "actions",
    cell: (/** @type {Creator} */ creator) => [
      rowButton("Edit", creator.name, () => openEditCreator(creator)),
      rowButton("Delete", creator.name, () => openDeleteCreator(creator), "danger-quiet"),
    ],
  },
]);

products.begin("Products", [
  {
    words: "Product",
    cell: (/** @type {Product} */ { id, title }) => named("products", id, title),
  },
  { words: "Creator", cell: ({ creator_id }) => creator_id ?? "–" },
  {
    words: "Variants",
    kind: "wide",
    cell: (/** @type {Product} */ { variants }) =>
      variants.length > 0 ? variants.map(({ name }) => isolate(name)).join(", ") : "–",
  },
  {
    words: "Drops",
    kind: "number",
    cell: (/** @type {Product} */ { drops }) => units(drops.length, "drop"),
  },
  {
    words: "Actions",
    kind: "actions",
    cell: (/** @type {Product} */ product) => [
      rowButton("Edit", product.title, () => openEditProduct(product)),
      rowButton("Delete", product.title, () => openDeleteProduct(product), "danger-quiet"),
    ],
  },
]);

const pages = pager(() => refresh());

async function load() {
  const query = queryOf({ limit: String(PAGE), starting_after: pages.after });
  /** @type {[{data: Creator[]}, {data: Product[], has_more: boolean}]} */
  const [all, page] = await Promise.all([
    call(`/v1/creators?limit=${MOST_CREATORS}`),
    call(`/v1/products${query}`),
  ]);
  creators.show(all.data, { none: "No creators yet. Buyers follow creators." });
  products.show(page.data, {
    none: "No products yet. A product groups the drops of its variants.",
  });
  pages.update(page.data.at(-1)?.id ?? "", page.has_more);
}

byId("new-creator").addEventListener("click", () => openNewCreator());
byId("new-product").addEventListener("click", () => openNewProduct());
document.addEventListener("drops-changed", () => refresh());

startRoom();
service.follow();
const refresh = keepFresh(load, REFRESH_MS);
