// One drop's own page: everything about it, live, also when it is over.

import { Problem, call } from "../lib/api.js";
import { byId } from "../lib/dom.js";
import { isNewer } from "../lib/drop.js";
import { followYours } from "../lib/follow.js";
import { foreign, named } from "../lib/foreign.js";
import { Live } from "../lib/live.js";
import { service } from "../lib/service.js";
import { setTitle } from "../lib/title.js";
import { ConnectionState } from "../elements/connection-state.js";
import { DropSheet } from "../elements/drop-sheet.js";
import "../elements/name-field.js";
import "../elements/service-note.js";
import "../elements/toast-list.js";

/** @typedef {import("../lib/api.js").Drop} Drop */

const id = decoded(location.pathname.split("/")[2] ?? "");
const live = new Live(`?drops=${encodeURIComponent(id)}`);
const sheet = /** @type {DropSheet} */ (byId("drop"));
/** @type {Drop | undefined} */
let shown;

/** What is no text names no drop, and the server says so. @param {string} text */
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
    if (problem instanceof Problem && problem.status === 404) return miss();
  }
  live.addEventListener("drop", (event) => show(/** @type {CustomEvent<Drop>} */ (event).detail));
  // The stream may be shared with a page that watches what is not over: what happened to this one meanwhile is read.
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
  setTitle(`${foreign(named(drop.name))} · Holdfast`);
  sheet.drop = drop;
}

function miss() {
  byId("missing").hidden = false;
  sheet.hidden = true;
  document.querySelector("connection-state")?.remove();
}

followYours(live);
service.follow();
void begin();
