// The room of revenue: units and money by drop and by time, net of refunds.

import { byId, h, mark, write } from "../lib/dom.js";
import { isolate, nameOrUnnamed } from "../lib/foreign.js";
import { count, day, money, units } from "../lib/format.js";
import { bucketWords, readRevenue } from "../lib/revenue.js";
import { keepFresh, queryOf, startRoom } from "../lib/room.js";
import { service } from "../lib/service.js";
import { RecordTable, part } from "../elements/record-table.js";
import "../elements/service-note.js";
import "../elements/toast-list.js";

/**
 * @typedef {import("../lib/revenue.js").Sum} Sum
 * @typedef {import("../lib/revenue.js").Revenue} Revenue
 */

const REFRESH_MS = 5000;
/** The most buckets that are listed. */
const MOST_BUCKETS = 200;
/**
 * The length of a bucket in each window; the server chooses it for all time.
 * @type {Record<string, string>}
 */
const BUCKETS = { "1h": "5m", "24h": "1h", "7d": "1h", "30d": "1h" };

/** @type {HTMLSelectElement} */
const windowChoice = byId("window");
/** @type {HTMLSelectElement} */
const dropChoice = byId("of-drop");
const byDrop = part("#by-drop record-table", RecordTable);
const byTime = part("#by-hour record-table", RecordTable);
/** The number of pages of drops that are read. */
let pages = 1;

/**
 * The columns of the sums.
 * @type {import("../elements/record-table.js").Column[]}
 */
const SUMS = [
  { words: "Purchases", kind: "number", cell: ({ sum }) => count(sum.purchases) },
  { words: "Units bought", kind: "number", cell: ({ sum }) => count(soldUnits(sum)) },
  { words: "Units refunded", kind: "number", cell: ({ sum }) => count(sum.units_refunded) },
  { words: "Sales", kind: "number", cell: ({ sum }) => money(sum.gross) },
  {
    words: "Refunds",
    kind: "number",
    cell: ({ sum }) => (sum.refunded.amount > 0 ? money(sum.refunded) : "–"),
  },
  { words: "Revenue", kind: "number", cell: ({ sum }) => h("strong", {}, money(sum.net)) },
];

/** The units that were sold, refunded ones included. @param {Sum} sum */
function soldUnits({ units_sold, units_refunded }) {
  return units_sold + units_refunded;
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
byTime.begin("Revenue by time", [
  { words: "From", cell: ({ start }) => day(start) },
  ...SUMS,
  {
    words: "Share of the best",
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

async function load() {
  const [chosen, window] = [dropChoice.value, windowChoice.value];
  const bucket = BUCKETS[window] ?? "";
  const revenue = await readRevenue({ window, bucket, drop: chosen, pages });
  // Another choice was made in the meantime: the next refresh shows it.
  if (chosen !== dropChoice.value || window !== windowChoice.value) return;
  if (!chosen) showChoices(revenue);
  showDrops(revenue);
  showTiles(revenue);
  showBuckets(revenue);
  byId("more").hidden = !revenue.has_more;
  const shown = units(revenue.drops.length, "drop");
  write(
    byId("scope"),
    revenue.has_more ? `The newest ${shown} with purchases.` : `${shown} with purchases.`,
  );
  mark(byId("main"), "data-filling", null);
}

/** @param {Revenue} revenue */
function showChoices({ drops }) {
  const text = JSON.stringify(drops.map(({ id, name }) => [id, name]));
  if (dropChoice.dataset.text === text) return;
  dropChoice.dataset.text = text;
  dropChoice.replaceChildren(
    h("option", { value: "" }, "All drops"),
    ...drops.map(({ id, name }) => h("option", { value: id }, isolate(nameOrUnnamed(name)))),
  );
}

/** @param {Revenue} revenue */
function showDrops({ drops }) {
  const lines = drops.flatMap(({ id, name, sums }) =>
    sums.map((sum) => ({ id: `${id} ${sum.net.currency}`, drop_id: id, name, sum })),
  );
  byDrop.show(lines, { none: "No purchases in this window." });
}

/**
 * One tile for the units, and one for the revenue of each currency.
 * @param {Revenue} revenue
 */
function showTiles({ totals }) {
  const sumOf = (/** @type {(sum: Sum) => number} */ number) =>
    totals.reduce((sum, total) => sum + number(total), 0);
  const refunded = sumOf(({ units_refunded }) => units_refunded);
  /** @type {[string, string, string][]} */
  const tiles = [
    [
      "Units sold",
      count(sumOf(({ units_sold }) => units_sold)),
      refunded > 0
        ? `and ${units(refunded, "unit")} refunded`
        : `in ${units(
            sumOf(({ purchases }) => purchases),
            "purchase",
          )}`,
    ],
    ...totals.map((sum) => {
      const refunds =
        sum.refunded.amount > 0
          ? `${money(sum.gross)} less ${money(sum.refunded)} refunded`
          : "no refunds";
      return /** @type {[string, string, string]} */ ([
        `Revenue, ${sum.net.currency}`,
        money(sum.net),
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

/** Shows the buckets with purchases, latest first. @param {Revenue} revenue */
function showBuckets({ buckets, bucket_seconds }) {
  /** The best bucket of each currency. @type {Map<string, number>} */
  const best = new Map();
  const all = buckets.flatMap(({ start, sums }) => sums.map((sum) => ({ start, sum })));
  for (const { sum } of all)
    best.set(sum.net.currency, Math.max(best.get(sum.net.currency) ?? 0, sum.net.amount));
  const lines = all
    .reverse()
    .slice(0, MOST_BUCKETS)
    .map(({ start, sum }) => ({
      id: `${start} ${sum.net.currency}`,
      start: Date.parse(start),
      sum,
      share: sum.net.amount / Math.max(1, best.get(sum.net.currency) ?? 0),
    }));
  byTime.show(lines, { none: "No purchases in this window." });
  write(byId("bucket"), bucketWords(bucket_seconds));
  write(
    byId("hours-shown"),
    all.length > MOST_BUCKETS ? `The latest ${count(MOST_BUCKETS)} with purchases.` : "",
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
