// The room of webhooks: the endpoints of the shop, and the deliveries of one of them.

import { call } from "../lib/api.js";
import { byId, h, write } from "../lib/dom.js";
import { isolate } from "../lib/foreign.js";
import { count, day, units } from "../lib/format.js";
import { shortId } from "../lib/order.js";
import { attempt, keepFresh, pager, queryOf, startRoom } from "../lib/room.js";
import { service } from "../lib/service.js";
import { RecordTable, badge, part, rowButton } from "../elements/record-table.js";
import {
  openDeleteEndpoint,
  openEditEndpoint,
  openNewEndpoint,
  openReplay,
  openRotate,
} from "../elements/webhook-form.js";
import "../elements/service-note.js";
import "../elements/toast-list.js";
import { at } from "../lib/base.js";

/**
 * @typedef {import("../lib/api.js").Endpoint} Endpoint
 * @typedef {import("../lib/api.js").Delivery} Delivery
 */

const REFRESH_MS = 2000;
const PAGE = 25;
const STATUS = { pending: "Pending", failed: "Given up", done: "Delivered" };

/** @type {HTMLSelectElement} */
const status = byId("status");
const endpoints = part("#endpoints record-table", RecordTable);
const deliveries = part("#deliveries record-table", RecordTable);
/** The endpoint whose deliveries are shown. */
let chosen = new URLSearchParams(location.search).get("endpoint") ?? "";

/** @param {Endpoint} endpoint @param {string} path @param {string} words */
function post(endpoint, path, words) {
  return attempt(async () => {
    await call(`/v1/admin/webhooks/${endpoint.id}/${path}`, { method: "POST" });
    refresh();
    return words;
  });
}

/** @param {Endpoint} endpoint */
function toggle(endpoint) {
  const next = endpoint.status === "enabled" ? "disabled" : "enabled";
  return attempt(async () => {
    await call(`/v1/admin/webhooks/${endpoint.id}`, { method: "PATCH", body: { status: next } });
    refresh();
    return next === "enabled"
      ? "The endpoint is enabled, and continues at its position."
      : "The endpoint is disabled: nothing is sent to it.";
  });
}

/** @param {Endpoint} endpoint */
function choose({ id }) {
  chosen = id;
  history.replaceState(null, "", at(`/admin/webhooks${queryOf({ endpoint: id })}`));
  pages.reset();
  refresh();
  byId("deliveries").focus();
  byId("deliveries").scrollIntoView({ block: "nearest" });
}

endpoints.begin("Endpoints", [
  {
    words: "Endpoint",
    cell: (/** @type {Endpoint} */ { url, description }) => [
      h("bdi", { class: "long" }, url),
      description && h("span", { class: "line hint" }, isolate(description)),
    ],
  },
  {
    words: "Status",
    cell: (/** @type {Endpoint} */ { status, disabled_reason }) =>
      status === "enabled"
        ? badge("Enabled", "enabled")
        : [
            badge("Disabled", "disabled"),
            disabled_reason === "gone" && h("span", { class: "line hint" }, "receiver is gone"),
          ],
  },
  {
    words: "Types",
    kind: "wide",
    cell: (/** @type {Endpoint} */ { event_types }) =>
      event_types === null
        ? "All"
        : h("span", { title: event_types.join(", ") }, units(event_types.length, "type")),
  },
  { words: "Pending", kind: "number", cell: ({ pending }) => count(pending) },
  { words: "Given up", kind: "number", cell: ({ failed }) => count(failed) },
  { words: "Position", kind: "number", cell: ({ position }) => count(position) },
  {
    words: "Actions",
    kind: "actions",
    cell: (/** @type {Endpoint} */ endpoint) => [
      rowButton("Deliveries", endpoint.url, () => choose(endpoint)),
      rowButton("Test", endpoint.url, () => post(endpoint, "test", "A test is sent.")),
      rowButton("Edit", endpoint.url, () => openEditEndpoint(endpoint)),
      rowButton(endpoint.status === "enabled" ? "Disable" : "Enable", endpoint.url, () =>
        toggle(endpoint),
      ),
      rowButton("New secret", endpoint.url, () => openRotate(endpoint)),
      rowButton("Replay", endpoint.url, () => openReplay(endpoint)),
      rowButton("Delete", endpoint.url, () => openDeleteEndpoint(endpoint), "danger-quiet"),
    ],
  },
]);

deliveries.begin("Deliveries", [
  { words: "Type", cell: (/** @type {Delivery} */ { event_type }) => event_type },
  {
    words: "Status",
    cell: (/** @type {Delivery} */ delivery) =>
      delivery.cancelled
        ? badge("Cancelled", "cancelled")
        : badge(STATUS[delivery.status], delivery.status),
  },
  {
    words: "Drop",
    cell: (/** @type {Delivery} */ { drop_id }) =>
      drop_id ? h("a", { href: `/drops/${drop_id}` }, shortId(drop_id)) : "–",
  },
  { words: "Position", kind: "number", cell: ({ position }) => count(position) },
  { words: "Attempts", kind: "number", cell: ({ attempts }) => count(attempts) },
  {
    words: "Next attempt",
    kind: "number",
    cell: ({ next_attempt_at: at }) => (at ? day(at) : "–"),
  },
  { words: "Last error", kind: "wide", cell: ({ last_error }) => last_error ?? "–" },
  {
    words: "Actions",
    kind: "actions",
    cell: (/** @type {Delivery} */ delivery) =>
      rowButton(
        delivery.status === "pending" ? "Retry" : "Send again",
        `${delivery.event_type} at position ${delivery.position}`,
        () =>
          attempt(async () => {
            await call(
              `/v1/admin/webhooks/${delivery.endpoint_id}/deliveries/${delivery.id}/retry`,
              { method: "POST" },
            );
            refresh();
            return "The delivery is due now.";
          }),
      ),
  },
]);

const pages = pager(() => refresh());

async function load() {
  /** @type {{data: Endpoint[]}} */
  const { data } = await call("/v1/admin/webhooks?limit=100");
  endpoints.show(data, { none: "No endpoints yet. An endpoint receives events by HTTP." });
  const endpoint = data.find(({ id }) => id === chosen) ?? data[0];
  byId("deliveries").hidden = endpoint === undefined;
  if (!endpoint) return;
  chosen = endpoint.id;
  write(byId("deliveries-of"), `of ${isolate(endpoint.url)}`);
  const query = queryOf({
    status: status.value,
    limit: String(PAGE),
    starting_after: pages.after,
  });
  /** @type {{data: Delivery[], has_more: boolean}} */
  const page = await call(`/v1/admin/webhooks/${endpoint.id}/deliveries${query}`);
  const isFiltered = status.value !== "" || pages.after !== "";
  deliveries.show(page.data, {
    none: isFiltered ? "No matching deliveries." : "No deliveries yet.",
  });
  pages.update(page.data.at(-1)?.id ?? "", page.has_more);
}

status.addEventListener("change", () => {
  pages.reset();
  refresh();
});
byId("new-endpoint").addEventListener("click", () => void openNewEndpoint());
document.addEventListener("drops-changed", () => refresh());

startRoom();
service.follow();
const refresh = keepFresh(load, REFRESH_MS);
