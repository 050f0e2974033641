// The dashboard: what sells and what does not, how the machine is doing, and the levers. It looks every few seconds, and sooner when
// the stream tells of a drop that is shown or new. However many drops there are, it asks for one page of them.

import { Problem, call, callForText } from "../lib/api.js";
import { byId, h, mark, write } from "../lib/dom.js";
import { foreign } from "../lib/foreign.js";
import { clock } from "../lib/format.js";
import { Live } from "../lib/live.js";
import { ConnectionState } from "../elements/connection-state.js";
import { DropTable } from "../elements/drop-table.js";
import { EventLog } from "../elements/event-log.js";
import { HealthList } from "../elements/health-list.js";
import { MetricTiles } from "../elements/metric-tiles.js";
import { SalesChart, chartTable } from "../elements/sales-chart.js";
import { openNewDrop } from "../elements/drop-form.js";
import { toast } from "../elements/toast-list.js";
import { service } from "../lib/service.js";
import "../elements/service-note.js";

/** @typedef {import("../lib/api.js").Metrics} Metrics */

/** Between two looks while something happens to what is shown, and while nothing does. */
const [BUSY_MS, IDLE_MS] = [1000, 2500];
/** The drops of one page. */
const PAGE = 50;
/** A search begins once no key was pressed for so long. */
const TYPED_MS = 250;

/** @type {HTMLSelectElement} */
const windowChoice = byId("window");
/** @type {HTMLSelectElement} */
const dropChoice = byId("chart-drop");
/** @type {HTMLSelectElement} */
const shownChoice = byId("shown");
/** @type {HTMLInputElement} */
const search = byId("search");
/** The drops that the pages before the one that is shown ended with. @type {string[]} */
const turned = [];
/** The last drop of the page that is shown. */
let lastShown = "";
const tiles = part("metric-tiles", MetricTiles);
const chart = part("sales-chart", SalesChart);
const table = part("drop-table", DropTable);
const health = part("health-list", HealthList);
const log = part("event-log", EventLog);

/** @template {HTMLElement} T @param {string} tag @param {new () => T} type @returns {T} */
function part(tag, type) {
  const found = document.querySelector(tag);
  if (!(found instanceof type)) throw new Error(`the page has no ${tag}`);
  return found;
}

function timelinePath() {
  const query = new URLSearchParams({ window: windowChoice.value });
  if (dropChoice.value) query.set("drop_id", dropChoice.value);
  return `/v1/admin/timeline?${query}`;
}

function metricsPath() {
  const query = new URLSearchParams({ window: windowChoice.value, limit: String(PAGE) });
  if (shownChoice.value) query.set("status", shownChoice.value);
  if (search.value.trim()) query.set("search", search.value.trim());
  const after = turned.at(-1);
  if (after) query.set("starting_after", after);
  return `/v1/admin/metrics?${query}`;
}

async function look() {
  const path = metricsPath();
  /** @type {[Metrics, {buckets: import("../lib/api.js").Bucket[]}]} */
  const [metrics, timeline] = await Promise.all([call(path), call(timelinePath())]);
  tiles.metrics = metrics;
  // Another page was asked for meanwhile: the next look shows it.
  if (path === metricsPath()) showDrops(metrics, path);
  health.metrics = metrics;
  chart.buckets = timeline.buckets;
  byId("chart-table").replaceChildren(chartTable(timeline.buckets));
  await log.follow(metrics.position, metrics.drops);
}

let shownPath = "";

/** @param {Metrics} metrics @param {string} path what was asked for */
function showDrops({ drops, has_more: hasMore, position }, path) {
  table.none = shownChoice.value || search.value.trim() || turned.length > 0 ? "No drop of this kind." : "No drop yet.";
  table.show(drops, path === shownPath);
  shownPath = path;
  lastShown = drops.at(-1)?.id ?? "";
  turnable("newer", turned.length > 0);
  turnable("older", hasMore);
  byId("pager").hidden = turned.length === 0 && !hasMore;
  offer(drops);
  follow(drops, position);
}

