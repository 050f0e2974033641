// The room of one drop: its stock, its first seconds, the outcome of its holds, refused requests,
// and its latest events. It refreshes every few seconds, and sooner when the stream reports a
// change.

import { Problem, call } from "../lib/api.js";
import { byId, h, mark, write } from "../lib/dom.js";
import { STATUS, isOver } from "../lib/drop.js";
import { isolate, nameOrUnnamed } from "../lib/foreign.js";
import { clock, count, day, duration, units, zoneAt } from "../lib/format.js";
import { Live } from "../lib/live.js";
import { between, merged, sellThrough } from "../lib/report.js";
import { keepFresh, startRoom } from "../lib/room.js";
import { service } from "../lib/service.js";
import { ConnectionState } from "../elements/connection-state.js";
import { openAdjust, openCancel, openDuplicate, openEdit } from "../elements/drop-form.js";
import { openNewCodes } from "../elements/codes-form.js";
import { saleAction } from "../elements/sale-form.js";
import { eventWords } from "../elements/event-log.js";
import { OpeningChart, elapsed } from "../elements/opening-chart.js";
import { RecordTable, part } from "../elements/record-table.js";
import { SalesChart } from "../elements/sales-chart.js";
import { StockBar } from "../elements/stock-bar.js";
import "../elements/service-note.js";
import "../elements/toast-list.js";
import { pathHere } from "../lib/base.js";

/**
 * @typedef {import("../lib/report.js").Report} Report
 * @typedef {import("../lib/report.js").Counted} Counted
 */

const REFRESH_MS = 5000;
/** The pause after a change, which combines several of them. */
const SOON_MS = 500;
const MOST_PURCHASERS = 10;
/** The access codes of one page, and of one request at most. */
const CODES = 20;
const MOST_CODES = 100;

const id = pathHere().split("/")[3] ?? "";
const stock = part("stock-bar", StockBar);
const opening = part("opening-chart", OpeningChart);
const timeline = part("sales-chart", SalesChart);
const latest = part("record-table", RecordTable);
/** @type {HTMLSelectElement} */
const bucketChoice = byId("bucket");
/** @type {HTMLSelectElement} */
const windowChoice = byId("window");
/** @type {HTMLDetailsElement} */
const purchasers = byId("purchasers");
/** @type {HTMLDetailsElement} */
const accessCodes = byId("access-codes");
/** @type {Report | undefined} */
let shown;
/** How many access codes are shown. */
let shownCodes = CODES;

latest.begin("Latest events", [
  {
    words: "Event",
    cell: (/** @type {import("../lib/report.js").ReportedEvent} */ { event_type }) =>
      eventWords(event_type),
  },
  { words: "By", cell: ({ admin }) => admin ?? "–" },
  { words: "Units", kind: "number", cell: ({ units: number }) => unitsOf(number) },
  { words: "Time", kind: "number", cell: ({ recorded_at }) => clock(recorded_at) },
  { words: "Position", kind: "number", cell: ({ position }) => count(position) },
]);

/** @param {number | null} number */
function unitsOf(number) {
  if (number === null) return "–";
  return number < 0 ? `−${count(-number)}` : count(number);
}

async function load() {
  try {
    const [report, { buckets }] = await Promise.all([
      call(`/v1/admin/drops/${encodeURIComponent(id)}/report`),
      call(`/v1/admin/timeline?drop_id=${encodeURIComponent(id)}&window=${windowChoice.value}`),
    ]);
    show(report);
    timeline.buckets = buckets;
    if (purchasers.open) await loadPurchasers();
    if (accessCodes.open) await loadCodes();
  } catch (problem) {
    const isMissing = problem instanceof Problem && [400, 404].includes(problem.status);
    if (!isMissing) throw problem;
    byId("missing").hidden = false;
    byId("drop").hidden = true;
  }
}

