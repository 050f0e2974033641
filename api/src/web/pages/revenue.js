// The room of revenue: units and money by drop and by hour, net of refunds.

import { call } from "../lib/api.js";
import { now } from "../lib/clock.js";
import { byId, h, mark, write } from "../lib/dom.js";
import { isolate, nameOrUnnamed } from "../lib/foreign.js";
import { count, day, money, units } from "../lib/format.js";
import { HOUR_MS, add, net, nothing, revenueOf } from "../lib/revenue.js";
import { keepFresh, queryOf, startRoom } from "../lib/room.js";
import { service } from "../lib/service.js";
import { RecordTable, part } from "../elements/record-table.js";
import "../elements/service-note.js";
import "../elements/toast-list.js";

/**
 * @typedef {import("../lib/api.js").DropLine} DropLine
 * @typedef {import("../lib/revenue.js").Sum} Sum
 * @typedef {import("../lib/dom.js").Child} Child
 */

/** Every refresh reads all purchases of the drops. */
const REFRESH_MS = 30_000;
/** The number of drops that one page of the list has. */
const PAGE = 100;
/** The most hours that are listed. */
const MOST_HOURS = 200;

/** @type {HTMLSelectElement} */
const windowChoice = byId("window");
/** @type {HTMLSelectElement} */
const dropChoice = byId("of-drop");
const byDrop = part("#by-drop record-table", RecordTable);
const byHour = part("#by-hour record-table", RecordTable);
/** The number of pages of drops that are read. */
let pages = 1;

/**
 * The columns of the sums.
 * @type {import("../elements/record-table.js").Column[]}
 */
const SUMS = [
  { words: "Purchases", kind: "number", cell: ({ sum }) => count(sum.purchases) },
  { words: "Units sold", kind: "number", cell: ({ sum }) => count(sum.units) },
  { words: "Units refunded", kind: "number", cell: ({ sum }) => count(sum.refundedUnits) },
  { words: "Sales", kind: "number", cell: (record) => amount(record, record.sum.gross) },
  {
    words: "Refunds",
    kind: "number",
    cell: (record) => (record.sum.refunded > 0 ? amount(record, record.sum.refunded) : "–"),
  },
  {
    words: "Revenue",
    kind: "number",
    cell: (record) => h("strong", {}, amount(record, net(record.sum))),
  },
];

/** @param {{currency: string}} record @param {number} minor */
function amount({ currency }, minor) {
  return money({ amount: minor, currency });
}

byDrop.begin("Revenue by drop", [
  {
    words: "Drop",
    cell: ({ drop_id, name }) =>
      h("a", { href: `/drops/${drop_id}`, dir: "auto", "data-act": "open" }, nameOrUnnamed(name)),
  },
  ...SUMS,
  {
    words: "Orders",
    cell: ({ drop_id }) => h("a", { href: `/admin/orders${queryOf({ drop_id })}` }, "Show"),
  },
]);
byHour.begin("Revenue by hour", [
  { words: "Hour", cell: ({ start }) => day(start) },
  ...SUMS,
  {
    words: "Share of the best hour",
    kind: "wide",
    cell: ({ share }) => {
      const bar = h("span", { class: "sold" });
      bar.style.width = `${Math.round(100 * share)}%`;
      return h(
        "span",
        { class: "bar", role: "img", "aria-label": `${Math.round(100 * share)} %` },
        bar,
      );
    },
  },
]);

/** The time since which purchases count, in milliseconds; 0 for all. */
function since() {
  const hours = Number(windowChoice.value);
  return hours > 0 ? now() - hours * HOUR_MS : 0;
}

/** Reads the pages of drops that are shown, newest first. */
async function listedDrops() {
  /** @type {DropLine[]} */
  const drops = [];
  let hasMore = true;
  for (let page = 0; page < pages && hasMore; page += 1) {
    const query = queryOf({ limit: String(PAGE), starting_after: drops.at(-1)?.id ?? "" });
    /** @type {{drops: DropLine[], has_more: boolean}} */
    const metrics = await call(`/v1/admin/metrics${query}`);
    drops.push(...metrics.drops);
    hasMore = metrics.has_more;
  }
  return { drops, hasMore };
}

