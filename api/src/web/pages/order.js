// The page of one order: its payment, then its receipt. It can be reloaded at any time.

import { Problem, call, callForPage } from "../lib/api.js";
import { checkouts, resumePayment } from "../lib/checkout.js";
import { byId, mark } from "../lib/dom.js";
import { followYours } from "../lib/follow.js";
import { isolate } from "../lib/foreign.js";
import { Live } from "../lib/live.js";
import { ORDER_STATUS, orderStatusOf, shortId } from "../lib/order.js";
import { isOpen } from "../lib/payment.js";
import { service } from "../lib/service.js";
import { text } from "../lib/text.js";
import { isSignedOut, session } from "../lib/token.js";
import { setTitle } from "../lib/title.js";
import { ConnectionState } from "../elements/connection-state.js";
import { OrderSheet } from "../elements/order-sheet.js";
import "../elements/cart-count.js";
import "../elements/service-note.js";
import "../elements/toast-list.js";
import "../elements/notification-bell.js";
import { pathHere } from "../lib/base.js";

/** @typedef {import("../lib/api.js").Order} Order */

/**
 * The interval of reads while the stream does not carry the order: while a result is expected,
 * while the order waits, and after that.
 */
const [EXPECTED_MS, WAITING_MS, OVER_MS] = [1000, 3000, 15_000];
/** The pause after a read that was outdated when it arrived. */
const AGAIN_MS = 300;

const found = byId("order");
if (!(found instanceof OrderSheet)) throw new Error("the page has no order-sheet");
const sheet = found;
const id = pathHere().split("/")[2] ?? "";
const live = new Live();
/** @type {Order | undefined} */
let shown;
let isReading = false;
let isOutdated = false;
let timer = 0;

/** @param {Order} order */
function show(order) {
  if (shown && shown.position > order.position) return;
  const isFirst = shown === undefined;
  shown = order;
  const status = ORDER_STATUS[orderStatusOf(order)];
  setTitle(`${status} · ${text("order.named", { id: isolate(shortId(order.id)) })}`);
  sheet.order = order;
  if (isFirst) begin(order);
}

/** Follows the order, and its drops for their connection. */
function begin(/** @type {Order} */ { id: orderId, items }) {
  const ids = [...new Set(items.map(({ drop_id }) => drop_id))].sort().join();
  const state = document.querySelector("connection-state");
  if (state instanceof ConnectionState) state.watch(live);
  live.addEventListener("order", (event) => show(/** @type {CustomEvent<Order>} */ (event).detail));
  live.watchOrders([orderId]);
  live.follow(`?drops=${ids}`);
  void callForPage(`/v1/drops?ids=${ids}`)
    .then(({ data }) => {
      sheet.drops = data;
    })
    .catch(() => null);
}

/** Reads the order after an action on this page. */
function readNow() {
  isOutdated = isReading;
  void read();
}

/** Reads the order after a pause, unless the stream carries it then. @param {number} pause */
function soon(pause) {
  clearTimeout(timer);
  const isCarried = () => shown !== undefined && live.coversOrder(shown.id);
  timer = window.setTimeout(() => (isCarried() ? soon(pauseNow()) : void read()), pause);
}

async function read() {
  if (isReading) return;
  isReading = true;
  isOutdated = false;
  try {
    show(await call(`/v1/orders/${encodeURIComponent(id)}`));
    byId("missing").hidden = true;
    byId("signed-out").hidden = true;
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if ((problem.status === 404 || problem.status === 403) && !shown) {
      byId("missing").hidden = false;
      sheet.hidden = true;
      document.querySelector("connection-state")?.remove();
      return;
    }
    if (problem.isUndecided) service.suspect();
    // The order is read again after the sign-in.
    if (isSignedOut(problem)) return showSignedOut();
  } finally {
    isReading = false;
  }
  if (isOutdated) setTimeout(readNow, AGAIN_MS);
  soon(pauseNow());
}

/** Says why the page shows no order, or none that is current. */
function showSignedOut() {
  byId("signed-out").hidden = shown !== undefined;
}

session.addEventListener("change", () => {
  if (!session.isOpen) return;
  byId("signed-out").hidden = true;
  readNow();
});

function pauseNow() {
  if (!shown) return WAITING_MS;
  const attempt = checkouts.paymentOf(id);
  const mayArrive = shown.payment ? isOpen(shown.payment) : attempt?.stage === "started";
  const status = orderStatusOf(shown);
  if (status === "pending") return mayArrive ? EXPECTED_MS : WAITING_MS;
  if (status === "expired" && (mayArrive || shown.status === "pending")) return EXPECTED_MS;
  return document.hidden ? 2 * OVER_MS : OVER_MS;
}

sheet.addEventListener("changed", readNow);
document.addEventListener("visibilitychange", () => document.hidden || soon(0));
mark(sheet, "data-order-id", id);
followYours(live);
service.follow();
void read();
void resumePayment(id).then(readNow);