/** @param {Report} report */
function show(report) {
  shown = report;
  byId("drop").hidden = false;
  const name = nameOrUnnamed(report.name);
  document.title = `${isolate(name)} · Holdfast`;
  write(byId("title"), name);
  write(byId("state"), STATUS[report.status]);
  mark(byId("state"), "data-status", report.status);
  const end = report.ends_at ? `, ends ${day(report.ends_at)} ${zoneAt(report.ends_at)}` : "";
  write(byId("facts"), `Starts ${day(report.starts_at)} ${zoneAt(report.starts_at)}${end}`);
  mark(byId("in-shop"), "href", `/drops/${report.id}`);
  /** @type {HTMLButtonElement} */
  const cancel = byId("cancel");
  cancel.disabled = report.status === "cancelled";
  /** @type {HTMLButtonElement} */
  const codes = byId("codes");
  codes.disabled = cancel.disabled;
  const next = saleAction(report.status);
  byId("sale").hidden = !next;
  if (next) write(byId("sale"), next.words);
  showStock(report);
  showOpening();
  showFunnel(report);
  showRefusals(report);
  latest.show(
    report.latest.map((event) => ({ id: String(event.position), ...event })),
    { none: "No events." },
  );
}

/** @param {Report} report */
function showStock({ status, stock: now, funnel, starts_at, ...times }) {
  stock.show(now, isOver(status));
  const sold = `${count(now.sold)} of ${units(now.total, "unit")} sold`;
  write(byId("sell-through"), `${sold}: ${percent(sellThrough(now))}`);
  const { first_hold_at, sold_out_at, all_sold_at } = times;
  // The start of a drop may be moved after its first hold.
  const isMoved = first_hold_at !== null && first_hold_at < starts_at;
  const [from, words] = isMoved
    ? [first_hold_at, "after the first hold"]
    : [starts_at, "after the start"];
  /** @type {[string, string, string][]} */
  const tiles = [
    ["Sell-through", percent(sellThrough(now)), "of all units"],
    ["Held units that were bought", percent(share(funnel.purchased, funnel.placed)), "so far"],
    ["First hold", timeOf(between(from, first_hold_at)), words],
    ["Sold out", timeOf(between(from, sold_out_at)), `${words}: none available`],
    ["All sold", timeOf(between(from, all_sold_at)), `${words}: none unsold`],
  ];
  byId("milestones").replaceChildren(
    ...tiles.map(([name, figure, caption]) =>
      h(
        "div",
        { class: "tile" },
        h("dt", {}, name),
        h("dd", {}, figure),
        h("dd", { class: "counted" }, figure === "–" ? "not yet" : caption),
      ),
    ),
  );
}

/** @param {number | null} ms */
function timeOf(ms) {
  if (ms === null) return "–";
  return ms < 60_000 ? elapsed(ms) : duration(ms);
}

/** @param {number} part from 0 to 1 */
function percent(part) {
  return `${(100 * part).toLocaleString("en", { maximumFractionDigits: 1 })} %`;
}

/** @param {Counted} part @param {Counted} whole */
function share(part, whole) {
  return whole.units === 0 ? 0 : part.units / whole.units;
}

function showOpening() {
  if (!shown) return;
  const length = Number(bucketChoice.value);
  opening.show(merged(shown.opening, length), {
    bucketMs: length,
    soldOutMs: between(shown.first_hold_at, shown.sold_out_at),
  });
}

/** @param {Report} report */
function showFunnel({ funnel }) {
  const { placed } = funnel;
  /** @type {[string, Counted, string, string, Counted?][]} */
  const rows = [
    ["Placed", placed, "available", "hold"],
    ["Purchased", funnel.purchased, "sold", "purchase"],
    ["Refunded", funnel.refunded, "expired", "refund"],
    ["Expired", funnel.expired, "expired", "hold"],
    ["Released", funnel.released, "expired", "hold"],
    ["On hold now", funnel.open, "open", "hold"],
  ];
  if (funnel.offered.count > 0)
    rows.splice(1, 0, ["To the waitlist", funnel.offered, "available", "offer"]);
  byId("funnel").replaceChildren(
    ...rows.map(([words, counted, kind, unit]) =>
      line(words, kind, share(counted, placed), [
        h("strong", {}, units(counted.units, "unit")),
        h("span", { class: "quiet-words" }, ` in ${units(counted.count, unit)}`),
      ]),
    ),
  );
}

/**
 * @param {string} words @param {string} kind @param {number} part @param {Node[]} figure
 */
function line(words, kind, part, figure) {
  const bar = h("span", { class: kind });
  bar.style.width = `${Math.min(100, 100 * part)}%`;
  return h(
    "li",
    {},
    h("span", {}, words),
    h("span", { class: "bar", "aria-hidden": "true" }, bar),
    h("span", { class: "figure" }, ...figure),
  );
}

