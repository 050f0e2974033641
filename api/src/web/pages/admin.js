// The dashboard: sales, the state of the server, and the administrator's actions. It refreshes
// every few seconds, and sooner when the stream reports a change of a listed drop or a new drop.
// It requests only one page of drops.

import { Problem, call, callForText } from "../lib/api.js";
import { byId, h, mark, write } from "../lib/dom.js";
import { isOver } from "../lib/drop.js";
import { isolate } from "../lib/foreign.js";
import { clock } from "../lib/format.js";
import { Live } from "../lib/live.js";
import { ConnectionState } from "../elements/connection-state.js";
import { DropTable } from "../elements/drop-table.js";
import { EventLog } from "../elements/event-log.js";
import { HealthList } from "../elements/health-list.js";
import { MetricTiles } from "../elements/metric-tiles.js";
import { SalesChart, chartTable } from "../elements/sales-chart.js";
import { openNewDrop } from "../elements/drop-form.js";
import { download, startRoom } from "../lib/room.js";
import { service } from "../lib/service.js";
import "../elements/service-note.js";

/** @typedef {import("../lib/api.js").Metrics} Metrics */

/** The refresh interval while listed drops change, and while they do not. */
const [BUSY_MS, IDLE_MS] = [1000, 2500];
/** The number of drops on one page. */
const PAGE = 50;
/**
 * The orders of the table, by the value of their choice. Drops that are over have none available.
 * @type {Record<string, (one: import("../lib/api.js").DropLine,
 *   other: import("../lib/api.js").DropLine) => number>}
 */
const ORDERS = {
  name: (one, other) => one.name.localeCompare(other.name, "en"),
  available: (one, other) =>
    Number(isOver(one.status)) - Number(isOver(other.status)) || one.available - other.available,
  sold: (one, other) => other.sold - one.sold,
  held: (one, other) => other.held - one.held,
  expired: (one, other) => other.expired - one.expired,
};
/** The pause after the last key press before a search starts. */
const SEARCH_DELAY_MS = 250;

/** @type {HTMLSelectElement} */
const windowChoice = byId("window");
/** @type {HTMLSelectElement} */
const dropChoice = byId("chart-drop");
/** @type {HTMLSelectElement} */
const shownChoice = byId("shown");
/** @type {HTMLSelectElement} */
const sortChoice = byId("sort");
/** @type {HTMLInputElement} */
const search = byId("search");
/** The last drops of the previous pages. @type {string[]} */
const cursors = [];
/** The last drop of the current page. */
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
  const after = cursors.at(-1);
  if (after) query.set("starting_after", after);
  return `/v1/admin/metrics?${query}`;
}

async function load() {
  const path = metricsPath();
  /** @type {[Metrics, {buckets: import("../lib/api.js").Bucket[]}]} */
  const [metrics, timeline] = await Promise.all([call(path), call(timelinePath())]);
  tiles.metrics = metrics;
  // If another page was requested in the meantime, the next refresh shows it.
  if (path === metricsPath()) showDrops(metrics, path);
  health.metrics = metrics;
  chart.buckets = timeline.buckets;
  byId("chart-table").replaceChildren(chartTable(timeline.buckets));
  await log.follow(metrics.position, metrics.drops);
}

let shownPath = "";

/** @param {Metrics} metrics @param {string} path the path of the request */
function showDrops({ drops, has_more: hasMore, position }, path) {
  table.none =
    shownChoice.value || search.value.trim() || cursors.length > 0
      ? "No matching drops."
      : "No drops yet.";
  const by = sortChoice.value;
  table.show(sorted(drops, by), `${by} ${path}` === shownPath);
  shownPath = `${by} ${path}`;
  byId("sorted").hidden = by === "" || (cursors.length === 0 && !hasMore);
  lastShown = drops.at(-1)?.id ?? "";
  setEnabled("newer", cursors.length > 0);
  setEnabled("older", hasMore);
  byId("pager").hidden = cursors.length === 0 && !hasMore;
  updateChoices(drops);
  follow(drops, position);
}

/**
 * The drops of a page in the chosen order; those of the same rank are newest first.
 * @param {import("../lib/api.js").DropLine[]} drops @param {string} by
 */
function sorted(drops, by) {
  const compare = ORDERS[by];
  return compare ? [...drops].sort(compare) : drops;
}

