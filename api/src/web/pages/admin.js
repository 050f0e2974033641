// The dashboard: what sells and what does not, how the machine is doing, and the levers. Fed by the stream, which tells when there is
// something to ask for.

import { Problem, call, callForText } from "../lib/api.js";
import { byId, h, write } from "../lib/dom.js";
import { foreign } from "../lib/foreign.js";
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

/** Between two looks while something happens, and while nothing does. */
const [BUSY_MS, IDLE_MS] = [1000, 5000];

/** @type {HTMLSelectElement} */
const windowChoice = byId("window");
/** @type {HTMLSelectElement} */
const dropChoice = byId("chart-drop");
/** @type {HTMLSelectElement} */
const shownChoice = byId("shown");
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

async function look() {
  /** @type {[Metrics, {buckets: import("../lib/api.js").Bucket[]}]} */
  const [metrics, timeline] = await Promise.all([call(`/v1/admin/metrics?window=${windowChoice.value}`), call(timelinePath())]);
  tiles.metrics = metrics;
  table.drops = metrics.drops;
  health.metrics = metrics;
  chart.buckets = timeline.buckets;
  byId("chart-table").replaceChildren(chartTable(timeline.buckets));
  offer(metrics.drops);
  await log.follow(metrics.position, metrics.drops);
}

/** Keeps the choice of drops complete, and its names those of now. @param {import("../lib/api.js").DropLine[]} drops */
function offer(drops) {
  const known = new Map([...dropChoice.options].map((option) => [option.value, option]));
  for (const { id, name } of drops) {
    const option = known.get(id);
    if (option) write(option, foreign(name));
    else dropChoice.append(h("option", { value: id }, foreign(name)));
  }
}

let isLooking = false;
let isStale = false;
let timer = 0;

/** Looks now, or once the look that is on its way is done. */
async function refresh() {
  isStale = true;
  if (isLooking) return;
  isLooking = true;
  clearTimeout(timer);
  isStale = false;
  try {
    await look();
  } catch (problem) {
    // The session is over: the same address now leads to the sign-in page.
    if (problem instanceof Problem && problem.status === 401) location.reload();
    else if (!(problem instanceof Problem)) throw problem;
  } finally {
    isLooking = false;
    timer = window.setTimeout(refresh, isStale ? BUSY_MS : IDLE_MS);
  }
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

shownChoice.addEventListener("change", () => { table.shown = /** @type {"all" | "on" | "over"} */ (shownChoice.value); });
windowChoice.addEventListener("change", refresh);
dropChoice.addEventListener("change", refresh);
document.addEventListener("drops-changed", refresh);
byId("csv").addEventListener("click", download);
byId("new-drop").addEventListener("click", openNewDrop);
byId("sign-out").addEventListener("click", async () => {
  await call("/v1/admin/session", { method: "DELETE" }).catch(() => null);
  location.reload();
});

const live = new Live();
live.addEventListener("drop", hear);
part("connection-state", ConnectionState).watch(live);
live.follow();
service.follow();
void refresh();
