// The room of orders: a list with filters, newest first.

import { call, callForText } from "../lib/api.js";
import { byId, h, mark, write } from "../lib/dom.js";
import { isolate, nameOrUnnamed } from "../lib/foreign.js";
import { count, day, money, units } from "../lib/format.js";
import {
  FULFILMENT,
  ORDER_STATUS,
  namesOf,
  orderStatusOf,
  refundedOf,
  shortId,
} from "../lib/order.js";
import { download, keepFresh, pager, queryOf, startRoom } from "../lib/room.js";
import { service } from "../lib/service.js";
import { RecordTable, badge, part } from "../elements/record-table.js";
import "../elements/service-note.js";
import "../elements/toast-list.js";
import { at } from "../lib/base.js";

/** @typedef {import("../lib/api.js").Order} Order */

const REFRESH_MS = 3000;
/** The number of orders on one page. */
const PAGE = 25;
const SEARCH_DELAY_MS = 300;
const ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** @type {HTMLSelectElement} */
const status = byId("status");
/** @type {HTMLInputElement} */
const buyer = byId("buyer");
/** @type {HTMLInputElement} */
const drop = byId("drop");
/** @type {HTMLInputElement} */
const reference = byId("reference");
const dropError = byId("drop-error");
const table = part("record-table", RecordTable);

/** The drops that the text of the filter may mean: ids by label. @type {Map<string, string>} */
const suggested = new Map();
/** The names of the listed drops. @type {Map<string, string>} */
let names = new Map();

/** @param {Order} order */
function itemsOf({ items }) {
  return items.map(({ drop_id, quantity }) => {
    const name = isolate(nameOrUnnamed(names.get(drop_id) ?? shortId(drop_id)));
    return h("span", { class: "line" }, `${count(quantity)} × ${name}`);
  });
}

table.begin("Orders", [
  {
    words: "Order",
    cell: ({ id }) => h("a", { href: `/admin/orders/${id}`, "data-act": "open" }, shortId(id)),
  },
  {
    words: "Status",
    cell: (/** @type {Order} */ order) => [
      badge(ORDER_STATUS[orderStatusOf(order)], orderStatusOf(order)),
      order.late && badge("Paid late", "late"),
    ],
  },
  {
    words: "Buyer",
    kind: "wide",
    cell: ({ buyer_id }) =>
      buyer_id === null
        ? "Erased"
        : h("a", { href: `/admin/buyers${queryOf({ q: buyer_id })}` }, h("bdi", {}, buyer_id)),
  },
  { words: "Items", kind: "wide", cell: itemsOf },
  { words: "Total", kind: "number", cell: ({ total }) => money(total) },
  {
    words: "Refunded",
    kind: "number",
    cell: (/** @type {Order} */ order) => {
      const { quantity, amount } = refundedOf(order);
      return quantity > 0 ? money(amount) : "–";
    },
  },
  {
    words: "Fulfilment",
    cell: (/** @type {Order} */ { fulfilment, paid_at }) =>
      paid_at === null ? "–" : FULFILMENT[fulfilment],
  },
  { words: "Placed", kind: "number", cell: ({ placed_at }) => day(placed_at) },
]);

/** The id that the text of the drop's filter means; empty for none, undefined if unknown. */
function dropId() {
  const text = drop.value.trim();
  if (text === "" || ID.test(text)) return text;
  return suggested.get(text);
}

/** The filters, as the API names them. */
function filters() {
  return {
    status: status.value,
    drop_id: dropId() ?? "",
    buyer_id: buyer.value.trim(),
    payment_reference: reference.value.trim(),
  };
}

const pages = pager(() => refresh());

async function load() {
  const query = queryOf({ ...filters(), limit: String(PAGE), starting_after: pages.after });
  /** @type {{data: Order[], has_more: boolean}} */
  const page = await call(`/v1/orders${query}`);
  names = await namesOf(page.data.flatMap(({ items }) => items.map(({ drop_id }) => drop_id)));
  const isFiltered = Object.values(filters()).some((value) => value !== "");
  table.show(page.data, {
    none: isFiltered || pages.after ? "No matching orders." : "No orders yet.",
    also: (order) => [itemsOf(order).map((line) => line.textContent), orderStatusOf(order)],
  });
  write(byId("shown"), `${units(page.data.length, "order")} shown.`);
  pages.update(page.data.at(-1)?.id ?? "", page.has_more);
}

/** Suggests drops whose name contains the text. */
async function suggest() {
  const text = drop.value.trim();
  if (suggested.has(text) || ID.test(text)) return;
  const search = text ? `&search=${encodeURIComponent(text)}` : "";
  const found = await call(`/v1/admin/metrics?limit=20${search}`).catch(() => ({ drops: [] }));
  suggested.clear();
  for (const { id, name } of found.drops)
    suggested.set(suggested.has(name) ? `${name} (${shortId(id)})` : name, id);
  byId("drop-names").replaceChildren(
    ...[...suggested.keys()].map((label) => h("option", { value: label })),
  );
}

function apply() {
  const isUnknown = dropId() === undefined;
  write(dropError, isUnknown ? "Choose a drop from the list, or enter its id." : "");
  mark(drop, "aria-invalid", isUnknown ? "true" : null);
  if (isUnknown) return;
  pages.reset();
  history.replaceState(null, "", at(`/admin/orders${queryOf(filters())}`));
  refresh();
}

let typing = 0;
for (const input of [buyer, reference])
  input.addEventListener("input", () => {
    clearTimeout(typing);
    typing = window.setTimeout(apply, SEARCH_DELAY_MS);
  });
let suggesting = 0;
drop.addEventListener("focus", () => void suggest(), { once: true });
drop.addEventListener("input", () => {
  write(dropError, "");
  drop.removeAttribute("aria-invalid");
  if (dropId() !== undefined) return apply();
  clearTimeout(suggesting);
  suggesting = window.setTimeout(() => void suggest(), SEARCH_DELAY_MS);
});
drop.addEventListener("change", async () => {
  await suggest();
  apply();
});
status.addEventListener("change", apply);
byId("csv").addEventListener("click", () =>
  download("orders.csv", () =>
    callForText(`/v1/orders${queryOf(filters())}`, { headers: { Accept: "text/csv" } }),
  ),
);

const asked = new URLSearchParams(location.search);
status.value = asked.get("status") ?? "";
buyer.value = asked.get("buyer_id") ?? "";
drop.value = asked.get("drop_id") ?? "";
reference.value = asked.get("payment_reference") ?? "";

startRoom();
service.follow();
const refresh = keepFresh(load, REFRESH_MS);
