// One drop's own page: everything about it, live, also when it is over.

import { Problem, call } from "../lib/api.js";
import { byId } from "../lib/dom.js";
import { followYours } from "../lib/follow.js";
import { Live } from "../lib/live.js";
import { setTitle } from "../lib/title.js";
import { ConnectionState } from "../elements/connection-state.js";
import { DropSheet } from "../elements/drop-sheet.js";
import "../elements/name-field.js";
import "../elements/toast-list.js";

/** @typedef {import("../lib/api.js").Drop} Drop */

const id = decodeURIComponent(location.pathname.split("/")[2] ?? "");
const sheet = /** @type {DropSheet} */ (byId("drop"));

async function begin() {
  try {
    show(await call(`/v1/drops/${encodeURIComponent(id)}`));
  } catch (problem) {
    if (problem instanceof Problem && problem.status === 404) {
      byId("missing").hidden = false;
      sheet.hidden = true;
      document.querySelector("connection-state")?.remove();
      return;
    }
  }
  const live = new Live(`?drops=${encodeURIComponent(id)}`);
  live.addEventListener("drop", (event) => show(/** @type {CustomEvent<Drop>} */ (event).detail));
  const state = document.querySelector("connection-state");
  if (state instanceof ConnectionState) state.watch(live);
  live.follow();
}

/** @param {Drop} drop */
function show(drop) {
  setTitle(`${drop.name} · Holdfast`);
  sheet.drop = drop;
}

followYours();
void begin();
