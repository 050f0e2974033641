// The room of matters that need an administrator, and of the jobs that must still be done.

import { call } from "../lib/api.js";
import { byId, h, mark } from "../lib/dom.js";
import { count, day } from "../lib/format.js";
import { shortId } from "../lib/order.js";
import { attempt, keepFresh, pager, queryOf, startRoom } from "../lib/room.js";
import { service } from "../lib/service.js";
import { RecordTable, badge, part, rowButton } from "../elements/record-table.js";
import { openDialog } from "../elements/form-dialog.js";
import "../elements/service-note.js";
import "../elements/toast-list.js";

/**
 * @typedef {import("../lib/api.js").Job} Job
 * @typedef {import("../lib/api.js").Matter} Matter
 */

const REFRESH_MS = 2000;
const PAGE = 25;
/** The most matters that are listed; after these are settled, the next ones follow. */
const MOST_MATTERS = 100;

/** @type {Record<string, string>} */
const KINDS = {
  webhook: "Webhook",
  webhook_endpoint: "Webhook endpoint",
  refund: "Refund",
  payment_cancel: "Cancellation of a payment",
  payment_capture: "Capture of a payment",
  payment_unknown: "Unknown payment",
  payment_without_goods: "Payment without goods",
  provider_refund: "Refund at the provider",
  dispute: "Dispute",
  push: "Push message",
};
/** @type {Record<import("../lib/api.js").JobStatus, string>} */
const STATUS = { pending: "Pending", failed: "Given up", done: "Done" };

/** @type {HTMLSelectElement} */
const kind = byId("kind");
/** @type {HTMLSelectElement} */
const status = byId("status");
const matters = part("#matters record-table", RecordTable);
const jobs = part("#jobs record-table", RecordTable);

/** @param {string} name */
function kindWords(name) {
  return KINDS[name] ?? name.replaceAll("_", " ");
}

/** A link to the room of the subject, if it has one. @param {string} subject a path of the API */
export function subjectLink(subject) {
  const [, room, id = ""] =
    /^\/v1\/(?:admin\/)?(webhooks|orders|drops)\/([^/]+)/.exec(subject) ?? [];
  if (room === "webhooks")
    return h("a", { href: `/admin/webhooks?endpoint=${id}` }, `Endpoint ${shortId(id)}`);
  if (room === "orders") return h("a", { href: `/admin/orders/${id}` }, `Order ${shortId(id)}`);
  if (room === "drops") return h("a", { href: `/drops/${id}` }, `Drop ${shortId(id)}`);
  return h("span", { class: "code" }, subject);
}

/** @param {Job | Matter} one */
function act(one, /** @type {"retry" | "cancel"} */ what) {
  return attempt(async () => {
    await call(`/v1/admin/jobs/${one.id}/${what}`, { method: "POST" });
    refresh();
    return what === "retry" ? "The job is due now." : "The job is cancelled.";
  });
}

/** The meaning of the cancellation of a job about money. @type {Record<string, string>} */
const MEANINGS = {
  refund: "The money stays with the shop: it is not returned to the buyer. A retry returns it.",
  payment_without_goods:
    "The money stays with the shop: it is not returned to the buyer. A retry returns it.",
  payment_capture:
    "The money of the sale is not taken: the units are sold without it. A retry takes it, while " +
    "the buyer's bank still reserves it.",
  payment_cancel:
    "The payment stays open at the provider: money that arrives is returned. A retry cancels it.",
  payment_unknown:
    "The money stays at the provider: the log has no payment for it. A retry looks for the " +
    "payment again.",
};
const STAYS_LISTED =
  'The entry stays under "Open matters" until it is cancelled there or succeeds.';
const IS_CLOSED = 'The entry leaves "Open matters"; the job stays in the list of jobs.';

/** The kind of a matter whose job is still pending. */
const MONEY_PENDING = "payment_without_goods";