/** A button that leads nowhere keeps the focus. @param {string} id @param {boolean} isTurnable */
function turnable(id, isTurnable) {
  mark(byId(id), "aria-disabled", isTurnable ? null : "true");
}

/** Offers the chart of each drop that is shown, and of the one that is chosen. @param {import("../lib/api.js").DropLine[]} drops */
function offer(drops) {
  const names = new Map(drops.map(({ id, name }) => [id, name]));
  for (const option of [...dropChoice.options]) {
    const name = names.get(option.value);
    if (name !== undefined) write(option, foreign(name));
    else if (option.value && !option.selected) option.remove();
    names.delete(option.value);
  }
  dropChoice.append(...[...names].map(([id, name]) => h("option", { value: id }, foreign(name))));
}

/** @type {Live | undefined} */
let live;

/** Hears of the drops that are shown, and of new ones. @param {import("../lib/api.js").DropLine[]} drops @param {number} position */
function follow(drops, position) {
  const ids = drops.map(({ id }) => id).sort();
  const query = ids.length > 0 ? `?drops=${ids.join()}&new=true` : "";
  if (live) {
    live.query = query;
    return;
  }
  live = new Live(query, position);
  live.addEventListener("drop", hear);
  part("connection-state", ConnectionState).watch(live);
  live.follow();
}

/** When all numbers were read last, and at first when the page began to. */
let readAt = Date.now();

/** Says whether the numbers on the page are those of now. @param {boolean} isFresh */
function admit(isFresh) {
  if (isFresh) readAt = Date.now();
  else write(byId("stale"), `The numbers below could not be read since ${clock(readAt)}. Trying again.`);
  byId("stale").hidden = isFresh;
}

let isLooking = false;
let isStale = false;
/** Something else was asked for while a look was on its way. */
let isOutdated = false;
let timer = 0;

/** Looks now, or once the look that is on its way is done. */
async function refresh() {
  if (isLooking) {
    isOutdated = true;
    return;
  }
  isLooking = true;
  clearTimeout(timer);
  isStale = false;
  isOutdated = false;
  try {
    await look();
    admit(true);
  } catch (problem) {
    // The session is over: the same address now leads to the sign-in page.
    if (problem instanceof Problem && problem.status === 401) location.reload();
    // The drop that the page before ended with is not known any more.
    else if (problem instanceof Problem && problem.status === 400) turned.length = 0;
    else if (!(problem instanceof Problem)) throw problem;
    else admit(false);
  } finally {
    isLooking = false;
    timer = window.setTimeout(refresh, pause());
  }
}

function pause() {
  if (isOutdated) return 0;
  return isStale ? BUSY_MS : IDLE_MS;
}

/** Something changed: look soon, but not at every change. */
function hear() {
  if (isLooking || isStale) {
    isStale = true;
    return;
  }
  isStale = true;
  clearTimeout(timer);
  timer = window.setTimeout(refresh, BUSY_MS);
}

async function download() {
  try {
    const { text } = await callForText(timelinePath(), { headers: { Accept: "text/csv" } });
    const address = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    h("a", { href: address, download: `holdfast-${windowChoice.value}.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    toast(problem.message, { kind: "refusal" });
  }
}

/** From the first page on, by another choice. */
function sift() {
  turned.length = 0;
  void refresh();
}

let typing = 0;
search.addEventListener("input", () => {
  clearTimeout(typing);
  typing = window.setTimeout(sift, TYPED_MS);
});
shownChoice.addEventListener("change", sift);
byId("older").addEventListener("click", () => {
  if (byId("older").ariaDisabled || !lastShown) return;
  turned.push(lastShown);
  void refresh();
});
byId("newer").addEventListener("click", () => {
  if (turned.pop()) void refresh();
});
windowChoice.addEventListener("change", refresh);
dropChoice.addEventListener("change", refresh);
document.addEventListener("drops-changed", refresh);
byId("csv").addEventListener("click", download);
byId("new-drop").addEventListener("click", openNewDrop);
byId("sign-out").addEventListener("click", async () => {
  await call("/v1/admin/session", { method: "DELETE" }).catch(() => null);
  location.reload();
});

service.follow();
void refresh();
