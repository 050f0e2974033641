// The action of the dashboard on a sale: publish a draft, pause or resume a drop. Each dialog
// describes the effect. Which one is possible follows from the status.

import { callUntilDecided } from "../lib/api.js";
import { h } from "../lib/dom.js";
import { isolate } from "../lib/foreign.js";
import { openDialog } from "./form-dialog.js";

/**
 * @typedef {import("../lib/api.js").DropStatus} DropStatus
 * @typedef {{id: string, name: string}} Named a drop of the page
 * @typedef {{words: string, open: (drop: Named) => void}} SaleAction
 */

/** @type {SaleAction} */
const PAUSE = { words: "Pause", open: openPause };
/** @type {SaleAction} */
const RESUME = { words: "Resume", open: openResume };
/** @type {SaleAction} */
const PUBLISH = { words: "Publish", open: openPublish };

/** The action that is possible; none for a drop that is over. @param {DropStatus} status */
export function saleAction(status) {
  switch (status) {
    case "draft":
      return PUBLISH;
    case "paused":
      return RESUME;
    case "scheduled":
    case "live":
    case "sold_out":
      return PAUSE;
    case "ended":
    case "cancelled":
      return undefined;
  }
}

/** @param {Named} drop */
function openPause({ id, name }) {
  ask(
    `Pause ${isolate(name)}?`,
    [
      "No further holds, orders or waitlist offers.",
      "Existing holds can still be bought, and expire as usual.",
      "The waitlist keeps its order.",
      "The end of the drop does not move. You can resume the drop at any time.",
    ],
    { words: "Pause the drop", kind: "danger", keep: "Keep selling" },
    async () => {
      await callUntilDecided(`/v1/drops/${id}/pause`, { method: "POST" });
      return `${isolate(name)} is paused.`;
    },
  );
}

/** @param {Named} drop */
function openResume({ id, name }) {
  ask(
    `Resume ${isolate(name)}?`,
    [
      "Available units are offered to the waitlist first.",
      "Buyers can then hold and order the others.",
    ],
    { words: "Resume the drop", kind: "primary", keep: "Stay paused" },
    async () => {
      await callUntilDecided(`/v1/drops/${id}/resume`, { method: "POST" });
      return `${isolate(name)} is on sale again.`;
    },
  );
}

/** @param {Named} drop */
function openPublish({ id, name }) {
  ask(
    `Publish ${isolate(name)}?`,
    [
      "The drop becomes visible, as its terms say.",
      "It starts at its start, or now if that time has passed.",
      "A published drop cannot become a draft again.",
    ],
    { words: "Publish the drop", kind: "primary", keep: "Keep the draft" },
    async () => {
      const drop = await callUntilDecided(`/v1/drops/${id}/publish`, { method: "POST" });
      return `${isolate(name)} is published${drop.status === "scheduled" ? " and upcoming" : " and on sale"}.`;
    },
  );
}

/**
 * @param {string} title @param {string[]} effects @param {import("./form-dialog.js").End} end
 * @param {() => Promise<string>} act
 */
function ask(title, effects, end, act) {
  const list = h("ul", {}, ...effects.map((words) => h("li", {}, words)));
  const dialog = openDialog(title, [list], end, act);
  dialog.querySelector("button")?.focus();
}