/** Cancels a job, after a confirmation if it is about money. @param {Job | Matter} one */
async function cancel(one) {
  const meaning = MEANINGS[one.kind];
  if (meaning === undefined) {
    await act(one, "cancel");
    return;
  }
  const isPending = "status" in one ? one.status === "pending" : one.kind === MONEY_PENDING;
  openDialog(
    `Cancel: ${kindWords(one.kind)}`,
    [h("p", {}, meaning), h("p", {}, isPending ? STAYS_LISTED : IS_CLOSED)],
    { words: "Cancel the job", kind: "danger", keep: "Keep the job" },
    async () => {
      /** @type {Job} */
      const job = await call(`/v1/admin/jobs/${one.id}/cancel`, { method: "POST" });
      refresh();
      return job.meaning ?? "The job is cancelled.";
    },
  );
}
/** The button of a matter that is not a job. @param {Matter} one */
function closeButton(one) {
  return rowButton("Close", `${kindWords(one.kind)} ${shortId(one.id)}`, () =>
    openDialog(
      `Close: ${kindWords(one.kind)}`,
      [
        h("p", {}, "The money is accounted for otherwise, and no units come back for it."),
        h("p", {}, "Later refunds of the order are paid by the server again."),
      ],
      { words: "Close the entry", kind: "danger", keep: "Keep the entry" },
      async () => {
        await call(`/v1/admin/needs-attention/${one.id}/close`, { method: "POST" });
        refresh();
        return "The entry is closed.";
      },
    ),
  );
}

/** The buttons of a job that can be attempted again. @param {Job | Matter} one */
function buttons(one) {
  const subject = `${kindWords(one.kind)} ${shortId(one.id)}`;
  return [
    rowButton("Retry", subject, () => act(one, "retry")),
    rowButton("Cancel", subject, () => cancel(one), "danger-quiet"),
  ];
}

/** The buttons of a matter. @param {Matter} matter */
function matterButtons(matter) {
  // An endpoint is not a job: it is enabled again in its own room.
  if (matter.kind === "webhook_endpoint") return null;
  if (matter.kind === "provider_refund" || matter.kind === "dispute") return closeButton(matter);
  return buttons(matter);
}

matters.begin("Matters that need attention", [
  { words: "Matter", cell: (/** @type {Matter} */ { kind }) => kindWords(kind) },
  {
    words: "About",
    kind: "wide",
    cell: (/** @type {Matter} */ { subject }) => subjectLink(subject),
  },
  { words: "Detail", kind: "wide", cell: (/** @type {Matter} */ { detail }) => detail },
  { words: "Since", kind: "number", cell: (/** @type {Matter} */ { since }) => day(since) },
  {
    words: "Actions",
    kind: "actions",
    cell: matterButtons,
  },
]);

jobs.begin("Jobs", [
  { words: "Job", cell: (/** @type {Job} */ { kind }) => kindWords(kind) },
  {
    words: "Status",
    cell: (/** @type {Job} */ job) =>
      job.cancelled ? badge("Cancelled", "cancelled") : badge(STATUS[job.status], job.status),
  },
  { words: "About", kind: "wide", cell: (/** @type {Job} */ { subject }) => subjectLink(subject) },
  { words: "Attempts", kind: "number", cell: (/** @type {Job} */ { attempts }) => count(attempts) },
  {
    words: "Next attempt",
    kind: "number",
    cell: (/** @type {Job} */ { next_attempt_at: at }) => (at ? day(at) : "–"),
  },
  {
    words: "Last error",
    kind: "wide",
    cell: (/** @type {Job} */ { last_error }) => last_error ?? "–",
  },
  {
    words: "Position",
    kind: "number",
    cell: (/** @type {Job} */ { position }) => count(position),
  },
  {
    words: "Actions",
    kind: "actions",
    cell: (/** @type {Job} */ job) => (job.status === "done" ? null : buttons(job)),
  },
]);

const pages = pager(() => refresh());

async function load() {
  const filter = { kind: kind.value, status: status.value };
  const query = queryOf({ ...filter, limit: String(PAGE), starting_after: pages.after });
  /** @type {[{data: Matter[], has_more: boolean}, {data: Job[], has_more: boolean}]} */
  const [open, page] = await Promise.all([
    call(`/v1/admin/needs-attention?limit=${MOST_MATTERS}`),
    call(`/v1/admin/jobs${query}`),
  ]);
  matters.show(open.data, { none: "Nothing needs attention." });
  byId("more-matters").hidden = !open.has_more;
  const isFiltered = filter.kind !== "" || filter.status !== "" || pages.after !== "";
  jobs.show(page.data, { none: isFiltered ? "No matching jobs." : "No jobs." });
  pages.update(page.data.at(-1)?.id ?? "", page.has_more);
  mark(byId("main"), "data-filling", null);
}

for (const choice of [kind, status])
  choice.addEventListener("change", () => {
    pages.reset();
    refresh();
  });

startRoom();
service.follow();
const refresh = keepFresh(load, REFRESH_MS);
