// Shared by the rooms of the dashboard: a refresh every few seconds, the notice that the
// numbers are outdated, the end of the session, and the number of open matters in the navigation.

import { Problem, call } from "./api.js";
import { byId, h, mark, write } from "./dom.js";
import { clock } from "./format.js";
import { toast } from "../elements/toast-list.js";
import "../elements/time-zone.js";

/** The interval between two counts of the open matters. */
const COUNT_MS = 15_000;
/** The most matters that are counted. */
const MOST_COUNTED = 99;

/**
 * Calls `load` now, then `pause` ms after each call, and when the returned function is called. Only
 * one call runs at a time. A hidden page is not refreshed.
 * @param {() => Promise<void>} load
 * @param {number} pause
 * @returns {() => void} refreshes immediately, or after the refresh that is running
 */
export function keepFresh(load, pause) {
  let [isLoading, isOutdated, timer] = [false, false, 0];
  let readAt = Date.now();
  const stale = byId("stale");
  const refresh = async () => {
    if (isLoading) {
      isOutdated = true;
      return;
    }
    clearTimeout(timer);
    [isLoading, isOutdated] = [true, false];
    try {
      await load();
      readAt = Date.now();
      stale.hidden = true;
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      endIfSignedOut(problem);
      write(
        stale,
        problem.isUndecided
          ? `The page shows the state of ${clock(readAt)}: it could not be refreshed. Retrying.`
          : problem.message,
      );
      stale.hidden = false;
    } finally {
      isLoading = false;
      timer = window.setTimeout(() => document.hidden || void refresh(), isOutdated ? 0 : pause);
    }
  };
  document.addEventListener("visibilitychange", () => document.hidden || void refresh());
  void refresh();
  return () => void refresh();
}

/** The session has ended: reloading leads to the sign-in page. @param {Problem} problem */
function endIfSignedOut(problem) {
  if (problem.status === 401) location.reload();
}

/**
 * Runs an action of the administrator and reports its result or its problem.
 * @param {() => Promise<string>} act returns the message
 */
export async function attempt(act) {
  try {
    toast(await act());
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    endIfSignedOut(problem);
    toast(problem.message, { kind: "refusal" });
  }
}

/**
 * Downloads a file.
 * @param {string} name
 * @param {() => Promise<{text: string}>} read
 */
export async function download(name, read) {
  try {
    const { text } = await read();
    const address = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    h("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    endIfSignedOut(problem);
    toast(problem.message, { kind: "refusal" });
  }
}

/** Shows the number of open matters in the navigation, and lets the administrator sign out. */
export function startRoom() {
  /**
   * Disabled until now, as the content was inert: a press before this would have been lost.
   * @type {HTMLButtonElement}
   */
  const signOut = byId("sign-out");
  signOut.disabled = false;
  document.querySelector("main")?.removeAttribute("inert");
  signOut.addEventListener("click", async () => {
    await call("/v1/admin/session", { method: "DELETE" }).catch(() => null);
    location.reload();
  });
  void showName();
  const count = byId("open-matters");
  const look = async () => {
    const page = await call(`/v1/admin/needs-attention?limit=${MOST_COUNTED}`).catch(() => null);
    if (!page) return;
    const { length } = page.data;
    write(count, length === 0 ? "" : `${length}${page.has_more ? "+" : ""}`);
    mark(count, "aria-label", length === 0 ? null : `${length} open`);
    count.hidden = length === 0;
  };
  setInterval(() => document.hidden || void look(), COUNT_MS);
  void look();
}

/**
 * The filters of a list in the address, so that a filtered list can be linked.
 * @param {Record<string, string>} values empty values are left out
 */
export function queryOf(values) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) if (value) query.set(name, value);
  const text = query.toString();
  return text ? `?${text}` : "";
}

/**
 * The buttons of a list that is read page by page. `cursors` are the last items of the earlier
 * pages.
 * @param {() => void} show shows the present page
 */
export function pager(show) {
  /** @type {string[]} */
  const cursors = [];
  let last = "";
  byId("older").addEventListener("click", () => {
    if (byId("older").ariaDisabled || !last) return;
    cursors.push(last);
    show();
  });
  byId("newer").addEventListener("click", () => {
    if (cursors.pop() !== undefined) show();
  });
  return {
    /** The last item of the previous page; empty on the first page. */
    get after() {
      return cursors.at(-1) ?? "";
    },
    reset() {
      cursors.length = 0;
    },
    /** @param {string} lastShown @param {boolean} hasMore */
    update(lastShown, hasMore) {
      last = lastShown;
      mark(byId("newer"), "aria-disabled", cursors.length > 0 ? null : "true");
      mark(byId("older"), "aria-disabled", hasMore ? null : "true");
      byId("pager").hidden = cursors.length === 0 && !hasMore;
    },
  };
}

/** Shows the name of the administrator. */
async function showName() {
  const session = await call("/v1/admin/session").catch(() => null);
  if (session) write(byId("signed-in"), session.admin);
}