async function load() {
  const [chosen, from] = [dropChoice.value, since()];
  const { drops, hasMore } = await listedDrops();
  showChoices(drops);
  const wanted = chosen ? drops.filter(({ id }) => id === chosen) : drops;
  const revenue = await revenueOf(wanted, from);
  // Another choice was made in the meantime: the next refresh shows it.
  if (chosen !== dropChoice.value) return;
  showDrops(revenue.drops);
  showHours(revenue.hours);
  byId("more").hidden = !hasMore;
  write(
    byId("scope"),
    hasMore
      ? `Of the newest ${units(drops.length, "drop")}.`
      : `Of all ${units(drops.length, "drop")}.`,
  );
  mark(byId("main"), "data-filling", null);
}

/** @param {DropLine[]} drops */
function showChoices(drops) {
  const sold = drops.filter(({ sold, refunded }) => sold + refunded > 0);
  const text = JSON.stringify(sold.map(({ id, name }) => [id, name]));
  if (dropChoice.dataset.text === text) return;
  dropChoice.dataset.text = text;
  const { value } = dropChoice;
  dropChoice.replaceChildren(
    h("option", { value: "" }, "All drops"),
    ...sold.map(({ id, name }) => h("option", { value: id }, isolate(nameOrUnnamed(name)))),
  );
  dropChoice.value = sold.some(({ id }) => id === value) ? value : "";
}

/** @param {import("../lib/revenue.js").DropRevenue[]} drops */
function showDrops(drops) {
  const lines = drops.flatMap(({ drop, sums }) =>
    [...sums].map(([currency, sum]) => ({
      id: `${drop.id} ${currency}`,
      drop_id: drop.id,
      name: drop.name,
      currency,
      sum,
    })),
  );
  byDrop.show(lines, { none: "No purchases in this window." });
  /** @type {Map<string, Sum>} */
  const totals = new Map();
  for (const { currency, sum } of lines) {
    const total = totals.get(currency) ?? nothing();
    add(total, sum);
    totals.set(currency, total);
  }
  showTiles(totals);
}

/**
 * One tile for the units, and one for the revenue of each currency.
 * @param {Map<string, Sum>} totals
 */
function showTiles(totals) {
  const all = nothing();
  for (const sum of totals.values()) add(all, sum);
  /** @type {[string, string, string][]} */
  const tiles = [
    [
      "Units sold",
      count(all.units - all.refundedUnits),
      all.refundedUnits > 0
        ? `and ${units(all.refundedUnits, "unit")} refunded`
        : `in ${units(all.purchases, "purchase")}`,
    ],
    ...[...totals].map(([currency, sum]) => {
      const refunds =
        sum.refunded > 0
          ? `${amount({ currency }, sum.gross)} less ${amount({ currency }, sum.refunded)} refunded`
          : "no refunds";
      return /** @type {[string, string, string]} */ ([
        `Revenue, ${currency}`,
        amount({ currency }, net(sum)),
        refunds,
      ]);
    }),
  ];
  byId("totals").replaceChildren(
    ...tiles.map(([name, figure, caption]) =>
      h(
        "div",
        { class: "tile" },
        h("dt", {}, name),
        h("dd", {}, figure),
        h("dd", { class: "counted" }, caption),
      ),
    ),
  );
}

/** @param {import("../lib/revenue.js").HourRevenue[]} hours */
function showHours(hours) {
  /** The best hour of each currency. @type {Map<string, number>} */
  const best = new Map();
  for (const { currency, sum } of hours)
    best.set(currency, Math.max(best.get(currency) ?? 0, net(sum)));
  const lines = hours.slice(0, MOST_HOURS).map(({ start, currency, sum }) => ({
    id: `${start} ${currency}`,
    start,
    currency,
    sum,
    share: net(sum) / Math.max(1, best.get(currency) ?? 0),
  }));
  byHour.show(lines, { none: "No purchases in this window." });
  write(
    byId("hours-shown"),
    hours.length > MOST_HOURS ? `The latest ${count(MOST_HOURS)} hours with purchases.` : "",
  );
}

for (const choice of [windowChoice, dropChoice]) choice.addEventListener("change", () => refresh());
byId("more").addEventListener("click", () => {
  pages += 1;
  refresh();
});

startRoom();
service.follow();
const refresh = keepFresh(load, REFRESH_MS);