/**
 * Sets `aria-disabled`, with which a button keeps the focus.
 * @param {string} id
 * @param {boolean} isEnabled
 */
function setEnabled(id, isEnabled) {
  mark(byId(id), "aria-disabled", isEnabled ? null : "true");
}

/**
 * Updates the drops that can be selected for the chart: the listed ones and the selected one.
 * @param {import("../lib/api.js").DropLine[]} drops
 */
function updateChoices(drops) {
  const names = new Map(drops.map(({ id, name }) => [id, name]));
  for (const option of [...dropChoice.options]) {
    const name = names.get(option.value);
    if (name !== undefined) write(option, isolate(name));
    else if (option.value && !option.selected) option.remove();
    names.delete(option.value);
  }
  dropChoice.append(...[...names].map(([id, name]) => h("option", { value: id }, isolate(name))));
}

/** @type {Live | undefined} */
let live;

/**
 * Follows the listed drops and new ones on the stream.
 * @param {import("../lib/api.js").DropLine[]} drops
 * @param {number} position
 */
function follow(drops, position) {
  const ids = drops.map(({ id }) => id).sort();
  const query = ids.length > 0 ? `?drops=${ids.join()}&new=true` : "";
  if (live) {
    live.query = query;
    return;
  }
  live = new Live(query, position);
  live.addEventListener("drop", refreshSoon);
  part("connection-state", ConnectionState).watch(live);
  live.follow();
}

/** The time of the last successful refresh; initially the time at which the page was opened. */
let readAt = Date.now();

/** Shows or hides the notice that the numbers are outdated. @param {boolean} isFresh */
function showFreshness(isFresh) {
  if (isFresh) readAt = Date.now();
  else
    write(
      byId("stale"),
      `The numbers below are from ${clock(readAt)}: they could not be refreshed. Retrying.`,
    );
  byId("stale").hidden = isFresh;
}

let isLoading = false;
let isStale = false;
/** True if another refresh was requested while one was running. */
let isOutdated = false;
let timer = 0;

/** Refreshes immediately, or after the refresh that is running. */
async function refresh() {
  if (isLoading) {
    isOutdated = true;
    return;
  }
  isLoading = true;
  clearTimeout(timer);
  isStale = false;
  isOutdated = false;
  try {
    await load();
    showFreshness(true);
  } catch (problem) {
    // The session has ended: reloading leads to the sign-in page.
    if (problem instanceof Problem && problem.status === 401) location.reload();
    // The last drop of the previous page does not exist any more.
    else if (problem instanceof Problem && problem.status === 400) cursors.length = 0;
    else if (!(problem instanceof Problem)) throw problem;
    else showFreshness(false);
  } finally {
    isLoading = false;
    timer = window.setTimeout(refresh, pause());
  }
}

function pause() {
  if (isOutdated) return 0;
  return isStale ? BUSY_MS : IDLE_MS;
}

/** Refreshes after a short pause, which combines several changes. */
function refreshSoon() {
  if (isLoading || isStale) {
    isStale = true;
    return;
  }
  isStale = true;
  clearTimeout(timer);
  timer = window.setTimeout(refresh, BUSY_MS);
}

/** Starts again from the first page, with new filters. */
function applyFilters() {
  cursors.length = 0;
  void refresh();
}

let typing = 0;
search.addEventListener("input", () => {
  clearTimeout(typing);
  typing = window.setTimeout(applyFilters, SEARCH_DELAY_MS);
});
shownChoice.addEventListener("change", applyFilters);
sortChoice.addEventListener("change", refresh);
byId("older").addEventListener("click", () => {
  if (byId("older").ariaDisabled || !lastShown) return;
  cursors.push(lastShown);
  void refresh();
});
byId("newer").addEventListener("click", () => {
  if (cursors.pop()) void refresh();
});
windowChoice.addEventListener("change", refresh);
dropChoice.addEventListener("change", refresh);
document.addEventListener("drops-changed", refresh);
byId("csv").addEventListener("click", () =>
  download(`holdfast-${windowChoice.value}.csv`, () =>
    callForText(timelinePath(), { headers: { Accept: "text/csv" } }),
  ),
);
byId("new-drop").addEventListener("click", openNewDrop);

startRoom();
service.follow();
void refresh();