/** @param {Report} report */
function showRefusals({ refusals, waitlist_length, waitlist_joined }) {
  const most = Math.max(1, ...Object.values(refusals));
  /** @type {[string, number][]} */
  const rows = [
    ["Sold out", refusals.sold_out],
    ["Limit reached", refusals.limit_reached],
    ["Too many", refusals.throttled],
  ];
  byId("refusals").replaceChildren(
    ...rows.map(([words, number]) =>
      line(words, "refused", number / most, [h("strong", {}, count(number))]),
    ),
  );
  write(
    byId("waitlist"),
    waitlist_joined === 0
      ? "No buyer joined the waitlist."
      : `Waitlist: ${units(waitlist_joined, "entry", "entries")} joined, ${count(waitlist_length)} waiting.`,
  );
}

/** Names of buyers are requested only while they are shown. */
async function loadPurchasers() {
  /** @type {{data: import("../lib/api.js").Purchaser[]}} */
  const { data } = await call(
    `/v1/drops/${encodeURIComponent(id)}/purchasers?limit=${MOST_PURCHASERS}`,
  );
  const rows = data.map(({ buyer, quantity }) =>
    h("li", {}, h("bdi", {}, nameOrUnnamed(buyer)), h("span", {}, units(quantity, "unit"))),
  );
  const none = h("li", { class: "quiet-words" }, "No purchases yet.");
  purchasers.querySelector("ol")?.replaceChildren(...(rows.length > 0 ? rows : [none]));
}

/**
 * @typedef {{id: string, uses: number, used: number, opens_at: string | null,
 *   expires_at: string | null, created_at: string}} Code
 */

/** The uses of the codes. The codes themselves are not known any more. */
async function loadCodes() {
  /** @type {Code[]} */
  const codes = [];
  let [more, after] = [true, ""];
  while (more && codes.length < shownCodes) {
    const limit = Math.min(MOST_CODES, shownCodes - codes.length);
    const { data, has_more } = await call(
      `/v1/drops/${encodeURIComponent(id)}/codes?limit=${limit}${after}`,
    );
    codes.push(...data);
    more = has_more;
    after = `&starting_after=${codes.at(-1)?.id}`;
  }
  const none = h("li", { class: "quiet-words" }, "No codes yet. Their uses are shown here.");
  const rows = codes.map((code) =>
    h(
      "li",
      {},
      h(
        "span",
        { title: code.id },
        code.id.slice(0, 8),
        h("span", { class: "line hint" }, timesOf(code)),
      ),
      h("span", {}, `${count(code.used)} of ${units(code.uses, "use")} taken`),
    ),
  );
  accessCodes.querySelector("ol")?.replaceChildren(...(rows.length > 0 ? rows : [none]));
  byId("more-codes").hidden = !more;
}

/** @param {Code} code */
function timesOf({ created_at, opens_at, expires_at }) {
  const times = [`created ${day(created_at)}`];
  if (opens_at) times.push(`opens ${day(opens_at)}`);
  if (expires_at) times.push(`expires ${day(expires_at)}`);
  return times.join(", ");
}

const live = new Live(`?drops=${encodeURIComponent(id)}`);
let timer = 0;
live.addEventListener("drop", () => {
  if (timer) return;
  timer = window.setTimeout(() => {
    timer = 0;
    refresh();
  }, SOON_MS);
});
part("connection-state", ConnectionState).watch(live);

for (const [button, open] of /** @type {const} */ ([
  ["edit", openEdit],
  ["adjust", openAdjust],
  ["codes", openNewCodes],
  ["duplicate", openDuplicate],
  ["cancel", openCancel],
]))
  byId(button).addEventListener("click", () => shown && void open(shown));
byId("sale").addEventListener("click", () => shown && saleAction(shown.status)?.open(shown));
bucketChoice.addEventListener("change", showOpening);
windowChoice.addEventListener("change", () => refresh());
for (const list of [purchasers, accessCodes]) list.addEventListener("toggle", () => refresh());
byId("more-codes").addEventListener("click", () => {
  shownCodes += CODES;
  refresh();
});
document.addEventListener("drops-changed", () => refresh());

startRoom();
service.follow();
live.follow();
const refresh = keepFresh(load, REFRESH_MS);
