// The page of one drop, with live updates. It also works after the drop has ended.

import { Problem, call } from "../lib/api.js";
import { byId } from "../lib/dom.js";
import { isNewer } from "../lib/drop.js";
import { followYours } from "../lib/follow.js";
import { isolate, nameOrUnnamed } from "../lib/foreign.js";
import { Live } from "../lib/live.js";
import { service } from "../lib/service.js";
import { setTitle } from "../lib/title.js";
import { ConnectionState } from "../elements/connection-state.js";
import "../elements/cart-count.js";
import "../elements/drop-sheet.js";
import "../elements/name-field.js";
import "../elements/service-note.js";
import "../elements/toast-list.js";
import "../elements/notification-bell.js";
import { pathHere } from "../lib/base.js";

/**
 * @typedef {import("../lib/api.js").Drop} Drop
 * @typedef {import("../elements/drop-sheet.js").DropSheet} DropSheet
 */

const id = decoded(pathHere().split("/")[2] ?? "");
const live = new Live(`?drops=${encodeURIComponent(id)}`);
const sheet = /** @type {DropSheet} */ (byId("drop"));
/** @type {Drop | undefined} */
let shown;

/**
 * Decodes a path segment. The server rejects a segment that cannot be decoded.
 * @param {string} text
 */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

async function begin() {
  try {
    await read();
  } catch (problem) {
    if (problem instanceof Problem && problem.status === 404) return showMissing();
  }
  live.addEventListener("drop", (event) => show(/** @type {CustomEvent<Drop>} */ (event).detail));
  // A shared stream may not carry this drop if it has ended: read its current state.
  live.addEventListener("connection", () => {
    if (live.connection.state === "live") void read().catch(() => null);
  });
  const state = document.querySelector("connection-state");
  if (state instanceof ConnectionState) state.watch(live);
  live.follow();
}

async function read() {
  show(await call(`/v1/drops/${encodeURIComponent(id)}`));
}

/** @param {Drop} drop */
function show(drop) {
  if (shown && !isNewer(drop, shown)) return;
  shown = drop;
  setTitle(isolate(nameOrUnnamed(drop.name)));
  sheet.drop = drop;
}

function showMissing() {
  byId("missing").hidden = false;
  sheet.hidden = true;
  document.querySelector("connection-state")?.remove();
}

followYours(live);
service.follow();
void begin();
